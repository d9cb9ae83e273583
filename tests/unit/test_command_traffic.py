"""Commands over a longer time: the true outcome of each caller is in the ledger, for any response of the system."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ocpp_resilience.correlation.commands import CommandClient
from ocpp_resilience.correlation.traffic import CommandTraffic, TrafficReport
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ledger import Expect, Ledger, LedgerReport, check
from ocpp_resilience.ports import free_port
from ocpp_resilience.profile import Target
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
Reply = Callable[[str, BaseHTTPRequestHandler], tuple[int, Any] | None]


@pytest.fixture
def system() -> Iterator[Callable[[Reply], str]]:
    """Starts an HTTP API that answers callers with `reply`: status and body, or nothing; returns its address."""
    running: list[ThreadingHTTPServer] = []

    def start(reply: Reply) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                [key] = parse_qs(urlsplit(self.path).query)["keys"]
                told = reply(key, self)
                if told is None:
                    self.connection.close()
                    return
                body = json.dumps(told[1]).encode()
                self.send_response(told[0])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def some_commands(url: str, folder: Path, count: int = 5) -> TrafficReport:
    """Let at least so many commands go to a system, and end."""
    client = CommandClient(url, Target.load("reference"), run="run")
    ledger = Ledger(folder / "commands.jsonl")
    traffic = CommandTraffic(client, ["CP-1", "CP-2"], ledger, pause=0.005, timeout=PATIENCE, seed=1)
    try:
        traffic.start()
        wait_until(lambda: traffic.report.sent >= count or None, timeout=PATIENCE, failure=lambda: "too few were sent")
        return traffic.stop()
    finally:
        traffic.close()


def judged(report: TrafficReport, carried_out: list[tuple[str, str]]) -> LedgerReport:
    """The verdict, with the commands that charge points have carried out."""
    points = Path(report.ledger).with_name("points.jsonl")
    points.unlink(missing_ok=True)
    with Ledger(points, observes=Expect.EFFECT, observes_via="command") as ledger:
        for cp, key in carried_out:
            ledger.effect(cp, key, "carried out")
        ledger.end()
    return check([report.ledger, points])


def charge_point(handler: BaseHTTPRequestHandler) -> str:
    return handler.path.split("/")[4]


def answer(key: str) -> tuple[int, Any]:
    return 200, {"success": True, "message": "", "data": {"configurationKey": [], "unknownKey": [key]}}


def test_answered_commands_were_carried_out_once(system: Callable[[Reply], str], tmp_path: Path) -> None:
    done: list[tuple[str, str]] = []

    def reply(key: str, handler: BaseHTTPRequestHandler) -> tuple[int, Any]:
        done.append((charge_point(handler), key))
        return answer(key)

    report = some_commands(system(reply), tmp_path)
    assert report.answered == report.sent == len(done)
    assert {cp for cp, _ in done} == {"CP-1", "CP-2"}
    whole = judged(report, done)
    assert (whole.acknowledged, whole.violations) == (report.sent, [])
    assert [each.id for each in judged(report, done[1:]).lost] == [done[0][1]]


def test_a_command_that_was_carried_out_twice_is_found(system: Callable[[Reply], str], tmp_path: Path) -> None:
    done: list[tuple[str, str]] = []

    def reply(key: str, handler: BaseHTTPRequestHandler) -> tuple[int, Any]:
        done.extend([(charge_point(handler), key)] * (2 if len(done) == 1 else 1))
        return answer(key)

    whole = judged(some_commands(system(reply), tmp_path), done)
    assert [each.about for each in whole.violations] == [
        f"GetConfiguration '{done[1][1]}' of {done[1][0]} was applied 2 times: carried out, carried out"
    ]


@pytest.mark.parametrize(
    "text",
    ["Redis is not available", "nothing was sent", "the charge point 'CP-1' is not connected"],
)
def test_a_refused_command_must_not_be_carried_out(system: Callable[[Reply], str], tmp_path: Path, text: str) -> None:
    keys: list[tuple[str, str]] = []

    def reply(key: str, handler: BaseHTTPRequestHandler) -> tuple[int, Any]:
        keys.append((charge_point(handler), key))
        return 503, {"success": False, "message": text, "data": None}

    report = some_commands(system(reply), tmp_path)
    assert (report.refused, report.undecided, report.unclear) == (report.sent, 0, 0)
    assert judged(report, []).violations == []
    assert [each.kind for each in judged(report, keys[:1]).violations] == ["refused_and_applied"]


@pytest.mark.parametrize(
    ("status", "text"),
    [(408, "no answer in time"), (503, "which may have been sent"), (503, "the charge point disconnected before it")],
)
def test_commands_of_unknown_outcome_may_have_been_carried_out_or_not(
    system: Callable[[Reply], str], tmp_path: Path, status: int, text: str
) -> None:
    keys: list[tuple[str, str]] = []

    def reply(key: str, handler: BaseHTTPRequestHandler) -> tuple[int, Any]:
        keys.append((charge_point(handler), key))
        return status, {"success": False, "message": text, "data": None}

    report = some_commands(system(reply), tmp_path)
    assert (report.undecided, report.refused) == (report.sent, 0)
    assert report.timed_out == (report.sent if status == 408 else 0)
    whole = judged(report, keys[:1])
    assert (whole.recovered, whole.undecided, whole.violations) == (1, report.sent - 1, [])


def test_a_connection_that_breaks_decides_nothing_and_one_that_is_refused_does(
    system: Callable[[Reply], str], tmp_path: Path
) -> None:
    came: list[str] = []
    report = some_commands(system(lambda key, handler: came.append(key)), tmp_path)
    assert (report.undecided, report.refused) == (report.sent, 0)
    assert len(came) == len(set(came)) == report.sent, "the client has sent a command twice"
    (tmp_path / "nobody").mkdir()
    report = some_commands(f"http://127.0.0.1:{free_port()}", tmp_path / "nobody")
    assert (report.undecided, report.refused) == (0, report.sent)


def test_another_ones_answer_is_found(system: Callable[[Reply], str], tmp_path: Path) -> None:
    given: list[str] = []

    def first_again(key: str, _: BaseHTTPRequestHandler) -> tuple[int, Any]:
        given.append(key)
        return answer(given[0])

    report = some_commands(system(first_again), tmp_path)
    assert report.mixed_up == report.sent - 1
    assert report.examples
    kinds = {each.kind for each in judged(report, []).violations}
    assert kinds == {"lost", "duplicated", "unexpected"}


def test_a_failure_without_a_reason_is_counted(system: Callable[[Reply], str], tmp_path: Path) -> None:
    report = some_commands(system(lambda key, handler: (500, {})), tmp_path)
    assert report.unclear == report.sent
    assert "500" in report.examples[0]


def test_a_target_whose_answers_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    client = CommandClient("http://127.0.0.1:1", copy.deepcopy(Target.load("reference")))
    client.target.commands.requests["GetConfiguration"] = client.target.commands.requests["Reset"]
    with Ledger(tmp_path / "l.jsonl") as ledger, pytest.raises(UsageError, match="does not name the field"):
        CommandTraffic(client, ["CP-1"], ledger, pause=1, timeout=1, seed=1)


def test_aborting_waits_for_requests_in_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = CommandClient("http://127.0.0.1:1", Target.load("reference"), run="run")
    begun, cleaned = threading.Event(), threading.Event()

    async def send(_session: object, _command: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            cleaned.set()

    monkeypatch.setattr(client, "send", send)
    traffic = CommandTraffic(client, ["CP-1"], Ledger(tmp_path / "commands.jsonl"), pause=0, timeout=PATIENCE, seed=1)
    traffic.start()
    assert begun.wait(PATIENCE)
    traffic.close()
    assert cleaned.is_set()
