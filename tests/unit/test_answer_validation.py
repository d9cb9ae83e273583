"""Answers against the official response schemas."""

from __future__ import annotations

import pytest

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.validation import validate_answer

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
