"""Transactions of OCPP 2.0.1 and 2.1 event by event, with and without a connection."""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.charge_points.point import Answer, ChargePoint, Charging
from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.v201 import Transaction, meter_value
from ocpp_resilience.ocpp.version import Call, TransactionId
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import in_words

ENERGY = 100
"""Energy charged between two events without a connection, in Wh."""


class EventType(enum.Enum):
    """The type of a TransactionEvent."""

    STARTED = "Started"
    UPDATED = "Updated"
    ENDED = "Ended"


class EventOrder(enum.Enum):
    """The order in which events that happened without a connection are sent."""

    IN_ORDER = "in order"
    REVERSED = "reversed"
    SHUFFLED = "shuffled"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionEvent:
    """An event and its answer.

    Attributes:
        transaction_id: the id of its transaction, chosen by the charge point.
        seq_no: its number in the transaction, from 0.
        payload: what was sent.
        answer: the payload of the CALLRESULT.
    """

    transaction_id: TransactionId | None
    seq_no: int
    payload: Mapping[str, Any]
    answer: Any


@dataclass(slots=True, kw_only=True)
class Offline:
    """The events of a time without a connection.

    Attributes:
        seconds: how long there was none.
        events: the events of that time, in the order in which they were sent.
    """

    seconds: float = 0.0
    events: list[TransactionEvent] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The whole in one line."""
        numbers = ", ".join(str(event.seq_no) for event in self.events)
        return f"{in_words(self.seconds)} without a connection, then {counted(len(self.events), 'event')}: {numbers}"


def next_event(
    point: ChargePoint,
    kind: EventType,
    *,
    evse: int,
    id_tag: str = "",
    meter: int | None,
    fields: Mapping[str, Any],
) -> Call:
    """The next event of the transaction at an EVSE; `Started` begins one, and `Ended` is its last.

    Args:
        point: the charge point.
        kind: the type of the event.
        evse: the number of the EVSE.
        id_tag: who charges, for `Started`.
        meter: the energy register in Wh; that of the event before if not given.
        fields: fields in the place of sensible ones, or beside them.

    Raises:
        UsageError: the version has no TransactionEvent, or there is no transaction that could go on.
    """
    if "TransactionEvent" not in point.version.schemas.actions:
        raise UsageError(f"{point.id} speaks {point.version}, which has no TransactionEvent.")
    if kind is EventType.STARTED:
        point.charging[evse] = Charging(Transaction(connector=evse, id_tag=id_tag), 1000 if meter is None else meter)
    charging = point.charging.get(evse)
    if charging is None:
        raise UsageError(f"{point.id} has no transaction at EVSE {evse}; start one with the event 'Started'.")
    if meter is not None:
        charging.meter = meter
    makers = {
        EventType.STARTED: charging.transaction.start,
        EventType.UPDATED: charging.transaction.meter_values,
        EventType.ENDED: charging.transaction.stop,
    }
    action, payload = makers[kind](charging.meter, rfc3339())
    if kind is EventType.ENDED:
        del point.charging[evse]
    return Call(action, {**payload, **fields})


async def send(point: ChargePoint, event: Call, *, limit: float) -> TransactionEvent:
    """Send an event and wait for its answer.

    Raises:
        CallRefused, ExpectationFailed, NoAnswer, NotConnected: as `ChargePoint.call` and `Answer.accepted`.
    """
    answer: Answer = await point.call(*event, limit=limit)
    info = event.payload.get("transactionInfo", {})
    return TransactionEvent(
        transaction_id=info.get("transactionId"),
        seq_no=event.payload.get("seqNo", -1),
        payload=event.payload,
        answer=answer.accepted(),
    )


async def go_offline(point: ChargePoint, seconds: float, *, every: float, order: EventOrder, limit: float) -> Offline:
    """Disconnect, let the transactions continue, reconnect and send the events of that time (use case E04).

    Args:
        point: the charge point, with a transaction that runs.
        seconds: how long there is no connection.
        every: between two events of a transaction, in seconds.
        order: the order in which the events are sent.
        limit: the longest wait for the connection and for each answer, in seconds.

    Raises:
        UsageError: no transaction runs.
        ExpectationFailed: it could not connect again, or an event was not accepted.
    """
    if not point.charging:
        raise UsageError(f"{point.id} has no running transaction; start one with `Send Transaction Event`.")
    began = time.monotonic()
    await point.abort()
    happened: list[Call] = []
    for charging in point.charging.values():
        charging.transaction.offline = True
    try:
        while (left := began + seconds - time.monotonic()) > 0:
            for charging in point.charging.values():
                charging.meter += ENERGY
                reading = meter_value(charging.meter, rfc3339())
                event = charging.transaction.event("Updated", "MeterValuePeriodic", rfc3339(), meterValue=[reading])
                happened.append(event)
            await asyncio.sleep(min(every, left))
        await point.connect(limit=limit)
    finally:
        for charging in point.charging.values():
            charging.transaction.offline = False
    whole = Offline(seconds=time.monotonic() - began)
    if order is EventOrder.REVERSED:
        happened.reverse()
    elif order is EventOrder.SHUFFLED:
        random.shuffle(happened)
    for event in happened:
        whole.events.append(await send(point, event, limit=limit))
    return whole
