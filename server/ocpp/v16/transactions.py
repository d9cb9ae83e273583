"""Authorization, transactions and their meter values."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from server.ocpp.frames import Call
from server.ocpp.readings import DEFAULT_MEASURAND, LARGEST_ENERGY, last_energy, with_readings
from server.ocpp.v16.actions import ACTIONS
from server.ocpp.version import Outcome
from server.store.keys import Keys
from server.store.models import Connector, Transaction, TransactionStatus, same_time, unix_seconds
from server.store.view import Record, Starts, StateView


def _start_reads(call: Call, keys: Keys) -> Iterable[str | Starts]:
    yield keys.connector(call.charge_point_id, call.payload.get("connectorId", 1))
    if "timestamp" in call.payload:
        yield Starts(call.charge_point_id, unix_seconds(call.payload["timestamp"]))


def _meter_reads(call: Call, keys: Keys) -> Iterable[str]:
    if "transactionId" in call.payload:
        return _transaction_reads(call, keys)
    return (keys.connector(call.charge_point_id, call.payload.get("connectorId", 0)),)


def _transaction_reads(call: Call, keys: Keys) -> Iterable[str]:
    return (keys.transaction(call.payload["transactionId"]),) if "transactionId" in call.payload else ()


@ACTIONS.handles("Authorize")
def authorize(_call: Call, _view: StateView) -> Outcome:
    """Section 4.1. There is no list of known tags; every tag may charge."""
    return Outcome({"idTagInfo": {"status": "Accepted"}})


@ACTIONS.handles("MeterValues", reads=_meter_reads, repeatable=True)
def meter_values(call: Call, view: StateView) -> Outcome:
    """Section 4.7. The transaction is the one named, else the one that runs on the connector."""
    payload = call.payload
    transaction_id = payload.get("transactionId")
    if transaction_id is None:
        connector_id = payload.get("connectorId", 0)
        transaction_id = view.connector(call.charge_point_id, connector_id).transaction_id
    transaction = _own_active_transaction(call, view, transaction_id)
    if transaction is None:
        return Outcome({})
    updated = with_readings(transaction, payload.get("meterValue", []), _energy_of)
    if updated is transaction:
        return Outcome({})
    return Outcome({}, {view.keys.transaction(transaction.id): replace(updated, version=transaction.version + 1)})


def _energy_of(sample: dict[str, Any]) -> int | None:
    """A reading of the energy register in Wh, kWh converted (section 7.35); `None` if the sample is another one."""
    if sample.get("measurand", DEFAULT_MEASURAND) != DEFAULT_MEASURAND or "phase" in sample:
        return None
    if sample.get("unit", "Wh") not in {"Wh", "kWh"} or sample.get("format") == "SignedData":
        return None
    try:
        value = Decimal(sample["value"])
    except ArithmeticError:
        return None
    if not value.is_finite() or value.adjusted() >= 10 or abs(value) > LARGEST_ENERGY:
        return None
    return int(value * 1000 if sample.get("unit") == "kWh" else value)


def _own_active_transaction(call: Call, view: StateView, transaction_id: int | None) -> Transaction | None:
    if transaction_id is None:
        return None
    transaction = view.transaction(transaction_id)
    if (
        transaction is None
        or transaction.charge_point_id != call.charge_point_id
        or transaction.status is not TransactionStatus.ACTIVE
    ):
        return None
    return transaction


@ACTIONS.handles("StartTransaction", reads=_start_reads, repeatable=True, takes_id=True)
def start_transaction(call: Call, view: StateView) -> Outcome:
    """Section 4.8. A start that equals an earlier one, finished or not, is that transaction sent again."""
    payload, charge_point_id = call.payload, call.charge_point_id
    connector_id = payload.get("connectorId", 1)
    connector = view.connector(charge_point_id, connector_id)
    meter_start = payload.get("meterStart", 0)
    start_time = payload.get("timestamp", view.now)
    if "timestamp" in payload:
        started = (connector_id, payload.get("idTag", ""), meter_start)
        for known in view.transactions_started(Starts(charge_point_id, unix_seconds(start_time))):
            # The instants are equal; those that have none as a number are all in one place.
            if (known.connector_id, known.id_tag, known.meter_start) == started and same_time(
                known.start_time, start_time
            ):
                return Outcome(_transaction_answer(known.id))
    transaction = Transaction(
        id=view.new_transaction_id(),
        charge_point_id=charge_point_id,
        connector_id=connector_id,
        id_tag=payload.get("idTag", ""),
        start_time=start_time,
        meter_start=meter_start,
        meter_current=meter_start,
        version=1,
    )
    keys = view.keys
    return Outcome(
        _transaction_answer(transaction.id),
        {
            keys.transaction(transaction.id): transaction,
            keys.connector(charge_point_id, connector_id): replace(
                connector, transaction_id=transaction.id, updated_at=view.now, version=connector.version + 1
            ),
        },
        [
            ["ZADD", keys.transactions(charge_point_id), unix_seconds(start_time), transaction.id],
            ["SADD", keys.active_transactions(charge_point_id), transaction.id],
        ],
    )


def _transaction_answer(transaction_id: int | str) -> dict[str, Any]:
    return {"transactionId": transaction_id, "idTagInfo": {"status": "Accepted"}}


@ACTIONS.handles("StopTransaction", reads=_transaction_reads, repeatable=True)
def stop_transaction(call: Call, view: StateView) -> Outcome:
    """Section 4.10. It cannot be refused; a transaction that is unknown, another's or stopped stays as it is."""
    payload = call.payload
    answer = {"idTagInfo": {"status": "Accepted"}} if "idTag" in payload else {}
    transaction = _own_active_transaction(call, view, payload.get("transactionId"))
    if transaction is None:
        return Outcome(answer)
    connector = view.connector(call.charge_point_id, transaction.connector_id)
    keys = view.keys
    meter_stop = payload.get("meterStop", last_energy(payload.get("transactionData", []), _energy_of))
    writes: dict[str, Record] = {
        keys.transaction(transaction.id): replace(
            transaction,
            status=TransactionStatus.COMPLETED,
            stop_time=payload.get("timestamp", view.now),
            meter_stop=meter_stop,
            meter_current=transaction.meter_current if meter_stop is None else meter_stop,
            reason=payload.get("reason", "Local"),
            version=transaction.version + 1,
        )
    }
    if connector.transaction_id == transaction.id:
        freed: Connector = replace(connector, transaction_id=None, updated_at=view.now, version=connector.version + 1)
        writes[keys.connector(call.charge_point_id, transaction.connector_id)] = freed
    return Outcome(answer, writes, [["SREM", keys.active_transactions(call.charge_point_id), transaction.id]])
