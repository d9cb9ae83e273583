"""From Robot's results and the evidence beside them to a report."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from robot.version import get_version

from ocpp_resilience.errors import UsageError
from ocpp_resilience.evidence.measurements import Measurement
from ocpp_resilience.evidence.requirements import (
    DEFAULT_FILE,
    Judgement,
    Requirement,
    Requirements,
    Threshold,
    load,
    requirement_id,
    with_unit,
)
from ocpp_resilience.report import evidence, grade, history
from ocpp_resilience.report import run_summary as whole_run
from ocpp_resilience.report.model import (
    FORMAT,
    NO_TEST,
    Comparison,
    Past,
    Report,
    RequirementResult,
    TestResult,
    ThresholdResult,
    Value,
    Verdict,
)
from ocpp_resilience.report.run_summary import Whole, outcomes

TOLERANCE = 0.3
"""The share of the baseline by which a value may be worse, unless told otherwise."""

INCONCLUSIVE = "inconclusive"
"""A test whose message starts with this word, or that has it as a tag, decides nothing."""


@dataclass(frozen=True)
class Settings:
    """Where things are.

    Attributes:
        output: the folder of `output.xml` and of the page.
        requirements: the requirements file.
        history: the history file; `history.jsonl` in the output folder if not given.
        baseline: the accepted run; `baseline.json` beside the history if not given.
        tolerance: share of the baseline by which a value may be worse.
        log: name of Robot's log, relative to the page; `None` when there is none.
        evidence: further folders with evidence, of runs that were merged.
    """

    output: Path
    requirements: Path = DEFAULT_FILE
    history: Path | None = None
    baseline: Path | None = None
    tolerance: float = TOLERANCE
    log: str | None = "log.html"
    evidence: Sequence[Path] = field(default_factory=tuple)

    @property
    def history_file(self) -> Path:
        return self.history or self.output / "history.jsonl"

    @property
    def baseline_file(self) -> Path:
        return self.baseline or self.history_file.with_name("baseline.json")


def build(
    suite: Any, settings: Settings, *, complete: bool = True, environment: dict[str, str] | None = None
) -> Report:
    """A report of a run.

    Args:
        suite: Robot's result, `robot.result.TestSuite`: of `output.xml`, or of a run that goes on.
        settings: where things are.
        complete: whether the run has ended.
        environment: what is known of it beyond the metadata of the suites.

    Raises:
        UsageError: the requirements or the baseline cannot be read.
    """
    requirements = load(settings.requirements)
    began, ended = _span(suite, complete)
    found = evidence.read(evidence.folders(settings.output, settings.evidence), settings.output.resolve(), began, ended)
    tests = [_test(each, requirements) for each in suite.all_tests]
    measured = _by_test(suite, found.measurements)
    results = [_requirement(each, tests, measured, complete) for each in requirements]
    run = _iso(began)
    surroundings = _environment(suite) | (environment or {})
    seconds = round((ended or datetime.now(UTC).timestamp()) - began, 3) if began else 0.0
    earlier = history.read(settings.history_file, before=run)
    problems = list(found.problems)
    comparison = _compared(settings, results, problems)
    if complete:
        known = whole_run.judge(
            results, tests, seconds=seconds, comparison=comparison, environment=surroundings, history=earlier
        )
        results = [_as_a_whole(requirements.get(each.id), each, known) for each in results]
    counts = {verdict.value: 0 for verdict in Verdict} | Counter(each.verdict.value for each in results)
    whole = _whole(results, tests)
    return Report(
        format=FORMAT,
        run=run,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        complete=complete,
        verdict=whole,
        sentence=_sentence(whole, counts, results, complete),
        counts=counts,
        results=dict.fromkeys(("PASS", "FAIL", "SKIP", "NOT RUN"), 0) | Counter(each.status for each in tests),
        seconds=seconds,
        log=settings.log,
        requirements=results,
        tests=tests,
        series=found.series,
        ledgers=found.ledgers,
        faults=found.faults,
        divergences=found.divergences,
        environment=surroundings,
        comparison=comparison,
        history=[msgspec.structs.replace(each, tests={}) for each in earlier[-history.KEPT :]],
        grade=_graded(settings, problems),
        problems=problems,
    )


def _compared(settings: Settings, results: Sequence[RequirementResult], problems: list[str]) -> Comparison | None:
    try:
        accepted = history.baseline(settings.baseline_file)
    except UsageError as error:
        problems.append(str(error))
        return None
    return None if accepted is None else history.compare(accepted, results, settings.tolerance)


def _graded(settings: Settings, problems: list[str]) -> grade.Grade | None:
    try:
        return grade.read(settings.history_file.with_name(grade.FILE_NAME))
    except ValueError as error:
        problems.append(str(error))
        return None


def _as_a_whole(requirement: Requirement, result: RequirementResult, known: Whole) -> RequirementResult:
    """A requirement that no test is about, with what the run as a whole says of it."""
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
    if missed := _missed(thresholds):
        verdict, reason = Verdict.NOT_MET, missed
    elif any(each.verdict is Verdict.INCONCLUSIVE for each in thresholds):
        verdict, reason = Verdict.INCONCLUSIVE, known.lacking.get(requirement.id, "Not everything was measured.")
    else:
        verdict, reason = Verdict.MET, ""
    return msgspec.structs.replace(result, thresholds=thresholds, verdict=verdict, reason=reason)


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
            if found.measured is not None
        },
        tests=outcomes(report.tests),
    )


def _span(suite: Any, complete: bool) -> tuple[float | None, float | None]:
    """When the run began and ended; a merged one has no times of its own, but its tests have."""
    starts = [each.start_time for each in (suite, *suite.all_tests) if each.start_time]
    ends = [each.end_time for each in (suite, *suite.all_tests) if each.end_time]
    began = min(starts).timestamp() if starts else None
    ended = max(ends).timestamp() if ends and complete else None
    return began, ended


def _iso(seconds: float | None) -> str:
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds")


def _test(test: Any, requirements: Requirements) -> TestResult:
    ids = [each for tag in test.tags if (each := requirement_id(str(tag))) and each in requirements]
    over = test.end_time is not None
    return TestResult(
        id=test.id,
        name=test.name,
        suite=test.parent.full_name,
        status=test.status if over else "NOT RUN",
        message=test.message if over else "",
        seconds=round(test.elapsed_time.total_seconds(), 3) if over else 0,
        requirements=sorted(ids),
    )


def _by_test(suite: Any, measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """The measurements of each test, by its id: of the same name, taken while it ran.

    A file may hold several runs, and a merged run some tests of each; only the time tells them apart. Where no
    measurement of a test fits (`output.xml` came from a machine in another time zone), those of the last run count.
    """
    named: dict[tuple[str | None, str | None], list[Measurement]] = {}
    for each in measurements:
        named.setdefault((each.suite, each.test), []).append(each)
    found: dict[str, list[Measurement]] = {}
    for test in suite.all_tests:
        candidates = named.get((test.parent.full_name, test.name), [])
        if not candidates or not test.start_time:
            continue
        begin = test.start_time.timestamp() - 0.01
        end = test.end_time.timestamp() + 0.01 if test.end_time else float("inf")
        inside = [each for each in candidates if begin <= _at(each) <= end]
        offsets = {round((_at(each) - begin) / 900) for each in candidates} if not inside else set()
        if offsets and 0 not in offsets:
            inside = [each for each in candidates if each.run == candidates[-1].run]
        found[test.id] = inside
    return found


def _at(measurement: Measurement) -> float:
    return datetime.fromisoformat(measurement.recorded_at).timestamp()


def _requirement(
    requirement: Requirement, tests: Sequence[TestResult], measured: dict[str, list[Measurement]], complete: bool
) -> RequirementResult:
    own = [each for each in tests if requirement.id in each.requirements]
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
    verdict, reason = _verdict(thresholds, own, complete)
    if verdict is Verdict.NOT_APPLICABLE:
        thresholds = [_not_applicable(each) for each in thresholds]
    return RequirementResult(
        id=requirement.id,
        group=requirement.test,
        title=requirement.title,
        verdict=verdict,
        reason=reason,
        thresholds=thresholds,
        values=others,
        tests=[each.id for each in own],
    )


def _not_applicable(found: ThresholdResult) -> ThresholdResult:
    return found if found.measured is not None else msgspec.structs.replace(found, verdict=Verdict.NOT_APPLICABLE)


def _threshold(name: str, threshold: Threshold, found: Sequence[tuple[str, Measurement]]) -> ThresholdResult:
    judged = [(threshold.judge(each.value), each, test) for test, each in found]
    if not judged:
        return ThresholdResult(
            name=name,
            measures=threshold.measures,
            statistic=threshold.statistic,
            comparison=threshold.comparison,
            limit=threshold.value,
            unit=threshold.unit,
        )
    judgement, measurement, test = min(judged, key=lambda each: (each[0].met, each[0].margin))
    return ThresholdResult(
        name=name,
        measures=threshold.measures,
        statistic=threshold.statistic,
        comparison=threshold.comparison,
        limit=threshold.value,
        unit=threshold.unit,
        measured=judgement.measured,
        margin=judgement.margin,
        share=_share(judgement),
        verdict=Verdict(judgement.verdict),
        measurements=len(judged),
        samples=measurement.samples,
        method=measurement.method,
        test=test,
    )


def _verdict(thresholds: Sequence[ThresholdResult], tests: Sequence[TestResult], complete: bool) -> tuple[Verdict, str]:
    if missed := _missed(thresholds):
        return Verdict.NOT_MET, missed
    undecided = [each for each in tests if _undecided(each)]
    failed = [each for each in tests if each.status == "FAIL" and each not in undecided]
    if failed:
        return Verdict.NOT_MET, f"Failed: {failed[0].name}: {_short(failed[0].message)}"
    doubtful = [each for each in undecided if each.status == "FAIL"]
    if doubtful:
        return Verdict.INCONCLUSIVE, _said(doubtful[0])
    if not tests:
        return Verdict.INCONCLUSIVE, NO_TEST if complete else "Not tested yet."
    if any(each.status == "NOT RUN" for each in tests):
        return Verdict.INCONCLUSIVE, "Its tests have not ended."
    skipped = [each for each in tests if each.status == "SKIP"]
    if len(skipped) == len(tests) and not undecided:
        return Verdict.NOT_APPLICABLE, _short(skipped[0].message) or "Its tests were skipped."
    unmeasured = [each.name for each in thresholds if each.measured is None]
    if unmeasured or len(skipped) == len(tests):
        what = f"Not measured: {', '.join(unmeasured)}. " if unmeasured else ""
        why = [*undecided, *skipped]
        return Verdict.INCONCLUSIVE, f"{what}{_said(why[0]) if why else ''}".strip()
    return Verdict.MET, f"Skipped in part: {_said(skipped[0])}" if skipped else ""


def _missed(thresholds: Sequence[ThresholdResult]) -> str:
    """Which thresholds were missed, with what was measured; empty where none was."""
    missed = [
        f"{each.name} ({with_unit(each.measured, each.unit)}, required {each.comparison} "
        f"{with_unit(each.limit, each.unit)})"
        for each in thresholds
        if each.verdict is Verdict.NOT_MET and each.measured is not None
    ]
    return f"Missed: {', '.join(missed)}." if missed else ""


def _said(test: TestResult) -> str:
    return f"{test.name}: {_short(test.message)}"


def _undecided(test: TestResult) -> bool:
    return test.status != "PASS" and test.message.lower().startswith(INCONCLUSIVE)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _whole(results: Sequence[RequirementResult], tests: Sequence[TestResult]) -> Verdict:
    verdicts = {each.verdict for each in results}
    if Verdict.NOT_MET in verdicts or any(each.status == "FAIL" and not _undecided(each) for each in tests):
        return Verdict.NOT_MET
    if Verdict.INCONCLUSIVE in verdicts:
        return Verdict.INCONCLUSIVE
    return Verdict.MET if Verdict.MET in verdicts else Verdict.NOT_APPLICABLE


def _sentence(whole: Verdict, counts: dict[str, int], results: Sequence[RequirementResult], complete: bool) -> str:
    total, met = len(results), counts["met"]
    if not complete:
        return f"This run has not ended, or was cut off: {met} of {total} requirements are met so far, no verdict yet."
    if whole is Verdict.NOT_MET:
        missed = [each.id for each in results if each.verdict is Verdict.NOT_MET]
        if not missed:
            return f"Not ready: {met} of {total} requirements are met, but a test that belongs to none failed."
        what = "requirement is" if len(missed) == 1 else "requirements are"
        return f"Not ready: {len(missed)} {what} not met ({_some(missed)}), {met} of {total} are met."
    if whole is Verdict.INCONCLUSIVE:
        open_ones = [each.id for each in results if each.verdict is Verdict.INCONCLUSIVE]
        left = len(open_ones)
        return (
            f"No verdict: nothing was missed, but {left} of {total} requirements {'is' if left == 1 else 'are'} "
            f"undecided ({_some(open_ones)}); {met} are met."
        )
    lacking = counts["not applicable"]
    if whole is Verdict.MET and not lacking:
        return f"Ready: all {total} requirements are met."
    if whole is Verdict.MET:
        return f"Ready, as far as this target goes: {met} requirements are met, {lacking} not applicable to it."
    return "No verdict: no requirement is applicable to this target."


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids) if len(ids) <= 6 else f"{', '.join(ids[:6])} and {len(ids) - 6} more"


def _environment(suite: Any) -> dict[str, str]:
    """The suites' metadata, each name once; what differs between suites is listed."""
    found: dict[str, list[str]] = {}
    pending = [suite]
    while pending:
        current = pending.pop(0)
        pending += list(current.suites)
        for name, value in current.metadata.items():
            values = found.setdefault(str(name), [])
            if str(value) not in values:
                values.append(str(value))
    return {name: "; ".join(values) for name, values in found.items()}


def surroundings() -> dict[str, str]:
    """What this process knows of where it runs."""
    cores = os.cpu_count() or 1
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Robot Framework": get_version(),
        "Machine": f"{platform.system()} {platform.machine()}, {cores} {'core' if cores == 1 else 'cores'}",
    }
