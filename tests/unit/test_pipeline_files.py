"""What a pipeline shows of a run: exit statuses, JUnit with requirement ids, the summary, and bounded results."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from child_runs import report_of, run, write_suite
from test_run import decide, own_suite

from ocpp_resilience import cli
from ocpp_resilience.json_lines import keep_newest

MISSED = "Requirement Should Be Met    R99.1    leaks    2"
MET = "Requirement Should Be Met    R99.1    leaks    0"
OPEN = "Skip    No rain today."
UNUSABLE = "Requirement Should Be Met    R99.2    leaks    0"


@pytest.mark.parametrize(
    ("line", "unless", "status"),
    [
        (MET, "ready", 0),
        (MISSED, "ready", 1),
        (OPEN, "ready", 2),
        (UNUSABLE, "ready", 3),
        (MET, "not-missed", 0),
        (MISSED, "not-missed", 1),
        (OPEN, "not-missed", 0),
        (UNUSABLE, "not-missed", 3),
    ],
)
def test_what_fails_the_job(tmp_path: Path, line: str, unless: str, status: int) -> None:
    own_suite(tmp_path, line)
    assert decide(tmp_path, "own.robot", "--fail-unless", unless).returncode == status


def test_another_word_for_what_fails_the_job_is_refused(tmp_path: Path) -> None:
    own_suite(tmp_path, MET)
    done = decide(tmp_path, "own.robot", "--fail-unless", "green")
    assert "invalid choice: 'green' (choose from" in done.stderr
    assert done.returncode == 3


def test_junit_has_the_requirements_of_each_test_and_a_case_for_each_requirement(tmp_path: Path) -> None:
    own_suite(tmp_path, MISSED)
    decide(tmp_path, "own.robot", "--junit", "out/junit.xml")
    tests, requirements = ET.parse(tmp_path / "out" / "junit.xml").getroot()
    assert (tests.get("name"), tests.get("tests"), tests.get("failures"), tests.get("skipped")) == (
        "Tests",
        "1",
        "1",
        "0",
    )
    [test] = tests
    assert [(each.get("name"), each.get("value")) for each in test.iter("property")] == [("requirement", "R99.1")]
    assert "R99.1 leaks: required == 0 frames" in test.find("failure").get("message")  # type: ignore[union-attr]
    [case] = requirements
    assert (case.get("name"), case.get("classname")) == ("R99.1 The roof is tight.", "R99")
    assert case.find("failure").get("message") == "Missed: leaks (2 frames, required == 0 frames)."  # type: ignore[union-attr]


def test_an_undecided_requirement_is_skipped_in_junit(tmp_path: Path) -> None:
    own_suite(tmp_path, OPEN)
    decide(tmp_path, "own.robot", "--junit", "junit.xml")
    _, requirements = ET.parse(tmp_path / "junit.xml").getroot()
    assert requirements.get("skipped") == "1"
    assert requirements[0].find("skipped").get("message") == "inconclusive: Roof: No rain today."  # type: ignore[union-attr]


def test_the_summary_is_added_and_keeps_text_as_text(tmp_path: Path) -> None:
    own_suite(tmp_path, "Fail    <b>Drops</b> | of *rain*")
    (tmp_path / "summary.md").write_text("Another job.\n")
    decide(tmp_path, "own.robot", "--summary", "summary.md")
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("Another job.\n## Not ready: 1 requirement is not met (R99.1)")
    assert "([page](out/resilience.html))" in text
    assert r"| R99.1 The roof is tight. | Failed: Roof: \<b\>Drops\</b\> \| of \*rain\* |" in text


def test_the_summary_of_a_good_run_says_so_and_has_the_values(tmp_path: Path) -> None:
    own_suite(tmp_path, MET)
    decide(tmp_path, "own.robot", "--summary", "summary.md")
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("## Ready: the one requirement is met.\n\nRequirements: 1 met.")
    assert "| R99.1 | leaks | == 0 frames | 0 frames | ✅ |" in text
    assert "Not met" not in text


def test_log_and_report_link_to_the_page_and_it_to_them(tmp_path: Path) -> None:
    write_suite(tmp_path, "One\n    No Operation")
    run(tmp_path, "own.robot")
    out = tmp_path / "out"
    for name in ("log.html", "report.html"):
        assert '<a href=\\"resilience.html\\">' in (out / name).read_text()
    page = (out / "resilience.html").read_text()
    assert 'href="log.html"' in page
    assert 'href="report.html"' in page
    assert "Page" not in report_of(tmp_path).environment


def test_a_report_that_was_not_written_is_not_linked(tmp_path: Path) -> None:
    write_suite(tmp_path, "One\n    No Operation")
    run(tmp_path, "--report", "NONE", "own.robot")
    assert "report.html" not in (tmp_path / "out" / "resilience.html").read_text()


def test_results_do_not_grow_with_each_run(tmp_path: Path) -> None:
    write_suite(tmp_path, "One\n    [Tags]    R13.5\n    Record Measurement    R13.5    messages    20000")
    run(tmp_path, "own.robot")
    evidence = tmp_path / "out" / "evidence"
    assert {each.name for each in evidence.iterdir()} == {"facts.jsonl", "measurements.jsonl"}
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "evidence", "history.jsonl", "log.html", "output.xml", "report.html", "resilience.html", "resilience.json"
    }  # fmt: skip
    (evidence / "load-load-1.jsonl").write_text("large\n")
    line = (evidence / "measurements.jsonl").read_text()
    (evidence / "measurements.jsonl").write_text(line * (4_100_000 // len(line)))
    run(tmp_path, "own.robot")
    assert not (evidence / "load-load-1.jsonl").exists()
    kept = (evidence / "measurements.jsonl").read_text()
    assert len(kept) < 2_100_000
    assert all(json.loads(each) for each in kept.splitlines())
    [drained] = [each for each in report_of(tmp_path).requirements if each.id == "R13.5"]
    assert drained.thresholds[0].measured == 20000


def test_the_history_does_not_grow_for_ever(tmp_path: Path) -> None:
    write_suite(tmp_path, "One\n    [Tags]    R13.5\n    Record Measurement    R13.5    messages    20000")
    run(tmp_path, "own.robot")
    history = tmp_path / "out" / "history.jsonl"
    [line] = history.read_text().splitlines()
    history.write_text(f"{line}\n" * (4_100_000 // len(line)))
    run(tmp_path, "own.robot")
    kept = history.read_text().splitlines()
    assert sum(map(len, kept)) < 2_100_000
    assert json.loads(kept[-1])["run"] > json.loads(line)["run"], "the newest is the one that was just made"


def test_a_small_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("1\n2\n3\n")
    keep_newest(path, 6)
    assert path.read_text() == "1\n2\n3\n"
    keep_newest(path, 5)
    assert path.read_text() == "3\n"


def accept(folder: Path, *more: str) -> tuple[int, str, str]:
    done = run(folder, "out/output.xml", "--accept", *more, module="ocpp_resilience.report", out="")
    return done.returncode, done.stdout, done.stderr


def test_a_run_that_is_not_ready_becomes_the_baseline_only_with_a_reason(tmp_path: Path) -> None:
    own_suite(tmp_path, MISSED)
    decide(tmp_path, "own.robot", "--history", "out/history.jsonl")
    status, _, said = accept(tmp_path)
    assert status == 1
    assert said.startswith("This run is not ready, so it is not accepted as the baseline.")
    assert '--accept --although "the reason"' in said
    assert not (tmp_path / "out" / "baseline.json").exists()
    assert accept(tmp_path, "--although", "The roof is mended in June.")[0] == 0
    assert json.loads((tmp_path / "out" / "baseline.json").read_text())["although"] == "The roof is mended in June."
    assert "The roof is mended in June." in (tmp_path / "out" / "resilience.html").read_text()


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    own_suite(tmp_path, MET)
    decide(tmp_path, "own.robot", "--history", "out/history.jsonl")
    assert accept(tmp_path)[0] == 0
    comparison = report_of(tmp_path).comparison
    assert comparison is not None
    assert comparison.itself
    assert comparison.changes == []
    assert "This run is the accepted baseline" in (tmp_path / "out" / "resilience.html").read_text()
    decide(tmp_path, "own.robot", "--history", "out/history.jsonl")
    comparison = report_of(tmp_path).comparison
    assert comparison is not None
    assert not comparison.itself
    assert [each.name for each in comparison.changes] == ["leaks"]


def test_a_run_in_which_nothing_ran_is_no_baseline(tmp_path: Path) -> None:
    own_suite(tmp_path, UNUSABLE)
    decide(tmp_path, "own.robot", "--history", "out/history.jsonl")
    assert accept(tmp_path, "--although", "I want it.")[:1] == (1,)


def test_the_main_figures_are_those_of_the_requirements_file(tmp_path: Path) -> None:
    own_suite(tmp_path, MET)
    text = (tmp_path / "own.yaml").read_text()
    (tmp_path / "own.yaml").write_text(f"headline: {{Drops: R99.1 leaks}}\nheadings: {{99: The roof}}\n{text}")
    decide(tmp_path, "own.robot", "--history", "out/history.jsonl")
    decide(tmp_path, "own.robot", "--history", "out/history.jsonl")
    found = report_of(tmp_path)
    assert found.headings == {"99": "The roof"}
    [figure] = found.headline
    assert (figure.title, figure.value, figure.unit, figure.limit) == ("Drops", 0, "frames", "== 0 frames")
    assert figure.history == [0]
    page = (tmp_path / "out" / "resilience.html").read_text()
    assert "<h3>The roof (test 99)</h3>" in page
    assert '<a href="#R99.1">Drops</a><b>0 frames</b><small>required = 0 frames</small>' in page


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("R99.2 leaks", "expected a requirement of this file and the name of a value, such as R99.1 leaks"),
        ("7", "expected a requirement of this file and the name of a value, such as R99.1 leaks"),
        ("R99.1", "R99.1 needs the name of a value behind it (allowed: leaks;"),
        ("'R99.1 '", "R99.1 needs the name of a value behind it (allowed: leaks;"),
        ("R99.1 leakz", "R99.1 has no value 'leakz' (allowed: leaks;"),
        ("R99.1  leaks", "R99.1 has no value ' leaks' (allowed: leaks;"),
    ],
)
def test_a_headline_that_is_no_value_of_the_file_is_refused(tmp_path: Path, value: str, problem: str) -> None:
    own_suite(tmp_path, MET)
    text = (tmp_path / "own.yaml").read_text()
    (tmp_path / "own.yaml").write_text(f"headline:\n  Drops: {value}\n{text}")
    done = decide(tmp_path, "own.robot")
    assert done.returncode == 3
    assert f"own.yaml, line 2: headline 'Drops': {problem}" in done.stdout


def test_own_requirements_stand_alone_or_with_those_of_the_project_that_a_tag_names(tmp_path: Path) -> None:
    own_suite(tmp_path, MET)
    decide(tmp_path, "own.robot")
    assert [each.id for each in report_of(tmp_path).requirements] == ["R99.1"]
    path = tmp_path / "own.robot"
    line = "Requirement Should Be Met    R13.5    drain_rate    500"
    path.write_text(
        path.read_text().replace("[Tags]    R99.1", "[Tags]    R99.1    R13.5").rstrip() + f"\n    {line}\n"
    )
    decide(tmp_path, "own.robot")
    assert [each.id for each in report_of(tmp_path).requirements] == ["R99.1", "R13.5"]


def test_percentiles_of_a_test_are_on_the_page(tmp_path: Path) -> None:
    own_suite(tmp_path, "Requirement Should Be Met    R99.1    leaks    ${{list(range(100))}}")
    text = (tmp_path / "own.yaml").read_text()
    (tmp_path / "own.yaml").write_text(
        text.replace("statistic: count", "statistic: p99.5").replace('"=="', '"<"').replace("value: 0", "value: 98")
    )
    decide(tmp_path, "own.robot")
    [requirement] = report_of(tmp_path).requirements
    [found] = requirement.thresholds
    assert (found.measured, found.samples, found.verdict) == (99, 100, "inconclusive")
    assert "100 samples for a p99.5, which needs at least 200" in requirement.reason
    (tmp_path / "own.yaml").write_text((tmp_path / "own.yaml").read_text().replace("p99.5", "p98"))
    decide(tmp_path, "own.robot")
    [requirement] = report_of(tmp_path).requirements
    assert (requirement.thresholds[0].measured, requirement.verdict) == (97, "met")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--target", ""], "--target has an empty value; give one"),
        (["run", "--redis-url="], "--redis-url has an empty value; give one"),
        (["run", ""], "an argument has an empty value; give one"),
        (["check", "check", "reference", "--only", ""], "--only has an empty value; give one"),
        (
            ["report", "output.xml", "--although", "It rains."],
            "--although gives the reason for --accept, which is miss",
        ),
        (["report", "output.xml", "--known", "none.yaml"], "--known none.yaml: there is no such file"),
        (["report", "output.xml", "--evidence", "none"], "--evidence none: there is no such folder"),
    ],
)
def test_an_option_without_a_value_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code in {2, 3}
    assert message in capsys.readouterr().err
