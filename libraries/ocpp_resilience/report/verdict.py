"""The rules: from recorded facts to the verdict on a requirement, and from requirements to the verdict on the system.

*Not applicable* comes from the declarations of the profile alone. A test that was skipped for another reason, was not
run or was cut off, or that failed while a fault of its own was not proven, decides nothing: the requirement is
inconclusive. Any other failure means *not met*.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from ocpp_resilience.evidence.measurements import INCONCLUSIVE, Measurement
from ocpp_resilience.evidence.thresholds import with_unit
from ocpp_resilience.report.model import NO_TEST, Decision, RequirementResult, TestResult, ThresholdResult, Verdict
from ocpp_resilience.robot.facts import Kind, Reason

SHORTEST = 300
"""Characters of a reason."""
RELEASE = "`make release` decides."
"""Advice after a quick check."""


@dataclass
class Evidence:
    """The results of the tests of one requirement, combined."""

    failed: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    passed: int = 0


def of_requirement(
    requirement: str,
    thresholds: Sequence[ThresholdResult],
    tests: Sequence[TestResult],
    measured: dict[str, list[Measurement]],
    *,
    complete: bool,
    blamed: Container[str] = (),
) -> tuple[Verdict, str]:
    """The verdict on a requirement, and the reason when it is not met.

    Args:
        requirement: its id.
        thresholds: of the requirement, with the worst measured value.
        tests: those that carry its id as a tag.
        measured: the measurements of it by the id of the test that made them, which may be a test without the tag.
        complete: whether the run has ended.
        blamed: the ids of tests in which some requirement has counted the crashes: for the others of such a test, what
            could not be tried is inconclusive.
    """
    if missed := missed_thresholds(thresholds):
        return Verdict.NOT_MET, missed
    found = Evidence()
    for test in tests:
        _add(found, requirement, test, measured.get(test.id, []), blamed=test.id in blamed)
    if found.failed:
        return Verdict.NOT_MET, found.failed[0]
    doubtful = [each.doubt for each in thresholds if each.doubt]
    if found.undecided or doubtful:
        reason = found.undecided[0] if found.undecided else f"{_names_of_doubtful(thresholds)}: {doubtful[0]}"
        return Verdict.INCONCLUSIVE, _with_unmeasured(thresholds, reason)
    if not tests:
        return Verdict.INCONCLUSIVE, NO_TEST if complete else "Not tested yet."
    if found.lacking and not found.passed:
        return Verdict.NOT_APPLICABLE, found.lacking[0]
    if any(each.measured is None for each in thresholds):
        return Verdict.INCONCLUSIVE, _with_unmeasured(thresholds, found.lacking[0] if found.lacking else "")
    return Verdict.MET, f"Not applicable in part: {found.lacking[0]}" if found.lacking else ""


CRASHES = frozenset({"crashes", "not_survived"})
"""Names of thresholds that count crashes."""


def counts_crashes(measurement: Measurement) -> bool:
    """Whether a requirement has counted a crash by it."""
    return measurement.name in CRASHES and measurement.value > 0


def _add(
    found: Evidence, requirement: str, test: TestResult, measured: Sequence[Measurement], *, blamed: bool = False
) -> None:
    """The result of one test for a requirement."""
    said = f"{test.name}: "
    if test.crashes and not test.stopped:
        if not blamed:
            found.failed.append(said + short(test.crashes[0]))
        elif measured and all(each.verdict != INCONCLUSIVE for each in measured):
            found.passed += 1
        else:
            found.undecided.append(f"{said}not tried to the end: {short(test.crashes[0])}")
        return
    if test.status == "PASS":
        found.passed += 1
        return
    if test.stopped:
        found.undecided.append(f"{said}{short(test.stopped)}")
        return
    if test.status == "NOT RUN":
        # The failure of a suite's setup is one reason for all of its tests.
        in_setup = any(each.where == "setup" for each in test.reasons)
        _add_reasons(found, "" if in_setup else said, test, test.reasons)
        return
    own = [each for each in test.reasons if each.requirement in {None, requirement}]
    if test.reasons and not own:
        # The test stopped because of another requirement; its earlier measurements of this one stand.
        if measured and all(each.verdict != INCONCLUSIVE for each in measured):
            found.passed += 1
        else:
            first = test.reasons[0]
            found.undecided.append(
                f"{said}it ended for {first.requirement} before this was decided: {short(first.text)}"
            )
        return
    _add_reasons(found, said, test, own)


def _add_reasons(found: Evidence, said: str, test: TestResult, reasons: Sequence[Reason]) -> None:
    real = [each for each in reasons if _is_failure(each)]
    if test.status == "FAIL" and (real or not reasons):
        text = short(real[0].text if real else test.message)
        doubts = [*test.unproven, *test.doubts]
        if doubts and all(each.kind is not Kind.MISSED for each in real):
            found.undecided.append(f"{said}inconclusive, since {short('; '.join(doubts))}. It failed: {text}")
        else:
            found.failed.append(f"Failed: {said}{text}")
    elif reasons and all(each.kind is Kind.LACKS for each in reasons):
        found.lacking.append(short(reasons[0].text))
    else:
        decisive = next((each for each in reasons if each.kind is not Kind.LACKS), None)
        found.undecided.append(said + short(decisive.text if decisive else test.message or "it was not run"))


def _is_failure(reason: Reason) -> bool:
    """Whether it counts against the system: a test whose setup failed was not tried."""
    return reason.where != "setup" and reason.kind in {Kind.FAILED, Kind.MISSED, Kind.UNUSABLE}


def decides_nothing(test: TestResult) -> bool:
    """Whether a test that did not pass says nothing against the system."""
    found = Evidence()
    _add(found, "", test, [])
    return not found.failed


def severity(result: RequirementResult) -> float:
    """How bad the worst missed measurement of a requirement is; 0 if none was missed.

    It is the share of what was looked at where that is known, else the distance from the limit by the limit, at most 1.
    A crash is worse than anything else.
    """
    found = 0.0
    for each in result.thresholds:
        if each.verdict is not Verdict.NOT_MET or each.measured is None or each.margin is None:
            continue
        if each.name in CRASHES:
            return 2.0
        if each.limit:
            distance = abs(each.margin) / abs(each.limit)
        else:
            distance = abs(each.margin) / each.samples if each.samples else 1.0
        found = max(found, min(distance, 1.0))
    return found


def missed_thresholds(thresholds: Sequence[ThresholdResult]) -> str:
    """The missed thresholds with the measured values; empty if there are none."""
    missed = [
        f"{each.name} ({with_unit(each.measured, each.unit)}, required {each.comparison} "
        f"{with_unit(each.limit, each.unit)})"
        for each in thresholds
        if each.verdict is Verdict.NOT_MET and each.measured is not None
    ]
    return f"Missed: {', '.join(missed)}." if missed else ""


def _names_of_doubtful(thresholds: Sequence[ThresholdResult]) -> str:
    return ", ".join(each.name for each in thresholds if each.doubt)


def _with_unmeasured(thresholds: Sequence[ThresholdResult], reason: str) -> str:
    unmeasured = [each.name for each in thresholds if each.measured is None]
    if not unmeasured or (reason and len(unmeasured) == len(thresholds)):
        return reason
    return f"Not measured: {', '.join(unmeasured)}. {reason}".strip()


def short(text: str) -> str:
    """A reason on one line, shortened if long."""
    line = " ".join(text.split())
    return line if len(line) <= SHORTEST else f"{line[: SHORTEST - 1]}…"


# --- The system ----------------------------------------------------------------------------------------------------


def decide(
    results: Iterable[RequirementResult],
    tests: Sequence[TestResult],
    *,
    crashes: Sequence[str],
    unusable: str,
) -> Decision:
    """The verdict on the system by the requirements, without those that describe the run (R0).

    Args:
        results: all requirements of the page.
        tests: of the run.
        crashes: servers that ended by themselves outside of a test.
        unusable: why nothing could be run; empty if something was.
    """
    deciding = [each for each in results if each.group]
    verdicts = {each.verdict for each in deciding}
    if Verdict.NOT_MET in verdicts or crashes or any(_speaks_against_the_system(each) for each in tests):
        return Decision.NOT_READY
    if unusable:
        return Decision.NOT_RUN
    if Verdict.INCONCLUSIVE in verdicts or Verdict.MET not in verdicts:
        return Decision.UNDECIDED
    return Decision.READY


def _speaks_against_the_system(test: TestResult) -> bool:
    """Whether a test that belongs to no requirement of the page has failed; those of R0 describe the run."""
    if test.requirements or (test.status == "PASS" and not test.crashes):
        return False
    return not decides_nothing(test)


def describe(
    decision: Decision,
    results: Sequence[RequirementResult],
    tests: Sequence[TestResult],
    *,
    crashes: Sequence[str],
    unusable: str,
    cut_off: str,
    complete: bool,
    quick: bool,
) -> str:
    """The verdict on the system in a sentence or two.

    Args:
        decision: the verdict.
        results: all requirements of the page.
        tests: of the run.
        crashes: servers that ended by themselves outside of a test.
        unusable: why nothing could be run.
        cut_off: how and where the run was stopped.
        complete: whether it ran to its end.
        quick: whether tests of all of the project's suites were run, without what `make release` adds.
    """
    deciding = [each for each in results if each.group]
    total = len(deciding)
    met = sum(each.verdict is Verdict.MET for each in deciding)
    worst_first = sorted(deciding, key=severity, reverse=True)
    missed = [each.id for each in worst_first if each.verdict is Verdict.NOT_MET]
    left = [each.id for each in deciding if each.verdict is Verdict.INCONCLUSIVE]
    lacking = sum(each.verdict is Verdict.NOT_APPLICABLE for each in deciding)
    if decision is Decision.NOT_RUN:
        return f"Not run: {' '.join(unusable.split())}"
    if decision is Decision.NOT_READY:
        seen = [(test.name, each) for test in tests for each in test.crashes if not test.stopped]
        first = f"{seen[0][1].splitlines()[0]} In '{seen[0][0]}'." if seen else next(iter(crashes), "")
        crash = f"{short(first.splitlines()[0])} " if first else ""
        if missed:
            what = "requirement is" if len(missed) == 1 else "requirements are"
            text = f"{crash}{len(missed)} {what} not met ({some(missed)}), {met} of {total} {_are(met)} met"
        elif crash:
            text = f"{crash}{met} of {total} requirements {_are(met)} met"
        else:
            text = f"{met} of {total} requirements {_are(met)} met, but a test without a requirement failed"
        text = f"Not ready: {text}{f', {len(left)} undecided' if left else ''}."
    elif decision is Decision.UNDECIDED and total and not left and not met:
        text = "Undecided: no requirement is applicable to this target."
    elif decision is Decision.UNDECIDED and complete and all(each.reason == NO_TEST for each in deciding):
        text = "Undecided: no test of this run has the id of a requirement as a tag, such as R13.1."
    elif decision is Decision.UNDECIDED:
        if quick and complete and all(each.status != "FAIL" for each in tests):
            return (
                f"Quick check without a failure: {met} of {total} requirements {_are(met)} met, "
                f"{some(left)} {_are(len(left))} undecided. "
                f"{RELEASE}"
            )
        text = (
            f"Undecided: no failure was found, but {len(left)} of {total} requirements {_are(len(left))} undecided "
            f"({some(left)}), {met} {_are(met)} met."
        )
    elif lacking:
        what = "requirement is" if met == 1 else "requirements are"
        text = f"Ready, as far as this target goes: {met} {what} met, {lacking} not applicable to it."
    else:
        text = "Ready: the one requirement is met." if total == 1 else f"Ready: all {total} requirements are met."
    if cut_off:
        return f"{text} {short(cut_off)}"
    return text if complete else f"{text} This run has not ended, or was cut off."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def some(ids: Sequence[str]) -> str:
    """The first few of many ids."""
    return ", ".join(ids) if len(ids) <= 6 else f"{', '.join(ids[:6])} and {len(ids) - 6} more"
