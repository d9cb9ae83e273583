"""Reading the files that a run leaves beside `output.xml`: JSON lines, appended while it runs, perhaps cut off."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec

from ocpp_resilience import json_lines
from ocpp_resilience.evidence.measurements import FILE_NAME, Measurement
from ocpp_resilience.ledger import LedgerReport, check
from ocpp_resilience.ledger.records import LedgerError
from ocpp_resilience.report.model import Divergence, Fault, LedgerResult, Series
from ocpp_resilience.robot.facts import FILE_NAME as FACTS
from ocpp_resilience.robot.facts import Fact, Reason, RunFact, SuiteFact, TestFact, moment
from ocpp_resilience.robot.variables import EVIDENCE

FAULTS = "faults.jsonl"
SERIES = "series.jsonl"
DIVERGENCES = "divergences.jsonl"
LEDGERS = "ledger-*.jsonl"
JUDGEMENTS = "ledgers.jsonl"

ADDED_TO = frozenset({FILE_NAME, FACTS, FAULTS, SERIES, DIVERGENCES, JUDGEMENTS})
"""Files to which each run adds its lines."""
MOST_BYTES = 4_000_000
"""Such a file is cut to half of that when it is larger as a run begins."""

LARGEST = 1e15
"""No value that is measured is as large as this."""
LATEST = 4e9
"""Seconds since 1970 that no clock shows in this century."""

_judged: dict[tuple[str, int, int], LedgerResult] = {}
"""Judgements by path, size and time of change: a page is written after every test, most ledgers do not change."""


@dataclass
class Evidence:
    """The content of the evidence files."""

    measurements: list[Measurement] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    divergences: list[Divergence] = field(default_factory=list)
    ledgers: list[LedgerResult] = field(default_factory=list)


def folders(output: Path, more: Iterable[Path] = ()) -> list[Path]:
    """Folders with evidence: the output folder, those of pabot's processes, and those of merged runs."""
    found = [output, *sorted(path for path in (output / "pabot_results").glob("**") if path.is_dir()), *more]
    both = [each for folder in found for each in (folder, folder / EVIDENCE) if each.is_dir()]
    return list(dict.fromkeys(path.resolve() for path in both))


def make_room(folder: Path) -> None:
    """Keep only files that a new run extends, and their newest part, so that the folder does not grow.

    Files to which every run adds (`measurements.jsonl` and so on) stay, since runs that were made into the same folder
    may be merged later. Ledgers and samples, which are large, are those of the last run.
    """
    for path in folder.iterdir():
        if path.name in ADDED_TO:
            json_lines.keep_newest(path, MOST_BYTES)
        elif path.is_file():
            path.unlink()


class Facts:
    """The recorded facts about the tests of one report.

    Attributes:
        tests: by name and start.
        runs: the names of the runs that they belong to.
        requirements: the requirements files of these runs.
        seconds: how long the run took; `None` if there are several, or where it did not end.
        stopped: how the run was stopped; empty if it was not.
        crashes: servers that ended by themselves outside of a test.
        earlier: the ledgers that earlier runs had left, by path.
        unsent: files of invalid messages with cases that no test has sent, a sentence each.
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.tests: dict[tuple[str, str], TestFact] = {}
        self._suites: dict[tuple[str, str], SuiteFact] = {}
        self._runs: dict[str, RunFact] = {}
        self.runs: set[str] = set()
        self.requirements: list[Path] = []
        self.seconds: float | None = None
        self.stopped = ""
        self.crashes: list[str] = []
        self.earlier: set[str] = set()
        self.unsent: list[str] = []
        for each in facts:
            if isinstance(each, TestFact):
                self.tests[each.start, each.name] = each
            elif isinstance(each, SuiteFact):
                self._suites[each.run, f"{each.start} {each.suite}"] = each
            else:
                self._runs[each.run] = each

    def of(self, suite: Any) -> Facts:
        """Those that belong to the tests of a result, and to their runs."""
        keys = {(moment(each.start_time), each.name) for each in suite.all_tests}
        mine = Facts([each for key, each in self.tests.items() if key in keys])
        mine.runs = {each.run for each in mine.tests.values()}
        if not mine.runs:
            # Without facts about tests, those about the suites name the run.
            starts = {moment(each.start_time) for each in _suites_in(suite)} - {""}
            mine.runs = {each.run for each in self._suites.values() if each.start in starts}
        mine._suites = {key: each for key, each in self._suites.items() if each.run in mine.runs}
        mine._runs = {name: each for name, each in self._runs.items() if name in mine.runs}
        runs = list(mine._runs.values())
        mine.requirements = [Path(each) for run in runs for each in run.requirements]
        mine.seconds = runs[0].seconds if len(runs) == 1 and len(mine.runs) == 1 else None
        mine.earlier = {path for run in runs for path, size in run.ledgers.items() if _size(path) == size}
        mine.unsent = list(dict.fromkeys(each for run in runs for each in run.unsent))
        mine.stopped = next((each.stopped for each in runs if each.stopped), "")
        mine.crashes = [each for fact in mine._suites.values() for each in fact.crashes if not fact.stopped]
        mine._add_teardowns()
        return mine

    def _add_teardowns(self) -> None:
        """Mark the tests of a suite with a failed teardown as failed, unless the suite was stopped in the middle."""
        for fact in self._suites.values():
            failed = [each for each in fact.reasons if each.where == "teardown"]
            if not failed or fact.stopped:
                continue
            for key, test in self.tests.items():
                if test.run == fact.run and (test.suite == fact.suite or test.suite.startswith(f"{fact.suite}.")):
                    status = "FAIL" if test.status == "PASS" else test.status
                    self.tests[key] = msgspec.structs.replace(test, status=status, reasons=[*test.reasons, *failed])

    def test(self, result: Any) -> TestFact | None:
        """The recorded facts about a test of a result, if there are any."""
        return self.tests.get((moment(result.start_time), result.name))

    def setup_of(self, suite: Any) -> list[Reason]:
        """Why a suite, or one that it is in, was not set up; empty if that is not so, or not known."""
        current = suite
        while current is not None:
            start = moment(current.start_time)
            for fact in self._suites.values():
                same = fact.start == start if start else fact.suite == current.full_name
                if same and (setup := [each for each in fact.reasons if each.where == "setup"]):
                    return setup
            current = current.parent
        return []


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


def _suites_in(suite: Any) -> Iterator[Any]:
    yield suite
    for each in suite.suites:
        yield from _suites_in(each)


def read_facts(where: Iterable[Path], problems: list[str]) -> Facts:
    """The facts in these folders, of every run."""
    found: list[Fact] = []
    for folder in where:
        found += json_lines.read(folder / FACTS, Fact, problems)  # type: ignore[arg-type]
    return Facts(found)


def read(where: Iterable[Path], page: Path, facts: Facts, problems: list[str]) -> Evidence:
    """Everything in these folders that belongs to some runs; a line that cannot be used is set aside and said.

    Args:
        where: folders.
        page: the folder of the page, for relative names.
        facts: facts about these runs; those without a run are included.
        problems: gets a sentence for each unusable entry.
    """
    evidence = Evidence()

    def ours(run: str) -> bool:
        return not run or run in facts.runs

    for folder in where:
        measurements = json_lines.read(folder / FILE_NAME, Measurement, problems, check=_unusable_measurement)
        evidence.measurements += [each for each in measurements if ours(each.run)]
        series = json_lines.read(folder / SERIES, Series, problems, check=_unusable_series)
        evidence.series += [each for each in series if ours(each.run)]
        divergences = json_lines.read(folder / DIVERGENCES, Divergence, problems)
        evidence.divergences += [each for each in divergences if ours(each.run)]
        evidence.faults += [each for each in _faults(folder / FAULTS, problems) if ours(each.run)]
        judged = [each for each in json_lines.read(folder / JUDGEMENTS, LedgerResult, problems) if ours(each.run)]
        evidence.ledgers += judged
        names = {each.file for each in judged}
        for path in sorted(folder.glob(LEDGERS)):
            if path.name not in names and str(path) not in facts.earlier:
                evidence.ledgers.append(_ledger(path, page))
    evidence.faults.sort(key=lambda each: each.begin)
    return evidence


def read_measurements(path: Path) -> list[Measurement]:
    """The measurements in one file, of every run in it."""
    return json_lines.read(path, Measurement, [])


def read_faults(path: Path) -> list[Fault]:
    """The faults in one file, of every run in it."""
    return _faults(path, [])


def _unusable_measurement(measurement: Measurement) -> str | None:
    if not _plausible(measurement.value):
        return f"the value {measurement.value:g} of {measurement.requirement} {measurement.name} is none"
    return None if _seconds(measurement.recorded_at) is not None else f"'{measurement.recorded_at}' is no date"


def _unusable_series(series: Series) -> str | None:
    for name, points in series.lines.items():
        for at, value in points:
            if not (_plausible(value) and 0 <= at < LATEST):
                return f"the point {at:g}, {value:g} of '{name}' is none"
    return None


def _plausible(value: float) -> bool:
    return math.isfinite(value) and abs(value) < LARGEST


def as_text(message: str) -> str:
    """A message of Robot's as text: that of a merged result is HTML."""
    if not message.startswith("*HTML*"):
        return message
    parser = _Text()
    parser.feed(message.removeprefix("*HTML*"))
    parser.close()
    return " ".join("".join(parser.parts).split())


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        if tag in {"br", "hr", "p", "div", "tr"}:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


class _FaultRecord(msgspec.Struct, kw_only=True):
    """A line of `faults.jsonl`: a fault when it began, and the same one again when it was over."""

    run: str
    number: int
    fault: str
    target: str
    began: str
    parameters: dict[str, Any] = {}
    suite: str | None = None
    test: str | None = None
    start: str = ""
    ended: str | None = None
    proven: bool = False
    proof: str = ""
    healed: str = ""


def _faults(path: Path, problems: list[str]) -> list[Fault]:
    """Every fault once, as its last line says."""
    faults: dict[tuple[str, int], Fault] = {}
    for record in json_lines.read(path, _FaultRecord, problems, check=_unusable_fault):
        values = ", ".join(f"{name} {value}" for name, value in record.parameters.items())
        faults[record.run, record.number] = Fault(
            name=f"{record.fault}: {record.target}{f' ({values})' if values else ''}",
            begin=_seconds(record.began) or 0.0,
            end=_seconds(record.ended),
            proof=record.proof if record.proven else "",
            suite=record.suite,
            test=record.test,
            start=record.start,
            run=record.run,
        )
    return list(faults.values())


def _unusable_fault(record: _FaultRecord) -> str | None:
    for at in (record.began, record.ended):
        if at is not None and _seconds(at) is None:
            return f"'{at}' is no date"
    return None


def _seconds(moment: str | None) -> float | None:
    """An RFC 3339 time in seconds since 1970; `None` if `text` is none."""
    try:
        at = datetime.fromisoformat(moment).timestamp() if moment else -1.0
    except (ValueError, OverflowError, OSError):
        return None
    return at if 0 <= at < LATEST else None


def _ledger(path: Path, page: Path) -> LedgerResult:
    """A ledger that no test judged."""
    status = path.stat()
    identity = (str(path), status.st_size, status.st_mtime_ns)
    if identity not in _judged:
        _judged[identity] = _judge(path, page)
    return _judged[identity]


def _judge(path: Path, page: Path) -> LedgerResult:
    name = str(path.relative_to(page)) if path.is_relative_to(page) else path.name
    try:
        report = check([path])
    except LedgerError as error:
        return LedgerResult(file=name, verdict="unreadable", summary=str(error), counts={})
    return judgement(name, report)


def judgement(name: str, report: LedgerReport) -> LedgerResult:
    """A judgement as the page shows it."""
    counts = {kind: value for kind, value in report.to_json().items() if type(value) is int}
    return LedgerResult(file=name, verdict=report.verdict.value, summary=report.summary, counts=counts)
