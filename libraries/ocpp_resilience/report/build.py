"""From Robot's results and the evidence beside them to a report."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from robot.version import get_version

from ocpp_resilience.errors import UsageError
from ocpp_resilience.evidence.measurements import INCONCLUSIVE, Measurement
from ocpp_resilience.evidence.requirements import (
    Requirement,
    Requirements,
    load_with_ours,
    requirement_id,
)
from ocpp_resilience.evidence.thresholds import Judgement, Threshold, with_unit
from ocpp_resilience.report import evidence, grade, history, known_deviations, verdict
from ocpp_resilience.report import run_summary as whole_run
from ocpp_resilience.report.evidence import Facts, as_text
from ocpp_resilience.report.model import (
    FORMAT,
    Comparison,
    Fault,
    Figure,
    Past,
    Report,
    RequirementResult,
    TestResult,
    ThresholdResult,
    Value,
    Verdict,
)
from ocpp_resilience.report.run_summary import RunSummary, outcomes
from ocpp_resilience.robot.facts import Kind, Reason, moment

TOLERANCE = 0.3
"""The share of the baseline by which a value may be worse, unless told otherwise."""

FOLDER = "Evidence"
"""The metadata of a suite that says in which folder its run left its evidence."""

LINK = "Page"
"""The metadata of a suite that is a link to the page."""

RELEASE = "Release"
"""The metadata of a run that was meant to decide, rather than a quick check: `yes`."""

FIRST_RUN = "First Run"
"""The metadata of merged runs that says how many seconds the first one took: R0.1 is about that."""

NO_FACTS = (
    "No recorded facts of this run were found, so that the verdicts rest on what Robot Framework says alone. "
    "Name the folder of its results with --evidence."
)


@dataclass(frozen=True)
class Settings:
    """Paths of the inputs and outputs.

    Attributes:
        output: the folder of `output.xml` and of the page.
        requirements: the requirements files. The project's own counts as far as tests touch it, where there is another.
        history: the history file; `history.jsonl` in the output folder if not given.
        baseline: the accepted run; `baseline.json` beside the history if not given.
        tolerance: share of the baseline by which a value may be worse.
        log: name of Robot's log, relative to the page; `None` when there is none.
        report: name of Robot's report, likewise.
        evidence: further folders with evidence, of runs that were merged.
        known: the file of known deviations; `None` for none.
    """

    output: Path
    requirements: Sequence[Path] = ()
    history: Path | None = None
    baseline: Path | None = None
    tolerance: float = TOLERANCE
    log: str | None = "log.html"
    report: str | None = None
    evidence: Sequence[Path] = field(default_factory=tuple)
    known: Path | None = None

    @property
    def history_file(self) -> Path:
        return self.history or self.output / "history.jsonl"

    @property
    def baseline_file(self) -> Path:
        return self.baseline or self.history_file.with_name("baseline.json")


def build(
    suite: Any,
    settings: Settings,
    *,
    complete: bool = True,
    environment: dict[str, str] | None = None,
    seconds: float | None = None,
) -> Report:
    """A report of a run.

    Args:
        suite: Robot's result, `robot.result.TestSuite`: of `output.xml`, or of a run that goes on.
        settings: paths of the inputs and outputs.
        complete: whether the run has ended.
        environment: facts beyond the metadata of the suites.
        seconds: how long it took so far, if that is known better than from the facts.

    Raises:
        UsageError: the requirements cannot be read.
    """
    problems: list[str] = []
    folders = evidence.folders(settings.output, [*settings.evidence, *_noted_folders(suite)])
    facts = evidence.read_facts(folders, problems).of(suite)
    found = evidence.read(folders, settings.output.resolve(), facts, problems)
    problems += facts.unsent
    if not facts.tests and any(each.end_time for each in suite.all_tests):
        problems.append(NO_FACTS)
    surroundings = _environment(suite) | (environment or {})
    requirements = _requirements([*settings.requirements, *facts.requirements], problems)
    requirements = requirements.in_version(surroundings.get("Protocol"))
    own = None if requirements.are_ours else requirements.own
    claims = {violation: each.id for each in reversed([*requirements]) for violation in each.violations}
    tests = [_attributed(_test(each, requirements, facts), claims) for each in suite.all_tests]
    measured = _by_test(tests, found.measurements)
    touched = {each for test in tests for each in _touched(test)} | {
        each.requirement for several in measured.values() for each in several
    }
    shown = [each for each in requirements if own is None or each.id in own or each.id in touched]
    cut_off = facts.stopped or next((each.stopped for each in tests if each.stopped), "")
    complete = complete and not cut_off
    results = [_requirement(each, tests, measured, complete) for each in shown]
    began, _ = _span(suite)
    run = _iso(began)
    seconds = _seconds(suite, facts, tests) if seconds is None else seconds
    earlier = history.read(settings.history_file, before=run, problems=problems)
    comparison = _compared(settings, run, results, problems)
    if complete:
        known = whole_run.judge(
            results,
            tests,
            seconds=float(suite.metadata.get(FIRST_RUN, seconds)),
            comparison=comparison,
            environment=surroundings,
            history=earlier,
        )
        results = [_as_a_whole(requirements.get(each.id), each, known) for each in results]
    results = known_deviations.mark(results, settings.known, problems)
    counts = {each.value: 0 for each in Verdict} | Counter(each.verdict.value for each in results if each.group)
    unusable = _unusable(tests) if complete else ""
    decision = verdict.decide(results, tests, crashes=facts.crashes, unusable=unusable)
    return Report(
        format=FORMAT,
        run=run,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=complete,
        cut_off=cut_off,
        verdict=decision,
        sentence=verdict.describe(
            decision,
            results,
            tests,
            crashes=facts.crashes,
            unusable=unusable,
            cut_off=_where_cut_off(cut_off, tests),
            complete=complete,
            quick=own is None and RELEASE not in suite.metadata and whole_run.is_whole(whole_run.ran(tests)),
        ),
        counts=counts,
        results=dict.fromkeys(("PASS", "FAIL", "SKIP", "NOT RUN"), 0) | Counter(each.status for each in tests),
        seconds=seconds,
        log=settings.log,
        report=settings.report,
        requirements=results,
        headline=_headline(requirements, results, earlier),
        headings={
            str(group): requirements.headings[group] for group in _groups(results) & requirements.headings.keys()
        },
        tests=tests,
        series=found.series,
        ledgers=found.ledgers,
        faults=_with_what_was_measured(found.faults, found.measurements),
        divergences=found.divergences,
        environment=surroundings,
        comparison=comparison,
        history=[msgspec.structs.replace(each, tests={}) for each in earlier[-history.KEPT :]],
        grade=_graded(settings, problems),
        problems=problems,
    )


def _with_what_was_measured(faults: Sequence[Fault], measurements: Sequence[Measurement]) -> list[Fault]:
    """Each fault with the values that its test measured while it lasted; else with all of its test."""
    by_test: dict[tuple[str, str | None], list[Measurement]] = {}
    for each in measurements:
        if each.start:
            by_test.setdefault((each.start, each.test), []).append(each)
    found = []
    for fault in faults:
        own = by_test.get((fault.start, fault.test), [])
        end = fault.end if fault.end is not None else float("inf")
        during = [each for each in own if fault.begin <= datetime.fromisoformat(each.recorded_at).timestamp() <= end]
        names = dict.fromkeys(history.key(each.requirement, each.name) for each in during or own)
        found.append(msgspec.structs.replace(fault, measured=list(names)))
    return found


def _noted_folders(suite: Any) -> list[Path]:
    """The folders of the evidence, as recorded by the suites; rebot may have written the results elsewhere."""
    pending, found = [suite], []
    while pending:
        current = pending.pop()
        pending += list(current.suites)
        found += [Path(each) for each in str(current.metadata.get(FOLDER, "")).splitlines() if each]
    return [each for each in dict.fromkeys(found) if each.is_dir()]


def _headline(
    requirements: Requirements, results: Sequence[RequirementResult], earlier: Sequence[Past]
) -> list[Figure]:
    """The figures at the top of the page, those that were measured."""
    found = []
    by_id = {each.id: each for each in results}
    for title, key in requirements.headline.items():
        requirement, _, name = key.partition(" ")
        result = by_id.get(requirement)
        measured = _measured(result, name) if result is not None else None
        if measured is not None:
            past = [each.values[key] for each in earlier if key in each.values][-history.KEPT :]
            found.append(
                Figure(
                    title=title,
                    requirement=requirement,
                    name=name,
                    value=measured.value,
                    unit=measured.unit,
                    limit=measured.limit,
                    verdict=measured.verdict,
                    history=past,
                )
            )
    return found


@dataclass(frozen=True)
class _Measured:
    value: float
    unit: str
    limit: str = ""
    verdict: Verdict | None = None


def _measured(result: RequirementResult, name: str) -> _Measured | None:
    """The worst of a threshold, or the largest of a value without one."""
    for found in result.thresholds:
        if found.name == name and found.measured is not None:
            limit = f"{found.comparison} {with_unit(found.limit, found.unit)}"
            return _Measured(found.measured, found.unit, limit, found.verdict)
    values = [each for each in result.values if each.name == name]
    worst = max(values, key=lambda each: each.value, default=None)
    return None if worst is None else _Measured(worst.value, worst.unit)


def _requirements(files: Sequence[Path], problems: list[str]) -> Requirements:
    """Those of these files; the project's alone where one cannot be used, so that there is a page which says so."""
    try:
        return load_with_ours(files)
    except UsageError as error:
        problems.append(str(error))
        return load_with_ours([])


def _groups(results: Sequence[RequirementResult]) -> set[int]:
    return {each.group for each in results}


def _where_cut_off(cut_off: str, tests: Sequence[TestResult]) -> str:
    """The way the run was stopped, and the test that ran."""
    if not cut_off:
        return ""
    last = next((each for each in tests if each.stopped), None)
    where = f" in '{last.name}'" if last is not None and last.status != "NOT RUN" else ""
    return f"Incomplete{where}: {cut_off}"


def _unusable(tests: Sequence[TestResult]) -> str:
    """Why nothing could be run; empty if something was, or if all was left out on purpose."""
    if not tests or any(each.status != "NOT RUN" for each in tests):
        return ""
    reasons = [reason for each in tests for reason in each.reasons]
    return next((each.text for each in reasons if each.kind not in {Kind.SKIPPED, Kind.LACKS}), "")


def _seconds(suite: Any, facts: Facts, tests: Sequence[TestResult]) -> float:
    """Duration of the run: by a monotonic clock if it was recorded, else by Robot's timestamps."""
    if facts.seconds is not None:
        return facts.seconds
    began, ended = _span(suite)
    if began is None or ended is None:
        return round(sum(each.seconds for each in tests), 3)
    return round(max(0.0, ended - began), 3)


def _compared(
    settings: Settings, run: str, results: Sequence[RequirementResult], problems: list[str]
) -> Comparison | None:
    try:
        accepted = history.baseline(settings.baseline_file)
    except UsageError as error:
        problems.append(str(error))
        return None
    return None if accepted is None else history.compare(accepted, run, results, settings.tolerance)


def _graded(settings: Settings, problems: list[str]) -> grade.Grade | None:
    try:
        return grade.read(settings.history_file.with_name(grade.FILE_NAME))
    except ValueError as error:
        problems.append(str(error))
        return None


def _as_a_whole(requirement: Requirement, result: RequirementResult, known: RunSummary) -> RequirementResult:
    """The verdict on a requirement without tests, from the facts of the whole run."""
    found = {name: value for (each, name), value in known.values.items() if each == requirement.id}
    if result.tests or not (found or requirement.id in known.lacking):
        return result
    thresholds = []
    for each in result.thresholds:
        if each.name in found:
            value, method = found[each.name]
            judgement = requirement.thresholds[each.name].judge(value)
            thresholds.append(
                msgspec.structs.replace(
                    each,
                    measured=judgement.measured,
                    margin=judgement.margin,
                    share=_share(judgement),
                    verdict=Verdict(judgement.verdict),
                    measurements=1,
                    method=method,
                )
            )
        elif (requirement.id, each.name) in known.inapplicable:
            thresholds.append(_not_applicable(each))
        else:
            thresholds.append(each)
    if missed := verdict.missed_thresholds(thresholds):
        decided, reason = Verdict.NOT_MET, missed
    elif any(each.verdict is Verdict.INCONCLUSIVE for each in thresholds):
        decided, reason = Verdict.INCONCLUSIVE, known.lacking.get(requirement.id, "Not everything was measured.")
    else:
        decided, reason = Verdict.MET, ""
    return msgspec.structs.replace(result, thresholds=thresholds, verdict=decided, reason=reason)


def _share(judgement: Judgement) -> float | None:
    threshold = judgement.threshold
    if not threshold.value or threshold.comparison == "==":
        return None
    return max(-1.0, min(1.0, judgement.margin / abs(threshold.value)))


def past(report: Report) -> Past:
    """The report as a line of the history."""
    return Past(
        run=report.run,
        verdict=report.verdict.value,
        counts=report.counts,
        seconds=report.seconds,
        environment=report.environment,
        values={
            history.key(each.id, found.name): found.measured
            for each in report.requirements
            for found in each.thresholds
            if found.measured is not None and not found.doubt
        }
        | {history.key(each.requirement, each.name): each.value for each in report.headline},
        tests=outcomes(report.tests),
        verdicts={each.id: each.verdict.value for each in report.requirements if each.tests},
    )


def _span(suite: Any) -> tuple[float | None, float | None]:
    """Start and end of the run; a merged run takes those of its tests."""
    starts = [each.start_time for each in (suite, *suite.all_tests) if each.start_time]
    ends = [each.end_time for each in (suite, *suite.all_tests) if each.end_time]
    return (min(starts).timestamp() if starts else None, max(ends).timestamp() if ends else None)


def _iso(seconds: float | None) -> str:
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds")


def _test(test: Any, requirements: Requirements, facts: Facts) -> TestResult:
    ids = [each for tag in test.tags if (each := requirement_id(str(tag))) and each in requirements]
    suite = test.parent
    found = TestResult(
        id=test.id,
        name=test.name,
        suite=suite.full_name,
        status="NOT RUN",
        message="",
        seconds=0,
        requirements=sorted(ids),
        start=moment(test.start_time),
        source=str(suite.source or ""),
        full_name=test.full_name,
    )
    fact = facts.test(test)
    if fact is not None:
        return msgspec.structs.replace(
            found,
            status=fact.status,
            message=fact.message,
            seconds=fact.seconds,
            reasons=fact.reasons,
            unproven=fact.unproven,
            doubts=fact.doubts,
            crashes=fact.crashes,
            stopped=fact.stopped,
        )
    if test.end_time is None and test.start_time is None and not test.elapsed_time:
        return found
    if test.end_time is None:
        return found
    message = as_text(test.message)
    setup = facts.setup_of(suite)
    if test.tags.robot("exit"):
        stopped = facts.stopped or f"The run was stopped before '{test.name}': {message}"
        return msgspec.structs.replace(found, message=message, stopped=stopped)
    if setup and test.status != "PASS":
        return msgspec.structs.replace(found, message=message, reasons=setup)
    seconds = round(max(0.0, test.elapsed_time.total_seconds()), 3)
    return msgspec.structs.replace(found, status=test.status, message=message, seconds=seconds)


def _by_test(tests: Sequence[TestResult], measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """The measurements of each test, by its id; those made outside of a test belong to none."""
    ids = {(each.start, each.name): each.id for each in tests if each.start}
    found: dict[str, list[Measurement]] = {}
    for each in measurements:
        if each.test is not None and (test := ids.get((each.start, each.test))) is not None:
            found.setdefault(test, []).append(each)
    return found


def _attributed(test: TestResult, claims: Mapping[str, str]) -> TestResult:
    """The test, its reasons with the requirements that claim their violations, if each violation is claimed."""
    reasons: list[Reason] = []
    for each in test.reasons:
        by = {claims.get(violation) for violation in each.violations} if each.requirement is None else set()
        if by and None not in by:
            reasons += [msgspec.structs.replace(each, requirement=claimant) for claimant in sorted(filter(None, by))]
        else:
            reasons.append(each)
    return msgspec.structs.replace(test, reasons=reasons)


def _touched(test: TestResult) -> set[str]:
    """The requirements that a test says something of: those of its tags, and those that claim what it has seen."""
    return {*test.requirements, *(each.requirement for each in test.reasons if each.violations and each.requirement)}


def _requirement(
    requirement: Requirement, tests: Sequence[TestResult], measured: dict[str, list[Measurement]], complete: bool
) -> RequirementResult:
    own = [each for each in tests if requirement.id in _touched(each)]
    values: dict[str, list[tuple[str, Measurement]]] = {}
    for test in tests:
        for each in measured.get(test.id, []):
            if each.requirement == requirement.id:
                values.setdefault(each.name, []).append((test.id, each))
    thresholds = [_threshold(name, each, values.get(name, [])) for name, each in requirement.thresholds.items()]
    others = [
        Value(name=name, value=each.value, unit=each.unit, samples=each.samples, method=each.method, test=test)
        for name, found in values.items()
        if name not in requirement.thresholds
        for test, each in found
    ]
    by_test: dict[str, list[Measurement]] = {}
    for several in values.values():
        for maker, each in several:
            by_test.setdefault(maker, []).append(each)
    blamed = {test.id for test in own if any(map(verdict.counts_crashes, measured.get(test.id, [])))}
    result, reason = verdict.of_requirement(requirement.id, thresholds, own, by_test, complete=complete, blamed=blamed)
    if result is Verdict.NOT_APPLICABLE:
        thresholds = [_not_applicable(each) for each in thresholds]
    return RequirementResult(
        id=requirement.id,
        group=requirement.test,
        title=requirement.title,
        verdict=result,
        reason=reason,
        thresholds=thresholds,
        values=others,
        tests=[each.id for each in own],
        failing=_failing_line(requirement.id, own) if result is Verdict.NOT_MET else "",
    )


def _failing_line(requirement: str, tests: Sequence[TestResult]) -> str:
    """The line with the problem: of the first failed test of this requirement, else of the first test."""
    lines = [
        (each.requirement != requirement, each.text)
        for test in tests
        if test.status == "FAIL"
        for each in test.reasons
        if each.where != "setup"
    ] + [(True, test.message) for test in tests if test.status == "FAIL" and not test.reasons]
    return verdict.short(min(lines, key=lambda each: each[0])[1].splitlines()[0]) if lines and lines[0][1] else ""


def _not_applicable(found: ThresholdResult) -> ThresholdResult:
    return found if found.measured is not None else msgspec.structs.replace(found, verdict=Verdict.NOT_APPLICABLE)


def _threshold(name: str, threshold: Threshold, found: Sequence[tuple[str, Measurement]]) -> ThresholdResult:
    plain = ThresholdResult(
        name=name,
        measures=threshold.measures,
        statistic=threshold.statistic,
        comparison=threshold.comparison,
        limit=threshold.value,
        unit=threshold.unit,
        doubt=next((each.doubt or "it decides nothing" for _, each in found if each.verdict == INCONCLUSIVE), ""),
    )
    judged = [(threshold.judge(each.value), each, test) for test, each in found]
    if not judged:
        return plain
    deciding = [each for each in judged if each[1].verdict != INCONCLUSIVE]
    judgement, measurement, test = min(deciding or judged, key=lambda each: (each[0].met, each[0].margin))
    # One value without doubt that misses the threshold decides; one that keeps it does not outweigh a doubtful one.
    decided = bool(deciding) and not (judgement.met and plain.doubt)
    return msgspec.structs.replace(
        plain,
        measured=judgement.measured,
        margin=judgement.margin,
        share=_share(judgement),
        verdict=Verdict(judgement.verdict) if decided else Verdict.INCONCLUSIVE,
        measurements=len(judged),
        samples=measurement.samples,
        method=measurement.method,
        test=test,
    )


def _environment(suite: Any) -> dict[str, str]:
    """The suites' metadata, each name once; values that differ between suites are listed."""
    found: dict[str, list[str]] = {}
    pending = [suite]
    while pending:
        current = pending.pop(0)
        pending += list(current.suites)
        for name, value in current.metadata.items():
            values = found.setdefault(str(name), [])
            if str(value) not in values:
                values.append(str(value))
    return {name: "; ".join(values) for name, values in found.items() if name not in {FOLDER, LINK, RELEASE, FIRST_RUN}}


def surroundings() -> dict[str, str]:
    """Facts about the machine and the environment of this process."""
    cores = os.cpu_count() or 1
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Robot Framework": get_version(),
        "Machine": f"{platform.system()} {platform.machine()}, {cores} {'core' if cores == 1 else 'cores'}",
    }
