"""The page of a run: from child runs of Robot Framework, every verdict, killed, merged, in parallel."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent

import msgspec
import prepared
import pytest
from child_runs import without_own_script
from robot.api import ExecutionResult

from ocpp_resilience.report import Report
from ocpp_resilience.report.__main__ import main

EVIL = "<script>alert(1)</script>"

SUITE = """
    *** Settings ***
    Library    EvidenceLibrary
    Library    Profile.py

    *** Test Cases ***
    Rate Is Kept
        [Tags]    R13.5
        Requirement Should Be Met    R13.5    messages    20000
        Requirement Should Be Met    R13.5    drain_rate    5000    samples=20000
        Record Measurement    R13.5    queue_depth_peak    1500    unit=messages    method=<script>alert(1)</script>

    Shutdown Is Slow <script>alert(1)</script>
        [Tags]    R13.3
        Requirement Should Be Met    R13.3    idle_cpu    0.5
        Requirement Should Be Met    R13.3    shutdown    3    message=<script>alert(1)</script>

    Fault Had No Effect
        [Tags]    R16.3
        Skip As Inconclusive    The connection was never cut. <script>alert(1)</script>

    Needs A Gateway
        [Tags]    R17.10
        Lack    The target has no gateway.

    Order Is Kept In Part
        [Tags]    R13.4
        Requirement Should Be Met    R13.4    messages    5000
"""

PROFILE = """
from ocpp_resilience.errors import LacksCapability, NotPossibleHere
from ocpp_resilience.robot.library import Component, KeywordLibrary, keyword

class Words(Component):
    @keyword()
    def lack(self, what: str) -> None:
        raise LacksCapability(what)

    @keyword()
    def not_here(self, what: str) -> None:
        raise NotPossibleHere(what)

class Profile(KeywordLibrary):
    def __init__(self) -> None:
        super().__init__([Words()])
"""
"""A library with a keyword that reports a declared gap of a target, as the project's own do."""

VERDICTS = {
    "R13.5": "met",
    "R13.3": "not met",
    "R16.3": "inconclusive",
    "R17.10": "not applicable",
    "R13.4": "inconclusive",
    "R18.1": "inconclusive",
}


def robot(folder: Path, *arguments: str, module: str = "robot") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, "--outputdir", str(folder / "out"), *arguments]
    # pabot starts `robot` by its name.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    return prepared.run(command, cwd=folder, env=environment, timeout=200)


def suite(folder: Path, text: str = SUITE, name: str = "own.robot") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    (folder / "Profile.py").write_text(PROFILE)
    return path


def report(folder: Path) -> Report:
    """The content of `resilience.json`; decoding checks that it keeps its schema."""
    return msgspec.json.decode((folder / "out" / "resilience.json").read_bytes(), type=Report)


def verdicts(found: Report) -> dict[str, str]:
    return {each.id: each.verdict.value for each in found.requirements if each.id in VERDICTS}


class Page(HTMLParser):
    """The page as a browser parses it: its elements, ids, links and text."""

    VOID = frozenset({"meta", "link", "br", "rect", "line", "circle", "polyline", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements for key, value in attributes.items() if key == name and value]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with every verdict."""
    folder = tmp_path_factory.mktemp("run")
    suite(folder)
    done = robot(folder, "own.robot")
    assert done.returncode == 1, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page((run / "out" / "resilience.html").read_text())


def test_every_verdict_is_given_for_its_reason(run: Path) -> None:
    found = report(run)
    assert verdicts(found) == VERDICTS
    assert found.complete
    assert found.verdict == "not ready"
    deciding = sum(each.group > 0 for each in found.requirements)
    undecided = found.counts["inconclusive"]
    assert found.sentence == (
        f"Not ready: 1 requirement is not met (R13.3), 1 of {deciding} is met, {undecided} undecided."
    )
    reasons = {each.id: each.reason for each in found.requirements}
    assert reasons["R13.3"] == "Missed: shutdown (3 s, required < 2 s)."
    assert reasons["R16.3"].startswith("Fault Had No Effect: Inconclusive: The connection was never cut.")
    assert reasons["R17.10"] == "The target has no gateway."
    assert reasons["R13.4"] == "Not measured: charge_points, processors, out_of_order."
    assert reasons["R18.1"] == "No test of this run is about it."
    [rate] = [each for each in found.requirements if each.id == "R13.5"]
    assert [(each.name, each.measured, each.margin, each.samples) for each in rate.thresholds] == [
        ("messages", 20000, 0, None),
        ("drain_rate", 5000, 4900, 20000),
    ]
    assert [(each.name, each.value, each.unit) for each in rate.values] == [("queue_depth_peak", 1500, "messages")]


def test_json_and_page_agree_with_output_xml(run: Path, page: Page) -> None:
    found = report(run)
    result = ExecutionResult(run / "out" / "output.xml")
    expected = [(each.id, each.name, each.status, each.message) for each in result.suite.all_tests]
    assert [each.start for each in found.tests] == [each.start_time.isoformat() for each in result.suite.all_tests]
    assert [(each.id, each.name, each.status, each.message) for each in found.tests] == expected
    assert found.environment["Robot Framework"] == result.suite.metadata["Robot Framework"]
    assert sum(found.counts.values()) == sum(each.group > 0 for each in found.requirements)
    text = " ".join(" ".join(page.texts).split())
    for each in found.requirements:
        assert each.id in page.values("id")
        assert each.title in text
        for threshold in each.thresholds:
            assert threshold.measures in text
    assert found.sentence in text


def test_links_lead_to_tests_in_the_log(run: Path, page: Page) -> None:
    links = [each for each in page.values("href") if each.startswith("log.html#")]
    ids = {each.id for each in ExecutionResult(run / "out" / "output.xml").suite.all_tests}
    assert {each.partition("#")[2] for each in links} == ids
    assert (run / "out" / "log.html").is_file()
    assert {each[1:] for each in page.values("href") if each.startswith("#")} <= set(page.values("id"))


def test_text_from_outside_stays_text_and_nothing_is_loaded(run: Path, page: Page) -> None:
    assert EVIL in " ".join(page.texts)
    html = (run / "out" / "resilience.html").read_text()
    assert len(html) < 2_000_000
    assert not re.search(r"<script|@import|url\(|\bsrc=|\bon\w+=", without_own_script(html))
    assert [tag for tag, _ in page.elements if tag in {"script", "iframe", "img", "object"}] == ["script"]
    assert not [each for each in page.values("href") if re.match(r"[a-z]+:", each) and each != "data:,"]


def test_a_verdict_is_never_said_by_colour_alone(page: Page) -> None:
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("role") == "img"
            assert attributes.get("aria-label")
    for word in ("met", "not met", "inconclusive", "not applicable"):
        assert any(each.strip() == word for each in page.texts)


def test_the_page_has_all_sections_and_open_requirements_come_first(run: Path, page: Page) -> None:
    requirements = report(run).requirements
    html = (run / "out" / "resilience.html").read_text()
    chips = re.findall(
        r'class="chip [a-z-]+" href="#(R[\d.]+)".*?</span>(R[\d.]+)<span class="unseen"> (.+?)</span>', html
    )
    assert chips == [
        (each.id, each.id, each.verdict.value) for each in sorted(requirements, key=lambda each: not each.group)
    ]
    top = html[: html.index('id="requirements"')]
    for verdict, heading in (("not met", "What is not met"), ("inconclusive", "What this run did not decide")):
        listed = top[top.index(f">{heading}</h2>") :]
        listed = listed[: listed.index("</section>")]
        expected = [each for each in requirements if each.verdict == verdict and each.group]
        untried = [each.id for each in expected if each.reason == "No test of this run is about it."]
        alone = [each.id for each in expected if each.id not in untried]
        assert re.findall(r'<a href="#(R[\d.]+)"', listed) == alone + untried
        assert listed.count("<li>") == len(alone) + bool(untried), "those without a test share one line"
    assert "Missed: shutdown (3 s, required &lt; 2 s)." in top
    articles = dict(re.findall(r'<article[^>]* id="(R[\d.]+)".*?(<table.*?)</article>', html, re.DOTALL))
    untried = [each.id for each in requirements if each.reason == "No test of this run is about it."]
    folded = re.findall(r'id="(R[\d.]+)"(?:(?!</article>).)*?<details><summary>What it requires', html, re.DOTALL)
    assert folded == [each for each in articles if each in untried], "only their tables are folded"


def test_a_killed_run_leaves_a_page_that_says_so(tmp_path: Path) -> None:
    suite(
        tmp_path,
        """
        *** Settings ***
        Library    EvidenceLibrary
        *** Test Cases ***
        First
            [Tags]    R13.5
            Requirement Should Be Met    R13.5    messages    20000
            Requirement Should Be Met    R13.5    drain_rate    5000
        Second
            [Tags]    R13.3
            Create File    ${CURDIR}/reached
            Sleep    300 s
        *** Settings ***
        Library    OperatingSystem
        """,
    )
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path / "out"), "own.robot"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "reached").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = report(tmp_path)
    assert not found.complete
    assert [(each.name, each.status) for each in found.tests] == [("First", "PASS")]
    assert verdicts(found)["R13.5"] == "met"
    assert "This run has not ended" in " ".join(Page((tmp_path / "out" / "resilience.html").read_text()).texts)


def test_a_folder_whose_end_the_library_does_not_see_gets_a_complete_page(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    for number in (1, 2):
        suite(tmp_path / "suites", SUITE, f"{number}.robot")
    robot(tmp_path, "suites")
    found = report(tmp_path)
    assert found.complete
    assert len(found.tests) == 10
    assert {each.id for each in found.tests} == {
        each.id for each in ExecutionResult(tmp_path / "out" / "output.xml").suite.all_tests
    }


def test_a_dry_run_leaves_no_page(tmp_path: Path) -> None:
    suite(tmp_path)
    robot(tmp_path, "--dryrun", "own.robot")
    assert not list(tmp_path.rglob("resilience.*"))
    assert not list(tmp_path.rglob("facts.jsonl"))


def test_pabot_gives_the_same_verdicts_and_one_page(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    for number in (1, 2):
        suite(tmp_path / "suites", SUITE, f"{number}.robot")
    robot(tmp_path, "suites")
    plain = report(tmp_path)
    parallel = tmp_path / "parallel"
    parallel.mkdir()
    done = robot(parallel, "--processes", "2", "--no-pabotlib", str(tmp_path / "suites"), module="pabot.pabot")
    assert (parallel / "out" / "output.xml").is_file(), done.stdout + done.stderr
    assert verdicts(report(parallel)) == verdicts(plain)
    assert report(parallel).complete
    whole = ExecutionResult(parallel / "out" / "output.xml").suite
    anchors = {each.id: each.name for each in report(parallel).tests}
    assert anchors == {each.id: each.name for each in whole.all_tests}, "the links lead to other tests of the log"
    assert {(each.suite, each.name, each.status) for each in report(parallel).tests} == {
        (each.suite, each.name, each.status) for each in plain.tests
    }
    assert len(list(parallel.rglob("resilience.html"))) == 1
    measured = [[each.measurements for each in found.thresholds] for found in plain.requirements]
    assert [[each.measurements for each in found.thresholds] for found in report(parallel).requirements] == measured


def test_a_merged_run_counts_the_tests_that_were_run_again(tmp_path: Path) -> None:
    path = suite(tmp_path)
    robot(tmp_path, "own.robot")
    (tmp_path / "out" / "output.xml").rename(tmp_path / "first.xml")
    path.write_text(path.read_text().replace("shutdown    3", "shutdown    1"))
    robot(tmp_path, "--output", "second.xml", "--test", "Shutdown*", "own.robot")
    out = tmp_path / "out"
    merge = ["--merge", "--output", "output.xml", str(tmp_path / "first.xml"), str(out / "second.xml")]
    robot(tmp_path, *merge, module="robot.rebot")
    assert main([str(out / "output.xml")]) == 0
    [again] = [each for each in report(tmp_path).requirements if each.id == "R13.3"]
    assert again.reason.startswith("Not measured")
    assert [each.measured for each in again.thresholds if each.name == "shutdown"] == [1]


def test_history_grows_and_a_regression_is_shown_and_can_fail_the_run(tmp_path: Path) -> None:
    path = suite(tmp_path)
    robot(tmp_path, "own.robot")
    output = str(tmp_path / "out" / "output.xml")
    assert main([output, "--accept", "--although", "a test"]) == 0
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 1
    path.write_text(path.read_text().replace("drain_rate    5000", "drain_rate    2000"))
    robot(tmp_path, "own.robot")
    found = report(tmp_path)
    assert len(found.history) == 1
    assert found.comparison is not None
    [regression] = found.comparison.regressions
    assert (regression.name, regression.baseline, regression.measured, regression.worse) == (
        "drain_rate",
        5000,
        2000,
        0.6,
    )
    assert "60 % worse" in (tmp_path / "out" / "resilience.html").read_text()
    assert found.tests[0].status == "PASS"
    assert main([output, "--fail-on-regression"]) == 3
    robot(tmp_path, "--variable", "FAIL ON REGRESSION:yes", "own.robot")
    first = next(iter(ExecutionResult(output).suite.all_tests))
    assert first.status == "FAIL"
    assert first.message == "Worse than the accepted baseline: R13.5 drain_rate is 2000 msg/s, was 5000 msg/s."


def test_charts_and_faults_are_in_the_log_and_on_the_page(tmp_path: Path) -> None:
    suite(
        tmp_path,
        """
        *** Settings ***
        Library    EvidenceLibrary
        Library    own.py
        *** Test Cases ***
        Memory Is Watched
            [Tags]    R18.4
            ${lines} =    Watch And Disturb
            Record Chart    Memory <script>alert(1)</script>    MB    ${lines}    requirement=R18.4    limit=${100}
            ...    seed=${42}
        Unknown
            Record Chart    Memory    MB    ${{{}}}    requirement=R99.1
        """,
    )
    fault = {"run": "RUN", "number": 1, "fault": "killed", "target": f"Redis {EVIL}", "parameters": {"how": EVIL}}
    (tmp_path / "own.py").write_text(
        dedent(f"""
        import datetime, json, time
        from ocpp_resilience.evidence.measurements import RUN
        from pathlib import Path
        from robot.libraries.BuiltIn import BuiltIn
        def watch_and_disturb():
            now = time.time()
            def at(seconds):
                return datetime.datetime.fromtimestamp(now + seconds, datetime.timezone.utc).isoformat()
            folder = Path(BuiltIn().get_variable_value("${{OUTPUT DIR}}"))
            begun = {fault!r} | {{"run": RUN, "op": "begin", "began": at(0.2), "test": "Memory Is Watched"}}
            ended = begun | {{"op": "end", "ended": at(0.5), "proven": True, "proof": "connection refused"}}
            lines = json.dumps(begun) + "\\n" + json.dumps(ended) + "\\n" + json.dumps(begun | {{"number": 2}}) + "\\n"
            (folder / "faults.jsonl").write_text(lines)
            return {{"server": [(now + n / 10, 50.0 + n) for n in range(10)]}}
        """)
    )
    done = robot(tmp_path, "--pythonpath", ".", "own.robot")
    assert done.returncode == 1, done.stdout
    found = report(tmp_path)
    assert found.tests[1].message.startswith("There is no requirement 'R99.1'")
    [drawn] = found.series
    assert (drawn.test, drawn.requirement, len(drawn.lines["server"])) == ("Memory Is Watched", "R18.4", 10)
    ended, lasting = found.faults
    assert (ended.proof, lasting.proof, lasting.end) == ("connection refused", "", None)
    assert ended.end is not None
    assert ended.end - ended.begin == pytest.approx(0.3, abs=0.001)
    page = Page(without_own_script((tmp_path / "out" / "resilience.html").read_text()))
    assert any(each.startswith(f"killed: Redis {EVIL}") for each in page.texts)
    assert "script" not in {tag for tag, _ in page.elements}
    [message] = re.findall(r'html="true"[^>]*>(.*?)</msg>', (tmp_path / "out" / "output.xml").read_text(), re.DOTALL)
    assert "seed 42" in message
    assert "&lt;svg" in message
    assert "&lt;script&gt;" not in message


WHOLE = """
    *** Settings ***
    Metadata    Redis    ${REDIS}
    Metadata    Target    reference
    Library    EvidenceLibrary
    *** Variables ***
    ${REDIS}    embedded
    ${SOAK}    1
    *** Test Cases ***
    One Of Each
        [Tags]    R13.1    R14.1    R15.1    R16.1    R17.1    R18.4    R20.1
        Record Measurement    R18.4    duration    ${SOAK}
    Depends
        [Tags]    R13.1
        Should Be Equal    ${REDIS}    embedded
"""


def test_requirements_on_the_run_as_a_whole(tmp_path: Path) -> None:
    suite(tmp_path, WHOLE)
    robot(tmp_path, "own.robot")

    def whole() -> dict[str, tuple[str, str, list[str]]]:
        return {
            each.id: (each.verdict.value, each.reason, [found.verdict.value for found in each.thresholds])
            for each in report(tmp_path).requirements
            if each.id in {"R0.1", "R0.2", "R0.3"}
        }

    first = whole()
    assert first["R0.1"] == ("met", "", ["not applicable", "met"])
    assert first["R0.2"][0] == first["R0.3"][0] == "inconclusive"
    assert "`make containers` makes one" in first["R0.2"][1]
    assert "`make baseline` accepts the last run" in first["R0.3"][1]
    html = (tmp_path / "out" / "resilience.html").read_text()
    assert "<code>make containers</code>" in html
    assert "<code>make baseline</code>" in html
    assert main([str(tmp_path / "out" / "output.xml"), "--accept", "--although", "a test"]) == 0
    assert whole()["R0.3"][:2] == (
        "inconclusive",
        "This run is the accepted baseline; the next one is compared with it.",
    )
    robot(tmp_path, "--variable", "REDIS:container", "--variable", "SOAK:10", "own.robot")
    second = whole()
    assert second["R0.3"][0] == "met"
    assert second["R0.1"] == ("met", "", ["met", "not applicable"])
    assert second["R0.2"][:2] == ("not met", "Missed: differing_results (1 result, required == 0 results).")
    robot(tmp_path, "--test", "One*", "own.robot")
    assert whole()["R0.2"][0] == "met"


@pytest.mark.parametrize(
    ("text", "verdict", "reason"),
    [
        ("Requirement Should Be Met    R13.5    messages    20000", "inconclusive", "Not measured: drain_rate. Long: "),
        ("Requirement Should Be Met    R13.5    drain_rate    5000", "inconclusive", "Long: Inconclusive: too short"),
        ("Lack    The target has no queue.", "inconclusive", "Not measured: drain_rate. Long: Inconclusive: "),
    ],
)
def test_a_skipped_test_that_decides_nothing(tmp_path: Path, text: str, verdict: str, reason: str) -> None:
    suite(
        tmp_path,
        f"""
        *** Settings ***
        Library    EvidenceLibrary
        Library    Profile.py
        *** Test Cases ***
        Long
            [Tags]    R13.5
            Requirement Should Be Met    R13.5    messages    20000
            Skip    Inconclusive: too short.
        Short
            [Tags]    R13.5
            {text}
        """,
    )
    robot(tmp_path, "own.robot")
    [found] = [each for each in report(tmp_path).requirements if each.id == "R13.5"]
    assert (found.verdict.value, found.reason[: len(reason)]) == (verdict, reason)


def test_a_judged_ledger_is_shown_with_its_test(tmp_path: Path) -> None:
    suite(
        tmp_path,
        """
        *** Settings ***
        Library    EvidenceLibrary
        Library    own.py
        *** Test Cases ***
        Nothing Is Lost
            Judge
        """,
    )
    (tmp_path / "own.py").write_text(
        dedent("""
        from pathlib import Path
        from ocpp_resilience.report import series
        from ocpp_resilience.ledger import Ledger, check
        from robot.libraries.BuiltIn import BuiltIn
        def judge():
            folder = Path(BuiltIn().get_variable_value("${OUTPUT DIR}")) / "evidence"
            for name in ("ledger-queue-1.jsonl", "ledger-queue-2.jsonl"):
                with Ledger(folder / name) as ledger:
                    ledger.invoke("CP-1", "1")
                    ledger.acknowledged("CP-1", "1")
                    ledger.end()
            series.keep_judgement(folder / "ledger-queue-1.jsonl", check([folder / "ledger-queue-1.jsonl"]))
        """)
    )
    robot(tmp_path, "--pythonpath", ".", "own.robot")
    judged, by_itself = report(tmp_path).ledgers
    assert (judged.file, judged.test, judged.counts["lost"]) == ("ledger-queue-1.jsonl", "Nothing Is Lost", 1)
    assert by_itself.file == "evidence/ledger-queue-2.jsonl"
    assert (by_itself.test, by_itself.counts["lost"]) == (None, 1)


def test_a_run_of_some_suites_does_not_prove_the_length_of_all(run: Path) -> None:
    [length] = [each for each in report(run).requirements if each.id == "R0.1"]
    assert length.verdict.value == "inconclusive"
    assert length.reason.startswith("Not all suites ran: nothing of test 14, 15, ")


def test_an_unreadable_file_is_reported_and_does_not_stop_the_page(tmp_path: Path) -> None:
    suite(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "faults.jsonl").write_text('{"half a li\n')
    (tmp_path / "out" / "ledger-x-1.jsonl").write_text("no ledger\n")
    robot(tmp_path, "own.robot")
    output = tmp_path / "out" / "output.xml"
    found = report(tmp_path)
    assert found.problems == ["faults.jsonl: Line 1 is set aside: Input data was truncated"]
    assert main([str(tmp_path / "nosuch.xml")]) == 1
    assert output.is_file()


def test_schema_in_the_documentation_is_that_of_the_file() -> None:
    from ocpp_resilience.report.model import schema

    kept = Path(__file__).resolve().parents[2] / "docs" / "resilience.schema.json"
    assert json.loads(kept.read_text()) == json.loads(json.dumps(schema())), (
        "python -m ocpp_resilience.report --schema > docs/resilience.schema.json"
    )
