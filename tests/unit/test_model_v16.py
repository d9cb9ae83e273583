"""The model of OCPP 1.6: the allowed answers, and the expected state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp.model import Behaviour, Exchange, Model16, Observed, Outcome
from ocpp_resilience.ocpp.model.behaviour import MeterCurrent, OnBusyConnector, RepeatedStart
from ocpp_resilience.ocpp.model.values import Within, moment
from ocpp_resilience.profile import STATE_FIELDS as ALL_FIELDS

NOW = 1_800_000_000.0
TIME = rfc3339(NOW)
STATE_FIELDS = {kind: tuple(name for name in names if name != "version") for kind, names in ALL_FIELDS.items()}
"""Versions have tests of their own."""
ACCEPTED = {"status": "Accepted"}
BOOT = {"chargePointVendor": "V", "chargePointModel": "M"}


class Told:
    """A model with a clock, and a mirror of its input."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.model = Model16(behaviour)
        self.number = 0

    def say(
        self, action: str, payload: dict[str, Any], answer: Any = None, *, cp: str = "CP", **fields: Any
    ) -> list[str]:
        self.number += 1
        exchange = Exchange(
            charge_point=cp,
            message_id=str(self.number),
            action=action,
            payload=payload,
            answer={} if answer is None else answer,
            **({"began": NOW, "ended": NOW + 1} | fields),
        )
        return self.model.take(exchange)

    def start(self, transaction: int | None, connector: int = 1, *, meter: int = 100, **fields: Any) -> list[str]:
        payload = {"connectorId": connector, "idTag": "TAG", "meterStart": meter, "timestamp": TIME}
        return self.say("StartTransaction", payload, {"transactionId": transaction, "idTagInfo": ACCEPTED}, **fields)

    def stop(self, transaction: int, meter: int = 900, **fields: Any) -> list[str]:
        return self.say(
            "StopTransaction", {"transactionId": transaction, "meterStop": meter, "timestamp": TIME}, **fields
        )

    def read(
        self, value: str, *, at: float = NOW, transaction: int | None = None, unit: str = "Wh", **more: Any
    ) -> None:
        sample = {"value": value, "unit": unit, **more}
        payload = {"connectorId": 1, "meterValue": [{"timestamp": rfc3339(at), "sampledValue": [sample]}]}
        if transaction is not None:
            payload["transactionId"] = transaction
        assert self.say("MeterValues", payload) == []

    def differences(self, observed: Observed, cp: str = "CP") -> list[str]:
        return self.model.state_problems(cp, observed)


def transaction(number: int = 7, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "charge_point_id": "CP",
        "connector_id": 1,
        "id_tag": "TAG",
        "start_time": TIME,
        "meter_start": 100,
        "meter_current": 100,
        "status": "active",
    } | fields


def seen(*transactions: dict[str, Any], **fields: Any) -> Observed:
    """An observation of transactions alone."""
    kept = {each["id"]: each for each in transactions}
    return Observed(fields={"transaction": STATE_FIELDS["transaction"]}, transactions=kept, **fields)


STOPPED = {"status": "completed", "stop_time": TIME, "meter_stop": 900, "meter_current": 900, "reason": "Local"}

# ------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("action", "payload", "answer", "problem"),
    [
        ("Heartbeat", {}, {"currentTime": rfc3339(NOW)}, None),
        ("Heartbeat", {}, {"currentTime": rfc3339(NOW + 3600)}, "currentTime"),
        ("Heartbeat", {}, {"currentTime": rfc3339(NOW - 3600)}, "currentTime"),
        ("Heartbeat", {}, {"currentTime": rfc3339(NOW).removesuffix("Z")}, "currentTime"),
        ("BootNotification", BOOT, {"currentTime": TIME, "interval": 300, "status": "Accepted"}, None),
        ("BootNotification", BOOT, {"currentTime": TIME, "interval": 0, "status": "Accepted"}, "interval"),
        ("BootNotification", BOOT, {"currentTime": TIME, "interval": 300, "status": "Pending"}, "status"),
        ("Authorize", {"idTag": "T"}, {"idTagInfo": ACCEPTED}, None),
        ("Authorize", {"idTag": "T"}, {"idTagInfo": {"status": "Blocked"}}, "idTagInfo.status"),
        ("DataTransfer", {"vendorId": "V"}, {"status": "UnknownVendorId"}, None),
        ("DataTransfer", {"vendorId": "V"}, {"status": "Accepted"}, "status"),
    ],
)
def test_the_values_of_an_answer_have_to_be_possible(
    action: str, payload: Any, answer: Any, problem: str | None
) -> None:
    problems = Told().say(action, payload, answer)
    assert [each.partition(":")[0] for each in problems] == ([problem] if problem else [])


def test_a_stop_with_an_id_tag_is_answered_with_its_status() -> None:
    told = Told()
    stop = {"transactionId": 1, "meterStop": 1, "timestamp": TIME}
    assert told.say("StopTransaction", stop) == []
    assert told.say("StopTransaction", stop | {"idTag": "T"}) == ["idTagInfo: missing, although an idTag was given"]


def test_a_transaction_id_is_given_once() -> None:
    told = Told()
    assert told.start(7) == []
    assert told.start(8, meter=200) == []
    assert told.start(7, cp="OTHER") == ["transactionId: 7 was given to a start of CP before"]
    assert told.start(8, meter=300) == ["transactionId: 8 was given to a start of CP before"]


def test_a_repeated_start_gets_the_same_transaction() -> None:
    told = Told()
    assert told.start(7) == []
    assert told.start(7) == []
    told.stop(7)
    assert told.start(7) == []
    assert told.start(8) == ["transactionId: 8 for a repeated start, which was answered 7 before"]


def test_a_system_may_recognise_a_repeated_start_only_while_it_runs() -> None:
    told = Told(Behaviour(repeated_start=RepeatedStart.RUNNING))
    told.start(7)
    told.stop(7)
    assert told.start(8) == []


# ------------------------------------------------------------------ state


def test_every_field_of_a_transaction_is_compared() -> None:
    told = Told()
    told.start(7)
    told.stop(7)
    right = transaction(**STOPPED)
    assert told.differences(seen(right)) == []
    wrong = {name: "wrong" for name in right if name != "id"}
    assert len(told.differences(seen(right | wrong))) == len(wrong)
    assert told.differences(seen()) == ["CP: transaction 7 is not kept"]


def test_times_are_compared_as_moments() -> None:
    told = Told()
    told.start(7)
    same = rfc3339(NOW).replace("Z", "+00:00")
    assert told.differences(seen(transaction(start_time=same))) == []
    later = told.differences(seen(transaction(start_time=rfc3339(NOW + 1))))
    assert later == [f"CP: transaction 7: start_time is '{rfc3339(NOW + 1)}', expected {TIME}"]


def test_a_second_stop_and_a_foreign_one_change_nothing() -> None:
    told = Told()
    told.start(7)
    told.start(9, cp="OTHER")
    told.stop(7)
    told.stop(7, 1234)
    told.stop(9)
    told.read("555", transaction=9)
    assert told.differences(seen(transaction(**STOPPED))) == []
    other = transaction(9, charge_point_id="OTHER")
    assert told.differences(seen(other), cp="OTHER") == []


@pytest.mark.parametrize(
    ("value", "unit", "current"), [("150", "Wh", 150), ("1.5", "kWh", 1500), ("0.1234", "kWh", 123), ("x", "Wh", 100)]
)
def test_readings_are_kept_in_wh(value: str, unit: str, current: int) -> None:
    told = Told()
    told.start(7)
    told.read(value, unit=unit)
    assert told.differences(seen(transaction(meter_current=current))) == []


@pytest.mark.parametrize("more", [{"phase": "L1"}, {"measurand": "Voltage"}, {"format": "SignedData"}])
def test_samples_of_something_else_are_not_readings(more: dict[str, Any]) -> None:
    told = Told()
    told.start(7)
    told.read("150", **more)
    assert told.differences(seen(transaction())) == []


@pytest.mark.parametrize(
    ("rule", "current"), [(MeterCurrent.LAST, 400), (MeterCurrent.NEWEST, 300), (MeterCurrent.HIGHEST, 500)]
)
def test_readings_out_of_order_are_as_the_profile_says(rule: MeterCurrent, current: int) -> None:
    told = Told(Behaviour(meter_current=rule))
    told.start(7)
    for value, at in (("500", NOW + 1), ("300", NOW + 2), ("400", NOW)):
        told.read(value, at=at)
    assert told.differences(seen(transaction(meter_current=current))) == []


def test_a_reading_counts_once() -> None:
    told = Told()
    told.start(7)
    for value, at, more in (
        ("200", NOW + 1, {}),
        ("300", NOW + 2, {}),
        ("200", NOW + 1, {}),
        ("301", NOW + 2, {"context": "Sample.Periodic", "location": "Outlet"}),
    ):
        told.read(value, at=at, **more)
    assert told.differences(seen(transaction(meter_current=300))) == []


def test_a_start_on_a_busy_connector_is_as_the_profile_says() -> None:
    kept, ended = Told(), Told(Behaviour(busy_connector=OnBusyConnector.END))
    for told in (kept, ended):
        told.start(7)
        told.start(8, meter=200)
    second = transaction(8, meter_start=200, meter_current=200)
    assert kept.differences(seen(transaction(), second)) == []
    assert ended.differences(seen(transaction(status="completed"), second)) == []
    by_itself = transaction(status="completed", stop_time=TIME, meter_stop=150, meter_current=150, reason="Other")
    assert ended.differences(seen(by_itself, second)) == []
    assert kept.differences(seen(transaction() | {"meter_current": 150}, second))
    assert kept.differences(seen(transaction(status="completed"), second))


def test_connectors_have_their_reported_status() -> None:
    told = Told()
    status = {"connectorId": 2, "errorCode": "NoError", "status": "Charging", "timestamp": TIME}
    told.say("StatusNotification", status)
    told.start(7)
    observed = Observed(
        fields={"connector": STATE_FIELDS["connector"]},
        connectors={
            1: {"transaction_id": 7, "updated_at": rfc3339(NOW + 0.5)},
            2: {"status": "Charging", "error_code": "NoError", "updated_at": TIME},
        },
    )
    assert told.differences(observed) == []
    observed.connectors = {**observed.connectors, 2: {"status": "Charging", "transaction_id": 7, "updated_at": TIME}}
    assert told.differences(observed) == [
        "CP: connector 2: error_code is None, expected 'NoError'",
        "CP: connector 2: transaction_id is 7, expected None",
    ]
    told.stop(7)
    observed.connectors = {1: {"transaction_id": 7, "updated_at": rfc3339(NOW + 0.5)}}
    assert "CP: connector 1: transaction_id is 7, expected None" in told.differences(observed)


def test_the_charge_point_has_the_fields_of_its_last_boot() -> None:
    told = Told()
    accepted = {"currentTime": TIME, "interval": 300, "status": "Accepted"}
    told.say("BootNotification", BOOT | {"chargePointSerialNumber": "S", "firmwareVersion": "1"}, accepted)
    told.say("BootNotification", BOOT | {"firmwareVersion": "2"}, accepted)
    told.say("StatusNotification", {"connectorId": 0, "errorCode": "NoError", "status": "Unavailable"})
    told.say("FirmwareStatusNotification", {"status": "Installed"})
    told.say("DiagnosticsStatusNotification", {"status": "Uploaded"})
    point = {
        "id": "CP",
        "vendor": "V",
        "model": "M",
        "firmware": "2",
        "status": "Unavailable",
        "firmware_status": "Installed",
        "diagnostics_status": "Uploaded",
        "protocol": "ocpp1.6",
        "boot_time": TIME,
        "last_seen": rfc3339(NOW + 1),
        "is_online": True,
    }
    kept = {"charge_point": STATE_FIELDS["charge_point"]}
    assert told.differences(Observed(fields=kept, point=point)) == []
    assert told.differences(Observed(fields=kept, point=point | {"serial": "S"})) == [
        "CP: charge point: serial is 'S', expected None"
    ]
    assert told.differences(Observed(fields=kept, point=point | {"last_seen": rfc3339(NOW + 60)}))


def test_indexes_and_scores_are_compared() -> None:
    told = Told()
    told.start(7)
    told.start(8, 2)
    told.stop(7)
    right = {"listed": {7: NOW, 8: NOW}, "active": {8}, "connectors_listed": {1, 2}, "known": True}
    assert told.differences(Observed(**right)) == []
    wrong: list[dict[str, Any]] = [
        {"listed": {8: NOW}},
        {"listed": {7: NOW, 8: NOW, 9: NOW}},
        {"listed": {7: NOW, 8: NOW + 1}},
        {"active": {7, 8}},
        {"active": set()},
        {"connectors_listed": {1}},
        {"connectors_listed": {1, 2, 3}},
        {"known": False},
    ]
    assert [len(told.differences(Observed(**right | each))) for each in wrong] == [1] * len(wrong)


# ------------------------------------------------------------------ what nobody knows


def test_a_refused_message_must_not_be_applied() -> None:
    told = Told()
    told.start(7)
    told.stop(7, outcome=Outcome.REFUSED)
    assert told.differences(seen(transaction())) == []
    assert told.differences(seen(transaction(**STOPPED)))


def test_an_unknown_stop_is_applied_as_a_whole_or_not_at_all() -> None:
    told = Told()
    told.start(7)
    told.stop(7, outcome=Outcome.UNKNOWN)
    assert told.differences(seen(transaction())) == []
    assert told.differences(seen(transaction(**STOPPED))) == []
    half = told.differences(seen(transaction(status="completed", meter_stop=900)))
    assert half
    assert all("best fit of 2 allowed states" in each for each in half)
    # Sent again and answered: now it is certain.
    told.stop(7)
    assert told.differences(seen(transaction()))
    assert told.differences(seen(transaction(**STOPPED))) == []


def test_an_unknown_start_made_one_transaction_at_most() -> None:
    told = Told()
    told.start(None, outcome=Outcome.UNKNOWN)
    none, one = {"listed": {}, "active": set()}, {"listed": {9: NOW}, "active": {9}}
    two = {"listed": {9: NOW, 10: NOW}, "active": {9, 10}}
    assert [bool(told.differences(Observed(**each))) for each in (none, one, two)] == [False, False, True]
    told.start(9)
    assert [bool(told.differences(Observed(**each))) for each in (none, one, two)] == [True, False, True]


def heartbeat(told: Told, at: float, clock: float, *, cp: str = "CP") -> list[str]:
    return told.say("Heartbeat", {}, {"currentTime": rfc3339(clock)}, cp=cp, began=at, ended=at + 0.1)


def test_the_times_in_answers_advance_like_the_clock_of_the_tests() -> None:
    told = Told()
    for seconds in range(5):
        assert heartbeat(told, NOW + seconds, NOW + seconds + 1.5) == []
    assert heartbeat(told, NOW + 6, NOW + 6 + 1.0) == []
    (problem,) = heartbeat(told, NOW + 7, NOW + 7 - 0.5)
    assert "is 1.9 s behind the times in earlier answers" in problem
    (problem,) = heartbeat(told, NOW + 8, NOW + 8 - 0.5)
    assert "behind" in problem
    assert heartbeat(told, NOW + 9, NOW + 9 - 0.5, cp="another") == []


def test_a_clock_that_runs_slowly_is_noticed_before_it_is_wrong() -> None:
    told = Told()
    times = [seconds / 10 for seconds in range(20)]
    found = [heartbeat(told, NOW + each, NOW + each / 3) for each in times]
    assert found[0] == []
    assert "behind" in found[-1][0]


def test_the_time_of_a_message_that_waited_may_be_any_in_between() -> None:
    told = Told()
    assert told.say("Heartbeat", {}, {"currentTime": rfc3339(NOW + 30)}, began=NOW, ended=NOW + 60) == []
    assert told.say("Heartbeat", {}, {"currentTime": rfc3339(NOW + 59)}, began=NOW, ended=NOW + 60) == []


def test_a_message_that_changes_nothing_leaves_one_state() -> None:
    told = Told()
    told.say("Heartbeat", {}, {"currentTime": TIME})
    for _ in range(1000):
        told.say("Heartbeat", {}, outcome=Outcome.UNKNOWN)
        told.stop(1, outcome=Outcome.UNKNOWN)
    assert len(told.model._worlds["CP"]) <= 2


def test_too_much_that_is_unknown_is_said_and_not_judged() -> None:
    told = Told()
    told.say("Heartbeat", {}, {"currentTime": TIME})
    for number in range(10):
        told.start(None, number + 1, outcome=Outcome.UNKNOWN)
    assert "CP" in told.model.unjudged
    assert told.model.charge_points == []


def test_a_short_message_without_the_fields_of_its_effects_is_not_judged() -> None:
    told = Told()
    told.say("StatusNotification", {})
    assert "lacks fields" in told.model.unjudged["CP"]


def test_a_heartbeat_that_a_gateway_may_have_answered_may_have_been_seen() -> None:
    told = Told()
    told.say("Heartbeat", {}, {"currentTime": TIME})
    told.say("Heartbeat", {}, {"currentTime": rfc3339(NOW + 60)}, began=NOW + 60, ended=NOW + 61, maybe_elsewhere=True)
    kept = {"charge_point": ("last_seen",)}
    for at, right in ((NOW, True), (NOW + 60, True), (NOW + 90, False)):
        observed = Observed(fields=kept, point={"last_seen": rfc3339(at)})
        assert (told.differences(observed) == []) is right


def test_a_charge_point_of_which_a_gateway_answered_all_may_be_kept_or_not() -> None:
    told = Told()
    assert told.say("Heartbeat", {}, {"currentTime": TIME}, maybe_elsewhere=True) == []
    kept = {"charge_point": ("id", "last_seen")}
    assert told.differences(Observed(fields=kept)) == []
    assert told.differences(Observed(fields=kept, point={"id": "CP", "last_seen": TIME})) == []
    assert told.differences(Observed(fields=kept, point={"id": "CP", "last_seen": rfc3339(NOW + 90)})) != []
    told.say("BootNotification", BOOT, {"currentTime": TIME, "interval": 300, "status": "Accepted"})
    assert told.differences(Observed(fields=kept)) != []


@given(st.lists(st.sampled_from(["start", "stop", "read", "status"]), max_size=8), st.integers(0, 255))
def test_the_real_state_is_always_among_the_allowed_ones(steps: list[str], unknown: int) -> None:
    """A world in which some of the unknown messages were applied is one of those that the model allows."""
    told, truth = Told(), Told()
    for number, step in enumerate(steps):
        applied = not (unknown >> number) & 1
        # A charge point stops no transaction of which it was not told.
        outcome = {} if number % 2 or step == "start" else {"outcome": Outcome.UNKNOWN}
        for each in (told, truth) if applied or not outcome else (told,):
            fields = outcome if each is told else {}
            if step == "start":
                each.start(1)
            elif step == "stop":
                each.stop(1, **fields)
            elif step == "status":
                status = {"connectorId": 1, "errorCode": "NoError", "status": f"S{number}", "timestamp": TIME}
                each.say("StatusNotification", status, **fields)
    (world,) = truth.model._worlds.get("CP", []) or [None]
    if world is None or "CP" in told.model.unjudged:
        return
    records = [
        {name: getattr(value, "text", value) for name, value in each.fields.items()} for each in world.transactions
    ]
    for record in records:
        if record["reason"] is not None:
            record["reason"] = "Local"
    observed = Observed(
        fields={"transaction": STATE_FIELDS["transaction"]},
        transactions={record["id"]: record for record in records},
        listed=dict.fromkeys((record["id"] for record in records), NOW),
        active={record["id"] for record in records if record["status"] == "active"},
    )
    assert told.differences(observed) == []


def test_moments_need_a_zone() -> None:
    assert moment("2026-01-15T10:30:00") is None
    assert moment("2016-12-31T23:59:60Z") == moment("2016-12-31T23:59:59Z")
    assert not Within(0, float("inf")).allows("2026-01-15T10:30:00")


# ------------------------------------------------------------------ versions and connections


def versions(kind: str, version: object, **fields: Any) -> Observed:
    """An observation of the version of one record, of charge point `CP`, its connector 1 or transaction 7."""
    record = {"version": version}
    observed = Observed(fields={kind: ("version", "is_online")}, **fields)
    if kind == "charge_point":
        observed.point = record | {"is_online": True}
    elif kind == "connector":
        observed.connectors = {1: record | {"transaction_id": 7}}
    else:
        observed.transactions = {7: record}
    return observed


@pytest.mark.parametrize(("kind", "writes"), [("charge_point", 3), ("connector", 2), ("transaction", 3)])
def test_the_version_counts_the_writes_of_messages_sent_one_after_the_other(kind: str, writes: int) -> None:
    told = Told()
    told.start(7, began=NOW, ended=NOW + 1)
    sample = {"timestamp": TIME, "sampledValue": [{"value": "500"}]}
    told.say("MeterValues", {"connectorId": 1, "meterValue": [sample]}, began=NOW + 2, ended=NOW + 3)
    told.stop(7, began=NOW + 4, ended=NOW + 5)
    for version in (writes - 1, writes + 1, None, float(writes)):
        assert [each for each in told.differences(versions(kind, version)) if f"expected {writes}" in each], version
    assert told.differences(versions(kind, writes)) == []


@pytest.mark.parametrize("version", [1, 2, 3])
def test_messages_sent_at_once_may_be_one_write(version: int) -> None:
    told = Told()
    for _ in range(3):
        told.say("Heartbeat", {}, {"currentTime": TIME})
    assert told.differences(versions("charge_point", version)) == []
    assert told.differences(versions("charge_point", 4))


def test_a_message_of_unknown_outcome_may_be_a_write() -> None:
    told = Told()
    told.start(7, began=NOW, ended=NOW + 1)
    told.stop(7, began=NOW + 2, ended=NOW + 2, outcome=Outcome.UNKNOWN)
    for version, right in ((1, True), (2, True), (3, False)):
        assert (told.differences(versions("transaction", version)) == []) is right


def test_a_charge_point_is_online_while_it_is_connected() -> None:
    told = Told()
    told.say("Heartbeat", {}, {"currentTime": TIME})
    assert told.differences(versions("charge_point", 1)) == []
    told.model.connections("CP", 1, online=False)
    assert told.differences(versions("charge_point", 2)) == ["CP: charge point: is_online is True, expected False"]
    told.model.connections("CP", 1, online=None)
    assert told.differences(versions("charge_point", 2)) == []
    told.model.connections("NOBODY", 1, online=True)
    assert told.model.charge_points == ["CP"]
