"""`ocpp-resilience run`: the verdict is its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import prepared
import pytest
from child_runs import report_of, write_suite

from ocpp_resilience.report.model import Report

OWN = """\
requirements:
  - id: R99.1
    test: 99
    title: The roof is tight.
    thresholds:
      leaks: {comparison: "==", value: 0, unit: frames, statistic: count, measures: "drops"}
counted: [frames]
"""

ROOF = """
    Roof
        [Tags]    R99.1
        {line}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ocpp_resilience.run", "--outputdir", "out", *arguments]


def decide(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return prepared.run(command(*arguments), cwd=folder, env=environment, timeout=200)


def own_suite(folder: Path, line: str, settings: str = "") -> None:
    (folder / "own.yaml").write_text(OWN)
    path = write_suite(folder, ROOF.format(line=line), settings=settings)
    path.write_text(path.read_text().replace("EvidenceLibrary", "EvidenceLibrary    requirements=own.yaml"))


@pytest.mark.parametrize(
    ("line", "settings", "status", "sentence"),
    [
        ("Requirement Should Be Met    R99.1    leaks    0", "", 0, "Ready: the one requirement is met."),
        ("Requirement Should Be Met    R99.1    leaks    2", "", 1, "Not ready: 1 requirement is not met (R99.1)"),
        ("Skip    No rain today.", "", 2, "Undecided: no failure was found, but 1 of 1 requirements is undecided"),
        ("No Operation", "Suite Setup    Use Wrongly    REDIS is foo.", 3, "Not run: REDIS is foo."),
    ],
)
def test_the_exit_status_is_the_decision(tmp_path: Path, line: str, settings: str, status: int, sentence: str) -> None:
    own_suite(tmp_path, line, settings)
    done = decide(tmp_path, "own.robot")
    assert sentence in done.stdout
    assert done.returncode == status


def test_a_failure_that_an_option_hides_is_not_ready(tmp_path: Path) -> None:
    own_suite(tmp_path, "Requirement Should Be Met    R99.1    leaks    2")
    assert decide(tmp_path, "own.robot", "--", "--skiponfailure", "R99.1").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch.robot"], "Not run: There is no nosuch.robot."),
        (
            ["own.robot", "--", "--nosuchoption"],
            "Not run: Robot Framework cannot use these options or suites; its message is above.",
        ),
        (["own.robot", "--limit", "soon"], "Not run: --limit is 'soon', allowed is a time above 0"),
    ],
)
def test_an_impossible_plan_is_reported(tmp_path: Path, arguments: list[str], said: str) -> None:
    own_suite(tmp_path, "No Operation")
    done = decide(tmp_path, *arguments)
    assert said in done.stderr
    assert done.returncode == 3


def test_the_page_of_an_earlier_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    own_suite(tmp_path, "Requirement Should Be Met    R99.1    leaks    0")
    assert decide(tmp_path, "own.robot").returncode == 0
    (tmp_path / "own.robot").write_text("*** Test Cases ***\nNo Library\n    No Operation\n")
    assert decide(tmp_path, "own.robot").returncode == 3


def test_a_run_that_takes_too_long_is_stopped_and_decides_no_more_than_it_did(tmp_path: Path) -> None:
    own_suite(tmp_path, "Sleep    100")
    done = decide(tmp_path, "own.robot", "--limit", "3 s")
    assert "The time limit is over" in done.stderr
    assert done.returncode == 2
    assert "stopped by a signal" in report_of(tmp_path).sentence


def test_sigterm_ends_robot_in_order(tmp_path: Path) -> None:
    own_suite(tmp_path, "Create File    reached\n        Sleep    100", settings="Library    OperatingSystem")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(command("own.robot"), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "reached").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 2
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert not report_of(tmp_path).complete


def test_a_release_repeats_requirements_that_ask_for_it_and_shows_one_page(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Killed
            [Tags]    R16.8
            Append To File    ${CURDIR}/times    x
            ${times} =    Get File    ${CURDIR}/times
            Requirement Should Be Met    R16.8    lost    ${{len($times) - 1}}
        Once
            [Tags]    R13.1
            Append To File    ${CURDIR}/once    x
        """,
        settings="Library    OperatingSystem",
    )
    done = decide(tmp_path, "--release", "--protocol", "ocpp1.6", "own.robot")
    assert done.returncode == 1, done.stdout
    assert (tmp_path / "once").read_text() == "x"
    found = report_of(tmp_path)
    [killed] = [each for each in found.requirements if each.id == "R16.8"]
    [lost] = [each for each in killed.thresholds if each.name == "lost"]
    assert (lost.measured, lost.measurements) == (1, 2)
    assert len([each for each in found.tests if each.name == "Killed"]) == 2
    assert found.log
    assert (tmp_path / "out" / found.log).is_file()


def test_the_repetitions_of_a_release_do_not_count_as_time_of_the_suites(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        One Of Each
            [Tags]    R13.1    R14.1    R15.1    R16.8    R17.1    R18.4    R20.1
            Append To File    ${CURDIR}/times    x
            ${times} =    Get File    ${CURDIR}/times
            Record Measurement    R18.4    duration    10
            IF    $times == 'xx'    Sleep    3 s
        """,
        settings="Library    OperatingSystem",
    )
    done = decide(tmp_path, "--release", "--protocol", "ocpp1.6", "own.robot")
    assert (tmp_path / "times").read_text() == "xx", done.stdout
    first, _ = (json.loads(line) for line in (tmp_path / "results" / "history.jsonl").read_text().splitlines())
    found = report_of(tmp_path)
    [length] = [each for each in found.requirements if each.id == "R0.1"]
    [full] = [each for each in length.thresholds if each.name == "full_run"]
    assert full.measured is not None
    assert full.measured * 60 == pytest.approx(first["seconds"], abs=0.01)
    assert found.seconds >= first["seconds"] + 3, "the page says how long the whole release took"
    assert written_again(tmp_path) == found


def written_again(folder: Path) -> Report:
    """The report that `ocpp-resilience report` makes of the merged results, as far as it is not about its own time."""
    before = report_of(folder)
    command = [sys.executable, "-m", "ocpp_resilience.report", "out/release.xml", "--history", "results/history.jsonl"]
    subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return msgspec.structs.replace(report_of(folder), written=before.written, report=before.report)


def test_a_release_repeats_tests_that_a_busy_machine_left_undecided(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Overload [at 2 x]
            [Tags]    R18.3
            Append To File    ${CURDIR}/times    x
            ${times} =    Get File    ${CURDIR}/times
            IF    $times == 'x'    Doubt The Load    the generator was late
            Requirement Should Be Met    R18.3    message_rate    120
            Requirement Should Be Met    R18.3    burst_messages    5000
            Requirement Should Be Met    R18.3    burst_answered    100
        Lost
            [Tags]    R18.7
            Doubt The Load    the generator was late
            Requirement Should Be Met    R18.7    lost    1
        """,
        settings="Library    OperatingSystem",
    )
    done = decide(tmp_path, "--release", "--protocol", "ocpp1.6", "own.robot")
    assert done.returncode == 1, done.stdout
    report = report_of(tmp_path)
    found = {each.id: each.verdict.value for each in report.requirements}
    assert (tmp_path / "times").read_text() == "xx"
    assert (found["R18.3"], found["R18.7"]) == ("met", "not met")
    assert written_again(tmp_path) == report


def test_a_release_runs_every_version_that_the_profile_has(tmp_path: Path) -> None:
    own_suite(tmp_path, "Requirement Should Be Met    R99.1    leaks    ${{int($PROTOCOL == 'ocpp2.0.1')}}")
    done = decide(tmp_path, "--release", "own.robot")
    assert done.returncode == 1, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("OCPP ")]
    assert said == ["OCPP 1.6", "OCPP 2.0.1", "OCPP 2.1"]
    pages = [report_of(tmp_path, out) for out in ("out", "out/ocpp2.0.1", "out/ocpp2.1")]
    verdicts = [next(each for each in page.requirements if each.id == "R99.1").verdict.value for page in pages]
    assert verdicts == ["met", "not met", "met"]
    # A run is compared with earlier ones of its version.
    assert (tmp_path / "results" / "ocpp2.1" / "history.jsonl").is_file()


def test_a_version_that_the_profile_does_not_have_is_not_run(tmp_path: Path) -> None:
    own_suite(tmp_path, "No Operation")
    done = decide(tmp_path, "--protocol", "ocpp9", "own.robot")
    assert done.returncode == 3
    assert "Not run: Target 'reference' does not support 'ocpp9' (allowed: ocpp1.6, ocpp2.0.1, ocpp2.1;" in done.stderr
