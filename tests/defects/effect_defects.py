"""Tests 13 and 15: the effects of messages, in answers and in the state. Seen by the model, not by examples."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from catalogue import defect
from msgspec.structs import replace

from server.errors import ErrorCode
from server.ocpp.frames import Call
from server.ocpp.v16 import charge_point, transactions
from server.ocpp.v16.actions import ACTIONS
from server.ocpp.version import Outcome
from server.processor import processor
from server.store.models import ChargePoint, Connector, Transaction, TransactionStatus
from server.store.view import StateView

SHAPES = "The State After Sessions Of Every Shape Equals The Model"
SOCKETS = "The State After Sessions Over WebSockets Equals The Model"
CONNECTOR = "A Connector Keeps Its Transaction While Its Status Changes"
AGAIN = "Messages That Are Sent Again Count Once"
FOREIGN = "A Charge Point Cannot Change The Transactions Of Another"
EACH = "Every Action In Every Message Format Is Answered In Time"

Handler = Callable[[Call, StateView], Outcome]


def changed(action: str, change: Callable[[Outcome, Call, StateView], Outcome]) -> None:
    """Change the result of handling an action."""
    sound = ACTIONS[action].handle
    ACTIONS[action].handle = lambda call, view: change(sound(call, view), call, view)


def changed_answer(action: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the answers to an action."""

    def answered(outcome: Outcome, _call: Call, _view: StateView) -> Outcome:
        outcome.answer = change(outcome.answer)
        return outcome

    changed(action, answered)


def changed_records(action: str, kind: type[Any], change: Callable[[Any, Call], Any]) -> None:
    """Change the records of a kind that handling an action writes."""

    def written(outcome: Outcome, call: Call, _view: StateView) -> Outcome:
        for key, record in outcome.writes.items():
            if type(record) is kind:
                outcome.writes[key] = change(record, call)
        return outcome

    changed(action, written)


def asked_for(action: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Handle an action as if its payload were another one."""
    sound = ACTIONS[action].handle
    ACTIONS[action].handle = lambda call, view: sound(replace(call, payload=change(dict(call.payload))), view)


# ------------------------------------------------------------------ answers


@defect("R13.1", EACH, says=r"The answer to BootNotification .* is wrong: interval: 0 is not above 0")
def interval_of_nothing() -> None:
    """A boot is answered with a heartbeat interval of 0 seconds."""
    charge_point.HEARTBEAT_INTERVAL = 0


@defect("R13.1", EACH, says=r"The answer to BootNotification .* is wrong: currentTime: .*date-time")
def times_without_a_zone() -> None:
    """The time in the answer to a boot is local, without its zone."""
    changed_answer("BootNotification", lambda answer: answer | {"currentTime": answer["currentTime"].removesuffix("Z")})


@defect("R13.1", EACH, says=r"The answer to BootNotification .* is wrong: currentTime: \S+ is not a time")
def local_time_as_utc() -> None:
    """The time in the answer to a boot is that of a zone an hour ahead, and says that it is UTC."""

    def ahead(answer: dict[str, Any]) -> dict[str, Any]:
        local = datetime.now(UTC) + timedelta(hours=1)
        return answer | {"currentTime": local.isoformat(timespec="milliseconds").replace("+00:00", "Z")}

    changed_answer("BootNotification", ahead)


@defect("R13.1", EACH, says=r"The answer to Authorize .* is wrong: .*idTagInfo.*required")
def authorizations_without_a_verdict() -> None:
    """Authorize is answered with nothing."""
    changed_answer("Authorize", lambda answer: {})


@defect("R13.1", EACH, says=r"The answer to DataTransfer .* is wrong: status: .*unknownVendor")
def statuses_in_another_spelling() -> None:
    """DataTransfer is answered with a status that OCPP spells otherwise."""
    changed_answer("DataTransfer", lambda answer: {"status": "unknownVendor"})


@defect("R13.1", EACH, says=r"The answer to MeterValues .* is wrong: .*status.* unexpected")
def answers_with_a_field_too_many() -> None:
    """MeterValues is answered with a status, which it has not got."""
    changed_answer("MeterValues", lambda answer: {"status": "Accepted"})


@defect("R13.1", EACH, says=r"The answer to StartTransaction .* is wrong: transactionId: .*not of type .integer")
def transaction_ids_as_text() -> None:
    """Transaction ids are answered as text."""
    changed_answer("StartTransaction", lambda answer: answer | {"transactionId": str(answer["transactionId"])})


def starts_alike(without: str) -> None:
    """Do not look at a field when a start is compared with earlier ones."""
    asked: dict[str, Any] = {}
    sound = StateView.transactions_started

    def started(self: StateView, starts: Any) -> Any:
        for each in sound(self, starts):
            yield replace(each, **{without: asked[without]})

    handle = ACTIONS["StartTransaction"].handle

    def start(call: Call, view: StateView) -> Outcome:
        payload = call.payload
        asked.update(
            connector_id=payload.get("connectorId", 1),
            id_tag=payload.get("idTag", ""),
            meter_start=payload.get("meterStart", 0),
        )
        return handle(call, view)

    StateView.transactions_started = started
    ACTIONS["StartTransaction"].handle = start


ONE_TRANSACTION = r"transactionId|transaction \d+"


@defect("R13.8", SHAPES, says=ONE_TRANSACTION)
def a_start_with_another_tag_is_the_same() -> None:
    """A start is taken for one that came again although its id tag is another."""
    starts_alike("id_tag")


@defect("R13.8", SHAPES, says=ONE_TRANSACTION)
def a_start_with_another_meter_is_the_same() -> None:
    """A start is taken for one that came again although its meter stands elsewhere."""
    starts_alike("meter_start")


@defect("R13.8", SHAPES, says=ONE_TRANSACTION)
def a_start_on_another_connector_is_the_same() -> None:
    """A start is taken for one that came again although it is on another connector."""
    starts_alike("connector_id")


@defect("R13.8", SHAPES, says=r"idTagInfo: missing, although an idTag was given.* wrong_answers: required == 0")
def stops_without_a_verdict() -> None:
    """A stop with an id tag is answered without the status of the tag."""
    changed_answer("StopTransaction", lambda answer: {})


@defect(
    "R13.8", SHAPES, says=r"transactionId: \d+ for a repeated start, which was answered \d+.* wrong_answers: required"
)
def repeated_starts_are_new_ones() -> None:
    """A start that comes again under a new message id makes another transaction."""
    sound = transactions.start_transaction
    ACTIONS["StartTransaction"].handle = lambda call, view: sound(call, cast(Any, _Blind(view)))


class _Blind:
    """A view in which no transaction can be seen."""

    def __init__(self, view: StateView) -> None:
        self._view = view

    def transactions_started(self, _: object) -> tuple[Transaction, ...]:
        return ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)


# ------------------------------------------------------------------ readings


@defect("R13.8", SHAPES, says=r"meter_current is \d+, expected \d+.* wrong_fields: required == 0")
def kilowatt_hours_as_watt_hours() -> None:
    """The unit of a reading is not looked at."""
    sound = transactions._energy_of
    transactions._energy_of = lambda sample: sound(sample | {"unit": "Wh"})


@defect("R13.8", SHAPES, says=r"meter_current is \d+, expected \d+.* wrong_fields: required == 0")
def readings_of_one_phase_as_the_whole() -> None:
    """The register of one phase is taken for that of the connector."""
    sound = transactions._energy_of
    transactions._energy_of = lambda sample: sound({name: value for name, value in sample.items() if name != "phase"})


@defect("R13.8", SHAPES, says=r"meter_current is \d+, expected \d+.* wrong_fields: required == 0")
def first_reading_of_a_message() -> None:
    """Of several readings in one message the first counts, not the last."""
    sound = transactions.with_readings
    transactions.with_readings = lambda transaction, values, energy_of: sound(transaction, values[:1], energy_of)


@defect("R13.8", SHAPES, says=r"meter_current is \d+, expected \d+.* wrong_fields: required == 0")
def readings_without_a_measurand_are_skipped() -> None:
    """A sample without a measurand is not taken for the energy register, as the specification says it is."""
    sound = transactions._energy_of
    transactions._energy_of = lambda sample: sound(sample) if "measurand" in sample else None


@defect("R13.8", SHAPES, says=r"meter_current is \d+, expected \d+.* wrong_fields: required == 0")
def readings_without_a_transaction_are_lost() -> None:
    """Meter values that name no transaction are not those of the one on their connector."""
    asked_for("MeterValues", lambda payload: {"transactionId": 0} | payload)


@defect("R13.8", SHAPES, says=r"meter_current is \d+, expected \d+.* wrong_fields: required == 0")
def readings_go_to_the_first_connector() -> None:
    """Meter values that name no transaction are those of the one on connector 1."""
    asked_for("MeterValues", lambda payload: payload | {"connectorId": 1})


# ------------------------------------------------------------------ stops


@defect("R13.8", SHAPES, says=r"(meter_stop|reason) is .* wrong_fields: required == 0")
def second_stops_count() -> None:
    """A second stop of a transaction overwrites the first."""
    sound = transactions._own_active_transaction

    def own(call: Call, view: StateView, number: int | None) -> Transaction | None:
        found = sound(call, view, number)
        known = view.transaction(number) if number is not None and call.action == "StopTransaction" else None
        return found or (known if known is not None and known.charge_point_id == call.charge_point_id else None)

    transactions._own_active_transaction = own


@defect("R15.9", FOREIGN, says=r"status is 'completed', expected 'active'.* R15\.9 changed: required == 0")
def anybody_may_stop_a_transaction() -> None:
    """A stop is accepted from any charge point."""
    _owner_is_not_looked_at("StopTransaction")


@defect("R15.9", FOREIGN, says=r"meter_current is 987654, expected.* R15\.9 changed: required == 0")
def anybody_may_send_readings() -> None:
    """Meter values for a transaction are accepted from any charge point."""
    _owner_is_not_looked_at("MeterValues")


def _owner_is_not_looked_at(action: str) -> None:
    sound = transactions._own_active_transaction

    def own(call: Call, view: StateView, number: int | None) -> Transaction | None:
        known = view.transaction(number) if number is not None and call.action == action else None
        if known is not None and known.status is TransactionStatus.ACTIVE:
            return known
        return sound(call, view, number)

    transactions._own_active_transaction = own


@defect("R15.9", FOREIGN, says=r"meter_current is 987654, expected.* R15\.9 changed: required == 0")
def readings_after_the_end_count() -> None:
    """Meter values for a transaction that is over change it."""
    sound = transactions._own_active_transaction

    def own(call: Call, view: StateView, number: int | None) -> Transaction | None:
        known = view.transaction(number) if number is not None and call.action == "MeterValues" else None
        if known is not None and known.charge_point_id == call.charge_point_id:
            return known
        return sound(call, view, number)

    transactions._own_active_transaction = own


@defect("R15.9", FOREIGN, says=r"Not every message was answered|R15\.9 wrong_answers: required == 0|valid but refused")
def unknown_stops_are_refused() -> None:
    """A stop for an unknown transaction is refused, which OCPP does not allow."""
    sound = ACTIONS["StopTransaction"].handle

    def stop(call: Call, view: StateView) -> Outcome:
        if view.transaction(call.payload.get("transactionId", 0)) is None:
            raise processor._refusal(call, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "there is no such transaction")
        return sound(call, view)

    ACTIONS["StopTransaction"].handle = stop


@defect("R13.8", SHAPES, says=r"reason is 'Local', expected.* wrong_fields: required == 0")
def every_stop_is_local() -> None:
    """The reason of a stop is not recorded."""
    changed_records("StopTransaction", Transaction, lambda record, _: replace(record, reason="Local"))


@defect("R13.8", SHAPES, says=r"stop_time is .* wrong_fields: required == 0")
def stops_are_stamped_on_arrival() -> None:
    """A stop is recorded with the time of its arrival, not with that of the charge point."""

    def stamped(outcome: Outcome, _call: Call, view: StateView) -> Outcome:
        for key, record in outcome.writes.items():
            if type(record) is Transaction:
                outcome.writes[key] = replace(record, stop_time=view.now)
        return outcome

    changed("StopTransaction", stamped)


@defect("R13.8", SHAPES, says=r"connector \d: transaction_id is \d+, expected None.* wrong_fields: required == 0")
def only_the_first_connector_is_freed() -> None:
    """A stop frees connector 1, and no other."""

    def kept(outcome: Outcome, _call: Call, _view: StateView) -> Outcome:
        first = {
            key: record for key, record in outcome.writes.items() if type(record) is not Connector or key.endswith(":1")
        }
        outcome.writes = first
        return outcome

    changed("StopTransaction", kept)


@defect("R13.8", SHAPES, says=r"transaction \d+ is active, expected not.* wrong_fields: required == 0")
def stopped_transactions_stay_in_the_active_index() -> None:
    """A stop with an id tag leaves the transaction in the index of active ones."""

    def left(outcome: Outcome, call: Call, _view: StateView) -> Outcome:
        if "idTag" in call.payload:
            outcome.operations = []
        return outcome

    changed("StopTransaction", left)


# ------------------------------------------------------------------ starts, connectors, charge points


@defect("R13.8", CONNECTOR, says=r"transaction_id is None, expected \d+.* wrong_fields: required == 0")
def a_status_erases_the_transaction() -> None:
    """A new status of a connector replaces all that is kept of it."""
    changed_records("StatusNotification", Connector, lambda record, _call: replace(record, transaction_id=None))


@defect("R13.8", SHAPES, says=r"has the score \S+, expected its start time|for a repeated start, which was answered")
def indexed_by_arrival() -> None:
    """The index of transactions has the time of arrival as its score."""

    def scored(outcome: Outcome, _call: Call, view: StateView) -> Outcome:
        now = datetime.fromisoformat(view.now).timestamp()
        outcome.operations = [[*each[:2], now, each[3]] if each[0] == "ZADD" else each for each in outcome.operations]
        return outcome

    changed("StartTransaction", scored)


@defect("R13.8", SHAPES, says=r"(connector_id is 1, expected|for a repeated start).* wrong_\w+: required == 0")
def every_transaction_is_on_the_first_connector() -> None:
    """Transactions are recorded on connector 1."""
    changed_records("StartTransaction", Transaction, lambda record, _: replace(record, connector_id=1))


@defect("R13.8", SHAPES, says=r"(id_tag is '\S+', expected '\S+'|for a repeated start).* wrong_\w+: required == 0")
def id_tags_in_upper_case() -> None:
    """Id tags are recorded in upper case, as if they were the same."""
    changed_records("StartTransaction", Transaction, lambda record, _: replace(record, id_tag=record.id_tag.upper()))


@defect("R13.8", SOCKETS, says=r"error_code is 'NoError', expected.* wrong_fields: required == 0")
def error_codes_are_dropped() -> None:
    """The error code of a connector is not recorded."""
    changed_records("StatusNotification", Connector, lambda record, _: replace(record, error_code="NoError"))


@defect("R13.8", SOCKETS, says=r"updated_at is .* wrong_fields: required == 0")
def statuses_are_stamped_on_arrival() -> None:
    """A status is recorded with the time of its arrival, not with that of the charge point."""

    def stamped(outcome: Outcome, _call: Call, view: StateView) -> Outcome:
        for key, record in outcome.writes.items():
            if type(record) is Connector:
                outcome.writes[key] = replace(record, updated_at=view.now)
        return outcome

    changed("StatusNotification", stamped)


@defect(
    "R13.8",
    SOCKETS,
    says=r"(transaction_id is None|version is \d+), expected \d+.* wrong_\w+: required == 0|for a repeated start",
)
def a_status_ends_the_transaction_of_the_connector() -> None:
    """A status makes a new record of its connector, without the transaction on it."""
    changed_records("StatusNotification", Connector, lambda record, _: replace(record, transaction_id=None))


@defect(
    "R13.8", SOCKETS, says=r"connector 0 is listed, expected not|connector 0 is kept, and no|charge point: status is"
)
def the_charge_point_is_a_connector() -> None:
    """Connector 0 is kept as a connector, and not as the charge point itself."""
    sound = ACTIONS["StatusNotification"].handle

    def status(call: Call, view: StateView) -> Outcome:
        if call.payload.get("connectorId") != 0:
            return sound(call, view)
        record = replace(view.connector(call.charge_point_id, 0), status=call.payload["status"])
        return Outcome({}, {view.keys.connector(call.charge_point_id, 0): record})

    ACTIONS["StatusNotification"].handle = status


@defect("R13.8", SOCKETS, says=r"charge point: (serial|firmware) is '\S+', expected None.* wrong_fields: required == 0")
def a_boot_keeps_details_of_the_last_one() -> None:
    """Fields missing in a boot keep the values of an earlier one."""

    def kept(outcome: Outcome, call: Call, view: StateView) -> Outcome:
        before = view.charge_point(call.charge_point_id)
        for key, record in outcome.writes.items():
            if type(record) is ChargePoint:
                serial, firmware = record.serial or before.serial, record.firmware or before.firmware
                outcome.writes[key] = replace(record, serial=serial, firmware=firmware)
        return outcome

    changed("BootNotification", kept)


@defect("R13.8", SOCKETS, says=r"(firmware|diagnostics)_status is .* wrong_fields: required == 0")
def diagnostics_are_taken_for_firmware() -> None:
    """The status of diagnostics is recorded as that of the firmware."""
    ACTIONS["DiagnosticsStatusNotification"].handle = ACTIONS["FirmwareStatusNotification"].handle


@defect("R13.8", SHAPES, says=r".* wrong_(fields|answers): required == 0|Not every message was answered")
def a_batch_does_not_see_its_own_writes() -> None:
    """The second message about a record in a batch does not see the changes of the first."""

    def get(self: StateView, key: str, kind: type[Any]) -> Any:
        self._read.add(key)
        return self._cache.record(key, kind)

    StateView._get = get


@defect("R13.7", AGAIN, says=r"\d+ answered otherwise.* other_answers: required == 0")
def a_stop_that_comes_again_is_answered_otherwise() -> None:
    """A stop of a transaction that is over is answered as one of an invalid id tag."""
    sound = ACTIONS["StopTransaction"].handle

    def stop(call: Call, view: StateView) -> Outcome:
        known = view.transaction(call.payload.get("transactionId", 0))
        over = known is not None and known.status is TransactionStatus.COMPLETED
        outcome = sound(call, view)
        if over and "idTagInfo" in outcome.answer:
            outcome.answer = {"idTagInfo": {"status": "Invalid"}}
        return outcome

    ACTIONS["StopTransaction"].handle = stop
