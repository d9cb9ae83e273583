"""Choices that the OCPP specification leaves to a system."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

Tolerance = Annotated[float, msgspec.Meta(ge=0, le=3600)]


class OnBusyConnector(StrEnum):
    """Effects of a StartTransaction on a connector with a running transaction."""

    KEEP = "keep"
    END = "end"
    ANY = "any"


class MeterCurrent(StrEnum):
    """The reading of the energy register that a transaction shows."""

    LAST = "last"
    NEWEST = "newest"
    HIGHEST = "highest"


class KeptFrom(StrEnum):
    """From which message on a charge point is kept."""

    MESSAGE = "message"
    BOOT = "boot"


class RepeatedStart(StrEnum):
    """Results of a StartTransaction equal to an earlier one in connector, id tag, meter start and timestamp."""

    SAME = "same"
    RUNNING = "running"
    NEW = "new"


class UnknownTransaction(StrEnum):
    """Effects of an Updated or Ended without a received Started (OCPP 2.0.1 and 2.1)."""

    MAKE = "make"
    IGNORE = "ignore"


class AfterTheEnd(StrEnum):
    """Results of an event with a higher sequence number than the Ended (OCPP 2.0.1 and 2.1)."""

    IGNORE = "ignore"
    COUNT = "count"


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The system's choices where the OCPP specification leaves one; the defaults are the reference server's.

    Attributes:
        clock_tolerance: seconds by which the system's clock may differ from that of the tests. The difference may vary
            by half of it among the answers to a charge point.
        registration: the statuses with which a BootNotification may be answered.
        authorization: the statuses with which an id tag may be answered.
        data_transfer: the allowed statuses of the answer to a DataTransfer of an unknown vendor.
        verdict_at_stop: whether the answer to a StopTransaction with an id tag must contain the status of the tag (1.6;
            later versions ask for it).
        kept_from: from which message on a charge point is kept: any `message`, or its first `boot`.
        busy_connector: the effect of a start on a running transaction of its connector: `keep` it, `end` it, or `any`.
        repeated_start: the result of a start that equals an earlier one: the `same` transaction, also when it is over;
            the same only while it is `running`; or a `new` one (1.6).
        meter_current: which reading a transaction shows: the `last` received, the one with the `newest` timestamp, or
            the `highest`.
        unknown_transaction: what an Updated or Ended comes to whose Started did not arrive: it does `make` the
            transaction, or the system does `ignore` it (2.0.1 and 2.1).
        after_the_end: what an event above the Ended comes to: the system does `ignore` it, or `count` it (2.0.1 and
            2.1).
    """

    clock_tolerance: Tolerance = 2.0
    registration: list[str] = msgspec.field(default_factory=lambda: ["Accepted"])
    authorization: list[str] = msgspec.field(default_factory=lambda: ["Accepted"])
    data_transfer: list[str] = msgspec.field(default_factory=lambda: ["UnknownVendorId"])
    verdict_at_stop: bool = True
    kept_from: KeptFrom = KeptFrom.MESSAGE
    busy_connector: OnBusyConnector = OnBusyConnector.KEEP
    repeated_start: RepeatedStart = RepeatedStart.SAME
    meter_current: MeterCurrent = MeterCurrent.NEWEST
    unknown_transaction: UnknownTransaction = UnknownTransaction.MAKE
    after_the_end: AfterTheEnd = AfterTheEnd.IGNORE
