"""Output for pipelines: JUnit XML with the ids of requirements, and a summary in Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from ocpp_resilience.errors import ResilienceError
from ocpp_resilience.evidence.thresholds import with_unit
from ocpp_resilience.json_lines import replace_file
from ocpp_resilience.report.model import NO_TEST, Report, RequirementResult, TestResult, ThresholdResult, Verdict

MARKS = {
    Verdict.MET: "✅",
    Verdict.NOT_MET: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.NOT_APPLICABLE: "n/a",
}
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LONGEST = 300
"""Characters of a reason in a table."""


def junit(report: Report) -> bytes:
    """JUnit XML: the tests, and beside them a suite with a case for each requirement of the run.

    A requirement that is not met is a failure; one that is undecided or not applicable is skipped, with the reason.
    """
    root = ET.Element("testsuites", name="Resilience")
    tests = _suite(root, "Tests")
    for test in report.tests:
        case = _case(tests, test.name, test.suite, test.seconds)
        if test.requirements:
            properties = ET.SubElement(case, "properties")
            for each in test.requirements:
                ET.SubElement(properties, "property", name="requirement", value=each)
        if test.status == "FAIL":
            _said(case, "failure", _reason(test))
        elif test.status != "PASS":
            _said(case, "skipped", _reason(test))
    requirements = _suite(root, "Requirements")
    for requirement in _shown(report):
        case = _case(requirements, f"{requirement.id} {requirement.title}", f"R{requirement.group}", 0.0)
        if requirement.verdict is Verdict.NOT_MET:
            _said(case, "failure", requirement.reason)
        elif requirement.verdict is not Verdict.MET:
            _said(case, "skipped", f"{requirement.verdict}: {requirement.reason}")
    for suite in root:
        cases = list(suite)
        suite.set("tests", str(len(cases)))
        suite.set("failures", str(sum(each.find("failure") is not None for each in cases)))
        suite.set("skipped", str(sum(each.find("skipped") is not None for each in cases)))
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _suite(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=name)


def _case(suite: ET.Element, name: str, group: str, seconds: float) -> ET.Element:
    return ET.SubElement(suite, "testcase", name=_plain(name), classname=_plain(group), time=f"{seconds:.3f}")


def _said(case: ET.Element, kind: str, text: str) -> None:
    first, _, _ = text.partition("\n")
    ET.SubElement(case, kind, message=_plain(first)).text = _plain(text)


def _reason(test: TestResult) -> str:
    return next((each.text for each in test.reasons), "") or test.message or test.stopped or "It was not run."


def _plain(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def summary(report: Report, page: str = "resilience.html") -> str:
    """The run in Markdown, for the page of a job: verdict, missed and undecided requirements.

    Args:
        report: the run.
        page: where the page is, as the reader of the summary finds it.
    """
    counts = ", ".join(f"{report.counts[each.value]} {each}" for each in Verdict if report.counts[each.value])
    known = report.environment
    about = "; ".join(f"{name}: {_cell(known[name])}" for name in ("System", "Target", "Redis") if name in known)
    lines = [
        f"## {_cell(report.sentence)}",
        "",
        f"Requirements: {counts or 'none'}. {about}".rstrip() + f" ([page]({page}))",
    ]
    shown = _shown(report)
    missed = [each for each in shown if each.verdict is Verdict.NOT_MET]
    open_ones = [each for each in shown if each.verdict is Verdict.INCONCLUSIVE and each.reason != NO_TEST]
    for heading, several in (("Not met", missed), ("Undecided", open_ones)):
        if several:
            lines += ["", f"### {heading}", "", "| requirement | reason |", "|---|---|"]
            lines += [f"| {each.id} {_cell(each.title)} | {_cell(each.reason)} |" for each in several]
    measured = [(each, found) for each in shown for found in each.thresholds if found.measured is not None]
    if measured:
        lines += ["", "<details><summary>Measured values</summary>", ""]
        lines += ["| requirement | value | required | measured | |", "|---|---|---|---|---|"]
        lines += [_row(each, found) for each, found in measured]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _row(requirement: RequirementResult, found: ThresholdResult) -> str:
    limit = f"{found.comparison} {with_unit(found.limit, found.unit)}"
    measured = with_unit(found.measured or 0, found.unit)
    return f"| {requirement.id} | {_cell(found.name)} | {_cell(limit)} | {_cell(measured)} | {MARKS[found.verdict]} |"


def _cell(text: str) -> str:
    """Text for one line of a table, with Markdown and HTML escaped."""
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
    return re.sub(r"([\\|<>\[\]*_#])", r"\\\1", line)


def _shown(report: Report) -> list[RequirementResult]:
    """Those that some test of the run is about, or that the run says something of."""
    return [each for each in report.requirements if each.tests or each.verdict is not Verdict.INCONCLUSIVE]


def write_junit(report: Report, path: Path) -> None:
    """Write JUnit XML to a file.

    Raises:
        ResilienceError: it cannot be written.
    """
    replace_file(path, junit(report))


def add_summary(report: Report, path: Path, page: str) -> None:
    """Add the summary to a file, which may hold those of other jobs (`$GITHUB_STEP_SUMMARY`).

    Raises:
        ResilienceError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(summary(report, page))
    except OSError as error:
        raise ResilienceError(f"{path} cannot be written: {error.strerror}.") from error
