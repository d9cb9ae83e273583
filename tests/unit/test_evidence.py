"""The output of EvidenceLibrary: the lines of the file, and the table in the log."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from EvidenceLibrary import EvidenceLibrary
from ocpp_resilience.errors import ExpectationFailed, ResilienceError, UsageError
from ocpp_resilience.evidence.measurements import RUN, Measurement, as_html
from ocpp_resilience.evidence.requirements import load
from ocpp_resilience.evidence.thresholds import Threshold


def lines(path: Path) -> list[Measurement]:
    return [msgspec.json.decode(line, type=Measurement) for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made when needed" / "measurements.jsonl"


def test_measurements_are_appended_as_they_come(path: Path) -> None:
    with EvidenceLibrary(measurements=path) as library:
        library.requirement_should_be_met("R13.3", "shutdown", timedelta(milliseconds=400), samples=1)
        assert len(lines(path)) == 1
        with pytest.raises(ExpectationFailed, match=r"R13\.3 shutdown: required < 2 s .* missed by 1 s \(50 %\)\.$"):
            library.requirement_should_be_met("R13.3", "shutdown", 3)
        library.record_measurement("R13.5", "cpu_per_message", 0.08, unit="ms", method="process time")
    met, missed, own = lines(path)
    assert (met.value, met.threshold, met.margin, met.verdict, met.samples) == (0.4, 2, 1.6, "met", 1)
    assert (missed.value, missed.margin, missed.verdict) == (3, -1, "not met")
    assert (own.unit, own.threshold, own.verdict, own.method) == ("ms", None, None, "process time")
    assert {each.run for each in (met, missed, own)} == {RUN}
    assert [each.test for each in (met, missed, own)] == [None] * 3


def test_a_later_run_adds_to_the_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"run":"an earlier one"}\n')
    EvidenceLibrary(measurements=path).record_measurement("R13.5", "messages", 20000)
    assert path.read_text().splitlines()[0] == '{"run":"an earlier one"}'
    assert json.loads(path.read_text().splitlines()[1])["run"] == RUN


def test_a_line_that_a_killed_run_left_unfinished_spoils_only_itself(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"run":"killed within its li')
    EvidenceLibrary(measurements=path).record_measurement("R13.5", "messages", 20000)
    broken, whole = path.read_text().splitlines()
    assert broken == '{"run":"killed within its li'
    assert json.loads(whole)["value"] == 20000


def test_a_killed_run_leaves_its_measurements(path: Path) -> None:
    program = """
        import os, signal, sys
        from pathlib import Path
        from EvidenceLibrary import EvidenceLibrary
        library = EvidenceLibrary(measurements=Path(sys.argv[1]))
        for number in range(3):
            library.record_measurement("R13.5", "messages", number)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", dedent(program), str(path)], timeout=180, check=False)
    assert done.returncode < 0
    assert [each.value for each in lines(path)] == [0, 1, 2]


def test_evidence_that_cannot_be_written_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(ResilienceError, match=r"cannot be written to .*: Is a directory\."):
        EvidenceLibrary(measurements=tmp_path).record_measurement("R13.5", "messages", 20000)


def test_outside_robot_framework_a_file_has_to_be_given() -> None:
    with pytest.raises(UsageError, match="give the library a file, measurements=PATH"):
        EvidenceLibrary().record_measurement("R13.5", "messages", 20000)


def test_a_broken_requirements_file_fails_the_keyword_and_not_the_import(tmp_path: Path) -> None:
    library = EvidenceLibrary(requirements=tmp_path / "nosuch.yaml")
    with pytest.raises(UsageError, match=r"nosuch\.yaml: cannot be read"):
        library.get_threshold("R13.5", "messages")


def test_the_table_needs_nothing_but_the_page_that_it_is_in() -> None:
    requirement = load().get("R13.3")
    html = as_html(requirement, "idle_cpu", requirement.thresholds["idle_cpu"].judge(0.5), samples=10)
    for text in (
        "R13.3 An empty queue does not block the server.",
        "&lt; 2 %",
        "0.5 % (10 samples)",
        "1.5 % (75 %)",
        " met<",
    ):
        assert text in html
    assert not re.search(r"src=|href=|class=|id=|<script|<style|url\(", html)
    colours = re.findall(r"(?:color|background):([^;\"]+)", html)
    assert set(colours) == {"inherit", "none"}, "a colour of its own is unreadable in one of the two themes"
    assert html.count("<tr>") == html.count("</tr>")
    assert html.startswith("<table ")
    assert html.endswith("</table>")


def test_the_table_shows_text_as_text() -> None:
    requirement = load().get("R13.3")
    judgement = Threshold("<", 2, "%", "mean", "<b>processor</b>").judge(3)
    html = as_html(requirement, "idle_cpu", judgement, method="<script>alert(1)</script>")
    assert "<b>" not in html
    assert "<script>" not in html
    assert "missed by 1 % (50 %)" in html
    assert "not met" in html
