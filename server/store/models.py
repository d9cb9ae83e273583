"""The records that state consists of, as they stand in Redis (JSON)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class TransactionStatus(StrEnum):
    """States of a transaction."""

    ACTIVE = "active"
    COMPLETED = "completed"


class LastCall(msgspec.Struct, frozen=True, kw_only=True):
    """The last CALL of a charge point that may be sent again and has to count once (OCPP-J 1.6 section 4.1.1).

    Attributes:
        message_id: its message id.
        digest: SHA-1 of its action and payload.
        answer: the payload of the CALLRESULT that answered it.
    """

    message_id: str
    digest: str
    answer: dict[str, Any]


class ChargePoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The stored record of a charge point.

    Attributes:
        id: the charge point id.
        vendor, model, serial, firmware: as its last BootNotification said (OCPP 1.6 section 6.3); `None` before it.
        status: the last StatusNotification of connector 0, the charge point itself (section 4.9).
        last_seen: when its last valid message was processed, RFC 3339.
        is_online: whether it is connected; without a gateway, whether it has been heard of.
        boot_time: when its last BootNotification was accepted, RFC 3339.
        firmware_status, diagnostics_status: as last notified (sections 4.5 and 4.4).
        version: goes up by one with each write; a write names the version that it has seen.
        protocol: the version of OCPP that its last message was in.
        last_call: see `LastCall`; absent before the first.
    """

    id: str
    vendor: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    status: str | None = None
    last_seen: str | None = None
    is_online: bool = False
    boot_time: str | None = None
    firmware_status: str | None = None
    diagnostics_status: str | None = None
    version: int = 0
    protocol: str = "ocpp1.6"
    last_call: LastCall | UnsetType = UNSET


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """The stored record of a connector.

    Attributes:
        status, error_code: as the last StatusNotification said (OCPP 1.6 section 6.47).
        transaction_id: the transaction that runs on it.
        updated_at: when that last changed, RFC 3339.
        version: goes up by one with each write.
    """

    status: str | None = None
    error_code: str | None = None
    transaction_id: int | str | None = None
    updated_at: str | None = None
    version: int = 0


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One charging session.

    Attributes:
        id: in OCPP 1.6 a number, unique in the system, given by INCR on the transaction counter; in 2.0.1 and 2.1 text
            that the charge point has chosen.
        charge_point_id, connector_id, id_tag: the place, and the id tag that pays.
        start_time, stop_time: as the charge point said, RFC 3339.
        meter_start, meter_stop, meter_current: energy register in Wh.
        status: `active` until StopTransaction, then `completed`.
        reason: why it stopped (OCPP 1.6 section 7.36).
        meter_time, meter_readings: when the register was read last, and with which context and location; a reading
            with the same three counts once, and an older one changes nothing. Absent before the first reading.

    Further attributes, of OCPP 2.0.1 and 2.1 only:
        seq_no: the highest sequence number seen.
        missing: sequence numbers below that which were not seen.
        offline: how many events were sent later, since the charge point was offline.
        charging_state: from the event with the highest sequence number that has one.
        evse: the EVSE.
        id_token: `idToken` and `type`.
        remote_start_id: the id of the request that started it.
        stopped_reason: why it stopped.
        places: the sequence numbers of the events that told evse, id token and so on; later ones replace it.
        version: goes up by one with each write; 0 before the first.
    """

    id: int | str
    charge_point_id: str
    connector_id: int
    id_tag: str
    start_time: str
    meter_start: int
    stop_time: str | None = None
    meter_stop: int | None = None
    meter_current: int
    status: TransactionStatus = TransactionStatus.ACTIVE
    reason: str | None = None
    version: int = 0
    meter_time: str | UnsetType = UNSET
    meter_readings: list[str] | UnsetType = UNSET
    seq_no: int | UnsetType = UNSET
    missing: list[int] | UnsetType = UNSET
    offline: int | UnsetType = UNSET
    charging_state: str | UnsetType | None = UNSET
    evse: int | UnsetType | None = UNSET
    id_token: dict[str, Any] | UnsetType | None = UNSET
    remote_start_id: int | UnsetType | None = UNSET
    stopped_reason: str | UnsetType | None = UNSET
    places: dict[str, int] | UnsetType = UNSET


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute of a variable of the device model (OCPP 2.0.1 section 3.8 of part 1).

    Attributes:
        value: its value as text; `None` if it is known without one.
        mutability: `ReadOnly`, `WriteOnly` or `ReadWrite`.
    """

    value: str | None = None
    mutability: str = "ReadWrite"


class ConfigurationKey(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration key of a charge point (OCPP 1.6 section 7.29, without the key itself).

    Attributes:
        value: its value as text; `None` if it is known without one.
        readonly: whether ChangeConfiguration is refused.
    """

    value: str | None = None
    readonly: bool = False


def same_time(one: str, other: str) -> bool:
    """Whether two RFC 3339 texts name one instant."""
    return one == other or (unix_seconds(one) == unix_seconds(other) != 0.0)


@lru_cache(maxsize=4096)
def unix_seconds(timestamp: str) -> float:
    """An RFC 3339 time in seconds since 1970, for sorting; 0 if it cannot be had."""
    try:
        return datetime.fromisoformat(timestamp.upper().replace(":60", ":59")).timestamp()  # a leap second
    except (ValueError, OverflowError):  # the years 0, 1 and 9999 do not all fit
        return 0.0
