"""What a crash says of the requirements of its test, and which requirement the page begins with."""

from __future__ import annotations

import pytest

from ocpp_resilience.report import verdict
from ocpp_resilience.report.model import Decision, RequirementResult, TestResult, ThresholdResult, Verdict
from ocpp_resilience.robot.facts import Kind, Reason

CRASH = "Server 'server' exited with status 2. Its last words: panic."


def crashed(*ids: str) -> TestResult:
    return TestResult(
        id="s1-t1",
        name="Frames Are Refused",
        suite="17",
        status="FAIL",
        message=CRASH,
        seconds=1.0,
        requirements=list(ids),
        reasons=[Reason(kind=Kind.MISSED, text="R17.4 crashes", requirement="R17.4")],
        crashes=[CRASH],
    )


def threshold(name: str, **more: object) -> ThresholdResult:
    plain = {"measures": "what", "statistic": "count", "comparison": "==", "limit": 0, "unit": "messages"}
    return ThresholdResult(name=name, **(plain | more))  # type: ignore[arg-type]


def test_what_a_crash_kept_from_being_tried_is_inconclusive_where_another_requirement_counts_crashes() -> None:
    test = crashed("R17.4", "R17.6")
    found, reason = verdict.of_requirement(
        "R17.6", [threshold("records_missing")], [test], {}, complete=True, blamed={test.id}
    )
    assert found is Verdict.INCONCLUSIVE
    assert reason == f"Frames Are Refused: not tried to the end: {CRASH}"


def test_a_crash_that_no_requirement_counts_is_held_against_all_of_its_test() -> None:
    test = crashed("R13.1")
    found, reason = verdict.of_requirement("R13.1", [threshold("answered")], [test], {}, complete=True)
    assert found is Verdict.NOT_MET
    assert reason == f"Frames Are Refused: {CRASH}"


def result(*thresholds: ThresholdResult, name: str = "R1.1") -> RequirementResult:
    return RequirementResult(
        id=name,
        group=1,
        title="t",
        verdict=Verdict.NOT_MET,
        reason="r",
        thresholds=list(thresholds),
        values=[],
        tests=[],
    )


@pytest.mark.parametrize(
    ("found", "severity"),
    [
        ([threshold("lost", measured=0, margin=0, verdict=Verdict.MET)], 0.0),
        ([threshold("lost", measured=5, margin=-5, samples=100, verdict=Verdict.NOT_MET)], 0.05),
        ([threshold("lost", measured=5, margin=-5, verdict=Verdict.NOT_MET)], 1.0),
        ([threshold("rate", limit=100, measured=75, margin=-25, verdict=Verdict.NOT_MET)], 0.25),
        ([threshold("time", limit=5, measured=500, margin=-495, verdict=Verdict.NOT_MET)], 1.0),
        ([threshold("crashes", measured=1, margin=-1, samples=100, verdict=Verdict.NOT_MET)], 2.0),
    ],
)
def test_the_worst_measurement_decides_how_bad_a_requirement_is(found: list[ThresholdResult], severity: float) -> None:
    assert verdict.severity(result(*found)) == pytest.approx(severity)


def test_the_sentence_begins_with_the_worst_requirement() -> None:
    missed = threshold("out_of_order", measured=5, margin=-5, samples=10, verdict=Verdict.NOT_MET)
    late = threshold("delay", measured=1.1, limit=1, margin=-0.1, verdict=Verdict.NOT_MET)
    found = [result(late, name="R13.1"), result(missed, name="R13.4"), result(name="R13.8")]
    said = verdict.describe(
        Decision.NOT_READY, found, [], crashes=[], unusable="", cut_off="", complete=True, quick=False
    )
    assert said.startswith("Not ready: 3 requirements are not met (R13.4, R13.1, R13.8), 0 of 3 are met")
