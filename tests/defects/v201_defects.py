"""OCPP 2.0.1 and 2.1: events, device model, connectors, codes and frames. Seen by the same tests in these versions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import catalogue
from msgspec import UNSET
from msgspec.structs import replace
from shape_defects import EVERY_SHAPE
from websockets.http11 import Request

from server.errors import ErrorCode
from server.gateway import handshakes
from server.gateway.call_queue import CallQueue
from server.ocpp import envelope, frames
from server.ocpp.frames import CALLRESULTERROR, SEND, Call
from server.ocpp.v21.version import V21
from server.ocpp.v201 import charge_point, device_model, transactions
from server.ocpp.v201.actions import ACTIONS
from server.ocpp.v201.version import V201
from server.ocpp.version import Outcome
from server.processor.processor import Processor
from server.store.keys import Keys
from server.store.models import ChargePoint, Connector, Transaction, TransactionStatus
from server.store.view import StateView

SHAPES = "The State After Sessions Of Every Shape Equals The Model"
SOCKETS = "The State After Sessions Over WebSockets Equals The Model"
FOREIGN = "A Charge Point Cannot Change The Transactions Of Another"
MISSING = "Messages With Missing Fields Are Refused"
TYPES = "Wrong Types And Values Are Refused"
ON_SOCKETS = "Invalid Messages On The WebSocket Are Answered As OCPP-J Says"
OFFERED = "The First Offered Version That The System Speaks Is Chosen"
SEND_AND_CALLRESULTERROR = "SEND And CALLRESULTERROR Are Answered As The Version Says"

V2_0_1, V2_1 = "ocpp2.0.1", "ocpp2.1"
defect = partial(catalogue.defect, protocol=V2_0_1)
"""A defect that the suites see in OCPP 2.0.1."""

Handler = Callable[[Call, StateView], Outcome]
Payload = dict[str, Any]


def handled(action: str, change: Callable[[Handler], Handler]) -> None:
    """Change how an action is handled, in OCPP 2.0.1 and 2.1."""
    ACTIONS[action].handle = change(ACTIONS[action].handle)


def changed(action: str, change: Callable[[Outcome, Call, StateView], Outcome]) -> None:
    """Change what handling an action comes to."""
    handled(action, lambda sound: lambda call, view: change(sound(call, view), call, view))


def asked_for(action: str, change: Callable[[Payload], Payload]) -> None:
    """Handle an action as if its payload were another one."""
    handled(action, lambda sound: lambda call, view: sound(replace(call, payload=change(dict(call.payload))), view))


def recorded(kind: type[Any], change: Callable[[Any, Call], Any], action: str = "TransactionEvent") -> None:
    """Change the records of a kind that handling an action writes."""

    def written(outcome: Outcome, call: Call, _view: StateView) -> Outcome:
        outcome.writes = {
            key: change(record, call) if type(record) is kind else record for key, record in outcome.writes.items()
        }
        return outcome

    changed(action, written)


# ------------------------------------------------------------------ sequence numbers


@defect("R13.8", SHAPES, says=r"transaction .*: (offline|meter_current|missing|seq_no|status|reason) is .*, expected")
def sequence_numbers_are_ignored() -> None:
    """Each event counts, whatever its sequence number: one that comes again counts twice."""
    transactions._counts = lambda known, number: True


@defect("R13.8", SHAPES, says=r"transaction .*( is not kept|: id_tag is '', expected ')")
def events_of_unknown_transactions_are_lost() -> None:
    """An Updated or Ended that comes before its Started is answered and dropped."""

    def started_only(sound: Handler) -> Handler:
        def handle(call: Call, view: StateView) -> Outcome:
            known = view.transaction(call.payload["transactionInfo"]["transactionId"], call.charge_point_id)
            if known is None and call.payload["eventType"] != "Started":
                return Outcome({"idTokenInfo": {"status": "Accepted"}} if "idToken" in call.payload else {})
            return sound(call, view)

        return handle

    handled("TransactionEvent", started_only)


@defect("R13.8", SHAPES, says=r"transaction .*: (charging_state|id_token|evse|connector_id) is .*, expected")
def offline_events_by_arrival() -> None:
    """What an event says replaces what later events have said, if only it arrives after them."""
    sound = transactions._with_event

    def with_event(record: Transaction, payload: Payload) -> Transaction:
        start = {} if record.places is UNSET else {k: v for k, v in record.places.items() if k == "start"}
        return sound(replace(record, places=start), payload)

    transactions._with_event = with_event


@defect("R13.8", SHAPES, says=r"transaction .*: (seq_no|missing) is .*, expected")
def the_last_number_for_the_highest() -> None:
    """The sequence number of the last event that arrived is kept as the highest."""
    sound = transactions._with_event
    transactions._with_event = lambda record, payload: replace(sound(record, payload), seq_no=payload["seqNo"])


@defect("R13.8", SHAPES, says=r"transaction .*: missing is \[\], expected \[")
def missing_numbers_are_not_remembered() -> None:
    """No sequence number counts as missing, and events that come late are dropped."""
    transactions._missing = lambda missing, highest, number, *, started: []


@defect("R13.8", SHAPES, says=r"transaction .*: missing is \[.*\], expected \[")
def a_number_that_came_stays_missing() -> None:
    """A sequence number that comes late still counts as missing."""
    sound = transactions._missing
    transactions._missing = lambda missing, highest, number, *, started: (
        sound(missing, highest, number, started=False) + ([number] if number in missing else [])
    )


@defect("R13.8", SHAPES, says=r"transaction .*: offline is \d+, expected \d+")
def events_sent_later_are_not_counted() -> None:
    """How many events were sent later is not kept."""
    asked_for("TransactionEvent", lambda payload: {k: v for k, v in payload.items() if k != "offline"})


def offline_but(kind: str) -> None:
    """Do not count events of a kind that were sent later."""
    asked_for(
        "TransactionEvent",
        lambda payload: payload | ({"offline": False} if payload["eventType"] == kind else {}),
    )


@defect("R13.8", SHAPES, says=r"transaction .*: offline is \d+, expected \d+")
def late_ends_are_not_counted_as_offline() -> None:
    """An Ended that was sent later is not counted as such."""
    offline_but("Ended")


@defect("R13.8", SHAPES, says=r"transaction .*: offline is \d+, expected \d+")
def late_starts_are_not_counted_as_offline() -> None:
    """A Started that was sent later is not counted as such."""
    offline_but("Started")


@defect("R13.8", SHAPES, says=r"transaction .*: (seq_no|meter_current|missing) is .*, expected")
def events_above_the_end_count() -> None:
    """An event whose sequence number is above that of the Ended counts."""
    sound = transactions._counts
    transactions._counts = lambda known, number: sound(replace(known, status=TransactionStatus.ACTIVE), number)


@defect("R13.8", SHAPES, says=r"transaction .*: start_time is .*, expected")
def the_first_event_to_arrive_is_the_start() -> None:
    """A transaction began when its first event to arrive was sent, although its Started came later."""
    sound = transactions._with_event
    transactions._with_event = lambda record, payload: (
        sound(record, payload) if record.version == 0 else replace(sound(record, payload), start_time=record.start_time)
    )


@defect("R13.8", SHAPES, says=r"has the score .*, expected its start time")
def the_index_keeps_the_first_time() -> None:
    """A transaction stays in the index at the time of its first event when its Started comes late."""

    def first(outcome: Outcome, call: Call, view: StateView) -> Outcome:
        info = call.payload["transactionInfo"]
        if view.transaction(info["transactionId"], call.charge_point_id) is not None:
            outcome.operations = [each for each in outcome.operations if each[0] != "ZADD"]
        return outcome

    changed("TransactionEvent", first)


@defect("R13.8", SHAPES, says=r"transaction .* is active, expected not")
def ended_transactions_stay_in_the_index_of_active_ones() -> None:
    """A transaction that has ended is still listed as active."""

    def kept(outcome: Outcome, _call: Call, _view: StateView) -> Outcome:
        outcome.operations = [each for each in outcome.operations if each[0] != "SREM"]
        return outcome

    changed("TransactionEvent", kept)


# ------------------------------------------------------------------ what events say


@defect("R13.8", SHAPES, says=r"connector \d:\d is not kept|connector_id is \d, expected \d")
def evse_and_connector_are_swapped() -> None:
    """The number of an EVSE is taken for that of its connector, and the other way round."""

    def swapped(payload: Payload) -> Payload:
        evse = payload.get("evse")
        if not evse or "connectorId" not in evse:
            return payload
        return payload | {"evse": {"id": evse["connectorId"], "connectorId": evse["id"]}}

    asked_for("TransactionEvent", swapped)


@defect("R13.8", SHAPES, says=r"connector \d:\d is not kept")
def every_evse_has_one_connector() -> None:
    """The connectors of an EVSE are one."""
    charge_point.connector_id = transactions.connector_id = lambda evse, connector: f"{evse}:{min(connector, 1)}"


@defect("R13.8", SHAPES, says=r"transaction_id is '.*', expected None")
def ended_transactions_stay_on_their_connector() -> None:
    """A connector still has the transaction that has ended on it."""
    sound = transactions._move_connector

    def move(known: Any, record: Transaction, view: StateView, writes: Any) -> None:
        if record.status is TransactionStatus.ACTIVE:
            sound(known, record, view, writes)

    transactions._move_connector = move


@defect("R13.8", SHAPES, says=r"connector \d:\d: transaction_id is '.*', expected")
def transactions_that_are_over_when_they_become_known_run_on_their_connector() -> None:
    """A transaction whose Ended came before its Started is put on its connector when the Started comes."""

    def put(outcome: Outcome, call: Call, view: StateView) -> Outcome:
        evse = call.payload.get("evse", {})
        for record in list(outcome.writes.values()):
            if call.payload["eventType"] == "Started" and type(record) is Transaction and "connectorId" in evse:
                number = charge_point.connector_id(evse["id"], evse["connectorId"])
                key = view.keys.connector(call.charge_point_id, number)
                outcome.writes.setdefault(
                    key, replace(view.connector(call.charge_point_id, number), transaction_id=record.id)
                )
        return outcome

    changed("TransactionEvent", put)


@defect("R13.8", SHAPES, says=r"transaction .*: (meter_start|meter_current|meter_stop) is \d+, expected \d+")
def multipliers_are_ignored() -> None:
    """The power of ten that a reading is multiplied with is not looked at."""
    sound = transactions._energy_of
    transactions._energy_of = lambda sample: sound(
        sample | {"unitOfMeasure": {k: v for k, v in sample.get("unitOfMeasure", {}).items() if k != "multiplier"}}
    )


def multiplied(change: Callable[[str, int], int]) -> None:
    """Change the power of ten that a reading is multiplied with."""
    sound = transactions._energy_of

    def energy_of(sample: Payload) -> int | None:
        unit = sample.get("unitOfMeasure", {})
        power = change(unit.get("unit", "Wh"), unit.get("multiplier", 0))
        return sound(sample | {"unitOfMeasure": unit | {"multiplier": power}})

    transactions._energy_of = energy_of


@defect("R13.8", SHAPES, says=r"transaction .*: (meter_start|meter_current|meter_stop) is \d+, expected \d+")
def multipliers_of_kilowatt_hours_are_ignored() -> None:
    """The multiplier of a reading in kWh is not looked at."""
    multiplied(lambda unit, power: 0 if unit == "kWh" else power)


@defect("R13.8", SHAPES, says=r"transaction .*: (meter_start|meter_current|meter_stop) is \d+, expected \d+")
def negative_multipliers_are_ignored() -> None:
    """A multiplier below 0 is taken for none."""
    multiplied(lambda _, power: max(power, 0))


@defect("R13.8", SHAPES, says=r"transaction .*: (meter_start|meter_current|meter_stop) is \d+, expected \d+")
def units_of_2_x_are_ignored() -> None:
    """A reading in kWh is taken for one in Wh."""
    sound = transactions._energy_of

    def energy_of(sample: Payload) -> int | None:
        unit = sample.get("unitOfMeasure", {})
        return sound(sample | {"unitOfMeasure": unit | {"unit": "Wh"}} if unit.get("unit") == "kWh" else sample)

    transactions._energy_of = energy_of


@defect("R13.8", SHAPES, says=r"transaction .*: (meter_start|meter_current|meter_stop) is \d+, expected \d+")
def phases_of_2_x_as_the_whole() -> None:
    """The register of one phase is taken for that of the connector."""
    sound = transactions._energy_of
    transactions._energy_of = lambda sample: sound({k: v for k, v in sample.items() if k != "phase"})


@defect("R13.8", SHAPES, says=r"transaction .*: meter_stop is None, expected \d+")
def an_end_without_a_reading_has_none() -> None:
    """A transaction whose Ended has no reading has no last one."""
    recorded(
        Transaction, lambda record, _call: record if "meter_stop" in record.places else replace(record, meter_stop=None)
    )


@defect("R13.8", SHAPES, says=r"transaction .*: (stopped_reason|reason) is 'Local', expected")
def every_transaction_ends_locally() -> None:
    """Why a transaction has ended is not kept."""
    recorded(
        Transaction,
        lambda record, _call: replace(record, stopped_reason="Local", reason="Local") if record.reason else record,
    )


@defect("R13.8", SHAPES, says=r"transaction .*: id_token is .*, expected")
def tokens_without_their_type() -> None:
    """The type of an id token is not kept."""
    recorded(
        Transaction,
        lambda record, _call: (
            replace(record, id_token={"idToken": record.id_token["idToken"]})
            if isinstance(record.id_token, dict)
            else record
        ),
    )


@defect("R13.8", SHAPES, says=r"transaction .*: remote_start_id is None, expected \d+")
def remote_starts_are_forgotten() -> None:
    """The id of the request that started a transaction is not kept."""
    recorded(Transaction, lambda record, _call: replace(record, remote_start_id=None))


@defect("R13.8", SHAPES, says=r"idTokenInfo: missing, although an idToken was given")
def events_without_a_verdict() -> None:
    """An event with an id token is answered without what is known of it."""

    def silent(outcome: Outcome, _call: Call, _view: StateView) -> Outcome:
        outcome.answer = {}
        return outcome

    changed("TransactionEvent", silent)


@defect("R13.8", SHAPES, says=r"chargingPriority: 10 is not from -9 to 9")
def priorities_beyond_the_highest() -> None:
    """Events are answered with a charging priority that there is not."""

    def urgent(outcome: Outcome, _call: Call, _view: StateView) -> Outcome:
        outcome.answer = outcome.answer | {"chargingPriority": 10}
        return outcome

    changed("TransactionEvent", urgent)


@defect(
    "R13.8", SHAPES, says=r"transaction .* (is not kept|is in no index|is active, expected not|: .* is .*, expected)"
)
def transaction_ids_in_one_spelling() -> None:
    """Transaction ids that differ in upper and lower case alone are one."""

    def lower(payload: Payload) -> Payload:
        info = payload["transactionInfo"]
        return payload | {"transactionInfo": info | {"transactionId": info["transactionId"].lower()}}

    asked_for("TransactionEvent", lower)


@defect("R15.9", FOREIGN, says=r"R15\.9 changed: required == 0")
def transactions_belong_to_nobody() -> None:
    """A transaction id is one for all charge points: each changes the transactions of the others."""
    sound = Keys.transaction
    Keys.transaction = lambda self, transaction_id, charge_point_id="": sound(
        self, transaction_id, "all" if isinstance(transaction_id, str) else charge_point_id
    )


# ------------------------------------------------------------------ charge points and device model


@defect("R13.8", SHAPES, says=r"charge point: protocol is 'ocpp1\.6', expected 'ocpp2\.0\.1'")
def charge_points_are_said_to_speak_1_6() -> None:
    """The record of a charge point does not name the version that it speaks."""
    sound = StateView.apply

    def apply(self: StateView, *arguments: Any, protocol: str, **options: Any) -> None:
        sound(self, *arguments, protocol="ocpp1.6", **options)

    StateView.apply = apply


@defect("R13.8", SHAPES, says=r"charge point: (serial|firmware) is None, expected '")
def details_of_the_station_in_the_words_of_1_6() -> None:
    """Serial number and firmware version are looked for where OCPP 1.6 has them."""
    recorded(ChargePoint, lambda record, _call: replace(record, serial=None, firmware=None), "BootNotification")


@defect("R13.8", SHAPES, says=r"charge point: diagnostics_status is None, expected '")
def log_statuses_are_not_kept() -> None:
    """The status of a log's upload is not kept."""
    handled("LogStatusNotification", lambda _sound: lambda _call, _view: Outcome({}))


@defect("R13.8", SHAPES, says=r"connector 0:0 is (kept, and no message was about it|listed, expected not)")
def evse_0_is_a_connector() -> None:
    """The status of EVSE 0, which is the charge point itself, is kept as that of a connector."""

    def status(call: Call, view: StateView) -> Outcome:
        payload = call.payload
        number = charge_point.connector_id(payload["evseId"], payload["connectorId"])
        connector = view.connector(call.charge_point_id, number)
        record = replace(connector, status=payload["connectorStatus"], updated_at=payload["timestamp"])
        return Outcome({}, {view.keys.connector(call.charge_point_id, number): record})

    handled("StatusNotification", lambda _sound: status)


@defect("R13.8", SHAPES, says=r"connector \d:\d: updated_at is .*, expected")
def statuses_are_of_now() -> None:
    """A connector has its status since the server heard of it, not since the charge point says."""
    sound_handler = ACTIONS["StatusNotification"].handle

    def status(call: Call, view: StateView) -> Outcome:
        outcome = sound_handler(call, view)
        for key, record in outcome.writes.items():
            if type(record) is Connector:
                outcome.writes[key] = replace(record, updated_at=view.now)
        return outcome

    ACTIONS["StatusNotification"].handle = status


def named(change: Callable[[Payload, Payload, Payload], tuple[Payload, Payload, Payload]]) -> None:
    """Change what names an attribute of the device model: component, variable and attribute."""
    sound = device_model.field
    device_model.field = lambda *parts: sound(*change(*parts))


def without(part: Payload, name: str) -> Payload:
    """`part` without the field `name`."""
    return {key: value for key, value in part.items() if key != name}


@defect("R13.8", SHAPES, says=r"variable .* (is not kept|: value is .*, expected)")
def variables_without_their_instance() -> None:
    """Instances of one variable are one."""
    named(lambda component, variable, attribute: (component, without(variable, "instance"), attribute))


@defect("R13.8", SHAPES, says=r"variable .* (is not kept|: value is .*, expected)")
def components_without_their_instance() -> None:
    """Instances of one component are one."""
    named(lambda component, variable, attribute: (without(component, "instance"), variable, attribute))


@defect("R13.8", SHAPES, says=r"variable .* (is not kept|: value is .*, expected)")
def variables_without_their_evse() -> None:
    """The variables of all EVSEs are one."""
    named(lambda component, variable, attribute: (without(component, "evse"), variable, attribute))


@defect("R13.8", SHAPES, says=r"variable .* (is not kept|: value is .*, expected)")
def attributes_without_their_type() -> None:
    """The target and the limits of a variable overwrite its actual value."""
    named(lambda component, variable, attribute: (component, variable, without(attribute, "type")))


@defect("R13.8", SHAPES, says=r"variable .* is not kept")
def each_part_of_a_report_replaces_the_rest() -> None:
    """A report takes out what earlier ones have said."""

    def alone(outcome: Outcome, call: Call, view: StateView) -> Outcome:
        outcome.operations = [["DEL", view.keys.variables(call.charge_point_id)], *outcome.operations]
        return outcome

    changed("NotifyReport", alone)


@defect("R13.8", SHAPES, says=r"variable .*: mutability is 'ReadWrite', expected '(ReadOnly|WriteOnly)'")
def everything_can_be_written() -> None:
    """Whether a variable can be written is not kept."""
    sound = device_model.Variable
    cast(Any, device_model).Variable = lambda **fields: sound(**fields | {"mutability": "ReadWrite"})


# ------------------------------------------------------------------ versions, codes and frames


@defect("R13.8", SOCKETS, says=r"subprotocol|[Cc]onnect")
def the_servers_favourite_version() -> None:
    """A gateway chooses a version of its own, whatever the charge point offers."""

    def prefer(connection: Any, _request: Request) -> None:
        connection.protocol.available_subprotocols = ["ocpp1.6"]

    handshakes._prefer_subprotocols_of = prefer


@defect("R17.10", OFFERED, says=r"of ocpp0\.9, (ocpp\S+), (ocpp\S+) the gateway chose \2, expected \1")
def the_servers_order_of_versions_decides() -> None:
    """Of the versions that are offered, the gateway chooses the one that stands first in its own list."""
    handshakes._prefer_subprotocols_of = lambda *_: None


@defect("R17.10", OFFERED, says=r"of ocpp0\.9, \S+, \S+ the gateway chose none")
def an_unknown_version_costs_the_connection() -> None:
    """A gateway looks only at the first version that is offered."""

    def first(connection: Any, request: Request) -> None:
        offered = request.headers.get("Sec-WebSocket-Protocol", "").partition(",")[0].strip()
        known = connection.protocol.available_subprotocols or ()
        connection.protocol.available_subprotocols = [each for each in known if each == offered] or ["none"]

    handshakes._prefer_subprotocols_of = first


@defect("R13.1", EVERY_SHAPE, says=r"valid but refused; .*NotSupported to .*NotifyEvent")
def notifications_of_2_x_are_not_supported() -> None:
    """NotifyEvent is refused, as if no charge point of OCPP 2.0.1 sent it."""
    for version in (V201, V21):
        del version.actions["NotifyEvent"]


def codes_of(**codes: ErrorCode) -> None:
    """Spell error codes of OCPP 2.0.1 and 2.1 otherwise."""
    for version in (V201, V21):
        wrong = replace(version.dialect.codes, **codes)
        object.__setattr__(version, "dialect", replace(version.dialect, codes=wrong))


@defect("R17.2", MISSING, says=r"OccurrenceConstraintViolation")
def missing_fields_in_the_spelling_of_1_6() -> None:
    """A missing field is refused with OccurenceConstraintViolation, as OCPP 1.6 spells it."""
    codes_of(missing=ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION)


@defect("R17.4", TYPES, says=r"FormatViolation")
def unknown_fields_in_the_words_of_1_6() -> None:
    """An unknown field is refused with FormationViolation, which OCPP 2.0.1 calls FormatViolation."""
    codes_of(wrong_shape=ErrorCode.FORMATION_VIOLATION)


@defect("R17.10", ON_SOCKETS, says=r"RpcFrameworkError")
def unreadable_frames_in_the_words_of_1_6() -> None:
    """A frame that cannot be read is refused with FormationViolation, not with RpcFrameworkError."""
    codes_of(unreadable=ErrorCode.FORMATION_VIOLATION)


@defect("R17.10", ON_SOCKETS, says=r"MessageTypeNotSupported|RpcFrameworkError|not answered|no answer")
def unreadable_frames_are_ignored_as_in_1_6() -> None:
    """A frame without a readable id, or of an unknown type, is ignored, which only OCPP 1.6 allows."""
    for version in (V201, V21):
        object.__setattr__(version, "dialect", replace(version.dialect, answers_unreadable=False))


@defect("R17.11", SEND_AND_CALLRESULTERROR, says=r"(?i)send|answer", protocol=V2_1)
def sends_are_answered() -> None:
    """A SEND is answered like a CALL."""
    CallQueue.awaits = staticmethod(lambda _session, _message_id: True)
    sound = Processor._apply

    def apply(self: Processor, message: Any, view: StateView, answers: dict[str, list[str]]) -> Any:
        found = sound(self, message, view, answers)
        if found is None and type(message) is Call and message.send:
            answers.setdefault(message.charge_point_id, []).append(
                envelope.result(message, {}, timestamp=view.now, server_id=self._server_id)
            )
        return found

    Processor._apply = apply


@defect("R17.11", SEND_AND_CALLRESULTERROR, says=r"(?i)callresulterror|answer", protocol=V2_1)
def callresulterrors_are_calls() -> None:
    """A CALLRESULTERROR is read as a CALL whose action is its error code."""
    sound = frames.read_frame

    def read(frame: list[Any], *arguments: Any, **options: Any) -> Any:
        if frame and frame[0] == CALLRESULTERROR:
            frame = [frames.CALL, frame[1], frame[2], {}]
        return sound(frame, *arguments, **options)

    frames.read_frame = envelope.read_frame = read


@defect("R17.11", SEND_AND_CALLRESULTERROR, says=r"(?i)callresulterror|answer", protocol=V2_1)
def answers_that_cannot_be_read_are_not_reported() -> None:
    """A CALLRESULT that cannot be read is set aside without a CALLRESULTERROR."""
    kept = V21.dialect.message_types - {CALLRESULTERROR}
    object.__setattr__(V21, "dialect", replace(V21.dialect, message_types=kept))


@defect("R17.11", SEND_AND_CALLRESULTERROR, says=r"(?i)send|type|answer")
def sends_are_taken_in_2_0_1() -> None:
    """OCPP 2.0.1 takes a SEND, which it does not have."""
    known = V201.dialect.message_types | {SEND}
    object.__setattr__(V201, "dialect", replace(V201.dialect, message_types=known))
