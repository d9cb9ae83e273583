"""`python -m ocpp_resilience.check check` with more than ten wrong profiles of a system without a queue: each message
names what is wrong, what is allowed, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocpp_resilience.check.__main__ import main

SERVER = Path(__file__).resolve().parents[1] / "transports" / "small_server.py"
Change = Callable[[dict[str, Any]], object]


def small() -> dict[str, Any]:
    """The profile of the small server."""
    return {
        "name": "small",
        "start": {"command": ["{python}", str(SERVER), "none", "{ws_port}"]},
        "ready": {"record": None},
        "timeouts": {"answer": 2, "start": 4},
        "gateway": {"path": "/{charge_point_id}"},
        "queue": {"kind": "none"},
        "log": {"format": "text", "stream": "stderr"},
        "actions": {"ocpp1.6": ["BootNotification", "Heartbeat", "StatusNotification"]},
        "capabilities": ["gateway"],
    }


def put(path: str, value: object) -> Change:
    """Sets a field."""

    def change(profile: dict[str, Any]) -> None:
        *names, last = path.split(".")
        for name in names:
            profile = profile[name]
        profile[last] = value

    return change


WRONG: dict[str, tuple[Change, int, str]] = {
    "path without the id": (
        put("gateway.path", "/ocpp"),
        2,
        r"field 'gateway\.path' is '/ocpp' \(allowed: a path that starts with '/', with \{charge_point_id\} in it\)\.",
    ),
    "no gateway": (
        lambda profile: profile.pop("gateway"),
        2,
        r"field 'queue\.kind' is none, but there is no gateway \(allowed: gateway\.path: charge points' WebSockets",
    ),
    "a queue all the same": (
        put("capabilities", ["gateway", "queue"]),
        2,
        r"redis\.keys\.requests or the capability queue is given \(allowed: list, stream or pubsub with a queue\)\.",
    ),
    "a kind that there is not": (
        put("queue.kind", "websocket"),
        2,
        r"field 'queue\.kind' is 'websocket' \(allowed: list, stream, pubsub, none\)\.",
    ),
    "a version that nobody knows": (
        put("gateway.subprotocol", "ocpp1.5"),
        2,
        r"field 'gateway\.subprotocol' is 'ocpp1\.5' \(allowed: ocpp1\.6, ocpp2\.0\.1, ocpp2\.1\)",
    ),
    "a version without its actions": (
        put("gateway.subprotocol", "ocpp2.0.1"),
        2,
        r"field 'actions' lacks ocpp2\.0\.1 \(allowed: the version that gateway\.subprotocol names\)\.",
    ),
    "health without its path": (
        put("capabilities", ["gateway", "health"]),
        2,
        r"'capabilities\[1\]' is health, and http\.health is missing \(allowed: health with http\.health\)\.",
    ),
    "a program that is not there": (
        put("start.command", ["no-such-program", "{ws_port}"]),
        1,
        r"cannot be started: no-such-program: No such .* Name a program that is there, .*\(start\.command, start\.dir",
    ),
    "a server that does not listen": (
        put("start.command", ["{python}", "-c", "import time; time.sleep(30)", "{ws_port}"]),
        1,
        r"does not work +start +.*did not say that it listens .* Say by what .* \(timeouts\.start\)\.",
    ),
    "an action that it does not handle": (
        put("actions", {"ocpp1.6": ["BootNotification", "Heartbeat", "LogStatusNotification"]}),
        1,
        r"1 of 3 declared actions are refused .*NotImplemented(?s:.*) ocpp1\.6:\n +- Boot.*\n +- Heartbeat\n\n",
    ),
    "a log that says nothing": (
        put("capabilities", ["gateway", "log_records"]),
        1,
        r"no record of an invalid message was recognised \(log\.records\); nothing was written to its stderr",
    ),
}


def checked(folder: Path, capsys: pytest.CaptureFixture[str], profile: dict[str, Any]) -> tuple[int, str]:
    """Exit status and outputs of the command."""
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(profile, sort_keys=False))
    status = main(["check", str(file)])
    seen = capsys.readouterr()
    return status, seen.out + seen.err


@pytest.mark.parametrize(("change", "status", "message"), WRONG.values(), ids=WRONG)
def test_each_mistake_is_named_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, status: int, message: str
) -> None:
    profile = small()
    change(profile)
    found, said = checked(tmp_path, capsys, profile)
    assert found == status, said
    assert re.search(message, said), said


def test_a_right_profile_gets_no_correction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was told to add the capability queue, which the check would then have refused."""
    found, said = checked(tmp_path, capsys, small())
    assert found == 0, said
    assert "Draft of a corrected profile" not in said
    assert "does not work" not in said
