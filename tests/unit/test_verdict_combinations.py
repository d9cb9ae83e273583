"""Further ways to run the suites, each with the verdict that it has to leave; and disks that are full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from child_runs import report_of, run, verdicts_of, write_suite

from ocpp_resilience.report import Report
from ocpp_resilience.report.__main__ import main

MET = """
    It Works
        [Tags]    R13.2
        Requirement Should Be Met    R13.2    processed    3
        Requirement Should Be Met    R13.2    discarded    1
        Requirement Should Be Met    R13.2    logged    1
"""
LOSES = """
    It Loses
        [Tags]    R13.1
        Expect    62 messages were lost.
"""


def one(folder: Path, name: str, *, out: str = "out") -> str:
    return verdicts_of(report_of(folder, out))[name][0]


def again(folder: Path, *options: str) -> Report:
    """rebot with these options over the results, and the page of its output."""
    out = folder / "out"
    run(folder, *options, "--output", "o.xml", str(out / "output.xml"), module="robot.rebot", out="out")
    assert main([str(out / "o.xml")]) == 0
    return report_of(folder)


def test_a_failed_test_that_is_run_again_and_passes_is_met(tmp_path: Path) -> None:
    write_suite(tmp_path, MET.replace("logged    1", "logged    0"))
    run(tmp_path, "own.robot")
    out = tmp_path / "out"
    (out / "output.xml").rename(out / "first.xml")
    write_suite(tmp_path, MET)
    run(tmp_path, "--rerunfailed", "out/first.xml", "own.robot")
    (out / "output.xml").rename(out / "second.xml")
    run(tmp_path, "--merge", "--output", "output.xml", "out/first.xml", "out/second.xml", module="robot.rebot")
    assert main([str(out / "output.xml")]) == 0
    assert one(tmp_path, "R13.2") == "met"


def test_random_order_changes_nothing(tmp_path: Path) -> None:
    write_suite(tmp_path, MET + LOSES)
    run(tmp_path, "--randomize", "all", "own.robot")
    assert (one(tmp_path, "R13.2"), one(tmp_path, "R13.1")) == ("met", "not met")


@pytest.mark.parametrize(
    "options", [["--removekeywords", "ALL"], ["--flattenkeywords", "for"], ["--expandkeywords", "name:x"]]
)
def test_results_without_keywords_say_the_same(tmp_path: Path, options: list[str]) -> None:
    write_suite(tmp_path, MET + LOSES)
    run(tmp_path, "--skiponfailure", "R13.1", "own.robot")
    again(tmp_path, *options)
    assert (one(tmp_path, "R13.2"), one(tmp_path, "R13.1")) == ("met", "not met")


def test_no_test_at_all_decides_nothing(tmp_path: Path) -> None:
    write_suite(tmp_path, MET)
    run(tmp_path, "--runemptysuite", "--include", "nosuch", "own.robot")
    path = tmp_path / "out" / "resilience.json"
    assert not path.exists() or report_of(tmp_path).verdict == "undecided"


def test_both_options_together_stop_nothing_and_hide_nothing(tmp_path: Path) -> None:
    write_suite(tmp_path, LOSES + MET)
    run(tmp_path, "--exitonfailure", "--skiponfailure", "R13.1", "own.robot")
    assert (one(tmp_path, "R13.1"), one(tmp_path, "R13.2")) == ("not met", "met")


def test_all_failures_of_a_test_that_goes_on_count(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Several
            [Tags]    R13.1    robot:continue-on-failure
            Decide Nothing    too short
            Expect    62 messages were lost.
        """,
    )
    run(tmp_path, "own.robot")
    assert one(tmp_path, "R13.1") == "not met"


def test_a_fatal_error_stops_and_later_requirements_are_undecided(tmp_path: Path) -> None:
    write_suite(tmp_path, "Fatal\n    [Tags]    R13.1\n    Fatal Error    The end.\n" + dedent(MET))
    run(tmp_path, "own.robot")
    assert (one(tmp_path, "R13.1"), one(tmp_path, "R13.2")) == ("not met", "inconclusive")
    assert not report_of(tmp_path).complete


def test_a_test_that_takes_too_long_is_not_met(tmp_path: Path) -> None:
    write_suite(tmp_path, "Slow\n    [Tags]    R13.1\n    [Timeout]    0.2 s\n    Sleep    20\n")
    run(tmp_path, "--skiponfailure", "R13.1", "own.robot")
    found = report_of(tmp_path)
    assert verdicts_of(found)["R13.1"] == ("not met", "Failed: Slow: Test timeout 200 milliseconds exceeded.")


def test_pass_execution_hides_no_missed_threshold(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        Hidden
            [Tags]    R13.1
            Run Keyword And Ignore Error    Requirement Should Be Met    R13.1    answered    90
            Pass Execution    Never mind.
        """,
    )
    run(tmp_path, "own.robot")
    assert one(tmp_path, "R13.1") == "not met"


def test_tests_of_one_name_are_told_apart(tmp_path: Path) -> None:
    write_suite(tmp_path, MET, "suites/a.robot")
    write_suite(tmp_path, MET.replace("logged    1", "logged    0"), "suites/b.robot")
    run(tmp_path, "suites")
    assert one(tmp_path, "R13.2") == "not met"
    [first, second] = [each.reasons for each in report_of(tmp_path).tests]
    assert (first, len(second)) == ([], 1)


def test_tasks_are_judged_as_tests_are(tmp_path: Path) -> None:
    path = write_suite(tmp_path, MET + LOSES)
    path.write_text(path.read_text().replace("*** Test Cases ***", "*** Tasks ***"))
    run(tmp_path, "--rpa", "--skiponfailure", "R13.1", "own.robot")
    assert (one(tmp_path, "R13.2"), one(tmp_path, "R13.1")) == ("met", "not met")


def test_moved_results_are_judged_by_the_evidence_beside_them(tmp_path: Path) -> None:
    write_suite(tmp_path, MET + LOSES)
    run(tmp_path, "--skiponfailure", "R13.1", "own.robot")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    assert main([str(tmp_path / "elsewhere" / "output.xml")]) == 0
    assert one(tmp_path, "R13.1", out="elsewhere") == "not met"
    run(tmp_path, "--output", str(tmp_path / "far" / "o.xml"), "elsewhere/output.xml", module="robot.rebot", out="far")
    assert main([str(tmp_path / "far" / "o.xml"), "--evidence", str(tmp_path / "elsewhere")]) == 0
    assert (one(tmp_path, "R13.1", out="far"), one(tmp_path, "R13.2", out="far")) == ("not met", "met")


def test_a_skip_whose_facts_are_gone_is_never_ready(tmp_path: Path) -> None:
    write_suite(tmp_path, MET + LOSES)
    run(tmp_path, "--skiponfailure", "R13.1", "own.robot")
    (tmp_path / "out" / "evidence" / "facts.jsonl").unlink()
    assert main([str(tmp_path / "out" / "output.xml")]) == 0
    assert one(tmp_path, "R13.1") == "inconclusive"


def test_two_runs_in_one_process_are_two_runs(tmp_path: Path) -> None:
    write_suite(tmp_path, MET, "a.robot")
    write_suite(tmp_path, LOSES, "b.robot")
    program = "import robot\nfor name in 'ab': robot.run(f'{name}.robot', outputdir=f'out-{name}')"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)
    assert one(tmp_path, "R13.2", out="out-a") == "met"
    assert one(tmp_path, "R13.1", out="out-b") == "not met"
    assert [len(report_of(tmp_path, each).tests) for each in ("out-a", "out-b")] == [1, 1]


def test_two_libraries_with_different_requirements_hear_each_event_once(tmp_path: Path) -> None:
    own = "requirements:\n  - id: R99.1\n    test: 99\n    title: Tight.\n    thresholds:\n"
    own += '      leaks: {comparison: "==", value: 0, unit: s, statistic: count, measures: "drops"}\n'
    (tmp_path / "own.yaml").write_text(own)
    write_suite(tmp_path, MET, "suites/a.robot")
    path = write_suite(
        tmp_path, "Roof\n    [Tags]    R99.1\n    Requirement Should Be Met    R99.1    leaks    0\n", "suites/b.robot"
    )
    path.write_text(path.read_text().replace("EvidenceLibrary", f"EvidenceLibrary    requirements={tmp_path}/own.yaml"))
    (tmp_path / "suites" / "__init__.robot").write_text("*** Settings ***\nLibrary    EvidenceLibrary\n")
    run(tmp_path, "suites")
    found = report_of(tmp_path)
    assert {each.id: each.verdict.value for each in found.requirements} == {"R99.1": "met", "R13.2": "met"}
    assert found.sentence == "Ready: all 2 requirements are met."
    facts = (tmp_path / "out" / "evidence" / "facts.jsonl").read_text().splitlines()
    assert sum('"op":"test"' in each for each in facts) == 2


def test_pabot_that_stops_at_a_failure_is_incomplete_and_not_ready(tmp_path: Path) -> None:
    write_suite(tmp_path, LOSES + MET, "suites/a.robot")
    write_suite(tmp_path, MET.replace("It Works", "Other"), "suites/b.robot")
    options = ["--processes", "2", "--no-pabotlib", "--exitonfailure", "--skiponfailure", "nosuch"]
    run(tmp_path, *options, "suites", module="pabot.pabot")
    found = report_of(tmp_path)
    assert found.verdict == "not ready"
    assert verdicts_of(found)["R13.1"][0] == "not met"
    assert not found.complete


# --- Disks


def small_files(folder: Path, program: str, limit: int) -> subprocess.CompletedProcess[str]:
    """Run a Python program that may write no file beyond so many bytes, as on a full disk."""
    code = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n{program}"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_page_that_cannot_be_written_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    write_suite(tmp_path, MET)
    run(tmp_path, "own.robot")
    out = tmp_path / "out"
    before = {each.name: each.read_bytes() for each in out.rglob("*") if each.is_file()}
    program = (
        f"import sys\nfrom ocpp_resilience.report.__main__ import main\nsys.exit(main([{str(out / 'output.xml')!r}]))"
    )
    done = small_files(tmp_path, program, 5_000)
    assert done.returncode == 1
    assert done.stderr == f"{out / 'resilience.json'} cannot be written: File too large.\n"
    assert {each.name: each.read_bytes() for each in out.rglob("*") if each.is_file()} == before


def test_evidence_that_does_not_fit_fails_the_test_and_leaves_no_half_line(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom EvidenceLibrary import EvidenceLibrary\n"
        "library = EvidenceLibrary(measurements=Path('m.jsonl'))\n"
        "for number in range(100): library.record_measurement('R13.5', 'messages', number)\n"
    )
    done = small_files(tmp_path, program, 2_000)
    assert "ResilienceError: The evidence cannot be written to m.jsonl: " in done.stderr
    text = (tmp_path / "m.jsonl").read_text()
    assert text.endswith("}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a file system of its own")
@pytest.mark.parametrize("options", ["size=300k", "ro"])
def test_a_run_on_a_full_or_read_only_disk_ends_with_a_clear_error(tmp_path: Path, options: str) -> None:
    fill = 'Fill\n    [Tags]    R13.1\n    Evaluate    open($OUTPUT_DIR + "/fill", "wb").write(b"x" * 9999999)\n'
    write_suite(tmp_path, fill + dedent(MET))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    try:
        done = run(tmp_path, "own.robot", out="disk/out")
        assert done.returncode != 0
        said = done.stdout + done.stderr
        if options == "ro":
            assert "Read-only file system" in said
        else:
            assert "cannot be written: No space left on device" in said
            assert not list(disk.rglob(".*"))
            assert not [
                each for each in disk.rglob("resilience.*") if not each.read_bytes().endswith((b"}\n", b"</html>"))
            ]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_listening_to_every_keyword_says_nothing_on_the_console(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        """
        All Kinds
            [Tags]    R13.1
            FOR    ${n}    IN    1    2
                TRY
                    Fail    ${n}
                EXCEPT    AS    ${error}
                    IF    '${error}' == '1'    CONTINUE
                    WHILE    True    limit=1
                        GROUP    of
                            Run Keyword And Expect Error    *    Wait Until Keyword Succeeds    2x    1 ms    Fail
                        END
                        Fail    in the middle
                    END
                END
            END
        """,
    )
    done = run(tmp_path, "own.robot")
    assert done.stderr == ""
    assert verdicts_of(report_of(tmp_path))["R13.1"] == ("not met", "Failed: All Kinds: in the middle")
