"""Facts about the run as a whole: its duration, and the comparison with the baseline and with other kinds of Redis.

These requirements (R0.1 to R0.3) have no test: a test cannot look at the run that it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from ocpp_resilience.evidence.thresholds import in_unit
from ocpp_resilience.report.model import Comparison, Past, RequirementResult, TestResult

KINDS = ("embedded", "container", "external", "sentinel")
"""The kinds of Redis that a run may be given."""

SUITES = frozenset({*range(13, 19), 20})
"""The numbers of the suites that make up a complete run."""


@dataclass
class RunSummary:
    """Facts about a run.

    Attributes:
        values: by requirement and threshold, the value in the unit of the threshold and how it was measured.
        lacking: why a requirement, or one of its thresholds, has none.
        inapplicable: thresholds that are not about this kind of run.
    """

    values: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    inapplicable: set[tuple[str, str]] = field(default_factory=set)


def judge(
    results: Iterable[RequirementResult],
    tests: Sequence[TestResult],
    *,
    seconds: float,
    comparison: Comparison | None,
    environment: Mapping[str, str],
    history: Sequence[Past],
) -> RunSummary:
    """Measure the requirements on the run as a whole.

    Args:
        results: the other requirements.
        tests: of the run.
        seconds: how long it took, without repetitions.
        comparison: with the baseline.
        environment: of the run.
        history: earlier runs, oldest first.
    """
    whole = RunSummary()
    _duration(whole, list(results), tests, seconds)
    if comparison is None:
        whole.lacking["R0.3"] = (
            "No baseline has been accepted yet. `make baseline` accepts the last run; the next one is compared with it."
        )
    elif comparison.itself:
        whole.lacking["R0.3"] = "This run is the accepted baseline; the next one is compared with it."
    else:
        beyond = [each for each in comparison.changes if each.regression]
        unflagged = len(beyond) - len(comparison.regressions)
        whole.values["R0.3", "unflagged"] = unflagged, f"{len(comparison.changes)} values beside the accepted ones"
    _other_redis(whole, tests, environment, history)
    return whole


def is_whole(ran: Iterable[str]) -> bool:
    """Whether tests of all of the project's suites are among the requirements whose tests were run."""
    return _numbers(ran) >= SUITES


def ran(tests: Sequence[TestResult]) -> set[str]:
    """The requirements whose tests were run."""
    return {requirement for test in tests if test.status in {"PASS", "FAIL"} for requirement in test.requirements}


def _numbers(requirements: Iterable[str]) -> set[int]:
    return {int(each[1:].partition(".")[0]) for each in requirements}


def _duration(whole: RunSummary, results: list[RequirementResult], tests: Sequence[TestResult], seconds: float) -> None:
    if missing := sorted(SUITES - _numbers(ran(tests))):
        whole.lacking["R0.1"] = f"Not all suites ran: nothing of test {', '.join(map(str, missing))}."
        return
    long_soak = any(
        found.name == "duration" and found.measured is not None and found.measured >= found.limit
        for each in results
        if each.id == "R18.4"
        for found in each.thresholds
    )
    kind, other = ("full_run", "default_run") if long_soak else ("default_run", "full_run")
    minutes = in_unit(timedelta(seconds=round(seconds, 3)), "min")
    whole.values["R0.1", kind] = minutes, "start to end of the run, without repetitions"
    whole.inapplicable.add(("R0.1", other))


def _other_redis(
    whole: RunSummary, tests: Sequence[TestResult], environment: Mapping[str, str], history: Sequence[Past]
) -> None:
    redis = environment.get("Redis")
    own = outcomes(tests)
    others = {
        past.environment["Redis"]: past
        for past in history
        if past.tests
        and past.environment.get("Redis") not in {None, redis}
        and past.environment.get("Target") == environment.get("Target")
    }
    compared = {kind: past.tests.keys() & own.keys() for kind, past in others.items()}
    tried = {kind for each in (redis or "", *others) for kind in KINDS if f"({kind}" in each}
    untried = ", ".join(kind for kind in KINDS if kind not in tried)
    if redis is None or not any(compared.values()):
        whole.lacking["R0.2"] = (
            f"Not tried: {untried}. There is no run with another kind of Redis in the history to compare with. "
            "`make containers` makes one (with Docker); so does `REDIS_URL=redis://… robot --outputdir "
            "results/external --variable REDIS:external --variable HISTORY:results/history.jsonl suites/` with a Redis "
            "of your own. The next run decides."
        )
        return
    differing = {name for kind, names in compared.items() for name in names if own[name] != others[kind].tests[name]}
    number = sum(map(len, compared.values()))
    how = f"{number} results compared with {', '.join(compared)}{f'; not tried: {untried}' if untried else ''}"
    whole.values["R0.2", "differing_results"] = len(differing), how


def outcomes(tests: Iterable[TestResult]) -> dict[str, str]:
    """The status of each test by its full name."""
    return {f"{each.suite}.{each.name}": each.status for each in tests if each.status in {"PASS", "FAIL", "SKIP"}}
