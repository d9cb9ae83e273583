"""Answers against the official response schemas, and their envelopes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.model.values import Within
from ocpp_resilience.ocpp.validation import validate_answer
from ocpp_resilience.transport.answers import envelope_problems, read_answer

NOW = 1_800_000_000.0

BOOT = {"currentTime": "2026-01-15T10:30:00Z", "interval": 300, "status": "Accepted"}
START = {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("BootNotification", BOOT),
        ("Heartbeat", {"currentTime": "2026-01-15T10:30:00.123+01:00"}),
        ("StartTransaction", START),
        ("StopTransaction", {}),
        ("StopTransaction", {"idTagInfo": {"status": "Expired"}}),
        ("MeterValues", {}),
        ("ChangeConfiguration", {"status": "RebootRequired"}),
    ],
)
def test_valid_answers_have_no_problem(action: str, payload: object) -> None:
    assert validate_answer("ocpp1.6", action, payload) == []


@pytest.mark.parametrize(
    ("action", "payload", "named"),
    [
        ("BootNotification", {k: v for k, v in BOOT.items() if k != "currentTime"}, "currentTime"),
        ("BootNotification", BOOT | {"interval": "300"}, "interval"),
        ("BootNotification", BOOT | {"status": "accepted"}, "status"),
        ("BootNotification", BOOT | {"interval": 2**31}, "interval"),
        ("Heartbeat", {"currentTime": "2026-01-15T10:30:00"}, "currentTime"),
        ("Heartbeat", {"currentTime": "2026-01-15 10:30"}, "currentTime"),
        ("Heartbeat", {}, "currentTime"),
        ("Heartbeat", [], "[]"),
        ("Heartbeat", None, "null"),
        ("StartTransaction", START | {"transactionId": "7"}, "transactionId"),
        ("StartTransaction", START | {"idTagInfo": {}}, "status"),
        ("StartTransaction", {"transactionId": 7}, "idTagInfo"),
        ("MeterValues", {"status": "Accepted"}, "status"),
    ],
)
def test_a_problem_names_the_field(action: str, payload: object, named: str) -> None:
    problems = validate_answer("ocpp1.6", action, payload)
    assert problems
    assert any(named in each for each in problems)


def test_whole_numbers_may_be_written_with_a_fraction() -> None:
    assert validate_answer("ocpp1.6", "StartTransaction", START | {"transactionId": 7.0}) == []
    assert validate_answer("ocpp1.6", "StartTransaction", START | {"transactionId": 7.5})


@pytest.mark.parametrize(("version", "action"), [("ocpp1.5", "Heartbeat"), ("ocpp1.6", "MakeCoffee")])
def test_an_unknown_version_or_action_is_named(version: str, action: str) -> None:
    with pytest.raises(UsageError, match=r"ocpp1\.5|MakeCoffee"):
        validate_answer(version, action, {})


# Envelopes

SPAN = Within(NOW - 2, NOW + 2)


def problems_of_envelope(payload: Any, version: str = "ocpp1.6", **fields: Any) -> list[str]:
    envelope = {"charge_point_id": "CP", "message_type": payload[0], "message_id": payload[1], "payload": payload}
    data = json.dumps(envelope | {"timestamp": rfc3339(NOW)} | fields).encode()
    return envelope_problems(read_answer("CP", data), SPAN, version)


def test_an_envelope_agrees_with_its_frame() -> None:
    result, error = [3, "id", {}], [4, "id", "InternalError", "", {}]
    assert problems_of_envelope(result) == problems_of_envelope(error) == []
    assert problems_of_envelope(error, message_type=3) == ["message_type of the envelope: 3, expected 4"]
    assert problems_of_envelope(result, message_id="i") == ["message_id of the envelope: 'i', expected 'id'"]
    assert problems_of_envelope(result, charge_point_id="C") == ["charge_point_id of the envelope: 'C', expected 'CP'"]
    assert problems_of_envelope(result, "ocpp2.0.1") == ["protocol of the envelope: 'ocpp1.6', expected 'ocpp2.0.1'"]
    assert problems_of_envelope(result, "ocpp2.0.1", protocol="ocpp2.0.1") == []
    assert problems_of_envelope(error, "ocpp2.0.1") == []


@pytest.mark.parametrize("time", [rfc3339(NOW - 60), rfc3339(NOW).removesuffix("Z"), 17, None])
def test_the_time_of_an_envelope_is_that_of_the_answer(time: Any) -> None:
    (problem,) = problems_of_envelope([3, "id", {}], timestamp=time)
    assert problem.startswith("timestamp of the envelope: ")


@pytest.mark.parametrize("data", [b"{", b"[3]", b'{"text": 1}', b'{"payload": [3]}'])
def test_another_body_is_no_envelope(data: bytes) -> None:
    assert envelope_problems(read_answer("CP", data), SPAN, "ocpp1.6") == []
