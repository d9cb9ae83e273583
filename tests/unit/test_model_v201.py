"""The models of OCPP 2.0.1 and 2.1: what answers may say, and what the state has to be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.ocpp.model import Behaviour, Exchange, Model201, Observed, Outcome, VariableName, model_of
from ocpp_resilience.ocpp.model.behaviour import AfterTheEnd, OnBusyConnector, UnknownTransaction
from ocpp_resilience.ocpp.model.values import OneOf
from ocpp_resilience.profile import STATE_FIELDS

NOW = 1_800_000_000.0
TIME = rfc3339(NOW)
ACCEPTED = {"status": "Accepted"}
BOOT = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
TOKEN = {"idToken": "TAG", "type": "ISO14443"}


class Told:
    """A model with a clock, and a mirror of what it was told."""

    def __init__(self, behaviour: Behaviour | None = None, version: str = "ocpp2.0.1") -> None:
        self.model = model_of(ocpp_version(version), behaviour)
        self.number = 0

    def say(self, action: str, payload: dict[str, Any], answer: Any = None, **fields: Any) -> list[str]:
        self.number += 1
        exchange = Exchange(
            charge_point="CP",
            message_id=str(self.number),
            action=action,
            payload=payload,
            answer={} if answer is None else answer,
            **({"began": NOW, "ended": NOW + 1} | fields),
        )
        return self.model.take(exchange)

    def event(self, payload: dict[str, Any], **fields: Any) -> None:
        assert self.say("TransactionEvent", payload, {"idTokenInfo": ACCEPTED}, **fields) == []

    def differences(self, observed: Observed) -> list[str]:
        return self.model.state_problems("CP", observed)


def event(kind: str, number: int, meter: float | None = None, *, seconds: float = 0, **fields: Any) -> dict[str, Any]:
    info = {"transactionId": "T", **fields.pop("info", {})}
    at = rfc3339(NOW + seconds)
    payload = {
        "eventType": kind,
        "timestamp": at,
        "triggerReason": "Authorized",
        "seqNo": number,
        "transactionInfo": info,
        **fields,
    }
    if meter is not None:
        payload["meterValue"] = [{"timestamp": at, "sampledValue": [{"value": meter}]}]
    return payload


STARTED = event("Started", 0, 100, evse={"id": 1, "connectorId": 2}, idToken=TOKEN, info={"chargingState": "Charging"})
UPDATED = event("Updated", 1, 150, seconds=60, info={"chargingState": "SuspendedEV"})
ENDED = event("Ended", 2, 180, seconds=90, info={"stoppedReason": "Remote"})


def transaction(**fields: Any) -> dict[str, Any]:
    """What is kept of a transaction of which only `STARTED` was seen."""
    return {
        "id": "T",
        "charge_point_id": "CP",
        "connector_id": 2,
        "id_tag": "TAG",
        "start_time": TIME,
        "meter_start": 100,
        "meter_current": 100,
        "status": "active",
        "seq_no": 0,
        "missing": [],
        "offline": 0,
        "charging_state": "Charging",
        "evse": 1,
        "id_token": TOKEN,
    } | fields


WHOLE = transaction(
    meter_current=180,
    meter_stop=180,
    status="completed",
    stop_time=rfc3339(NOW + 90),
    reason="Remote",
    stopped_reason="Remote",
    seq_no=2,
    charging_state="SuspendedEV",
)


def seen(*transactions: dict[str, Any], **fields: Any) -> Observed:
    """An observation of transactions alone."""
    kept = {each["id"]: each for each in transactions}
    return Observed(fields={"transaction": STATE_FIELDS["transaction"]}, transactions=kept, **fields)


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
@pytest.mark.parametrize(
    ("action", "payload", "answer", "problem"),
    [
        ("Heartbeat", {}, {"currentTime": TIME}, None),
        ("Heartbeat", {}, {"currentTime": rfc3339(NOW + 3600)}, "currentTime"),
        ("BootNotification", BOOT, {"currentTime": TIME, "interval": 300, "status": "Accepted"}, None),
        ("BootNotification", BOOT, {"currentTime": TIME, "interval": 0, "status": "Accepted"}, "interval"),
        ("BootNotification", BOOT, {"currentTime": TIME, "interval": 9, "status": "Pending"}, "status"),
        ("Authorize", {"idToken": TOKEN}, {"idTokenInfo": ACCEPTED}, None),
        ("Authorize", {"idToken": TOKEN}, {"idTokenInfo": {"status": "Blocked"}}, "idTokenInfo.status"),
        ("TransactionEvent", STARTED, {"idTokenInfo": ACCEPTED}, None),
        ("TransactionEvent", STARTED, {}, "idTokenInfo"),
        ("TransactionEvent", STARTED, {"idTokenInfo": {"status": "Unknown"}}, "idTokenInfo.status"),
        ("TransactionEvent", UPDATED, {}, None),
        ("TransactionEvent", UPDATED, {"chargingPriority": 9}, None),
        ("TransactionEvent", UPDATED, {"chargingPriority": 10}, "chargingPriority"),
        (
            "TransactionEvent",
            STARTED,
            {"idTokenInfo": {**ACCEPTED, "chargingPriority": -10}},
            "idTokenInfo.chargingPriority",
        ),
        ("DataTransfer", {"vendorId": "V"}, {"status": "UnknownVendorId"}, None),
        ("DataTransfer", {"vendorId": "V"}, {"status": "Accepted"}, "status"),
        ("StartTransaction", {}, {}, "a CALLRESULT to something that has none"),
    ],
)
def test_what_an_answer_says_has_to_be_possible(
    version: str, action: str, payload: Any, answer: Any, problem: str | None
) -> None:
    problems = Told(version=version).say(action, payload, answer)
    assert [each.partition(":")[0] for each in problems] == ([problem] if problem else [])


def test_a_version_without_a_model_is_named() -> None:
    class Unknown:
        subprotocol = "ocpp9"

        def __str__(self) -> str:
            return "OCPP 9"

    with pytest.raises(UsageError, match=r"no model of OCPP 9 \(there are models of ocpp1.6, ocpp2.0.1, ocpp2.1\)"):
        model_of(Unknown())  # type: ignore[arg-type]


# ------------------------------------------------------------------ transactions


def test_a_transaction_is_what_its_events_say() -> None:
    told = Told()
    told.event(STARTED)
    assert told.differences(seen(transaction())) == []
    told.event(UPDATED)
    told.event(ENDED)
    assert told.differences(seen(WHOLE)) == []
    for name, value in {"seq_no": 1, "missing": [1], "evse": 2, "connector_id": 1, "charging_state": "Idle"}.items():
        (problem,) = told.differences(seen(WHOLE | {name: value}))
        assert problem == f"CP: transaction T: {name} is {value!r}, expected {WHOLE[name]!r}"
    assert told.differences(seen()) == ["CP: transaction T is not kept"]


@given(order=st.permutations([STARTED, UPDATED, ENDED]), again=st.lists(st.sampled_from([STARTED, UPDATED, ENDED])))
def test_events_in_any_order_and_number_come_to_the_same(order: list[Any], again: list[Any]) -> None:
    told = Told()
    for each in [*order, *again]:
        told.event(each)
    assert told.differences(seen(WHOLE)) == []


def test_what_is_missing_is_known() -> None:
    told = Told()
    told.event(ENDED)
    ended = WHOLE | {
        "missing": [0, 1],
        "connector_id": 0,
        "evse": None,
        "id_tag": "",
        "id_token": None,
        "charging_state": None,
        "meter_start": 0,
        "start_time": rfc3339(NOW + 90),
    }
    assert told.differences(seen(ended)) == []
    told.event(UPDATED)
    assert told.differences(seen(ended)) != []
    told.event(STARTED)
    assert told.differences(seen(WHOLE)) == []


def test_numbers_may_begin_above_0() -> None:
    told = Told()
    told.event(STARTED | {"seqNo": 5})
    told.event(UPDATED | {"seqNo": 7})
    assert (
        told.differences(seen(transaction(seq_no=7, missing=[6], meter_current=150, charging_state="SuspendedEV")))
        == []
    )


def test_events_that_came_later_are_counted() -> None:
    told = Told()
    told.event(STARTED)
    told.event(UPDATED | {"offline": True})
    told.event(UPDATED | {"offline": True})
    kept = transaction(seq_no=1, meter_current=150, charging_state="SuspendedEV")
    assert told.differences(seen(kept | {"offline": 1})) == []
    assert told.differences(seen(kept | {"offline": 2})) == ["CP: transaction T: offline is 2, expected 1"]


def test_nothing_counts_above_the_end_unless_the_profile_says_so() -> None:
    for rule, state in ((AfterTheEnd.IGNORE, 2), (AfterTheEnd.COUNT, 3)):
        told = Told(Behaviour(after_the_end=rule))
        for each in (STARTED, UPDATED, ENDED, event("Updated", 3)):
            told.event(each)
        assert told.differences(seen(WHOLE | {"seq_no": state})) == []


def test_a_transaction_without_its_start_is_made_unless_the_profile_says_so() -> None:
    told = Told(Behaviour(unknown_transaction=UnknownTransaction.IGNORE))
    told.event(UPDATED)
    assert told.differences(seen(listed={})) == []
    told.event(STARTED)
    assert told.differences(seen(transaction(), listed={"T": NOW}, active={"T"})) == []


@pytest.mark.parametrize(
    ("sample", "energy"),
    [
        ({"value": 120}, 120),
        ({"value": 1.5, "unitOfMeasure": {"unit": "kWh"}}, 1500),
        ({"value": 12, "unitOfMeasure": {"unit": "Wh", "multiplier": 1}}, 120),
        ({"value": 12, "unitOfMeasure": {"unit": "kWh", "multiplier": -1}}, 1200),
        ({"value": 12, "phase": "L1"}, 100),
        ({"value": 12, "measurand": "Power.Active.Import"}, 100),
        ({"value": 12, "unitOfMeasure": {"unit": "A"}}, 100),
    ],
)
def test_readings_are_kept_in_wh(sample: dict[str, Any], energy: int) -> None:
    told = Told()
    told.event(STARTED)
    told.event(event("Updated", 1, meterValue=[{"timestamp": rfc3339(NOW + 9), "sampledValue": [sample]}]))
    assert told.differences(seen(transaction(seq_no=1, meter_current=energy))) == []


def test_a_late_reading_does_not_hide_a_newer_one() -> None:
    told = Told()
    told.event(STARTED)
    told.event(event("Updated", 2, 170, seconds=120))
    told.event(UPDATED)
    kept = transaction(seq_no=2, meter_current=170, charging_state="SuspendedEV")
    assert told.differences(seen(kept)) == []


def test_an_end_without_a_reading_has_the_last_one() -> None:
    told = Told()
    told.event(STARTED)
    told.event({name: value for name, value in ENDED.items() if name != "meterValue"} | {"seqNo": 1})
    stop = {"meter_current": 100, "meter_stop": 100, "seq_no": 1, "charging_state": "Charging"}
    assert told.differences(seen(WHOLE | stop)) == []


# ------------------------------------------------------------------ charge points and connectors


def connector(**fields: Any) -> dict[str, Any]:
    return {"updated_at": TIME} | fields


def on(kept: dict[str, dict[str, Any]], **fields: Any) -> Observed:
    return Observed(fields={"connector": STATE_FIELDS["connector"]}, connectors=kept, **fields)


def test_a_transaction_runs_on_its_connector() -> None:
    told = Told()
    told.event(STARTED)
    running = connector(transaction_id="T", updated_at=rfc3339(NOW + 1))
    assert told.differences(on({"1:2": running}, connectors_listed={"1:2"})) == []
    assert told.differences(on({"2:1": running})) == [
        "CP: connector 1:2 is not kept",
        "CP: connector 2:1 is kept, and no message was about it",
    ]
    told.event(ENDED)
    assert told.differences(on({"1:2": connector(updated_at=rfc3339(NOW + 1))})) == []
    assert told.differences(on({"1:2": running})) == ["CP: connector 1:2: transaction_id is 'T', expected None"]


def test_a_transaction_that_was_over_when_it_became_known_is_on_no_connector() -> None:
    told = Told()
    told.event(ENDED)
    told.event(STARTED)
    assert told.differences(on({}, connectors_listed=())) == []


def test_a_transaction_may_move_to_another_evse() -> None:
    told = Told()
    told.event(STARTED)
    told.event(event("Updated", 1, evse={"id": 2, "connectorId": 1}))
    left, now = connector(updated_at=rfc3339(NOW)), connector(transaction_id="T", updated_at=rfc3339(NOW))
    assert told.differences(on({"1:2": left, "2:1": now})) == []


def test_a_start_on_a_busy_connector_is_as_the_profile_says() -> None:
    for rule, status in ((OnBusyConnector.KEEP, "active"), (OnBusyConnector.END, "completed")):
        told = Told(Behaviour(busy_connector=rule))
        told.event(STARTED)
        told.event(STARTED | {"transactionInfo": {"transactionId": "U", "chargingState": "Charging"}})
        assert told.differences(seen(transaction(status=status), transaction(id="U"))) == []


def test_connectors_have_the_status_that_was_told() -> None:
    told = Told()
    status = {"timestamp": TIME, "connectorStatus": "Occupied", "evseId": 1, "connectorId": 2}
    assert told.say("StatusNotification", status) == []
    assert told.differences(on({"1:2": connector(status="Occupied")})) == []
    told.say("StatusNotification", status | {"evseId": 0, "connectorId": 0, "connectorStatus": "Faulted"})
    kept = {"charge_point": STATE_FIELDS["charge_point"]}
    point = {"id": "CP", "status": "Faulted", "protocol": "ocpp2.0.1", "last_seen": TIME, "is_online": True}
    assert told.differences(Observed(fields=kept, point=point)) == []
    assert told.differences(Observed(fields=kept, point=point | {"protocol": "ocpp1.6"})) == [
        "CP: charge point: protocol is 'ocpp1.6', expected 'ocpp2.0.1'"
    ]


def test_the_charge_point_has_what_its_last_boot_said() -> None:
    told = Told()
    station = {"vendorName": "V", "model": "M", "serialNumber": "S", "firmwareVersion": "1"}
    accepted = {"currentTime": TIME, "interval": 300, "status": "Accepted"}
    assert told.say("BootNotification", {"reason": "PowerUp", "chargingStation": station}, accepted) == []
    told.say("FirmwareStatusNotification", {"status": "Installed"})
    told.say("LogStatusNotification", {"status": "Uploaded"})
    point = {
        "id": "CP",
        "vendor": "V",
        "model": "M",
        "serial": "S",
        "firmware": "1",
        "boot_time": TIME,
        "last_seen": TIME,
        "firmware_status": "Installed",
        "diagnostics_status": "Uploaded",
        "protocol": "ocpp2.0.1",
        "is_online": True,
    }
    kept = {"charge_point": STATE_FIELDS["charge_point"]}
    assert told.differences(Observed(fields=kept, point=point)) == []
    assert len(told.differences(Observed(fields=kept, point=point | {"serial": None, "firmware": "2"}))) == 2


# ------------------------------------------------------------------ device model


def report(component: dict[str, Any], variable: dict[str, Any], *attributes: dict[str, Any]) -> dict[str, Any]:
    data = {"component": component, "variable": variable, "variableAttribute": list(attributes)}
    return {"requestId": 1, "generatedAt": TIME, "seqNo": 0, "reportData": [data]}


def test_reports_fill_the_device_model() -> None:
    told = Told()
    component = {"name": "EVSE", "instance": "a", "evse": {"id": 1, "connectorId": 2}}
    target = {"type": "Target", "value": "7", "mutability": "WriteOnly"}
    told.say("NotifyReport", report(component, {"name": "Power", "instance": "L1"}, {"value": "5"}, target))
    told.say("NotifyReport", report({"name": "Clock"}, {"name": "Zone"}, {"value": "UTC"}))
    told.say("NotifyReport", report({"name": "Clock"}, {"name": "Zone"}, {"mutability": "ReadOnly"}))
    power = VariableName("EVSE", "a", "1", "2", "Power", "L1", "Actual")
    zone = VariableName("Clock", "", "", "", "Zone", "", "Actual")
    kept = {
        power: {"value": "5", "mutability": "ReadWrite"},
        power._replace(attribute="Target"): {"value": "7", "mutability": "WriteOnly"},
        zone: {"mutability": "ReadOnly"},
    }
    assert told.differences(Observed(variables=kept)) == []
    without_instance = {power._replace(variable_instance=""): kept[power], **kept}
    del without_instance[power]
    assert told.differences(Observed(variables=without_instance)) == [
        "CP: variable EVSE[a]@1:2.Power[L1] (Actual) is not kept",
        "CP: variable EVSE[a]@1:2.Power (Actual) is kept, and no report was about it",
    ]


# ------------------------------------------------------------------ unknown outcomes


def test_an_event_of_unknown_outcome_counts_or_does_not() -> None:
    told = Told()
    told.event(STARTED)
    told.say("TransactionEvent", UPDATED, outcome=Outcome.UNKNOWN)
    assert told.differences(seen(transaction())) == []
    kept = transaction(seq_no=1, meter_current=150, charging_state="SuspendedEV")
    assert told.differences(seen(kept)) == []
    assert told.differences(seen(transaction(seq_no=1)))
    told.event(UPDATED)
    assert told.differences(seen(transaction()))
    assert told.differences(seen(kept)) == []


def test_an_event_that_was_refused_does_not_count() -> None:
    told = Told()
    told.event(STARTED)
    told.say("TransactionEvent", ENDED, outcome=Outcome.REFUSED)
    assert told.differences(seen(transaction())) == []


@given(
    events=st.permutations([STARTED, UPDATED, event("Updated", 2, 160, seconds=70), ENDED | {"seqNo": 3}]),
    lost=st.lists(st.booleans(), min_size=4, max_size=4),
    applied=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_what_happened_is_always_among_the_allowed_states(
    events: list[Any], lost: list[bool], applied: list[bool]
) -> None:
    told, happened = Told(), Told()
    for each, is_lost, is_applied in zip(events, lost, applied, strict=True):
        told.say(
            "TransactionEvent",
            each,
            {"idTokenInfo": ACCEPTED},
            outcome=Outcome.UNKNOWN if is_lost else Outcome.ANSWERED,
        )
        if is_applied or not is_lost:
            happened.event(each)
    model = happened.model
    assert isinstance(model, Model201)
    for world in model._worlds.get("CP", ()):
        kept = {id_: {name: _one(value) for name, value in fields.items()} for id_, fields in world.transactions_kept()}
        assert told.differences(seen(*kept.values())) == []


def _one(allowed: Any) -> Any:
    """One of the values that are allowed."""
    return allowed.values[0] if isinstance(allowed, OneOf) else getattr(allowed, "text", allowed)


def test_sending_again_after_faults_leaves_one_state() -> None:
    told = Told()
    told.event(STARTED)
    for number in range(1, 40):
        each = event("Updated", number, 100 + number, seconds=number)
        told.say("TransactionEvent", each, outcome=Outcome.UNKNOWN)
        told.event(each)
    assert isinstance(told.model, Model201)
    assert len(told.model._worlds["CP"]) == 1
    assert told.model.unjudged == {}
