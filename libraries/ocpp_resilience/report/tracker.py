"""Follows a run by a listener's events, and records the facts about each test: `facts.jsonl`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from robot.running.signalhandler import STOP_SIGNAL_MONITOR
from robot.running.status import TestMessage

from ocpp_resilience import json_lines
from ocpp_resilience.evidence.measurements import RUN
from ocpp_resilience.evidence.requirements import requirement_id
from ocpp_resilience.report.run_summary import is_whole
from ocpp_resilience.robot.facts import (
    FILE_NAME,
    LONGEST,
    RECORDER,
    Fact,
    Kind,
    Reason,
    RunFact,
    Stopwatch,
    SuiteFact,
    TestFact,
    moment,
)
from ocpp_resilience.text import counted, examples

NOTHING_RUN = "Nothing Was Run"
"""The test that says what is wrong with a run, in the place of all."""
NOT_PASSED = {"FAIL", "SKIP"}
SIGNALLED = "The run was stopped by a signal (Ctrl-C or SIGTERM)."
Part = Literal["setup", "body", "teardown"]
PARTS: dict[str, Part] = {"SETUP": "setup", "TEARDOWN": "teardown"}
STOPPED = {
    TestMessage.exit_on_error_message,
    TestMessage.exit_on_failure_message,
    TestMessage.exit_on_fatal_message,
}
"""Robot Framework's message for a test that did not fail, but was running when the run was stopped."""
LAST_ATTEMPT = "Wait Until Keyword Succeeds"
"""The keyword of which only the last attempt is why it failed."""


@dataclass
class FailedKeyword:
    """A failure or a skip, with its place."""

    reason: Reason
    skipped: bool


@dataclass
class Frame:
    """A keyword, or another item of a body, that runs."""

    result: Any
    leaves: list[FailedKeyword] = field(default_factory=list)
    last: list[FailedKeyword] = field(default_factory=list)
    """Those of the last item in it that did not pass."""
    in_try: list[FailedKeyword] = field(default_factory=list)
    """Those of the TRY branch, which count only where no EXCEPT branch was run."""


@dataclass
class Suite:
    """A suite that runs."""

    result: Any
    setup: list[Reason] = field(default_factory=list)
    teardown: list[Reason] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)


class Tracker:
    """Processes the events of a library listener; several listeners may report the same event.

    A failure counts where it arose: the keyword that failed and in which no other one did. What its exception means was
    recorded by the library (`RECORDER`). A keyword that fails inside of one that passes all the same, or in a TRY whose
    EXCEPT was run, decides nothing.

    Args:
        unproven: the faults without proof of a test, by suite and name of the test.
    """

    def __init__(self, unproven: Callable[[str, str], list[str]]) -> None:
        self._unproven = unproven
        self._suites: list[Suite] = []
        self._frames: list[Frame] = []
        self._test: Any = None
        self._watch = Stopwatch()
        self._leaves: list[FailedKeyword] = []
        self._body_began = False
        self._settled: list[Reason] = []
        self.run = Stopwatch()
        self.stopped = ""
        self.ended = False
        self.path: Path | None = None
        self.requirements: list[str] = []
        self.mistake = ""
        self._ran: set[str] = set()
        self._output = ""
        self._ledgers: dict[str, int] = {}

    # --- Events

    def start_suite(self, result: Any, folder: Path | None, output: str) -> None:
        """A suite begins; `folder` is where facts go, `None` for a dry run."""
        if self._suites and self._suites[-1].result is result:
            return
        if self.path is None and folder is not None:
            self.path = folder / FILE_NAME
            self._output = output
            self._ledgers = {str(each.resolve()): each.stat().st_size for each in folder.glob("ledger-*.jsonl")}
            self.run = Stopwatch()
            self._note_run(ended=False)
        self._suites.append(Suite(result))

    def end_suite(self, result: Any) -> None:
        """A suite ended."""
        if not self._suites or self._suites[-1].result is not result:
            return
        suite = self._suites.pop()
        suite.crashes += self._new_crashes()
        if suite.setup or suite.teardown or suite.crashes:
            self._write_suite(suite)
        if result.parent is None:
            self._note_run(ended=True)

    def start_test(self, result: Any) -> None:
        """A test begins."""
        if self._test is result:
            return
        if self._suites:
            self._suites[-1].crashes += self._new_crashes()
        self._test = result
        self._leaves, self._settled, self._body_began = [], [], False
        self._frames = []
        self._watch = Stopwatch()
        RECORDER.forget_doubts()

    def runs(self, test: Any) -> bool:
        """Whether this is the test that runs."""
        return self._test is test

    def end_test(self, result: Any) -> TestFact | None:
        """A test ended; returns its facts, or `None` if they were recorded already."""
        if self._test is not result:
            return None
        self._test = None
        fact = self._fact(result)
        if fact.status in {"PASS", "FAIL"}:
            self._ran |= {each for tag in result.tags if (each := requirement_id(str(tag)))}
        self._write(fact)
        return fact

    def start_item(self, result: Any) -> None:
        """A keyword, or another item of a body, begins."""
        if self._frames and self._frames[-1].result is result:
            return
        RECORDER.take_raised()
        if self._test is not None and not self._frames and result.type not in {"SETUP", "TEARDOWN"}:
            self._body_began = True
        self._frames.append(Frame(result))

    def end_item(self, result: Any) -> None:
        """A keyword, or another item of a body, ended."""
        if not self._frames or self._frames[-1].result is not result:
            return
        frame = self._frames.pop()
        raised = RECORDER.take_raised()
        if result.status not in NOT_PASSED:
            self._settled += [each.reason for each in (*frame.leaves, *frame.in_try)]
            if result.type == "EXCEPT" and self._frames and result.status == "PASS":
                self._settle_try()
            return
        leaves = self._leaves_of(frame, result, raised)
        if not self._frames:
            self._at_the_top(result, leaves)
            return
        outer = self._frames[-1]
        if result.type == "TRY":
            outer.in_try = leaves
            return
        if result.type in {"EXCEPT", "ELSE"}:
            self._settle_try()
        outer.leaves += leaves
        outer.last = leaves

    # --- What they mean

    def _settle_try(self) -> None:
        """An EXCEPT branch ran: the error of the TRY branch is not the reason for the test's failure."""
        outer = self._frames[-1]
        self._settled += [each.reason for each in outer.in_try]
        outer.in_try = []

    def _leaves_of(self, frame: Frame, result: Any, raised: Reason | None) -> list[FailedKeyword]:
        leaves = [*frame.in_try, *frame.leaves]
        if leaves:
            repeated = result.type == "KEYWORD" and result.name == LAST_ATTEMPT
            return frame.last if repeated and frame.last else leaves
        skipped = result.status == "SKIP"
        message = str(getattr(result, "message", ""))[:LONGEST]
        if raised is None:
            raised = Reason(kind=Kind.SKIPPED if skipped else Kind.FAILED, text=message)
        if raised.kind is Kind.FAILED:
            # A keyword that was caught and is said again, perhaps with a word in front of it.
            again = [each for each in self._settled if each.text and each.text in message]
            raised = max(again, key=lambda each: len(each.text), default=raised)
        return [FailedKeyword(raised, skipped)]

    def _at_the_top(self, result: Any, leaves: list[FailedKeyword]) -> None:
        where: Literal["setup", "body", "teardown"] = {"SETUP": "setup", "TEARDOWN": "teardown"}.get(
            result.type, "body"
        )  # type: ignore[assignment]
        placed = [FailedKeyword(_in(each.reason, where), each.skipped) for each in leaves]
        if self._test is not None:
            self._leaves += placed
        elif self._suites:
            suite = self._suites[-1]
            kept = suite.setup if where == "setup" else suite.teardown
            kept += [each.reason for each in placed]
            suite.crashes += self._new_crashes()
            self._write_suite(suite)

    def _fact(self, result: Any) -> TestFact:
        stopped = self._how_it_was_stopped(result)
        reasons = [each.reason for each in self._leaves]
        if self.mistake and result.name == NOTHING_RUN:
            status, reasons = "NOT RUN", [Reason(kind=Kind.UNUSABLE, text=self.mistake[:LONGEST], where="setup")]
        elif self._body_began or reasons:
            status = self._real_status(result)
        elif result.tags.robot("exit") or stopped:
            status = "NOT RUN"
        elif setup := self._failed_setup():
            status, reasons = "NOT RUN", setup
        elif result.status == "FAIL":
            status = "FAIL"
        else:
            status = "NOT RUN" if result.status == "SKIP" else result.status
        if not reasons and status in {"FAIL", "NOT RUN"} and not stopped:
            kind = Kind.FAILED if status == "FAIL" else Kind.SKIPPED
            reasons = [Reason(kind=kind, text=result.message[:LONGEST])]
        suite = result.parent
        return TestFact(
            run=RUN,
            name=result.name,
            start=moment(result.start_time),
            suite=suite.full_name,
            source=str(suite.source) if suite.source else None,
            status=status,
            message=result.message[:LONGEST],
            seconds=self._watch.seconds,
            reasons=reasons,
            unproven=self._unproven(suite.full_name, result.name) if status != "PASS" else [],
            doubts=RECORDER.forget_doubts(),
            crashes=self._new_crashes(),
            stopped=stopped if status != "PASS" else "",
        )

    def _real_status(self, result: Any) -> str:
        """The facts about the test: `--skiponfailure` turns a failure into a skip, and only the keywords' results
        remain."""
        if any(not each.skipped for each in self._leaves):
            return "FAIL"
        if self._leaves:
            return "SKIP"
        return str(result.status)

    def _how_it_was_stopped(self, result: Any) -> str:
        if _signals():
            self.stopped = SIGNALLED
            return SIGNALLED
        if not result.tags.robot("exit") and (self._leaves or result.message not in STOPPED):
            return ""
        if not self.stopped:
            when = "in" if self._body_began else "before"
            self.stopped = f"The run was stopped {when} '{result.name}': {result.message}"
        return self.stopped

    def _failed_setup(self) -> list[Reason]:
        """Why a suite that the test is in was not set up, the outermost first."""
        return next((each.setup for each in self._suites if each.setup), [])

    def _new_crashes(self) -> list[str]:
        """Servers that ended by themselves; a signal for the whole process group ends them, too."""
        crashes = RECORDER.new_crashes()
        return [] if _signals() else [each[:LONGEST] for each in crashes]

    # --- The file

    def note_end(self) -> None:
        """The process ends: record the duration of the run, in case the end of the topmost suite was missed."""
        if self.path is not None and not self.ended:
            self._note_run(ended=True)

    def _note_run(self, *, ended: bool) -> None:
        self.ended = ended
        if _signals():
            self.stopped = SIGNALLED
        self._write(
            RunFact(
                run=RUN,
                output=self._output,
                requirements=self.requirements,
                seconds=self.run.seconds if ended else None,
                stopped=self.stopped,
                ledgers=self._ledgers,
                unsent=self.unsent if ended else [],
            )
        )

    @property
    def unsent(self) -> list[str]:
        """Files of invalid messages with cases that no test has sent, a sentence each.

        Where a run has only a part of the suites, those count whose requirement it has tried.
        """
        whole = is_whole(self._ran)
        found = []
        for file in RECORDER.case_files:
            left = [each for each in RECORDER.cases_left(file) if whole or each.requirement in self._ran]
            if left:
                were = "was" if len(left) == 1 else "were"
                cases = counted(len(left), "case")
                found.append(f"{cases} of {Path(file).name} {were} sent by no test: {examples(left)}.")
        return found

    def _write_suite(self, suite: Suite) -> None:
        self._write(
            SuiteFact(
                run=RUN,
                suite=suite.result.full_name,
                start=moment(suite.result.start_time),
                reasons=[*suite.setup, *suite.teardown],
                crashes=suite.crashes,
                stopped=self.stopped or (SIGNALLED if _signals() else ""),
            )
        )

    def _write(self, fact: Fact) -> None:
        if self.path is not None:
            json_lines.append(self.path, [fact])


def _in(reason: Reason, where: Part) -> Reason:
    return msgspec.structs.replace(reason, where=where)


def _signals() -> int:
    """Number of stop signals that Robot Framework got."""
    return int(getattr(STOP_SIGNAL_MONITOR, "_signal_count", 0))
