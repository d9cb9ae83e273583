"""The business rules: what each action of a charge point means.

A handler takes a validated CALL and a view of the state and returns an outcome: the answer and what is to be written.
It neither writes nor waits, so handling a message again (after a conflict, or a commit that never happened) changes
nothing. Sections are those of the OCPP 1.6 specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from server.ocpp.messages import Call
from server.store.keys import Keys
from server.store.models import Connector, Transaction, TransactionStatus, unix_seconds
from server.store.view import Operation, Record, StateView

HEARTBEAT_INTERVAL = 300
"""Seconds between heartbeats that a charge point is told at boot (section 4.2)."""
DEFAULT_MEASURAND = "Energy.Active.Import.Register"


class Outcome(Struct):
    """What handling a message comes to.

    Attributes:
        answer: the payload of the CALLRESULT.
        writes: records by key.
        operations: index entries that go with them.
    """

    answer: dict[str, Any]
    writes: dict[str, Record] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)


def reads(call: Call, keys: Keys) -> Iterator[str]:
    """The keys that handling `call` will ask for, as far as its payload tells; reading them ahead saves round trips."""
    payload = call.payload
    yield keys.charge_point(call.charge_point_id)
    if call.action in {"StartTransaction", "MeterValues", "StatusNotification"}:
        yield keys.connector(call.charge_point_id, payload.get("connectorId", _default_connector(call)))
    if "transactionId" in payload:
        yield keys.transaction(payload["transactionId"])


def handle(call: Call, view: StateView) -> Outcome:
    """Apply the business rules to `call`, whose action and payload were validated.

    Raises:
        NotLoaded: state is needed that was not read; load it and call again.
        CorruptState: state that is needed cannot be read.
    """
    return _HANDLERS[call.action](call, view)


def _default_connector(call: Call) -> int:
    """The connector of a flat message that names none."""
    return 1 if call.action == "StartTransaction" else 0


def _authorize(_call: Call, _view: StateView) -> Outcome:
    """Section 4.1. There is no list of known tags: every tag may charge."""
    return Outcome({"idTagInfo": {"status": "Accepted"}})


def _boot_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.2."""
    payload = call.payload
    record = replace(
        view.charge_point(call.charge_point_id),
        vendor=payload.get("chargePointVendor"),
        model=payload.get("chargePointModel"),
        serial=payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber"),
        firmware=payload.get("firmwareVersion"),
        boot_time=view.now,
    )
    answer = {"currentTime": view.now, "interval": HEARTBEAT_INTERVAL, "status": "Accepted"}
    return Outcome(answer, {view.keys.charge_point(call.charge_point_id): record})


def _data_transfer(_call: Call, _view: StateView) -> Outcome:
    """Section 4.3. No vendor's extension is known here."""
    return Outcome({"status": "UnknownVendorId"})


def _diagnostics_status_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.4."""
    return _charge_point_field(call, view, "diagnostics_status", call.payload.get("status"))


def _firmware_status_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.5."""
    return _charge_point_field(call, view, "firmware_status", call.payload.get("status"))


def _charge_point_field(call: Call, view: StateView, name: str, value: str | None) -> Outcome:
    if value is None:
        return Outcome({})
    record = replace(view.charge_point(call.charge_point_id), **{name: value})
    return Outcome({}, {view.keys.charge_point(call.charge_point_id): record})


def _heartbeat(_call: Call, view: StateView) -> Outcome:
    """Section 4.6."""
    return Outcome({"currentTime": view.now})


def _meter_values(call: Call, view: StateView) -> Outcome:
    """Section 4.7. The transaction is the one named, else the one that runs on the connector."""
    payload = call.payload
    transaction_id = payload.get("transactionId")
    if transaction_id is None:
        connector_id = payload.get("connectorId", _default_connector(call))
        transaction_id = view.connector(call.charge_point_id, connector_id).transaction_id
    energy = _energy(payload.get("meterValue", []))
    transaction = _own_active_transaction(call, view, transaction_id)
    if transaction is None or energy is None:
        return Outcome({})
    updated = replace(transaction, meter_current=energy, version=transaction.version + 1)
    return Outcome({}, {view.keys.transaction(transaction.id): updated})


def _energy(meter_values: list[dict[str, Any]]) -> int | None:
    """The last reading of the energy register in `meter_values`, in Wh; kWh are converted (section 7.35)."""
    energy = None
    for meter_value in meter_values:
        for sample in meter_value["sampledValue"]:
            if sample.get("measurand", DEFAULT_MEASURAND) != DEFAULT_MEASURAND or "phase" in sample:
                continue
            if sample.get("unit", "Wh") not in {"Wh", "kWh"} or sample.get("format") == "SignedData":
                continue
            try:
                value = Decimal(sample["value"])
            except ArithmeticError:
                continue
            if value.is_finite() and value.adjusted() < 10 and abs(value) < 2**31:
                energy = int(value * 1000 if sample.get("unit") == "kWh" else value)
    return energy


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


def _start_transaction(call: Call, view: StateView) -> Outcome:
    """Section 4.8. A charge point that got no answer sends the same start again: it gets the same transaction."""
    payload, charge_point_id = call.payload, call.charge_point_id
    connector_id = payload.get("connectorId", _default_connector(call))
    connector = view.connector(charge_point_id, connector_id)
    running = _own_active_transaction(call, view, connector.transaction_id)
    started = (payload.get("idTag", ""), payload.get("meterStart", 0), payload.get("timestamp"))
    if running is not None and (running.id_tag, running.meter_start, running.start_time) == started:
        return Outcome(_transaction_answer(running.id))
    meter_start = payload.get("meterStart", 0)
    start_time = payload.get("timestamp", view.now)
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


def _transaction_answer(transaction_id: int) -> dict[str, Any]:
    return {"transactionId": transaction_id, "idTagInfo": {"status": "Accepted"}}


def _status_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.9. Connector 0 is the charge point itself."""
    payload, charge_point_id = call.payload, call.charge_point_id
    if "status" not in payload:
        return Outcome({})
    connector_id = payload.get("connectorId", _default_connector(call))
    if connector_id == 0:
        return _charge_point_field(call, view, "status", payload["status"])
    connector = view.connector(charge_point_id, connector_id)
    record = replace(
        connector,
        status=payload["status"],
        error_code=payload.get("errorCode"),
        updated_at=payload.get("timestamp", view.now),
        version=connector.version + 1,
    )
    return Outcome({}, {view.keys.connector(charge_point_id, connector_id): record})


def _stop_transaction(call: Call, view: StateView) -> Outcome:
    """Section 4.10. It cannot be refused; a transaction that is unknown, another's or stopped stays as it is."""
    payload = call.payload
    answer = {"idTagInfo": {"status": "Accepted"}} if "idTag" in payload else {}
    transaction = _own_active_transaction(call, view, payload.get("transactionId"))
    if transaction is None:
        return Outcome(answer)
    connector = view.connector(call.charge_point_id, transaction.connector_id)
    keys = view.keys
    meter_stop = payload.get("meterStop", _energy(payload.get("transactionData", [])))
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


_HANDLERS: dict[str, Callable[[Call, StateView], Outcome]] = {
    "Authorize": _authorize,
    "BootNotification": _boot_notification,
    "DataTransfer": _data_transfer,
    "DiagnosticsStatusNotification": _diagnostics_status_notification,
    "FirmwareStatusNotification": _firmware_status_notification,
    "Heartbeat": _heartbeat,
    "MeterValues": _meter_values,
    "StartTransaction": _start_transaction,
    "StatusNotification": _status_notification,
    "StopTransaction": _stop_transaction,
}
