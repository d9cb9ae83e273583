"""The annex of the page: how the suites fared against broken servers."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from child_runs import without_own_script
from robot.api import ExecutionResult
from robot.result import Result
from test_report import EVIL, Page, robot, suite

from ocpp_resilience.report import Settings, build, write
from ocpp_resilience.report.grade import FILE_NAME, Failure, Grade, GradedDefect

MESSAGE = f"""Several failures occurred:

1) Expected 1 of 2 {EVIL}.

2) Another."""


def graded(**changes: Any) -> Grade:
    caught = GradedDefect(
        name="last_in_first_out",
        requirement="R13.4",
        about=f"The newest first {EVIL}.",
        caught=[Failure(test=f"Order {EVIL}", message=MESSAGE)],
    )
    fields: dict[str, Any] = {
        "began": "2026-01-15T10:30:00+00:00",
        "seconds": 75.0,
        "seed": 7,
        "fraction": 0.5,
        "catalogue": 4,
        "defects": [caught],
        "false_alarms": [],
        "sound_runs": 10,
        "sound_tests": 20,
        "burners": 2,
    }
    return Grade(**fields | changes)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("graded")
    suite(folder, "*** Test Cases ***\nSmall\n    [Tags]    R13.4\n    No Operation\n")
    robot(folder, "own.robot")
    return ExecutionResult(str(folder / "out" / "output.xml"))


def html(result: Result, folder: Path, grade: Grade | bytes | None) -> str:
    if grade is not None:
        (folder / FILE_NAME).write_bytes(grade if isinstance(grade, bytes) else msgspec.json.encode(grade))
    return write(build(result.suite, Settings(output=folder)), folder).read_text()


def test_defects_are_shown_with_the_tests_that_caught_them(result: Result, tmp_path: Path) -> None:
    missed = GradedDefect(
        name="lost", requirement="R13.6", about="Lost.", missed=[Failure(test="An Outage", message="PASS")]
    )
    failed = GradedDefect(name="hangs", requirement="R13.3", about="Hangs.", problem="no result")
    otherwise = GradedDefect(
        name="slow",
        requirement="R13.5",
        about="Slow.",
        otherwise=[Failure(test="A Rate", message="The port is taken.")],
    )
    defects = [*graded().defects, missed, failed, otherwise]
    written = html(
        result, tmp_path, graded(defects=defects, false_alarms=[Failure(test="Idle", message=f"Too busy {EVIL}")])
    )
    page = Page(written)
    text = " ".join(" ".join(page.texts).split())
    assert f"✓ caught Order {EVIL} Expected 1 of 2 {EVIL}." in text
    assert "Another." not in text
    assert "✗ missed An Outage PASS" in text
    assert "✗ missed \N{EN DASH} no result" in text
    assert f"False alarm: Idle: Too busy {EVIL}" in text
    assert "✗ caught for another reason A Rate The port is taken." in text
    assert "4 of 4 defects, chosen by seed 7" in text
    assert "20 tests, 10 runs of the sound server on a busy machine" in text
    assert "<script" not in without_own_script(written)
    assert "#grade" in page.values("href")
    assert "grade" in page.values("id")
    assert "grade" in page.values("aria-labelledby")


def test_the_annex_is_in_the_file_for_machines_too(result: Result, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(msgspec.json.encode(graded()))
    kept = tmp_path / "elsewhere" / "history.jsonl"
    assert build(result.suite, Settings(output=tmp_path)).grade == graded()
    assert build(result.suite, Settings(output=tmp_path, history=kept)).grade is None, "it stands beside the history"


def test_without_a_grade_there_is_no_annex(result: Result, tmp_path: Path) -> None:
    assert "Annex" not in html(result, tmp_path, None)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"{}", msgspec.json.encode(graded(format=99))])
def test_a_grade_that_cannot_be_read_is_said_and_does_not_stop_the_page(
    result: Result, tmp_path: Path, content: bytes
) -> None:
    written = html(result, tmp_path, content)
    assert "`make grade` writes a new one" in written
    assert "Annex" not in written


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("One line.", "One line."),
        (MESSAGE, f"Expected 1 of 2 {EVIL}."),
        ("Setup failed:\nNo Redis.", "No Redis."),
        ("Teardown failed:\nA frame is wrong.", "A frame is wrong."),
        ("Parent suite setup failed:\nNo server.\n\nAlso parent suite teardown failed:\nNo.", "No server."),
        (
            "2 do not add up\nTX 7\nR18.7 wrong: required == 0, measured 2.",
            "2 do not add up R18.7 wrong: required == 0, measured 2.",
        ),
        ("Row. R18.7 wrong: required == 0, measured 2.\n\n2) More", "Row. R18.7 wrong: required == 0, measured 2."),
        ("", ""),
    ],
)
def test_the_line_of_a_failure_is_the_first_that_says_something(message: str, line: str) -> None:
    assert Failure(test="A", message=message).line == line


def test_a_grade_renews_the_page_and_one_of_chosen_defects_stands_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "defects")
    grade = importlib.import_module("grade")
    suite(tmp_path, "*** Test Cases ***\nSmall\n    [Tags]    R13.4\n    No Operation\n")
    robot(tmp_path, "own.robot")
    folder = tmp_path / "out"
    page = folder / "resilience.html"
    grade.write(graded(), folder, whole=False)
    assert msgspec.json.decode((folder / "grade-only.json").read_bytes(), type=Grade) == graded()
    assert not (folder / FILE_NAME).exists()
    assert not page.exists()
    grade.write(graded(), folder, whole=True)
    assert "1 of 4 defects, chosen by seed 7" in " ".join(" ".join(Page(page.read_text()).texts).split())
