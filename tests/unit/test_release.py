"""The additions of a release to a quick check, and its report of undecided requirements."""

from __future__ import annotations

from ocpp_resilience.evidence.requirements import load
from ocpp_resilience.report.model import Decision
from ocpp_resilience.report.verdict import describe
from ocpp_resilience.run import CONNECTIONS, SOAK


def described(*, quick: bool) -> str:
    return describe(Decision.UNDECIDED, [], [], crashes=[], unusable="", cut_off="", complete=True, quick=quick)


def test_release_is_as_long_as_the_requirements_ask() -> None:
    thresholds = {each.id: each.thresholds for each in load()}
    assert thresholds["R18.10"]["connections"].value <= CONNECTIONS
    assert float(SOAK.removesuffix("s")) >= 60 * thresholds["R18.4"]["duration"].value


def test_only_a_quick_check_refers_to_the_release() -> None:
    assert described(quick=True).startswith("Quick check without a failure")
    assert described(quick=False).startswith("Undecided: no failure was found")
