"""A verdict that holds however the suites are run: rows of options, each through a real child run."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child_runs import report_of, run, verdicts_of, without_own_script, write_suite

from ocpp_resilience.report.__main__ import main

LOSES = """
    It Loses Messages
        [Tags]    R13.1
        Requirement Should Be Met    R13.1    answered    99

    It Is Quick
        [Tags]    R13.3
        Record Measurement    R13.3    health_response_time    5
        Record Measurement    R13.3    idle_cpu    0.5
        Record Measurement    R13.3    answer_after_silence    0.1
        Record Measurement    R13.3    silence    10
        Record Measurement    R13.3    shutdown    0.4
"""
FAILS = """
    It Fails
        [Tags]    R13.1
        Fail    62 messages were lost.
"""
MEETS_R18_8 = """
        Requirement Should Be Met    R18.8    load    2.2
        Requirement Should Be Met    R18.8    crashes    0
        Requirement Should Be Met    R18.8    silent_refusals    0
        Requirement Should Be Met    R18.8    memory_growth    1
        Requirement Should Be Met    R18.8    recovery_time    1
"""


# --- A fault that was not proven


def test_a_value_that_misses_while_its_fault_was_not_proven_is_inconclusive(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Missed
            [Tags]    R16.3
            Begin Fault Without Proof    latency
            Requirement Should Be Met    R16.3    reconnect_time    99
        """,
    )
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    verdict, reason = verdicts_of(found)["R16.3"]
    assert verdict == "inconclusive"
    assert "latency of the connection: nothing was seen" in reason
    assert found.verdict == "undecided"


def test_any_failure_while_a_fault_was_not_proven_is_inconclusive_but_a_proven_one_is_not(tmp_path: Path) -> None:
    text = """
        Failed
            [Tags]    R16.5
            {begin}
            Fail    3 messages were lost.
        """
    write_suite(tmp_path, text.format(begin="Begin Fault Without Proof    killed"))
    run(tmp_path, "own.robot")
    verdict, reason = verdicts_of(report_of(tmp_path))["R16.5"]
    assert verdict == "inconclusive"
    assert "killed of the connection" in reason
    assert "3 messages were lost" in reason
    write_suite(tmp_path, text.format(begin="No Operation"))
    run(tmp_path, "own.robot")
    assert verdicts_of(report_of(tmp_path))["R16.5"] == ("not met", "Failed: Failed: 3 messages were lost.")


# --- Tests that are skipped by options


@pytest.mark.parametrize(
    ("options", "tag"),
    [(["--skiponfailure", "R13.1"], ""), ([], "robot:skip-on-failure"), (["--skiponfailure", "R13.*"], "")],
)
@pytest.mark.parametrize("text", [LOSES, FAILS])
def test_a_failure_that_an_option_makes_a_skip_is_not_met(
    tmp_path: Path, options: list[str], tag: str, text: str
) -> None:
    write_suite(tmp_path, text, settings=f"Test Tags    {tag}" if tag else "")
    done = run(tmp_path, *options, "own.robot")
    assert done.returncode == 0, "Robot Framework itself takes it for a skip"
    found = report_of(tmp_path)
    assert verdicts_of(found)["R13.1"][0] == "not met"
    assert found.verdict == "not ready"
    assert found.tests[0].status == "FAIL"


def test_a_test_that_is_skipped_by_its_tag_was_not_run(tmp_path: Path) -> None:
    write_suite(tmp_path, FAILS)
    for option in (["--skip", "R13.1"], ["--settag", "robot:skip"]):
        run(tmp_path, *option, "own.robot")
        found = report_of(tmp_path)
        verdict, reason = verdicts_of(found)["R13.1"]
        assert verdict == "inconclusive"
        assert reason.startswith("It Fails: Test skipped using ")
        assert found.verdict == "undecided"
        assert found.tests[0].status == "NOT RUN"


def test_only_declared_gaps_are_not_applicable(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Declared
            [Tags]    R17.10
            Lack    Target 'x' does not support gateway.
        Not Declared
            [Tags]    R13.6
            Not Possible Here    Redis is external.
        Anybody Can Say So
            [Tags]    R13.4
            Skip    Target 'x' does not support gateway.
        """,
    )
    run(tmp_path, "own.robot")
    found = verdicts_of(report_of(tmp_path))
    assert found["R17.10"] == ("not applicable", "Target 'x' does not support gateway.")
    assert found["R13.6"][0] == "inconclusive"
    assert found["R13.4"][0] == "inconclusive"


def test_a_suite_that_the_target_cannot_run_is_not_applicable(tmp_path: Path) -> None:
    write_suite(tmp_path, FAILS, settings="Suite Setup    Lack    Target 'x' has no queue.")
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    assert verdicts_of(found)["R13.1"] == ("not applicable", "Target 'x' has no queue.")


# --- Merged, renamed and combined results


def undecided_again(folder: Path, last: str) -> None:
    write_suite(folder, FAILS)
    run(folder, "--output", "first.xml", "own.robot")
    write_suite(folder, f"It Fails\n    [Tags]    R13.1\n    {last}\n")
    run(folder, "--output", "second.xml", "own.robot")
    out = folder / "out"
    run(
        folder,
        "--merge",
        "--output",
        "output.xml",
        str(out / "first.xml"),
        str(out / "second.xml"),
        module="robot.rebot",
    )
    assert main([str(out / "output.xml")]) == 0


def test_a_merged_failure_that_decides_nothing_is_inconclusive_with_its_reason_as_text(tmp_path: Path) -> None:
    undecided_again(
        tmp_path,
        "Begin Fault Without Proof    <b>killed</b>\n    Fail    *HTML* <b>gone</b>",
    )
    found = report_of(tmp_path)
    verdict, reason = verdicts_of(found)["R13.1"]
    assert verdict == "inconclusive"
    assert "<b>killed</b> of the connection" in reason
    assert "merge" not in reason


def test_a_merged_skip_leaves_the_first_result_as_rebot_does(tmp_path: Path) -> None:
    undecided_again(tmp_path, "Skip    Nobody knows.")
    found = report_of(tmp_path)
    assert verdicts_of(found)["R13.1"] == ("not met", "Failed: It Fails: 62 messages were lost.")


def test_a_merged_message_is_text_where_no_facts_were_kept(tmp_path: Path) -> None:
    undecided_again(tmp_path, "Fail    <i>other</i> & more")
    (tmp_path / "out" / "evidence" / "facts.jsonl").unlink()
    assert main([str(tmp_path / "out" / "output.xml")]) == 0
    found = report_of(tmp_path)
    assert "<span" not in found.tests[0].message
    assert "<i>other</i> & more" in found.tests[0].message
    assert verdicts_of(found)["R13.1"][0] == "not met"
    assert any("No recorded facts" in each for each in found.problems)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with measurements."""
    folder = tmp_path_factory.mktemp("measured")
    write_suite(folder, LOSES)
    run(folder, "own.robot")
    assert verdicts_of(report_of(folder)) == EXPECTED
    return folder


EXPECTED = {"R13.1": ("not met", "Missed: answered (99 %, required == 100 %)."), "R13.3": ("met", "")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--name", "Other"], EXPECTED),
        (["--include", "R13.1"], {"R13.1": EXPECTED["R13.1"]}),
        (["--exclude", "R13.1"], {"R13.3": EXPECTED["R13.3"]}),
        (["--test", "It Is Quick"], {"R13.3": EXPECTED["R13.3"]}),
        (["--suite", "Own"], EXPECTED),
    ],
)
def test_measurements_are_found_by_test_after_any_rebot(
    measured: Path, tmp_path: Path, options: list[str], expected: dict[str, tuple[str, str]]
) -> None:
    source = str(measured / "out" / "output.xml")
    run(tmp_path, *options, "--output", str(tmp_path / "o.xml"), source, module="robot.rebot", out="")
    assert main([str(tmp_path / "o.xml")]) == 0
    assert verdicts_of(report_of(tmp_path, ".")) == expected


def test_two_outputs_combined_keep_both_runs_apart(measured: Path, tmp_path: Path) -> None:
    write_suite(tmp_path, LOSES.replace("99", "100"))
    run(tmp_path, "own.robot")
    sources = [str(measured / "out" / "output.xml"), str(tmp_path / "out" / "output.xml")]
    run(tmp_path, "--output", str(tmp_path / "o.xml"), *sources, module="robot.rebot", out="")
    assert main([str(tmp_path / "o.xml")]) == 0
    found = report_of(tmp_path, ".")
    [answered] = [each for each in found.requirements if each.id == "R13.1"]
    assert {each.name: (each.measured, each.measurements) for each in answered.thresholds} == {
        "answered": (99, 2),
        "answer_time": (None, 0),
        "miscounted": (None, 0),
    }


def test_a_run_with_chosen_tests_measures_these(tmp_path: Path) -> None:
    write_suite(tmp_path, LOSES)
    run(tmp_path, "--name", "Other", "--test", "It Is Quick", "own.robot")
    assert verdicts_of(report_of(tmp_path)) == {"R13.3": ("met", "")}


# --- Runs that do not come to their end

CUT = """
    It Is Quick
        [Tags]    R13.4
        Requirement Should Be Met    R13.4    messages    5000
        Requirement Should Be Met    R13.4    charge_points    50
        Requirement Should Be Met    R13.4    processors    3
        Requirement Should Be Met    R13.4    out_of_order    0
    The One In The Middle
        [Tags]    R13.1
        {middle}
    Never Run
        [Tags]    R13.5
        No Operation
"""


@pytest.mark.parametrize("option", ["--exitonfailure", "--exitonerror"])
def test_a_run_that_stops_at_a_failure_keeps_earlier_verdicts(tmp_path: Path, option: str) -> None:
    middle = "Log    bad    ERROR" if option == "--exitonerror" else "Fail    62 messages were lost."
    write_suite(tmp_path, CUT.format(middle=middle))
    run(tmp_path, option, "own.robot")
    found = report_of(tmp_path)
    verdicts = verdicts_of(found)
    assert verdicts["R13.4"] == ("met", "")
    assert verdicts["R13.1"][0] == ("not met" if option == "--exitonfailure" else "inconclusive")
    assert verdicts["R13.5"][0] == "inconclusive"
    assert not found.complete
    where = "before 'Never Run'" if option == "--exitonfailure" else "in 'The One In The Middle'"
    assert f"The run was stopped {where}" in found.sentence
    assert found.verdict == ("not ready" if option == "--exitonfailure" else "undecided")
    assert main([str(tmp_path / "out" / "output.xml")]) == 0
    again = report_of(tmp_path)
    assert (again.sentence, again.complete, verdicts_of(again)) == (found.sentence, found.complete, verdicts)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_by_a_signal_keeps_earlier_verdicts(tmp_path: Path, name: str) -> None:
    teardown = "Suite Teardown    Fail    Redis is gone, too."
    write_suite(tmp_path, CUT.format(middle=f"Send Signal    {name}\n        Sleep    60"), settings=teardown)
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    verdicts = verdicts_of(found)
    assert verdicts["R13.4"] == ("met", "")
    assert verdicts["R13.1"][0] == verdicts["R13.5"][0] == "inconclusive"
    assert not found.complete
    assert found.verdict == "undecided"
    assert "Incomplete in 'The One In The Middle': The run was stopped by a signal" in found.sentence
    assert [each.status for each in found.tests] == ["PASS", "FAIL", "NOT RUN"]


def test_a_second_ctrl_c_leaves_a_page_that_is_incomplete(tmp_path: Path) -> None:
    twice = "Send Signal    SIGINT\n        Run Keyword And Ignore Error    Sleep    1\n        Send Signal    SIGINT"
    write_suite(tmp_path, CUT.format(middle=twice), settings="Test Teardown    Send Signal    SIGINT")
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    assert not found.complete
    assert found.verdict == "undecided"


def test_a_suite_teardown_that_fails_fails_the_suite(tmp_path: Path) -> None:
    write_suite(tmp_path, LOSES.replace("99", "100"), settings="Suite Teardown    Expect    Keys are left.")
    run(tmp_path, "own.robot")
    assert verdicts_of(report_of(tmp_path))["R13.3"] == ("not met", "Failed: It Is Quick: Keys are left.")


@pytest.mark.parametrize("where", ["root", "file"])
def test_unusable_arguments_are_not_run_with_one_reason(tmp_path: Path, where: str) -> None:
    setup = (
        "Suite Setup    Use Wrongly    The variable REDIS is 'foo', allowed is one of embedded, container, external."
    )
    for name in ("one.robot", "two.robot"):
        write_suite(tmp_path, LOSES, f"suites/{name}", setup if where == "file" else "")
    (tmp_path / "Said.py").write_text((tmp_path / "Said.py").read_text())
    if where == "root":
        (tmp_path / "suites" / "__init__.robot").write_text(
            f"*** Settings ***\nLibrary    EvidenceLibrary\nLibrary    Said\n{setup}\n"
        )
    run(tmp_path, "suites")
    found = report_of(tmp_path)
    assert found.verdict == "not run"
    assert found.sentence == "Not run: The variable REDIS is 'foo', allowed is one of embedded, container, external."
    assert {each[0] for each in verdicts_of(found).values()} == {"inconclusive"}
    html = (tmp_path / "out" / "resilience.html").read_text()
    top = html[html.index("<body>") : html.index('id="requirements"')]
    assert top.count("The variable REDIS is") <= 2, "in the sentence and once for all requirements"


# --- Loads and crashes


def test_a_load_whose_generator_was_late_is_inconclusive(tmp_path: Path) -> None:
    text = f"""
    Overload
        [Tags]    R18.8    R18.7
        {{doubt}}
        Requirement Should Be Met    R18.7    lost    0
        {MEETS_R18_8.strip()}
    """
    write_suite(tmp_path, text.format(doubt="Doubt The Load    the generator was late by 900 ms"))
    done = run(tmp_path, "own.robot")
    assert done.returncode == 0, done.stdout
    verdict, reason = verdicts_of(report_of(tmp_path))["R18.8"]
    assert verdict == "inconclusive"
    assert "the generator was late by 900 ms" in reason
    write_suite(tmp_path, text.format(doubt="No Operation"))
    run(tmp_path, "own.robot")
    assert verdicts_of(report_of(tmp_path))["R18.8"] == ("met", "")


def test_a_late_generator_excuses_no_lost_message(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Overload
            [Tags]    R18.7
            Doubt The Load    the generator was late by 900 ms
            Requirement Should Be Met    R18.7    lost    3
        """,
    )
    run(tmp_path, "own.robot")
    assert verdicts_of(report_of(tmp_path))["R18.7"][0] == "not met"


def test_a_server_that_crashes_fails_that_test_and_leaves_the_others_undecided(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        It Dies On Bad JSON
            [Tags]    R17.1
            [Setup]    NONE
            Let The Server Crash
        The Next
            [Tags]    R17.2
            No Operation
        And The One Behind
            [Tags]    R17.3
            No Operation
        """,
        settings="Test Setup    Expect    Server 'server' does not answer.",
    )
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    verdicts = verdicts_of(found)
    assert verdicts["R17.1"] == ("not met", "It Dies On Bad JSON: Server 'server' exited with status 3.")
    assert verdicts["R17.2"][0] == verdicts["R17.3"][0] == "inconclusive"
    assert found.sentence.startswith(
        "Not ready: Server 'server' exited with status 3. In 'It Dies On Bad JSON'. 1 requirement is not met (R17.1)"
    )


def test_a_crash_between_the_tests_is_never_ready(tmp_path: Path) -> None:
    write_suite(tmp_path, LOSES.replace("99", "100"), settings="Suite Setup    Let The Server Crash")
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    assert found.verdict == "not ready"
    assert "Server 'server' exited with status 3." in found.sentence


# --- What a test says of each of its requirements


def test_a_miss_of_one_requirement_leaves_the_measurements_of_the_others(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Three At Once
            [Tags]    R18.7    R18.6    R18.8
            Requirement Should Be Met    R18.6    recovery_time    1
            Requirement Should Be Met    R18.7    lost    3
        """,
    )
    run(tmp_path, "own.robot")
    found = verdicts_of(report_of(tmp_path))
    assert found["R18.6"] == ("met", "")
    assert found["R18.7"][0] == "not met"
    assert found["R18.8"][0] == "inconclusive"


def test_wrong_answers_count_against_the_requirement_that_claims_them(tmp_path: Path) -> None:
    """One broken guarantee fails many tests; it is one requirement that is not met."""
    write_suite(
        tmp_path,
        """
        Answers In Another Order
            [Tags]    R16.3    R16.8
            Requirement Should Be Met    R16.3    reconnect_time    1
            Find Wrong Answers    out of order

        Lost As Well
            [Tags]    R17.8
            Find Wrong Answers    lost    out of order
        """,
    )
    run(tmp_path, "own.robot")
    report = report_of(tmp_path)
    found = {each.id: (each.verdict.value, each.reason) for each in report.requirements}
    assert report.verdict == "not ready"
    assert found["R13.4"] == (
        "not met",
        "Failed: Answers In Another Order: Not every message was answered as it should be: ('out of order',)",
    )
    assert found["R16.8"][0] == "inconclusive"
    assert "it ended for R13.4 before this was decided" in found["R16.8"][1]
    assert found["R16.3"][0] != "not met"
    assert found["R17.8"][0] == "not met"


def test_a_failure_that_was_caught_does_not_excuse_the_one_that_was_not(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Caught By Ignore
            [Tags]    R13.1
            Run Keyword And Ignore Error    Decide Nothing    too short
            Fail    62 messages were lost.
        Caught By Try
            [Tags]    R13.2
            TRY
                Decide Nothing    too short
            EXCEPT    AS    ${error}
                Fail    62 messages were lost.
            END
        Said Again
            [Tags]    R13.4
            TRY
                Begin Fault Without Proof    pause
                Requirement Should Be Met    R13.4    messages    5000
            EXCEPT    AS    ${error}
                Fail    With the third charge point: ${error}
            END
        Attempts
            [Tags]    R13.6
            Wait Until Keyword Succeeds    2x    1 ms    Expect    lost
        """,
    )
    run(tmp_path, "own.robot")
    found = verdicts_of(report_of(tmp_path))
    assert found["R13.1"] == ("not met", "Failed: Caught By Ignore: 62 messages were lost.")
    assert found["R13.2"] == ("not met", "Failed: Caught By Try: 62 messages were lost.")
    assert found["R13.4"][0] == "inconclusive"
    assert found["R13.6"] == ("not met", "Failed: Attempts: lost")


def test_r0_describes_the_run_and_decides_nothing(tmp_path: Path) -> None:
    write_suite(
        tmp_path, LOSES.replace("99", "100") + "\n    Left\n        [Tags]    R0.4\n        Fail    Keys are left.\n"
    )
    run(tmp_path, "--exclude", "R13.1", "own.robot")
    found = report_of(tmp_path)
    assert verdicts_of(found)["R0.4"][0] == "not met"
    assert found.verdict == "undecided"
    assert found.counts["not met"] == 0


def test_own_requirements_are_shown_with_those_that_tests_touch(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "requirements:\n"
        "  - id: R99.1\n    test: 99\n    title: The roof is tight.\n    thresholds:\n"
        '      leaks: {comparison: "==", value: 0, unit: frames, statistic: count, measures: "drops"}\n'
        "counted: [frames]\n"
    )
    write_suite(
        tmp_path,
        """
        Roof
            [Tags]    R99.1
            Requirement Should Be Met    R99.1    leaks    0
        """,
    )
    path = tmp_path / "own.robot"
    path.write_text(path.read_text().replace("EvidenceLibrary", "EvidenceLibrary    requirements=own.yaml"))
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    assert [(each.id, each.verdict.value) for each in found.requirements] == [("R99.1", "met")]
    assert found.sentence == "Ready: the one requirement is met."
    path.write_text(path.read_text().replace("R99.1\n", "R99.1    R13.2\n", 1))
    run(tmp_path, "own.robot")
    assert [each.id for each in report_of(tmp_path).requirements] == ["R99.1", "R13.2"]
    assert main([str(tmp_path / "out" / "output.xml")]) == 0
    assert [each.id for each in report_of(tmp_path).requirements] == ["R99.1", "R13.2"]


# --- Names of files, and none


@pytest.mark.parametrize(
    ("options", "log"),
    [
        (["--log", "other.html"], "other.html"),
        (["--log", "NONE"], None),
        (["--splitlog"], "log.html"),
        (["--output", "NONE"], None),
        (["--timestampoutputs"], "log-*.html"),
    ],
)
def test_the_page_is_complete_and_its_links_work(tmp_path: Path, options: list[str], log: str | None) -> None:
    write_suite(tmp_path, LOSES)
    run(tmp_path, *options, "own.robot")
    found = report_of(tmp_path)
    assert found.complete
    assert verdicts_of(found) == EXPECTED
    if log is None:
        assert found.log is None
        links = r'href="(?!#|data:|resilience\.json)' if "--output" in options else r'href="(?!#|data:|re\w+\.)'
        assert not re.search(links, (tmp_path / "out" / "resilience.html").read_text())
    else:
        [there] = (tmp_path / "out").glob(log)
        assert found.log == there.name


@pytest.mark.parametrize(
    ("options", "log"),
    [([], "log.html"), (["-T"], None), (["--log", "other.html"], "other.html"), (["--log", "NONE"], None)],
)
def test_pabot_leaves_a_complete_page_whose_links_work(tmp_path: Path, options: list[str], log: str | None) -> None:
    for name in ("one.robot", "two.robot"):
        write_suite(tmp_path, LOSES, f"suites/{name}")
    (tmp_path / "suites" / "Said.py").unlink(missing_ok=True)
    done = run(tmp_path, "--processes", "2", "--no-pabotlib", *options, "suites", module="pabot.pabot")
    found = report_of(tmp_path)
    assert found.complete, done.stdout
    assert verdicts_of(found) == EXPECTED
    assert found.log == log
    if log:
        assert (tmp_path / "out" / log).is_file()


# --- Clocks


@pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime (Debian: apt-get install faketime)")
@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_set_changes_no_duration_and_no_join(tmp_path: Path, hours: int) -> None:
    write_suite(
        tmp_path,
        LOSES.replace(
            "Requirement Should Be Met    R13.1",
            f"Set The Clock    {hours}\n        Requirement Should Be Met    R13.1",
        ),
    )
    rc = tmp_path / "clock"
    rc.write_text("+0\n")
    (tmp_path / "Said.py").write_text(
        (tmp_path / "Said.py")
        .read_text()
        .replace(
            "class Words(Component):",
            "class Words(Component):\n    @keyword()\n    def set_the_clock(self, hours: int) -> None:\n"
            f"        open({str(rc)!r}, 'w').write(f'{{hours:+d}}h\\n')\n",
        )
    )
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path / "out"), "own.robot"]
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"))
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(rc),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False)
    found = report_of(tmp_path)
    assert verdicts_of(found) == EXPECTED
    assert found.seconds < 60
    assert all(each.seconds < 60 for each in found.tests)
    begun = [each.start_time for each in _tests_of(tmp_path)]
    assert abs((begun[1] - begun[0]).total_seconds()) > 3600, "the clock was not set"


def _tests_of(folder: Path) -> list[object]:
    from robot.api import ExecutionResult

    return list(ExecutionResult(folder / "out" / "output.xml").suite.all_tests)


# --- The console


@pytest.mark.parametrize("options", [["--console", "none"], ["--console", "quiet"], ["--quiet"], []])
def test_a_quiet_console_stays_quiet_on_a_terminal(tmp_path: Path, options: list[str]) -> None:
    write_suite(
        tmp_path,
        """
        Long
            [Tags]    R13.1
            Show Progress
        """,
    )
    (tmp_path / "Said.py").write_text(
        (tmp_path / "Said.py")
        .read_text()
        .replace(
            "class Words(Component):",
            "class Words(Component):\n    @keyword()\n    def show_progress(self) -> None:\n"
            "        import time\n        from ocpp_resilience.robot.console import CONSOLE\n"
            "        with CONSOLE.showing(lambda: 'on its way'):\n            time.sleep(1.2)\n",
        )
    )
    command = [sys.executable, "-m", "robot", *options, "--outputdir", str(tmp_path / "out"), "own.robot"]
    shown = _on_a_terminal(command, tmp_path)
    if options:
        assert shown == ""
    else:
        assert "on its way" in shown
        assert "Page:" in shown


def _on_a_terminal(command: list[str], folder: Path) -> str:
    """The terminal output of a command."""
    import os
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(folder), "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 120
    try:
        while time.monotonic() < deadline:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
    finally:
        if process.poll() is None and time.monotonic() >= deadline:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(ours)
    return shown.decode()


# --- Files that are damaged, names that are hostile, disks that are full


def test_damaged_lines_are_set_aside_and_said_and_the_next_run_is_whole(tmp_path: Path) -> None:
    write_suite(tmp_path, LOSES)
    run(tmp_path, "own.robot")
    out = tmp_path / "out"
    for name in ("history.jsonl", "evidence/measurements.jsonl", "evidence/facts.jsonl"):
        with (out / name).open("a") as file:
            file.write('{"run": "cut in the mid')
    (out / "evidence" / "faults.jsonl").write_text(
        '{"run": "x", "number": 1, "fault": "a", "target": "b", "began": "never"}\n{"cut'
    )
    line = {"title": "t", "unit": "MB", "lines": {"a": [[1.0, 1e308]]}}
    (out / "evidence" / "series.jsonl").write_text(json.dumps(line) + "\n{")
    run(tmp_path, "own.robot")
    found = report_of(tmp_path)
    assert verdicts_of(found) == EXPECTED
    assert len(found.history) == 1
    said = " ".join(found.problems)
    for name in ("history.jsonl", "measurements.jsonl", "facts.jsonl", "faults.jsonl", "series.jsonl"):
        assert name in said
    lines = (out / "history.jsonl").read_text().splitlines()
    assert [json.loads(each)["verdict"] for each in (lines[0], lines[2])] == ["not ready", "not ready"]
    assert main([str(out / "output.xml")]) == 0
    assert verdicts_of(report_of(tmp_path)) == EXPECTED


@pytest.mark.parametrize("value", ["1e308", "-1e308", '"never"'])
def test_absurd_values_are_set_aside(tmp_path: Path, value: str) -> None:
    write_suite(tmp_path, LOSES)
    run(tmp_path, "own.robot")
    out = tmp_path / "out"
    path = out / "evidence" / "measurements.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    wrong = first | ({"recorded_at": "never"} if value == '"never"' else {"value": float(value)})
    with path.open("a") as file:
        file.write(json.dumps(wrong) + "\n")
    assert main([str(out / "output.xml")]) == 0
    found = report_of(tmp_path)
    assert verdicts_of(found) == EXPECTED
    assert any(each.startswith("measurements.jsonl: Line ") for each in found.problems)


LONG = "x" * 10_000


@pytest.mark.parametrize("name", ["../../../x", "<script>alert(1)</script>", LONG, "a/b"])
def test_names_stay_text_and_inside_the_output_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "down" / "here"
    folder.mkdir(parents=True)
    write_suite(
        folder,
        f"""
        {name if "/" in name or name.startswith("<") else name[:9000]}
            [Tags]    R13.1
            Start Sampling    alias={name}    server=${{{{os.getpid()}}}}
            Record Chart    {name}    MB    ${{{{ {{'a': [(1700000000.0, 1.0), (1700000001.0, 2.0)]}} }}}}
            Requirement Should Be Met    R13.1    answered    99    method={name}
        """,
    )
    before = {each for each in tmp_path.rglob("*") if "out" not in each.parts}
    done = run(folder, "--name", name, "own.robot")
    after = {each for each in tmp_path.rglob("*") if "out" not in each.parts and "__pycache__" not in each.parts}
    assert after <= before
    found = report_of(folder)
    assert verdicts_of(found)["R13.1"][0] == "not met", done.stdout
    html = (folder / "out" / "resilience.html").read_text()
    assert "<script" not in without_own_script(html)
    assert len(html) < 2_000_000
