"""The additions of a release to a quick check, and its report of undecided requirements."""

from __future__ import annotations

from pathlib import Path

import pytest
from child_runs import report_of, run, write_suite

from ocpp_resilience.evidence.requirements import load
from ocpp_resilience.report.model import Decision, RequirementResult, Verdict
from ocpp_resilience.report.verdict import describe
from ocpp_resilience.run import CONNECTIONS, SOAK


def result(requirement: str, verdict: Verdict, reason: str = "") -> RequirementResult:
    group = int(requirement[1:].partition(".")[0])
    return RequirementResult(
        id=requirement, group=group, title="", verdict=verdict, reason=reason, thresholds=[], values=[], tests=[]
    )


def described(*, quick: bool) -> str:
    results = [
        result("R13.1", Verdict.MET),
        result("R18.4", Verdict.INCONCLUSIVE, "The soak was too short."),
        result("R0.3", Verdict.INCONCLUSIVE, "No baseline was accepted so far."),
    ]
    return describe(Decision.UNDECIDED, results, [], crashes=[], unusable="", cut_off="", complete=True, quick=quick)


def test_release_is_as_long_as_the_requirements_ask() -> None:
    thresholds = {each.id: each.thresholds for each in load()}
    assert thresholds["R18.10"]["connections"].value <= CONNECTIONS
    assert float(SOAK.removesuffix("s")) >= 60 * thresholds["R18.4"]["duration"].value


def test_only_a_quick_check_refers_to_the_release() -> None:
    assert described(quick=True) == (
        "Quick check without a failure: 1 of 2 requirements is met, R18.4 is undecided. `make release` decides."
    )
    assert described(quick=False) == (
        "Undecided: no failure was found, but 1 of 2 requirements is undecided (R18.4), 1 is met."
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Quick check without a failure: "),
        (["--variable", "RELEASE:yes"], "Undecided: no failure was found, but "),
        (["--exclude", "R20.1"], "Undecided: no failure was found, but "),
    ],
    ids=["all suites", "a release", "some suites"],
)
def test_a_quick_check_is_a_run_of_all_suites_that_is_no_release(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    write_suite(
        tmp_path,
        """
        Most
            [Tags]    R13.1    R14.1    R15.1    R16.1    R17.1    R18.4
            No Operation
        The Last
            [Tags]    R20.1
            No Operation
        """,
    )
    done = run(tmp_path, *arguments, "own.robot")
    assert report_of(tmp_path).sentence.startswith(sentence), done.stdout
