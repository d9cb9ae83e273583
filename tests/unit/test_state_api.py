"""What the HTTP API says of the state: compared with the model, list by list and record by record."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import ExpectationFailed, LacksCapability
from ocpp_resilience.http_client import Reply
from ocpp_resilience.ocpp.model import ConfigurationModel, Exchange, Model16, Outcome, StoredKey
from ocpp_resilience.profile import Target
from ocpp_resilience.state.api import clients_listed, compare_api, unclear_refusals
from ocpp_resilience.system.counts import Counts, counts_of
from ocpp_resilience.system.metrics import parse_metrics

NOW = 1_800_000_000.0
TIME = rfc3339(NOW)
ACCEPTED = {"status": "Accepted"}
POINT = {"id": "CP", "protocol": "ocpp1.6", "last_seen": TIME, "is_online": True, "version": 1}
CONNECTOR = {"id": 1, "status": None, "error_code": None, "transaction_id": 8, "updated_at": TIME, "version": 2}
STOPPED = {
    "id": 7,
    "charge_point_id": "CP",
    "connector_id": 1,
    "id_tag": "TAG",
    "start_time": TIME,
    "meter_start": 100,
    "meter_stop": 900,
    "meter_current": 900,
    "stop_time": TIME,
    "status": "completed",
    "reason": "Local",
    "version": 2,
}
RUNNING = {
    **STOPPED,
    "id": 8,
    "meter_start": 900,
    "meter_stop": None,
    "stop_time": None,
    "status": "active",
    "reason": None,
    "version": 1,
}
OF_CP = "/api/v1/transactions?chargePointId=CP"


@pytest.fixture
def target() -> Target:
    return Target.load("reference")


@pytest.fixture
def model() -> Model16:
    """A charge point with a transaction that is over and one that runs, all of whose messages were sent at once."""
    model = Model16()
    calls: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("StartTransaction", _start(100), {"transactionId": 7, "idTagInfo": ACCEPTED}),
        ("StopTransaction", {"transactionId": 7, "meterStop": 900, "timestamp": TIME}, {}),
        ("StartTransaction", _start(900), {"transactionId": 8, "idTagInfo": ACCEPTED}),
    ]
    for number, (action, payload, answer) in enumerate(calls):
        exchange = Exchange(
            charge_point="CP",
            message_id=str(number),
            action=action,
            payload=payload,
            answer=answer,
            began=NOW,
            ended=NOW + 1,
        )
        assert model.take(exchange) == []
    return model


def _start(meter: int) -> dict[str, Any]:
    return {"connectorId": 1, "idTag": "TAG", "meterStart": meter, "timestamp": TIME}


def answers(**changed: Any) -> dict[str, Any]:
    """What a sound system answers, by path, with changes."""
    return {
        "/api/v1/chargepoints": [POINT],
        "/api/v1/chargepoints/CP": POINT,
        "/api/v1/chargepoints/CP/connectors": [CONNECTOR],
        "/api/v1/chargepoints/CP/connectors/1": CONNECTOR,
        "/api/v1/transactions": [STOPPED, RUNNING],
        OF_CP: [STOPPED, RUNNING],
        f"{OF_CP}&status=active": [RUNNING],
        f"{OF_CP}&status=completed": [STOPPED],
        "/api/v1/transactions/7?chargePointId=CP": STOPPED,
        "/api/v1/transactions/8?chargePointId=CP": RUNNING,
        **changed,
    }


def asking(paths: dict[str, Any], otherwise: int = 404) -> Callable[[str], Reply]:
    """GET of a system that has these paths; bad input is a 400 where it has `status=` or `state=` in it."""

    def get(path: str) -> Reply:
        if path in paths:
            return Reply(path, 200, json.dumps({"data": paths[path]}).encode(), 0.0)
        bad = "status=" in path or "state=" in path
        return Reply(path, 400 if bad else otherwise, b'{"data": null}', 0.0)

    return get


def differences(model: Model16, target: Target, otherwise: int = 404, **changed: Any) -> list[str]:
    return compare_api(model, target, get=asking(answers(**changed), otherwise), seed=1).differences


def test_a_sound_system_differs_in_nothing(model: Model16, target: Target) -> None:
    report = compare_api(model, target, get=asking(answers()), seed=1)
    assert report.problems == []
    assert (report.charge_points, report.transactions) == (1, 2)


@pytest.mark.parametrize(
    ("path", "data", "problem"),
    [
        ("/api/v1/chargepoints", [], "over HTTP, CP: charge point is not kept"),
        ("/api/v1/chargepoints", [POINT, POINT], "CP is listed more than once in /api/v1/chargepoints"),
        (
            "/api/v1/chargepoints/CP",
            POINT | {"version": 9},
            "GET /api/v1/chargepoints/CP gives version 9, and the list 1",
        ),
        ("/api/v1/chargepoints/CP/connectors", [], "over HTTP, CP: connector 1 is not kept"),
        ("/api/v1/transactions", [STOPPED], "transaction 8 of CP is not the same in /api/v1/transactions"),
        (OF_CP, [STOPPED | {"meter_stop": 1}, RUNNING], "over HTTP, CP: transaction 7: meter_stop is 1, expected 900"),
        (OF_CP, [RUNNING], "over HTTP, CP: transaction 7 is not kept"),
        (f"{OF_CP}&status=active", [STOPPED, RUNNING], "over HTTP, CP: transaction 7 is active, expected not"),
        (f"{OF_CP}&status=active", [], "over HTTP, CP: transaction 8 is not active"),
        (f"{OF_CP}&status=completed", [], "transaction 7 of CP is not in"),
        (f"{OF_CP}&status=completed", [STOPPED, RUNNING], "transaction 8 of CP is in"),
    ],
)
def test_what_a_path_says_otherwise_is_a_difference(
    model: Model16, target: Target, path: str, data: Any, problem: str
) -> None:
    found = differences(model, target, **{path: data})
    assert [each for each in found if each.startswith(problem)], found


def test_transactions_are_listed_by_their_starts(model: Model16, target: Target) -> None:
    later = RUNNING | {"start_time": rfc3339(NOW + 60)}
    found = differences(model, target, **{OF_CP: [later, STOPPED]})
    assert any("not in the order of their starts" in each for each in found)


def test_what_is_not_there_is_a_404_and_bad_input_a_400(model: Model16, target: Target) -> None:
    found = differences(model, target, otherwise=200)
    assert sum("answered 200, expected 404" in each for each in found) == 4
    bad = {path: [] for path in target.state.api.bad_requests} if target.state.api else {}
    found = differences(model, target, **bad)
    assert sum("answered 200, expected 400" in each for each in found) == len(bad) > 0


def test_what_is_no_list_is_said(model: Model16, target: Target) -> None:
    with pytest.raises(ExpectationFailed, match="GET /api/v1/chargepoints answered 200 without a list"):
        differences(model, target, **{"/api/v1/chargepoints": {"id": "CP"}})
    with pytest.raises(ExpectationFailed, match="GET /clients answered 404 without a list"):
        clients_listed(target, asking({}))


def test_a_profile_without_paths_lacks_the_capability(model: Model16) -> None:
    bare = Target(name="bare", source="bare.yaml")
    with pytest.raises(LacksCapability, match=r"does not describe its state over HTTP \(state\.api\)"):
        compare_api(model, bare, get=asking({}), seed=1)


def test_state_is_refused_at_once_while_redis_is_away(target: Target) -> None:
    def refuse(path: str) -> Reply:
        return Reply(path, 503, b"{}", 0.0)

    assert unclear_refusals(target, get=refuse, within=1) == []
    assert all(" after 0.0 s" in each for each in unclear_refusals(target, get=refuse, within=0))
    (first, *_) = unclear_refusals(target, get=asking({}), within=1)
    assert re.match(r"GET /\S+ was answered 404 after 0\.\d s", first)


# ------------------------------------------------------------------ configuration


def test_a_key_is_what_was_stored_last() -> None:
    model = ConfigurationModel()
    for value in ("1", "2"):
        model.stored("CP", "Key", StoredKey(value, readonly=False), Outcome.ANSWERED)
    model.stored("CP", "Key", StoredKey("3", readonly=False), Outcome.REFUSED)
    assert model.problems("CP", {"Key": {"value": "2", "readonly": False}}) == []
    assert model.problems("CP", {"Key": {"value": "1"}}) == ["CP: configuration key Key is '1', expected '2'"]
    assert model.problems("CP", {}) == ["CP: configuration key Key is nothing, expected '2'"]
    locked = {"Key": {"value": "2", "readonly": True}}
    assert model.problems("CP", locked) == ["CP: configuration key Key is '2' (read-only), expected '2'"]
    other = {"Key": {"value": "2"}, "Other": {"value": "x"}}
    assert model.problems("CP", other) == ["CP: configuration key Other is 'x', expected nothing"]
    assert "OTHER" not in model


def test_a_key_whose_caller_was_told_nothing_is_as_before_or_stored() -> None:
    model = ConfigurationModel()
    model.stored("CP", "Key", StoredKey("1", readonly=False), Outcome.UNKNOWN)
    assert model.problems("CP", {}) == model.problems("CP", {"Key": {"value": "1"}}) == []
    assert model.problems("CP", {"Key": {"value": "2"}}) == [
        "CP: configuration key Key is '2', expected nothing or '1'"
    ]


# ------------------------------------------------------------------ counts


DEPTH = Target.load("reference").http.counts.__class__(health_depth="queue.depth")


def counts(heartbeats: int = 0, refused: int = 0, *, depth: int = 0, document: int = 0) -> Counts:
    text = (
        f'ocpp_messages_processed_total{{action="Heartbeat"}} {heartbeats}\n'
        f'ocpp_messages_invalid_total{{code="NotImplemented"}} {refused}\n'
        f"ocpp_connections 3\nocpp_queue_depth {depth}\n"
    )
    redis = {"reconnects": 2, "since": rfc3339(time.time() - 60)}
    health = {"queue": {"depth": document}, "redis": redis, "timestamp": rfc3339()}
    return counts_of(Target.load("reference"), parse_metrics(text), health)


def test_the_time_of_health_is_that_of_the_test() -> None:
    seen = counts()
    assert seen.reconnects == 2
    assert seen.clock_problems(1) == []
    assert Counts(clock=-3600.0).clock_problems(2) == [
        "the health document gives a time that differs by -3600.0 s from that of the test"
    ]


def test_the_time_of_the_last_change_is_by_the_clock_of_the_tests() -> None:
    hour = 3600
    redis = {"reconnects": 0, "since": rfc3339(time.time() - hour - 60)}
    health = {"queue": {"depth": 0}, "redis": redis, "timestamp": rfc3339(time.time() - hour)}
    seen = counts_of(Target.load("reference"), parse_metrics("ocpp_connections 0\nocpp_queue_depth 0\n"), health)
    assert seen.since == pytest.approx(time.time() - 60, abs=1)


def test_counts_are_compared_by_their_growth() -> None:
    before, after = counts(5, 1), counts(15, 3)
    assert after.connections == 3
    assert after.processed_since(before, {"Heartbeat": 10}) == []
    assert after.processed_since(before, {"Heartbeat": 9, "Authorize": 1}) == [
        "Authorize: 0 processed by the metrics, expected 1",
        "Heartbeat: 10 processed by the metrics, expected 9",
    ]
    assert after.invalid_since(before, {"NotImplemented": 2}) == []
    assert after.invalid_since(before, {"NotImplemented": 1}, doubtful=1) == []
    assert after.invalid_since(before, {}) == ["NotImplemented: 2 set aside by the metrics, expected 0"]


def test_depths_are_compared_wherever_they_are_told() -> None:
    assert counts(depth=7, document=7).depths(7) == []
    assert counts(depth=7, document=6).depths(7) == ["the health document says that 6 messages wait, expected 7"]
    assert counts(depth=0, document=7).depths(7) == ["the metrics say that 0 messages wait, expected 7"]


def test_a_gauge_or_field_that_is_named_has_to_be_there() -> None:
    target = Target.load("reference")
    with pytest.raises(ExpectationFailed, match=r"no metric ocpp_connections \(http\.counts\)"):
        counts_of(target, [], None)
    with pytest.raises(ExpectationFailed, match=r"no metric ocpp_connections"):
        counts_of(target, [], {"queue": {}})
    target = msgspec.structs.replace(target, http=msgspec.structs.replace(target.http, counts=DEPTH))
    with pytest.raises(ExpectationFailed, match=r"queue\.depth of the health document is None, expected a number"):
        counts_of(target, [], {"queue": {}})
