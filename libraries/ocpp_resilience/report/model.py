"""The content of `resilience.json`. `docs/resilience.schema.json` is generated from these classes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from ocpp_resilience.report.grade import Grade
from ocpp_resilience.robot.facts import Reason
from ocpp_resilience.struct_schema import described_components

FORMAT = 2
"""Version of the format, in the field `format`."""


NO_TEST = "No test of this run is about it."
"""The reason why a requirement is undecided that no test of the run has as its tag."""


class Verdict(StrEnum):
    """Verdicts on a requirement."""

    MET = "met"
    """Every threshold was measured and kept, and every test of it passed."""
    NOT_MET = "not met"
    """A threshold was missed, or a test of it failed."""
    INCONCLUSIVE = "inconclusive"
    """The run does not decide it: a test was skipped, not run or cut off, a fault was not proven, nothing measured."""
    NOT_APPLICABLE = "not applicable"
    """The profile of the target declares that it lacks the subject of the requirement."""


class Decision(StrEnum):
    """Verdicts on the system."""

    READY = "ready"
    """Every requirement is met, or not applicable."""
    NOT_READY = "not ready"
    """A requirement is not met, the system crashed, or a test that belongs to no requirement failed."""
    UNDECIDED = "undecided"
    """Nothing failed, but not every requirement was decided."""
    NOT_RUN = "not run"
    """No test could be run: a variable, a profile or a service cannot be used."""


EXIT_STATUS = {Decision.READY: 0, Decision.NOT_READY: 1, Decision.UNDECIDED: 2, Decision.NOT_RUN: 3}
"""The exit status of a run that decides, by its decision."""


class TestResult(msgspec.Struct, kw_only=True, frozen=True):
    """A test of the run.

    Attributes:
        id: Robot's id, which is also the anchor in `log.html`.
        name: its name.
        suite: full name of its suite.
        status: `PASS`, `FAIL`, `SKIP`, or `NOT RUN`; the real status, before options changed it.
        message: Robot's message, as text.
        seconds: how long it took.
        requirements: the ids among its tags.
        start: when Robot Framework started it, exactly as in `output.xml`.
        reasons: why it did not pass.
        unproven: its faults without proof.
        doubts: the reasons why its loads were inconclusive.
        crashes: servers that ended by themselves meanwhile.
        stopped: how the run was stopped before, or in, this test; empty if it was not.
        source: the file of its suite; empty if it is not known.
        full_name: names of the suites and the test, as `robot --test` takes them.
    """

    __test__ = False

    id: str
    name: str
    suite: str
    status: str
    message: str
    seconds: float
    requirements: list[str]
    start: str = ""
    reasons: list[Reason] = []
    unproven: list[str] = []
    doubts: list[str] = []
    crashes: list[str] = []
    stopped: str = ""
    source: str = ""
    full_name: str = ""


class ThresholdResult(msgspec.Struct, kw_only=True, frozen=True):
    """A threshold and the worst value that was measured against it.

    Attributes:
        name: as in `requirements.yaml`.
        measures: the measured quantity, in words.
        statistic: the statistic that is compared when there are many samples.
        comparison: `<`, `<=`, `==`, `>=`, `>`.
        limit: the threshold in `unit`.
        unit: of limit, measured and margin.
        measured: the worst measured value, `null` when nothing was measured.
        margin: how far it is on the good side of the limit; below 0 when missed.
        share: the margin by the limit, between -1 and 1; `null` if the limit is 0 or has to be hit exactly.
        verdict: of this threshold.
        measurements: how many values were compared with it.
        samples: how many samples the worst one is made from.
        method: how it was measured.
        test: id of the test that measured it.
        doubt: why a measured value decides nothing; empty if all of them decide.
    """

    name: str
    measures: str
    statistic: str
    comparison: str
    limit: float
    unit: str
    measured: float | None = None
    margin: float | None = None
    share: float | None = None
    verdict: Verdict = Verdict.INCONCLUSIVE
    measurements: int = 0
    samples: int | None = None
    method: str | None = None
    test: str | None = None
    doubt: str = ""


class Deviation(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A requirement that is known not to be met.

    Attributes:
        requirement: its id.
        reason: why, in words; perhaps with the number of a ticket.
        since: the date from which on it is known, as YYYY-MM-DD.
    """

    requirement: str
    reason: str
    since: str


class Value(msgspec.Struct, kw_only=True, frozen=True):
    """A measured value that no threshold judges.

    Attributes:
        name: its name.
        value: in `unit`.
        unit: of the value.
        samples: how many samples it is made from.
        method: how it was measured.
        test: id of the test that measured it.
    """

    name: str
    value: float
    unit: str
    samples: int | None = None
    method: str | None = None
    test: str | None = None


class RequirementResult(msgspec.Struct, kw_only=True, frozen=True):
    """A requirement and its verdict.

    Attributes:
        id: for example `R13.3`.
        group: the number of the test that it belongs to, 0 for the whole.
        title: one sentence.
        verdict: see `Verdict`.
        reason: why it is not met, inconclusive or not applicable; empty when met.
        thresholds: in the order of `requirements.yaml`.
        values: further measured values.
        tests: ids of the tests that carry its id as a tag.
        failing: the first line of the first test that failed; empty if none did.
        known: the deviation that is known of it; `null` for none. It changes no verdict.
    """

    id: str
    group: int
    title: str
    verdict: Verdict
    reason: str
    thresholds: list[ThresholdResult]
    values: list[Value]
    tests: list[str]
    failing: str = ""
    known: Deviation | None = None


class Change(msgspec.Struct, kw_only=True, frozen=True):
    """A value beside the accepted baseline.

    Attributes:
        requirement: its id.
        name: of the threshold.
        unit: of both values.
        baseline: the accepted value.
        measured: the value of this run.
        worse: by how much this run is worse, as a share of the baseline; below 0 when it is better; `null` for a
            baseline of 0.
        regression: worse beyond the tolerance.
    """

    requirement: str
    name: str
    unit: str
    baseline: float
    measured: float
    worse: float | None
    regression: bool


class Comparison(msgspec.Struct, kw_only=True, frozen=True):
    """This run beside the accepted baseline.

    Attributes:
        accepted: name of the run that was accepted.
        tolerance: the share of the baseline by which a value may be worse.
        changes: every value that both have; none where this run is the accepted one.
        itself: whether this run is the accepted one.
        although: why that was accepted although it was not ready; empty for any other one.
    """

    accepted: str
    tolerance: float
    changes: list[Change]
    itself: bool = False
    although: str = ""

    @property
    def regressions(self) -> list[Change]:
        """Values that became worse beyond the tolerance."""
        return [each for each in self.changes if each.regression]


class Past(msgspec.Struct, kw_only=True, frozen=True):
    """A run in the history, one line of `history.jsonl`.

    Attributes:
        run: its name: when it started, RFC 3339.
        verdict: of the whole.
        counts: requirements of each verdict.
        seconds: how long it took.
        environment: as in the report.
        values: the worst value of each threshold, by `R13.5 drain_rate`.
        verdicts: of each requirement, by its id.
        although: why it was accepted as the baseline although it was not ready; in the baseline only.
        tests: status of each test by its full name; in the history file only.
    """

    run: str
    verdict: str
    counts: dict[str, int]
    seconds: float
    environment: dict[str, str]
    values: dict[str, float]
    tests: dict[str, str] = {}
    verdicts: dict[str, str] = {}
    although: str = ""


class LedgerResult(msgspec.Struct, kw_only=True, frozen=True):
    """A ledger and its judgement: one line of `ledgers.jsonl`.

    Attributes:
        file: its name, relative to the page; of the first one where several were judged together.
        verdict: `clean`, `violated` or `inconclusive`; `unreadable` with the reason in `summary`.
        summary: in one sentence.
        counts: messages invoked, acknowledged, lost, duplicated and so on.
        test: the test that judged it; `null` for one that no test judged.
        start: when Robot Framework started that test; empty if it is not known.
        run: the run that it belongs to; empty if it is not known.
        at: when, in seconds since 1970.
    """

    file: str
    verdict: str
    summary: str
    counts: dict[str, int]
    test: str | None = None
    start: str = ""
    run: str = ""
    at: float | None = None


class Fault(msgspec.Struct, kw_only=True, frozen=True):
    """A disturbance that the suite caused.

    Attributes:
        name: the action.
        begin: seconds since 1970.
        end: seconds since 1970; `null` for one that has not ended.
        proof: the proof of its effect; empty without one.
        suite: full name of the suite.
        test: the test that caused it.
        start: when Robot Framework started that test; empty if it is not known.
        run: the run that it belongs to; empty if it is not known.
        measured: the measurements of its test while it lasted, such as `R16.3 recovery_time`; else all of its test.
    """

    name: str
    begin: float
    end: float | None = None
    proof: str = ""
    suite: str | None = None
    test: str | None = None
    start: str = ""
    run: str = ""
    measured: list[str] = []


class Series(msgspec.Struct, kw_only=True, frozen=True):
    """Values over time, for a chart: one line of `series.jsonl`.

    Attributes:
        title: the title.
        unit: of the values.
        lines: by name, points of seconds since 1970 and value.
        requirement: the requirement that it belongs to.
        suite: full name of the suite.
        test: the test that measured it.
        start: when Robot Framework started that test; empty if it is not known.
        run: the run that it belongs to; empty if it is not known.
        limit: a threshold to draw.
        logarithmic: whether the value axis is.
    """

    title: str
    unit: str
    lines: dict[str, list[tuple[float, float]]]
    requirement: str | None = None
    suite: str | None = None
    test: str | None = None
    start: str = ""
    run: str = ""
    limit: float | None = None
    logarithmic: bool = False


class Divergence(msgspec.Struct, kw_only=True, frozen=True):
    """An invalid message that got another code than the strict table asks for: one line of `divergences.jsonl`.

    Attributes:
        case: the message that was sent.
        expected: the strict code.
        actual: the code that came.
        test: the test that saw it.
        start: when Robot Framework started that test; empty if it is not known.
        run: the run that it belongs to; empty if it is not known.
        at: when, in seconds since 1970.
    """

    case: str
    expected: str
    actual: str
    test: str | None = None
    start: str = ""
    run: str = ""
    at: float | None = None


class Figure(msgspec.Struct, kw_only=True, frozen=True):
    """A figure at the top of the page.

    Attributes:
        title: what it is.
        requirement: the id of the requirement that it belongs to.
        name: of the threshold, or of the value.
        value: the worst that was measured, in `unit`.
        unit: of the value.
        limit: the threshold, as `< 5 s`; empty for a value without one.
        verdict: of the threshold; `null` for a value without one.
        history: the values of earlier runs, oldest first.
    """

    title: str
    requirement: str
    name: str
    value: float
    unit: str
    limit: str = ""
    verdict: Verdict | None = None
    history: list[float] = []


class Report(msgspec.Struct, kw_only=True, frozen=True):
    """A run: the content of `resilience.json`.

    Attributes:
        format: version of the format.
        run: name of the run: when it started, RFC 3339.
        written: when this was written, RFC 3339.
        complete: whether the run had ended; a run that was killed leaves `false`.
        cut_off: how and where the run was stopped; empty for one that ran to its end.
        verdict: `ready`, `not ready`, `undecided` or `not run`: the verdict on the system.
        sentence: the verdict in one sentence.
        counts: requirements of each verdict, without those that describe the run itself (R0).
        results: tests of each status.
        seconds: how long the run took.
        log: Robot's log, relative to the page; `null` when there is none.
        report: Robot's report, likewise.
        requirements: in the order of `requirements.yaml`.
        headline: the figures at the top of the page.
        headings: of the groups of requirements, by the number of the group.
        tests: in the order of the run.
        series: for the charts.
        ledgers: every ledger of the run.
        faults: in the order of their beginning.
        divergences: codes other than the strict ones.
        environment: versions, target, Redis kind, cores, seed, by name.
        comparison: with the accepted baseline; `null` without one.
        history: earlier runs, oldest first, at most 50.
        grade: how the suites fared against broken servers, when `make grade` last ran; `null` if it did not.
        problems: files that could not be read, with the reason.
    """

    format: int
    run: str
    written: str
    complete: bool
    cut_off: str
    verdict: Decision
    sentence: str
    counts: dict[str, int]
    results: dict[str, int]
    seconds: float
    log: str | None
    report: str | None
    requirements: list[RequirementResult]
    headline: list[Figure]
    headings: dict[str, str]
    tests: list[TestResult]
    series: list[Series]
    ledgers: list[LedgerResult]
    faults: list[Fault]
    divergences: list[Divergence]
    environment: dict[str, str]
    comparison: Comparison | None
    history: list[Past]
    grade: Grade | None
    problems: list[str]


def schema() -> dict[str, Any]:
    """The JSON Schema of `resilience.json`."""
    root, parts = described_components(Report)
    return {**root, "$defs": parts}
