"""The lines on the terminal while keywords work: shown, rewritten, gone; and nothing where there is no terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import TextIO

import prepared
import pytest
from child_runs import run

from ocpp_resilience.robot import console
from ocpp_resilience.robot.console import Console, Rate, time_left
from ocpp_resilience.waiting import wait_until

COLUMNS = 100
STEPS = re.compile(r"\x1b(?:\[([\d;]*)([A-Za-z])|([78D]))|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """A minimal terminal that shows the position of text; it has few lines, so that it scrolls soon."""

    def __init__(self, lines: int = 6) -> None:
        self.lines = [""] * lines
        self.gone: list[str] = []
        self.row = self.column = 0
        self.kept = (0, 0)
        self.ever: list[str] = []

    def show(self, text: str) -> Screen:
        for number, csi, escape, control, plain in STEPS.findall(text):
            if csi == "A":
                self.row = max(0, self.row - int(number or 1))
            elif csi == "B":
                self.row = min(len(self.lines) - 1, self.row + 1)
            elif csi == "K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            elif escape == "7":
                self.kept = self.row, self.column
            elif escape == "8":
                self.row, self.column = self.kept
            elif control == "\r":
                self.column = 0
            elif control == "\n" or escape == "D":
                self._down()
            elif plain:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + plain + line[self.column + len(plain) :]
                self.column += len(plain)
                self.ever.append(self.lines[self.row])
        return self

    def _down(self) -> None:
        if self.row == len(self.lines) - 1:
            self.gone.append(self.lines.pop(0))
            self.lines.append("")
        else:
            self.row += 1

    @property
    def text(self) -> str:
        return "\n".join([*self.gone, *self.lines])


class Terminal:
    """A pseudo terminal: text written to `stream` is in `seen`."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 6, COLUMNS, 0, 0))
        self.stream: TextIO = os.fdopen(self.slave, "w", encoding="utf-8")
        self.seen = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            self.seen += data.decode()

    def close(self) -> str:
        self.stream.close()
        self._reader.join()
        os.close(self.master)
        return self.seen


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    yield terminal
    if not terminal.stream.closed:
        terminal.close()


def until_seen(terminal: Terminal, text: str) -> None:
    wait_until(lambda: True if text in terminal.seen else None, timeout=20, failure=lambda: f"saw {terminal.seen!r}")


def test_the_line_is_rewritten_below_and_gone_at_the_end(terminal: Terminal) -> None:
    looks = iter(range(10_000))
    terminal.stream.write("".join(f"line {number}\n" for number in range(8)) + "A Test   ...")
    line = Console(terminal.stream, every=0.01)
    with line.showing(lambda: f"{next(looks)} messages"):
        until_seen(terminal, "3 messages")
        terminal.stream.write(".")
    terminal.stream.write("| PASS |\n")
    screen = Screen().show(terminal.close())
    assert {"0 messages", "1 messages", "2 messages"} <= set(screen.ever)
    assert "A Test   ....| PASS |" in screen.text.splitlines()
    assert "messages" not in screen.text, "the line is still there"
    assert [each for each in screen.text.splitlines() if each.startswith("line")] == [f"line {n}" for n in range(8)]


def test_each_has_a_line_and_the_last_one_ends_the_thread(terminal: Terminal) -> None:
    line = Console(terminal.stream, every=0.01)
    before = threading.active_count()

    def first() -> str:
        return "first"

    line.add(first)
    with line.showing(lambda: "second"):
        until_seen(terminal, "second")
        assert Screen().show(terminal.seen).lines[:3] == ["", "first", "second"]
        assert threading.active_count() == before + 1
    shown = len(terminal.seen)
    wait_until(lambda: True if len(terminal.seen) > shown + 100 else None, timeout=20, failure=lambda: "no more")
    line.remove(first)
    assert threading.active_count() == before
    line.remove(first)
    assert Screen().show(terminal.close()).text.strip() == ""


def test_control_characters_are_not_sent_and_a_long_line_is_cut(terminal: Terminal) -> None:
    line = Console(terminal.stream, every=0.01)
    with line.showing(lambda: "evil\x1b]0;title\x07\r" + "x" * 500 + "END"):
        until_seen(terminal, "…")
    seen = terminal.close()
    assert "\x07" not in seen
    assert "\x1b]" not in seen
    assert "END" not in seen
    assert max(map(len, Screen().show(seen).ever)) == COLUMNS - 1


def test_an_unencodable_message_breaks_nothing(terminal: Terminal) -> None:
    line = Console(terminal.stream, every=0.01)
    with line.showing(lambda: str(1 // 0)), line.showing(lambda: "the other"):
        until_seen(terminal, "the other")


def test_a_short_keyword_writes_nothing(terminal: Terminal) -> None:
    with Console(terminal.stream, every=60).showing(lambda: "too soon"):
        pass
    assert terminal.close() == ""


@pytest.mark.parametrize("why", ["no terminal", "pabot", "dumb", "closed"])
def test_nothing_is_written_without_a_terminal(why: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    stream: TextIO = terminal.stream
    if why == "no terminal":
        stream = io.StringIO()
    elif why == "pabot":
        monkeypatch.setattr(console, "robot_variable", {"PABOTISLASTEXECUTIONINPOOL": "1"}.get)
    elif why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        terminal.close()
    before = threading.active_count()
    with Console(stream, every=0.001).showing(lambda: "words"):
        assert threading.active_count() == before
    if isinstance(stream, io.StringIO):
        assert stream.getvalue() == ""
    elif not stream.closed:
        assert terminal.close() == ""


def test_time_left_is_in_words() -> None:
    assert [time_left(each) for each in (-1, 0.4, 99.4, 100, 3599)] == [
        "0 s left",
        "0 s left",
        "99 s left",
        "1:40 min left",
        "59:59 min left",
    ]


def test_a_rate_is_that_of_the_last_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    rate = Rate(window=5)
    assert [rate.of(number) for number in (0, 100, 200, 200, 200, 300)] == [0, 100, 100, 0, 0, 10]


SUITE = """
    *** Settings ***
    Library         RedisServiceLibrary
    Library         OcppServerLibrary
    Library         FaultLibrary
    Library         LoadLibrary
    Library         RedisQueueLibrary

    *** Test Cases ***
    A Load Under Faults
        ${redis}    Start Redis
        ${faulty}    Start Fault Proxy    ${redis}
        Start Server    ${faulty}
        Wait Until Server Is Ready
        ${url}    Get Gateway Url
        Set Load Target    ${url}
        Start Fault Schedule    at 0.2 s    latency 50 ms for 9 s    at 9.5 s    latency 5 ms for 0.1 s
        Run Load    rate=50    duration=5 s    charge_points=5
        Fault Schedule Should End

    A Queue
        ${redis}    Start Redis    alias=queue
        Start Server    ${redis}    alias=queue
        Wait Until Server Is Ready    alias=queue
        Open Queue    ${redis}
        Pause Server    alias=queue
        ${sent}    Queue Generated Messages    10
        Run Keyword And Expect Error    *    All Messages Should Be Answered    ${sent}    timeout=5 s
        Resume Server    alias=queue
        All Messages Should Be Answered    ${sent}
"""


def command(folder: Path, *options: str) -> list[str]:
    (folder / "suite.robot").write_text(dedent(SUITE).lstrip())
    return [sys.executable, "-m", "robot", "--outputdir", str(folder / "out"), *options, str(folder / "suite.robot")]


def test_loads_faults_and_queues_show_how_far_they_are(terminal: Terminal, tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path), stdout=terminal.stream, stderr=subprocess.STDOUT, cwd=tmp_path, timeout=300, check=False
    )
    seen = terminal.close()
    screen = Screen().show(seen)
    assert done.returncode == 0, screen.text
    lines = "\n".join(screen.ever)
    assert re.search(r"load 'load': \d+ messages answered, \d+/s, p99 \d+ ms, [1-5] s left, fault: latency of F", lines)
    assert re.search(r"Fault 1 of 2, now latency of Fault proxy .*, \d s left", lines)
    assert re.search(r"Queue: 0 of 10 messages answered, 0/s", lines)
    assert re.search(r"^A Load Under Faults +\S*\| PASS \|$", re.sub(r"\x1b\[\d+m", "", screen.text), re.MULTILINE)
    assert "left" not in screen.text


def test_a_run_in_a_pipeline_is_quiet(tmp_path: Path) -> None:
    done = prepared.run(command(tmp_path, "--test", "A Queue"), cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "messages answered" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("library", "options", "first"),
    [
        ("OcppServerLibrary", [], "Target: reference   Redis: as the suites say"),
        ("OcppServerLibrary", ["--variable", "REDIS:sentinel"], "Target: reference   Redis: sentinel"),
        ("Collections", ["--variable", "TARGET:running"], "Target: running   Redis: as the suites say"),
        ("Collections", [], "=" * 78),
    ],
)
def test_the_tested_system_is_the_first_line_and_the_page_the_last(
    tmp_path: Path, library: str, options: list[str], first: str
) -> None:
    libraries = f"Library    EvidenceLibrary\nLibrary    {library}\n"
    (tmp_path / "one.robot").write_text(f"*** Settings ***\n{libraries}*** Test Cases ***\nOne\n    No Operation\n")
    lines = run(tmp_path, *options, "one.robot").stdout.splitlines()
    assert lines[0] == first
    assert lines[-1] == f"Page:    {tmp_path / 'out' / 'resilience.html'}"


def test_a_reader_who_leaves_sees_no_traceback(tmp_path: Path) -> None:
    """As behind `| head`."""
    (tmp_path / "one.robot").write_text(
        "*** Settings ***\nLibrary    EvidenceLibrary\n*** Test Cases ***\nOne\n    No Operation\n"
    )
    command = f"{sys.executable} -m robot --outputdir out one.robot | head -n 1"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("=====")
    assert "BrokenPipeError" not in done.stderr
