"""The judge of OCPP-J: the frames that it passes and the violations that it finds."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from ocpp_resilience.charge_points.conformance import OpenCalls, violations
from ocpp_resilience.ocpp.frames import Direction, Frame, read_frame

NOW = "2026-01-15T10:30:00Z"
LATE = "2026-01-15T10:31:00Z"
THEN = datetime.fromisoformat(NOW).timestamp()
HEARTBEAT = [2, "h1", "Heartbeat", {}]
ANSWER = [3, "h1", {"currentTime": NOW}]
RESET = [2, "c1", "Reset", {"type": "Soft"}]
START_WITH_FLOATS = '[3,"s",{"transactionId":17e0,"idTagInfo":{"status":"Accepted"}}]'
RECONNECT = ("|", "")
OBEYED = [3, "c1", {"status": "Accepted"}]


def wire(*frames: Any, seconds: float = 1.0) -> list[Frame]:
    """Frames `seconds` apart: `>` before those of the charge point, `<` before received ones, `|` reconnects."""
    made, connection = [], 1
    for number, (arrow, data) in enumerate(frames, start=1):
        if arrow == "|":
            connection += 1
            continue
        text = data if isinstance(data, str | bytes) else json.dumps(data)
        direction = Direction.SENT if arrow == ">" else Direction.RECEIVED
        made.append(
            read_frame(text, direction=direction, number=number, at=number * seconds, time=THEN, connection=connection)
        )
    return made


def judge(*frames: Any, seconds: float = 1.0) -> list[str]:
    return violations(wire(*frames, seconds=seconds), command_timeout=30)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [(">", HEARTBEAT), ("<", ANSWER)],
        [(">", HEARTBEAT), ("<", [4, "h1", "InternalError", "", {}])],
        [(">", HEARTBEAT)],
        [("<", RESET), (">", OBEYED), ("<", [2, "c2", "ClearCache", {}]), (">", [3, "c2", {"status": "Accepted"}])],
        [("<", RESET), (">", [4, "c1", "NotSupported", "", {}]), ("<", [2, "c2", "ClearCache", {}])],
        [(">", HEARTBEAT), ("<", RESET), (">", OBEYED), ("<", ANSWER)],
        [(">", "not json"), (">", HEARTBEAT), ("<", ANSWER)],
        [(">", "[2,7,8,9]"), ("<", [4, "-1", "FormationViolation", "", {}])],
        [(">", HEARTBEAT), (">", HEARTBEAT), ("<", [4, "-1", "FormationViolation", "", {}]), ("<", ANSWER)],
        [(">", [2, "x" * 37, "Heartbeat", {}]), ("<", [4, "x" * 36, "FormationViolation", "", {}])],
        [(">", [2, "s", "StartTransaction", {}]), ("<", START_WITH_FLOATS)],
        [("<", RESET), (">", OBEYED), RECONNECT, ("<", RESET), (">", OBEYED)],
        [("<", RESET), RECONNECT, ("<", [2, "c2", "ClearCache", {}])],
        [("<", RESET), RECONNECT, ("<", RESET)],
        [(">", HEARTBEAT), ("<", ANSWER), RECONNECT, (">", HEARTBEAT), ("<", ANSWER)],
        [(">", HEARTBEAT), (">", HEARTBEAT), ("<", ANSWER), ("<", ANSWER)],
        [(">", HEARTBEAT), (">", HEARTBEAT), ("<", ANSWER), ("<", [4, "h1", "FormationViolation", "", {}])],
    ],
)
def test_correct_answers_pass(frames: list[Any]) -> None:
    assert judge(*frames) == []


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([("<", "not json")], "Frame 1, 'not json', is no OCPP-J message."),
        ([("<", b"\x00")], "is no OCPP-J message."),
        ([("<", [2, "c1", "Reset"])], "is no OCPP-J message."),
        ([("<", [2, "c1", "Reset", {"type": "Gentle"}])], "is no valid Reset: type: "),
        ([("<", [2, "c1", "MakeCoffee", {}])], "is a MakeCoffee, which OCPP 1.6 does not have."),
        ([("<", [2, "", "ClearCache", {}])], "has a message id of 0 characters."),
        ([("<", [2, "x" * 37, "ClearCache", {}])], "has a message id of 37 characters."),
        ([("<", RESET), (">", OBEYED), ("<", RESET)], "has the message id of an earlier command, c1."),
        (
            [("<", RESET), ("<", [2, "c2", "ClearCache", {}])],
            "came while the answer to Reset (message id c1) was outst",
        ),
        ([(">", HEARTBEAT), ("<", ANSWER), ("<", ANSWER)], "is the second answer to h1."),
        ([(">", HEARTBEAT), (">", HEARTBEAT), ("<", ANSWER), ("<", ANSWER), ("<", ANSWER)], "the third answer to h1."),
        ([(">", HEARTBEAT), RECONNECT, ("<", ANSWER)], "answers h1, which was not sent."),
        ([RECONNECT, ("<", RESET), (">", OBEYED), ("<", RESET)], "has the message id of an earlier command, c1."),
        ([(">", HEARTBEAT), ("<", [3, "h2", {}])], "answers h2, which was not sent."),
        ([("<", [4, "-1", "FormationViolation", "", {}])], "answers -1, which was not sent."),
        ([(">", HEARTBEAT), ("<", [3, "h1", {}])], "is no valid HeartbeatResponse: its payload: "),
        ([(">", HEARTBEAT), ("<", [3, "h1", {"currentTime": "now"}])], "HeartbeatResponse: currentTime: "),
        ([(">", HEARTBEAT), ("<", [3, "h1", {"currentTime": LATE}])], f"currentTime: {LATE} is not a time with zone"),
        ([(">", [2, "a", "MakeCoffee", {}]), ("<", [3, "a", {}])], "is a MakeCoffeeResponse, which OCPP 1.6 does not"),
    ],
)
def test_each_violation_is_found_once_and_named(frames: list[Any], problem: str) -> None:
    [found] = judge(*frames)
    assert problem in found


def test_an_unanswered_command_is_not_outstanding_for_ever() -> None:
    frames = [("<", RESET), ("<", [2, "c2", "ClearCache", {}])]
    assert judge(*frames, seconds=31) == []
    assert len(judge(*frames, seconds=29)) == 1


def test_answers_still_find_their_calls_when_the_buffer_is_full() -> None:
    """The oldest frames are no longer kept: their CALLs are, until they are answered."""
    frames = wire(
        (">", HEARTBEAT),
        (">", [2, "h2", "Heartbeat", {}]),
        ("<", ANSWER),
        (">", "not json"),
        ("<", [3, "h2", {"currentTime": NOW}]),
        ("<", [4, "-1", "FormationViolation", "", {}]),
        ("<", [3, "h3", {"currentTime": NOW}]),
    )
    for kept in range(len(frames)):
        before = OpenCalls()
        for frame in frames[:kept]:
            before.forget(frame)
        [found] = violations(frames[kept:], command_timeout=30, before=before)
        assert "answers h3, which was not sent" in found
    assert not before.actions, "what was answered is forgotten"


def test_calls_of_an_earlier_connection_are_forgotten_with_it() -> None:
    frames = wire((">", HEARTBEAT), RECONNECT, (">", [2, "h2", "Heartbeat", {}]), ("<", ANSWER))
    before = OpenCalls()
    for frame in frames[:2]:
        before.forget(frame)
    assert set(before.actions) == {"h2"}
    [found] = violations(frames[2:], command_timeout=30, before=before)
    assert "answers h1, which was not sent" in found
