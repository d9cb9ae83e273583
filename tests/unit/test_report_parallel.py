"""Suites in pabot's processes: one page that the last one completes, and the whole machine for those that need it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import msgspec

from ocpp_resilience.report import Report
from ocpp_resilience.report.parallel import FOLDER, Machine, joined, results_folder

LIBRARY = """
import time
from pathlib import Path
HERE = Path(__file__).parent
def begin(name):
    (HERE / f"{name}.running").touch()
def end(name):
    (HERE / f"{name}.running").unlink()
def meet(other):
    until = time.monotonic() + 60
    while not (HERE / f"{other}.running").exists() and not (HERE / f"{other}.met").exists():
        assert time.monotonic() < until, f"{other} does not run beside this suite"
        time.sleep(0.01)
def met(name):
    (HERE / f"{name}.met").touch()
def be_alone():
    for _ in range(50):
        assert not list(HERE.glob("*.running")), "another suite runs beside this one"
        time.sleep(0.01)
"""

BESIDE = """
    *** Settings ***
    Library           EvidenceLibrary
    Library           own.py
    Suite Setup       Begin    {own}
    Suite Teardown    End    {own}

    *** Test Cases ***
    It Runs Beside {other}
        [Tags]    R13.1
        Meet    {other}
        Met    {own}
"""

ALONE = """
    *** Settings ***
    Library      EvidenceLibrary
    Library      own.py
    Test Tags    alone

    *** Test Cases ***
    Nobody Runs Beside It
        [Tags]    R18.3
        Be Alone
"""


def pabot(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-m", "pabot.pabot", "--no-pabotlib", "--outputdir", "out", *arguments, "suites"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def report(folder: Path) -> Report:
    return msgspec.json.decode((folder / "out" / "resilience.json").read_bytes(), type=Report)


def test_suites_run_side_by_side_but_for_one_that_is_to_be_alone(tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "own.py").write_text(LIBRARY)
    (suites / "a.robot").write_text(dedent(BESIDE).format(own="a", other="b"))
    (suites / "b.robot").write_text(dedent(BESIDE).format(own="b", other="a"))
    (suites / "c.robot").write_text(dedent(ALONE))
    done = pabot(tmp_path, "--processes", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    found = report(tmp_path)
    assert found.complete
    assert [each.status for each in found.tests] == ["PASS"] * 3
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 1


def test_a_process_that_is_killed_leaves_a_page_that_says_that_it_is_incomplete(tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "a.robot").write_text(
        dedent(ALONE).replace("Library      own.py\n", "").replace("Be Alone", "No Operation")
    )
    killed = "Evaluate    os.kill(os.getpid(), 9)    modules=os"
    (suites / "b.robot").write_text(dedent(ALONE).replace("Library      own.py\n", "").replace("Be Alone", killed))
    pabot(tmp_path, "--processes", "1")
    found = report(tmp_path)
    assert not found.complete
    assert "has not ended, or was cut off" in found.sentence
    assert [each.suite for each in found.tests] == ["Suites.A"]


def test_one_that_wants_the_machine_for_itself_waits_for_all_others(tmp_path: Path) -> None:
    output = tmp_path / FOLDER / "0" / "output.xml"
    output.parent.mkdir(parents=True)
    first, second, alone = Machine(), Machine(), Machine()
    first.take(output, alone=False)
    second.take(output, alone=False)
    has_it = threading.Event()

    def wait() -> None:
        alone.take(output, alone=True)
        has_it.set()

    thread = threading.Thread(target=wait)
    thread.start()
    first.give_back()
    assert not has_it.wait(0.1)
    second.give_back()
    thread.join(60)
    assert has_it.is_set()
    alone.give_back()
    first.take(output, alone=True)
    first.give_back()


def test_outside_of_pabot_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    assert results_folder(tmp_path / "results" / "output.xml") is None
    Machine().take(tmp_path / "results" / "output.xml", alone=True)


def test_without_results_there_is_nothing_to_join(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    assert joined(tmp_path) == (None, False)
    (tmp_path / "0" / "output.xml").write_text("<robot>")
    (tmp_path / "last-has-started").touch()
    assert joined(tmp_path) == (None, False)
