"""Authorization and transactions."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from server.ocpp.frames import Call
from server.ocpp.readings import DEFAULT_MEASURAND, LARGEST_ENERGY, last_energy, newest_reading
from server.ocpp.v201.actions import ACTIONS
from server.ocpp.v201.charge_point import connector_id
from server.ocpp.version import Outcome
from server.store.keys import Keys
from server.store.models import Transaction, TransactionStatus, unix_seconds
from server.store.view import Operation, Record, StateView

MOST_MISSING = 1000
"""Missing sequence numbers that are remembered, the highest ones; those below no longer count as missing."""


def _reads(call: Call, keys: Keys) -> Iterable[str]:
    payload, charge_point_id = call.payload, call.charge_point_id
    yield keys.transaction(payload["transactionInfo"]["transactionId"], charge_point_id)
    evse = payload.get("evse", {})
    if "connectorId" in evse:
        yield keys.connector(charge_point_id, connector_id(evse["id"], evse["connectorId"]))


@ACTIONS.handles("Authorize")
def authorize(_call: Call, _view: StateView) -> Outcome:
    """Use case C01. There is no list of known tokens; every token may charge."""
    return Outcome({"idTokenInfo": {"status": "Accepted"}})


@ACTIONS.handles("MeterValues", repeatable=True)
def meter_values(_call: Call, _view: StateView) -> Outcome:
    """Use case J01. These are readings outside transactions; those of a transaction come in its events."""
    return Outcome({})


@ACTIONS.handles("TransactionEvent", reads=_reads, repeatable=True)
def transaction_event(call: Call, view: StateView) -> Outcome:
    """Use cases E01 to E15. An event counts once by transaction and sequence number.

    Events may come late and in any order. The state is that of the highest sequence number; a late event fills in what
    belongs to its own place. Once the transaction has ended, nothing above its end counts.
    """
    payload, charge_point_id = call.payload, call.charge_point_id
    answer = {"idTokenInfo": {"status": "Accepted"}} if "idToken" in payload else {}
    transaction_id, number = payload["transactionInfo"]["transactionId"], payload["seqNo"]
    known = view.transaction(transaction_id, charge_point_id)
    if known is not None and not _counts(known, number):
        return Outcome(answer)
    record = _with_event(known or _unknown_before(call), payload)
    keys = view.keys
    writes: dict[str, Record] = {keys.transaction(transaction_id, charge_point_id): record}
    _move_connector(known, record, view, writes)
    operations: list[Operation] = []
    if known is None or known.start_time != record.start_time:
        operations.append(["ZADD", keys.transactions(charge_point_id), unix_seconds(record.start_time), transaction_id])
    runs = record.status is TransactionStatus.ACTIVE
    if known is None and runs:
        operations.append(["SADD", keys.active_transactions(charge_point_id), transaction_id])
    elif known is not None and known.status is TransactionStatus.ACTIVE and not runs:
        operations.append(["SREM", keys.active_transactions(charge_point_id), transaction_id])
    return Outcome(answer, writes, operations)


def _counts(known: Transaction, number: int) -> bool:
    """Whether an event with this sequence number is news."""
    highest = known.seq_no if known.seq_no is not UNSET else -1
    if number > highest:
        return known.status is TransactionStatus.ACTIVE
    return known.missing is not UNSET and number in known.missing


def _unknown_before(call: Call) -> Transaction:
    """The record of a transaction of which nothing was heard before this event."""
    return Transaction(
        id=call.payload["transactionInfo"]["transactionId"],
        charge_point_id=call.charge_point_id,
        connector_id=0,
        id_tag="",
        start_time=call.payload["timestamp"],
        meter_start=0,
        meter_current=0,
        seq_no=-1,
        missing=[],
        offline=0,
        charging_state=None,
        evse=None,
        id_token=None,
        remote_start_id=None,
        stopped_reason=None,
        places={},
    )


def _with_event(record: Transaction, payload: dict[str, Any]) -> Transaction:
    """Merge a new event into the record: each field keeps the value with the highest sequence number."""
    number, kind, info = payload["seqNo"], payload["eventType"], payload["transactionInfo"]
    highest = record.seq_no if record.seq_no is not UNSET else -1
    places = {} if record.places is UNSET else dict(record.places)
    values = payload.get("meterValue", [])
    changes: dict[str, Any] = {"seq_no": max(highest, number), "places": places, "version": record.version + 1}
    if payload.get("offline"):
        changes["offline"] = (record.offline or 0) + 1
    if number != highest + 1 or kind == "Started":
        missing = record.missing if record.missing is not UNSET else []
        changes["missing"] = _missing(missing, highest, number, started=kind == "Started")

    def tell(name: str, **fields: Any) -> None:
        if number > places.get(name, -1):
            places[name] = number
            changes.update(fields)

    if kind == "Started":
        places["start"] = -1
        energy = _first_energy(values)
        changes |= {"start_time": payload["timestamp"], "meter_start": energy or 0}
        if record.meter_time is UNSET and energy is not None:
            changes["meter_current"] = energy
    elif number < places.get("start", number + 1):
        # Its Started was not seen: it began with the first event that was.
        places["start"] = number
        changes["start_time"] = payload["timestamp"]
    if evse := payload.get("evse"):
        tell("evse", evse=evse["id"])
        if "connectorId" in evse:
            tell("connector", connector_id=evse["connectorId"])
    if token := payload.get("idToken"):
        told = {"idToken": token["idToken"], "type": token["type"]}
        tell("id_token", id_token=told, id_tag=token["idToken"])
    if "remoteStartId" in info:
        tell("remote_start_id", remote_start_id=info["remoteStartId"])
    if "chargingState" in info:
        tell("charging_state", charging_state=info["chargingState"])
    if kind == "Ended":
        # A reason that is not given is a local one (use case E06).
        reason = info.get("stoppedReason", "Local")
        changes |= {"status": TransactionStatus.COMPLETED, "stop_time": payload["timestamp"]}
        changes |= {"stopped_reason": reason, "reason": reason}
        energy = last_energy(values, _energy_of)
        if energy is not None:
            tell("meter_stop", meter_stop=energy)
    if values:
        changes |= newest_reading(record, values, _energy_of)
    changed = replace(record, **changes)
    if changed.status is TransactionStatus.COMPLETED and "meter_stop" not in places and changed.meter_time is not UNSET:
        changed = replace(changed, meter_stop=changed.meter_current)
    return changed


def _missing(missing: list[int], highest: int, number: int, *, started: bool) -> list[int]:
    """The sequence numbers that are missing once `number` has come; a transaction begins with its Started."""
    if number > highest:
        missing = [*missing, *range(max(highest + 1, number - MOST_MISSING), number)]
    return [each for each in missing if each != number and not (started and each < number)][-MOST_MISSING:]


def _move_connector(known: Transaction | None, record: Transaction, view: StateView, writes: dict[str, Record]) -> None:
    """Note the transaction on its connector, and take it off one that it has left."""
    runs = record.status is TransactionStatus.ACTIVE
    if runs and known is not None and known.evse == record.evse and known.connector_id == record.connector_id:
        return
    before, now = _connector_of(known), _connector_of(record)
    for number in {before, now} - {None}:
        assert number is not None  # noqa: S101 - for the type checker
        is_on = runs and number == now
        if is_on and number == before:
            continue
        connector = view.connector(record.charge_point_id, number)
        if not is_on and connector.transaction_id != record.id:
            continue
        writes[view.keys.connector(record.charge_point_id, number)] = replace(
            connector,
            transaction_id=record.id if is_on else None,
            updated_at=view.now,
            version=connector.version + 1,
        )


def _connector_of(record: Transaction | None) -> str | None:
    if record is None or not isinstance(record.evse, int) or not record.connector_id:
        return None
    return connector_id(record.evse, record.connector_id)


def _first_energy(values: list[dict[str, Any]]) -> int | None:
    for value in values:
        for sample in value["sampledValue"]:
            energy = _energy_of(sample)
            if energy is not None:
                return energy
    return None


def _energy_of(sample: dict[str, Any]) -> int | None:
    """A reading of the energy register in Wh (section 2.46); `None` if the sample is another one."""
    if sample.get("measurand", DEFAULT_MEASURAND) != DEFAULT_MEASURAND or "phase" in sample:
        return None
    unit = sample.get("unitOfMeasure", {})
    name, multiplier = unit.get("unit", "Wh"), unit.get("multiplier", 0)
    if name not in {"Wh", "kWh"} or not -20 <= multiplier <= 20:
        return None
    value = sample["value"]
    if type(value) is int and name == "Wh" and not multiplier:
        return value if abs(value) <= LARGEST_ENERGY else None
    exact = Decimal(str(value))
    if exact.adjusted() > 20:
        return None
    energy = exact.scaleb(multiplier + (3 if name == "kWh" else 0))
    return int(energy) if abs(energy) <= LARGEST_ENERGY else None
