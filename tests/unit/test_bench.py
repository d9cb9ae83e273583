"""`make bench`: bounded, one table, and nothing left behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ocpp_resilience.waiting import wait_until

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"

PARTS = """
import sys
sys.path.insert(0, {folder!r})
import bench

bench.ENDING = 0.5
programs = {{name: bench.Program([file], seconds, name) for name, file, seconds in {parts!r}}}
sys.exit(bench.main(programs, all_seconds={all_seconds!r}))
"""

MEASURES = """
from figures import Figure, Part
PART = Part("A part.")
def measure(options):
    rounds = len(list(PART.rounds(4, 60)))
    yield Figure("a figure that misses", 3.0, "us", "PING: 1 us", 3.0, "<= 2", False, rounds)
    yield Figure("a figure that meets", 1.0, "us", "PING: 1 us", 1.0, "<= 2", True, rounds)
raise SystemExit(PART.main(measure))
"""

LEAVES = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
wait = "import signal; signal.pause()"
middle = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {wait!r}], start_new_session=True)"
subprocess.run([sys.executable, "-c", middle], start_new_session=True)
print("STARTED", flush=True)
signal.pause()
"""


@pytest.fixture
def make(tmp_path: Path) -> SimpleNamespace:
    """Write parts, and the command that runs them as `make bench` does."""
    (tmp_path / "figures.py").symlink_to(FOLDER / "figures.py")

    def command(parts: dict[str, tuple[str, float]], *more: str, all_seconds: float = 60.0) -> list[str]:
        listed = []
        for name, (text, seconds) in parts.items():
            file = tmp_path / f"{name}.py"
            # A part is found beside bench.py unless its path is absolute.
            file.write_text(textwrap.dedent(text))
            listed.append((name, str(file), seconds))
        program = tmp_path / "all.py"
        program.write_text(PARTS.format(folder=str(FOLDER), parts=listed, all_seconds=all_seconds))
        return [sys.executable, str(program), "--output", str(tmp_path / "bench.json"), *more]

    return SimpleNamespace(command=command, output=tmp_path / "bench.json", folder=tmp_path)


def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def start(command: list[str], started: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    started.append(process)
    return process


def marked(folder: str) -> list[psutil.Process]:
    """Processes that were started with this temporary folder, including those that left their parents."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR", "").startswith(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_missed_target_is_said_and_is_no_failure(make: SimpleNamespace) -> None:
    done = ran(make.command({"one": (MEASURES, 60), "two": (MEASURES, 60)}, "--longer", "2"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("a figure that misses  3.00   us    PING: 1 us  3.000  <= 2    NO") == 2
    assert "2 of 4 targets met" in done.stdout
    assert "MISSED: a figure that misses" in done.stdout
    written = json.loads(make.output.read_bytes())
    assert [(each["part"], each["ratio"], each["met"], each["rounds"]) for each in written["figures"]] == [
        ("one", 3.0, False, 8), ("one", 1.0, True, 8), ("two", 3.0, False, 8), ("two", 1.0, True, 8)
    ]  # fmt: skip
    assert list(written["parts"]) == ["one", "two"]


def test_a_part_can_be_left_out(make: SimpleNamespace) -> None:
    done = ran(make.command({"one": (MEASURES, 60), "two": ("raise SystemExit(1)", 60)}, "--only", "one"))
    assert done.returncode == 0, done.stdout
    assert list(json.loads(make.output.read_bytes())["parts"]) == ["one"]


def test_a_part_that_does_not_exist_is_refused_with_those_that_do(make: SimpleNamespace) -> None:
    done = ran(make.command({"one": (MEASURES, 60)}, "--only", "three"))
    assert done.returncode == 2
    assert "'three'" in done.stderr
    assert "one" in done.stderr


def test_a_part_that_breaks_is_a_failure_and_the_others_count(make: SimpleNamespace) -> None:
    done = ran(make.command({"one": ("raise SystemExit('no answer')", 60), "two": (MEASURES, 60)}))
    assert done.returncode == 1
    assert "one: BROKE with status 1" in done.stdout
    assert "no answer" in done.stderr
    assert len(json.loads(make.output.read_bytes())["figures"]) == 2


def test_a_part_without_figures_is_a_failure(make: SimpleNamespace) -> None:
    done = ran(make.command({"one": ("", 60)}))
    assert done.returncode == 1
    assert "its figures cannot be read" in done.stdout


def test_a_part_that_does_not_end_is_ended_with_its_children(make: SimpleNamespace, tmp_path: Path) -> None:
    command = make.command({"one": (LEAVES, 3), "two": (MEASURES, 60)})
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 1, done.stderr
    assert "one: BROKE: it had not ended within 3 s" in done.stdout
    assert "STARTED" in done.stdout
    assert not marked(str(tmp_path))
    assert not list(tmp_path.glob("bench-*"))


def test_no_part_begins_when_the_time_for_all_is_over(make: SimpleNamespace) -> None:
    done = ran(make.command({"one": (LEAVES, 60), "two": (MEASURES, 60)}, all_seconds=2.0))
    assert done.returncode == 1
    assert "two: not run: the time for all parts was used up" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything_that_a_real_part_started(
    number: signal.Signals, tmp_path: Path, started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server, its Redis, and the other processes of the part."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    output = tmp_path / "bench.json"
    process = start([sys.executable, str(FOLDER / "bench.py"), "--only", "gateway", "--output", str(output)], started)

    def at_work() -> list[psutil.Process] | None:
        """The part, its Redis and its server."""
        below = psutil.Process(process.pid).children(recursive=True)
        return below if len(below) >= 3 else None

    below = wait_until(at_work, timeout=60, failure=lambda: f"the part did not start a server: {process.poll()}")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not marked(str(tmp_path))
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in below)
    assert not list(tmp_path.iterdir())


def test_rounds_end_when_the_next_would_take_too_long(make: SimpleNamespace) -> None:
    text = """
    import time
    from figures import Figure, Part
    PART = Part("A part.")
    def measure(options):
        done = 0
        for _ in PART.rounds(1000, 0.5):
            time.sleep(0.2)
            done += 1
        yield Figure("rounds", done, "")
    raise SystemExit(PART.main(measure))
    """
    done = ran(make.command({"one": (text, 60)}))
    assert done.returncode == 0, done.stderr
    assert 1 <= json.loads(make.output.read_bytes())["figures"][0]["value"] <= 2
    assert "of 1000 rounds: the next would take longer than the 0.5 s there are" in done.stdout
