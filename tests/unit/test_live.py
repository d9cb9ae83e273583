"""The page that shows a run while it goes on: its state, its files, its server, and a whole run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocpp_resilience.live import LiveServer, follow
from ocpp_resilience.live.follow import Follower
from ocpp_resilience.live.state import MOST_OPEN, LiveState, quantiles
from ocpp_resilience.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_800_000_000.0


def begun(tests: int = 3) -> LiveState:
    state = LiveState()
    state.event({"op": "run", "run": "r1", "t": NOW - 10, "tests": tests, "suite": "Suites"})
    return state


def fact(name: str, status: str = "PASS", run: str = "r1", **more: Any) -> dict[str, Any]:
    return {"op": "test", "run": run, "name": name, "suite": "S", "status": status, "seconds": 1.0} | more


def fault(number: int, op: str = "begin", ended: str | None = None, run: str = "r1") -> dict[str, Any]:
    return {
        "op": op,
        "run": run,
        "number": number,
        "fault": "killed",
        "target": "Redis 'redis'",
        "began": "2027-01-15T08:00:00.000+00:00",
        "ended": ended,
        "proof": "PING: refused",
    }


class TestState:
    def test_progress_by_test(self) -> None:
        state = begun()
        state.event({"op": "test", "run": "r1", "t": NOW - 9, "suite": "S", "name": "One"})
        assert state.as_data(NOW)["running"] == {"name": "One", "suite": "S", "since": NOW - 9, "seconds": 9.0}
        state.fact(fact("One"))
        state.fact(fact("Two", "FAIL", reasons=[{"text": "It broke."}]))
        state.fact(fact("Other", run="an earlier one"))
        state.fact({"op": "suite", "run": "r1", "suite": "S"})
        data = state.as_data(NOW)
        assert (data["total"], data["running"]) == (3, None)
        assert data["counts"] == {"PASS": 1, "FAIL": 1, "SKIP": 0, "NOT RUN": 0}
        assert [(test["name"], test["text"]) for test in data["tests"]] == [("One", ""), ("Two", "It broke.")]

    def test_rate_and_quantiles_of_each_second_that_is_over(self) -> None:
        state = begun()
        for number in range(100):
            at = NOW - 5 + number / 1000
            state.message({"op": "invoke", "t": at, "cp": "CP", "id": str(number)})
            state.message({"op": "answer", "t": at + (number + 1) / 1000, "cp": "CP", "id": str(number)})
        # Not sent by a writer that is known, and answered twice.
        state.message({"op": "answer", "t": NOW - 4.5, "cp": "CP", "id": "unknown"})
        state.message({"op": "answer", "t": NOW - 4.5, "cp": "CP", "id": "1"})
        assert state.as_data(NOW)["rate"] == [], "the second may go on"
        state.message({"op": "invoke", "t": NOW - 3, "cp": "CP", "id": "last"})
        data = state.as_data(NOW)
        assert data["rate"] == [[NOW - 5, 100]]
        assert data["latency"] == [[NOW - 5, 50.0, 95.0, 99.0]]

    def test_what_fails_has_no_latency(self) -> None:
        state = begun()
        for op in ("fail", "unknown"):
            state.message({"op": "invoke", "t": NOW - 5, "cp": "CP", "id": op})
            state.message({"op": op, "t": NOW - 4, "cp": "CP", "id": op})
            state.message({"op": "answer", "t": NOW - 4, "cp": "CP", "id": op})
        state.message({"op": "invoke", "t": NOW, "cp": "CP", "id": "x"})
        assert state.as_data(NOW + 1)["rate"] == []

    def test_messages_without_an_answer_are_forgotten_in_the_end(self) -> None:
        state = begun()
        for number in range(MOST_OPEN + 1):
            state.message({"op": "invoke", "t": NOW - 5, "cp": "CP", "id": str(number)})
        for number in (0, 1):
            state.message({"op": "answer", "t": NOW - 4.5, "cp": "CP", "id": str(number)})
        state.message({"op": "begin", "t": NOW})
        assert state.as_data(NOW)["rate"] == [[NOW - 5, 1]]

    def test_only_the_last_minutes_are_shown(self) -> None:
        state = begun()
        for at in (NOW - 181, NOW - 179):
            state.sample({"t": at, "name": "queue depth", "value": 7.0})
            state.message({"op": "invoke", "t": at, "cp": "CP", "id": str(at)})
            state.message({"op": "answer", "t": at, "cp": "CP", "id": str(at)})
        state.sample({"t": NOW - 1, "name": "server", "bytes": 1, "cpu": 0.1})
        state.sample({"t": NOW - 1, "name": "charge points", "value": 50})
        data = state.as_data(NOW)
        assert data["depth"] == [[NOW - 179, 7.0]]
        assert [second for second, _ in data["rate"]] == []
        state.message({"op": "begin", "t": NOW})
        assert [second for second, _ in state.as_data(NOW)["rate"]] == [NOW - 179]

    def test_faults_as_they_happen(self) -> None:
        state = begun()
        state.fault(fault(1))
        state.fault(fault(2, run="an earlier one"))
        [seen] = state.as_data(NOW)["faults"]
        assert (seen["fault"], seen["target"], seen["began"], seen["ended"]) == ("killed", "Redis 'redis'", NOW, None)
        state.fault(fault(1, "end", "2027-01-15T08:00:01.500+00:00"))
        [seen] = state.as_data(NOW + 2)["faults"]
        assert seen["ended"] == NOW + 1.5
        assert state.as_data(NOW + 200)["faults"] == []

    def test_another_run_begins_anew(self) -> None:
        state = begun()
        state.fact(fact("One"))
        state.event({"op": "run", "run": "r2", "t": NOW, "tests": 5, "suite": "Again"})
        data = state.as_data(NOW)
        assert (data["tests"], data["total"], data["suite"]) == ([], 5, "Again")

    @pytest.mark.parametrize(
        ("values", "expected"), [([7.0], [7, 7, 7]), ([2.0, 1.0], [1, 2, 2]), (list(range(1, 1001)), [500, 950, 990])]
    )
    def test_quantiles(self, values: list[float], expected: list[float]) -> None:
        assert quantiles(values) == expected


class TestFollower:
    def test_lines_come_once_and_whole(self, tmp_path: Path) -> None:
        file = tmp_path / "lines.jsonl"
        follower = Follower(file)
        assert follower.new_lines() == []
        file.write_bytes(b'{"a":1}\n{"a":2}\n{"a"')
        assert follower.new_lines() == [{"a": 1}, {"a": 2}]
        assert follower.new_lines() == []
        with file.open("ab") as more:
            more.write(b':3}\nno JSON\n[1]\n\xff\n{"a":4}\n')
        assert follower.new_lines() == [{"a": 3}, {"a": 4}]

    def test_a_file_that_was_cut_is_read_anew(self, tmp_path: Path) -> None:
        file = tmp_path / "lines.jsonl"
        file.write_bytes(b'{"a":1}\n{"a":2}\n')
        follower = Follower(file)
        assert len(follower.new_lines()) == 2
        file.write_bytes(b'{"a":3}\n')
        assert follower.new_lines() == [{"a": 3}]

    def test_of_a_long_piece_the_end_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follow, "MOST_BYTES", 20)
        file = tmp_path / "lines.jsonl"
        file.write_bytes(b"".join(b'{"a":%d}\n' % number for number in range(10)))
        follower = Follower(file)
        assert follower.new_lines() == [{"a": 8}, {"a": 9}]
        assert follower.new_lines() == []


def get(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class TestServer:
    @pytest.fixture
    def live(self, tmp_path: Path) -> Iterator[LiveServer]:
        with LiveServer() as live:
            live.follow(tmp_path)
            yield live

    def test_it_listens_on_loopback_alone_and_knows_three_paths(self, live: LiveServer) -> None:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", live.url)
        status, page = get(live.url)
        assert (status, b"Answers per second" in page) == (200, True)
        assert get(live.url + "data.json")[0] == 200
        for path in ("resilience.html", "evidence/facts.jsonl", "../page.html"):
            assert get(live.url + path)[0] == 404

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:1", ""])
    def test_a_foreign_host_is_refused(self, live: LiveServer, host: str) -> None:
        assert get(live.url + "data.json", Host=host)[0] == 403

    def test_lines_of_another_version_are_passed_over(self, live: LiveServer, tmp_path: Path) -> None:
        live._events.write_text(json.dumps({"op": "run", "run": "r1", "t": NOW, "tests": 1, "suite": "S"}) + "\n")
        evidence = tmp_path / "evidence"
        evidence.mkdir()
        facts = [{"op": "test", "run": "r1"}, fact("One")]
        (evidence / "facts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in facts))
        (evidence / "faults.jsonl").write_text(json.dumps(fault(1) | {"began": "yesterday"}) + "\n")
        assert [test["name"] for test in live.data()["tests"]] == ["One"]

    def test_it_is_gone_after_its_end(self, tmp_path: Path) -> None:
        with LiveServer() as live:
            live.follow(tmp_path)
            private = live._events.parent
        with pytest.raises(urllib.error.URLError):
            get(live.url)
        assert not private.exists()


SUITE = """\
*** Settings ***
Library    EvidenceLibrary
Library    OperatingSystem

*** Test Cases ***
The First
    No Operation

The Second
    Wait Until Created    {file}    timeout=60 s
"""


def test_a_run_is_shown_while_it_goes_on(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    suite = tmp_path / "suite.robot"
    suite.write_text(SUITE.format(file=str(go_on).replace(" ", "${SPACE}")))
    command = [sys.executable, "-m", "ocpp_resilience.run", "--live", "--outputdir", str(tmp_path / "out"), str(suite)]
    command += ["--history", str(tmp_path / "history.jsonl")]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().split()[-1]

            def second() -> dict[str, Any] | None:
                data: dict[str, Any] = json.loads(get(f"{url}data.json")[1])
                return data if data["running"] and data["running"]["name"] == "The Second" and data["tests"] else None

            data = wait_until(second, timeout=60, failure=lambda: "the second test is not shown")
            assert (data["total"], [test["name"] for test in data["tests"]]) == (2, ["The First"])
            assert data["page"] == str(tmp_path / "out" / "resilience.html")
            go_on.touch()
            process.communicate(timeout=60)
        finally:
            process.kill()
    with pytest.raises(urllib.error.URLError):
        get(url)
    report = json.loads((tmp_path / "out" / "resilience.json").read_bytes())
    assert (report["complete"], [test["name"] for test in report["tests"]]) == (True, ["The First", "The Second"])
