"""Facts about each test as data: recorded during the run, independent of options of robot, rebot or pabot.

A fact is an observation of the keywords or the listener: the real status, each failure with its kind, unproven faults,
reasons why a load is inconclusive, crashes. The verdict on a requirement is made from facts (`report.verdict`), not
from a message. A fact belongs to its test by the test's name and the moment at which Robot Framework started it, as
`output.xml` has it: rebot and pabot keep both, whatever they do to suites.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec
from robot.api import SkipExecution
from robot.running.context import EXECUTION_CONTEXTS

from ocpp_resilience.errors import (
    ExpectationFailed,
    Inconclusive,
    LacksCapability,
    MissedRequirement,
    ServiceError,
    UsageError,
    WrongAnswers,
)

FILE_NAME = "facts.jsonl"
LONGEST = 4000
"""Characters that are kept of a message."""


class Kind(StrEnum):
    """Meanings of a keyword's failure or skip."""

    FAILED = "failed"
    """The system deviated from the expectation, or the meaning of the failure was not recorded."""
    MISSED = "missed"
    """A threshold of a requirement was missed."""
    INCONCLUSIVE = "inconclusive"
    """The run decides nothing: a fault without proof, a generator that was late, a run that was too short."""
    LACKS = "lacks"
    """The profile of the target declares that it lacks the capability."""
    SKIPPED = "skipped"
    """Skipped for any other reason."""
    UNUSABLE = "unusable"
    """A variable, an argument or a profile cannot be used, or a service cannot be started."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a test, or a setup, did not pass.

    Attributes:
        kind: its meaning.
        text: the keyword's message.
        where: the part of the test, or of its suite.
        requirement: the id that it is about; `None` for one that is about all of the test.
        violations: what was wrong with the answers to messages, of `VIOLATIONS`, if nothing else was wrong.
    """

    kind: Kind
    text: str
    where: Literal["setup", "body", "teardown"] = "body"
    requirement: str | None = None
    violations: list[str] = []


class TestFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="test"):
    """Facts about a test.

    Attributes:
        run: the run that it belongs to, as in `measurements.jsonl`.
        name: its name.
        start: when Robot Framework started it, exactly as in `output.xml`.
        suite: full name of its suite.
        source: the file of its suite.
        status: `PASS`, `FAIL`, `SKIP`, or `NOT RUN` when nothing of its body was run.
        message: Robot's message.
        seconds: its duration, by a monotonic clock.
        reasons: why it did not pass; those of the setup of its suite, where that kept it from running.
        unproven: the faults of the test without proof.
        doubts: the reasons why its loads were inconclusive.
        crashes: servers that ended by themselves meanwhile.
        stopped: how the run was stopped before, or in, this test; empty if it was not.
    """

    __test__ = False

    run: str
    name: str
    start: str
    suite: str
    source: str | None = None
    status: str
    message: str = ""
    seconds: float = 0.0
    reasons: list[Reason] = []
    unproven: list[str] = []
    doubts: list[str] = []
    crashes: list[str] = []
    stopped: str = ""


class SuiteFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="suite"):
    """A setup or a teardown of a suite that did not pass.

    Attributes:
        run: the run that it belongs to.
        suite: full name of the suite.
        start: when Robot Framework started it, exactly as in `output.xml`.
        reasons: why; `where` is `setup` or `teardown`.
        crashes: servers that ended by themselves in it.
        stopped: how the run was stopped before, or in it; empty if it was not.
    """

    run: str
    suite: str
    start: str
    reasons: list[Reason] = []
    crashes: list[str] = []
    stopped: str = ""


class RunFact(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", tag="run"):
    """A run, when it began and again when it ended.

    Attributes:
        run: its name.
        output: the name of Robot's output file.
        requirements: the requirements files of the libraries.
        seconds: its duration, by a monotonic clock; `None` while it goes on.
        stopped: how it was stopped; empty if it was not.
        ledgers: the ledgers that earlier runs had left, each with its size.
        unsent: files of invalid messages with cases that no test has sent, a sentence each.
    """

    run: str
    output: str = ""
    requirements: list[str] = []
    seconds: float | None = None
    stopped: str = ""
    ledgers: dict[str, int] = {}
    unsent: list[str] = []


Fact = TestFact | SuiteFact | RunFact


class TestIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The test that a fact belongs to.

    Attributes:
        suite: full name of the suite; `None` outside Robot Framework.
        test: name of the test; `None` outside a test.
        start: when Robot Framework started the test, exactly as in `output.xml`; empty outside a test.
    """

    __test__ = False

    suite: str | None = None
    test: str | None = None
    start: str = ""


def current_test() -> TestIdentity:
    """The test that runs."""
    context = EXECUTION_CONTEXTS.current
    if context is None:
        return TestIdentity()
    suite = getattr(context.suite, "full_name", None)
    test = context.test
    if test is None:
        return TestIdentity(suite=suite)
    return TestIdentity(suite=suite, test=test.name, start=moment(test.start_time))


def moment(at: Any) -> str:
    """A moment of Robot's, without a zone, as `output.xml` has it; empty for none."""
    return at.isoformat(timespec="microseconds") if at is not None else ""


def reason_of(error: BaseException) -> Reason:
    """The meaning of a keyword's exception."""
    text = str(error)[:LONGEST]
    requirement = getattr(error, "requirement", None)
    if isinstance(error, Inconclusive):
        kind = Kind.INCONCLUSIVE
    elif isinstance(error, MissedRequirement):
        kind = Kind.MISSED
    elif isinstance(error, LacksCapability):
        kind = Kind.LACKS if error.declared else Kind.SKIPPED
    elif isinstance(error, SkipExecution) or getattr(error, "ROBOT_SKIP_EXECUTION", False):
        kind = Kind.SKIPPED
    elif isinstance(error, ExpectationFailed):
        kind = Kind.FAILED
    elif isinstance(error, UsageError | ServiceError):
        kind = Kind.UNUSABLE
    else:
        kind = Kind.FAILED
    violations = list(error.violations) if isinstance(error, WrongAnswers) else []
    return Reason(kind=kind, text=text, requirement=requirement, violations=violations)


@dataclass
class Case:
    """A case in a file of invalid messages.

    Attributes:
        id: its id.
        requirement: the id of the requirement that it serves.
        kind: the group that it belongs to.
        taken: whether a test has sent it.
    """

    id: str
    requirement: str
    kind: str
    taken: bool = False

    def __str__(self) -> str:
        return f"{self.id} ({self.requirement}, kind {self.kind})"


class Recorder:
    """Facts from keywords about the running test, until the listener takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._raised: Reason | None = None
        self._doubts: list[str] = []
        self._watched: dict[int, tuple[Callable[[], int], Callable[[], str], int]] = {}
        self._crashes: list[str] = []
        self._ended: dict[str, Callable[[str], str]] = {}
        self._cases: dict[str, dict[str, Case]] = {}

    def cases_known(self, file: str, cases: Iterable[Case]) -> None:
        """A file of invalid messages has these cases."""
        with self._lock:
            known = self._cases.setdefault(file, {})
            for case in cases:
                known.setdefault(case.id, case)

    def cases_taken(self, file: str, ids: Iterable[str]) -> None:
        """These cases were sent, or left out since the target cannot take them."""
        with self._lock:
            for each in ids:
                self._cases[file][each].taken = True

    def cases_left(self, file: str) -> list[Case]:
        """The cases of a file that nothing has taken so far."""
        with self._lock:
            return [case for case in self._cases.get(file, {}).values() if not case.taken]

    @property
    def case_files(self) -> list[str]:
        """The files whose cases are known."""
        return list(self._cases)

    def raised(self, error: BaseException) -> None:
        """A keyword of ours ends with this exception."""
        self._raised = reason_of(error)

    def take_raised(self) -> Reason | None:
        """The result of the last keyword of ours, unless it was taken already."""
        raised, self._raised = self._raised, None
        return raised

    def doubt(self, text: str) -> None:
        """Record that later measurements of this test decide nothing about the system, for this reason."""
        with self._lock:
            if text not in self._doubts:
                self._doubts.append(text)

    @property
    def doubts(self) -> list[str]:
        """The reasons for doubt in this test so far."""
        with self._lock:
            return list(self._doubts)

    def forget_doubts(self) -> list[str]:
        """The reasons for doubt in the test that ends."""
        with self._lock:
            doubts, self._doubts = self._doubts, []
            return doubts

    def watch(self, owner: object, count: Callable[[], int], describe: Callable[[], str]) -> None:
        """Look for crashes of a server: `count` never falls but when it is set back to 0."""
        with self._lock:
            self._watched[id(owner)] = (count, describe, 0)

    def tell_end(self, alias: str, ended: Callable[[str], str] | None) -> None:
        """Have waits that depend on the server of this alias end with it.

        Args:
            alias: of the server.
            ended: says that it has ended by itself, with what was seen of it; empty while it has not. `None` for one
                that is gone on purpose.
        """
        with self._lock:
            if ended is None:
                self._ended.pop(alias, None)
            else:
                self._ended[alias] = ended

    def ended(self, alias: str, seen: str = "") -> str:
        """A description of the unexpected exit of this server; empty if it has not exited."""
        with self._lock:
            ended = self._ended.get(alias)
        return "" if ended is None else ended(seen)

    def unwatch(self, owner: object) -> None:
        """Look for its crashes no more; to be called before it is closed."""
        with self._lock:
            if (watched := self._watched.pop(id(owner), None)) is not None:
                count, describe, seen = watched
                if count() > seen:
                    self._crashes.append(describe())

    def new_crashes(self) -> list[str]:
        """The crashes since the last look, a sentence each."""
        with self._lock:
            found, self._crashes = self._crashes, []
            for key, (count, describe, seen) in list(self._watched.items()):
                now = count()
                if now > seen:
                    found.append(describe())
                self._watched[key] = (count, describe, now)
        return found


RECORDER = Recorder()
"""Facts from keywords in this process."""


class Stopwatch:
    """Seconds by a monotonic clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return round(time.monotonic() - self._began, 3)
