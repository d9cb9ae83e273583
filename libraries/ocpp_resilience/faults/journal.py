"""The journal of faults: start, end and proof of each, in `faults.jsonl`.

One journal for the whole run: keywords that stop, kill or pause something write into it too. A fault without proof
makes a requirement that was to be shown under it inconclusive.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from ocpp_resilience import json_lines
from ocpp_resilience.evidence.measurements import RUN
from ocpp_resilience.robot.facts import current_test
from ocpp_resilience.robot.variables import evidence_folder, robot_variable

FILE_NAME = "faults.jsonl"


class CurrentTest(enum.Enum):
    """Means the running test, since `None` means no test."""

    CURRENT_TEST = enum.auto()


CURRENT_TEST = CurrentTest.CURRENT_TEST


class FaultRecord(msgspec.Struct, kw_only=True):
    """One fault.

    Attributes:
        run: the run that it belongs to, as in `measurements.jsonl`.
        number: unique in the run, in the order of their beginnings.
        fault: the action, for example `latency` or `killed`.
        target: its subject, for example `Redis 'redis'`.
        parameters: with which values.
        suite: full name of the Robot suite.
        test: name of the Robot test.
        start: when Robot Framework started that test, exactly as in `output.xml`; empty outside a test.
        began: when it was begun, RFC 3339 with zone.
        ending: when healing began; `None` while it lasts.
        ended: when it was healed; `None` while it lasts.
        proven: whether its effect was measured.
        proof: the measured effect.
        healed: the observation after its end.
    """

    run: str
    number: int
    fault: str
    target: str
    parameters: dict[str, Any] = {}
    suite: str | None = None
    test: str | None = None
    start: str = ""
    began: str
    ending: str | None = None
    ended: str | None = None
    proven: bool = False
    proof: str = ""
    healed: str = ""

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return f"{self.fault} of {self.target}{f' ({values})' if values else ''}"


class FaultJournal:
    """All faults of a run, in memory and in a file: one line when a fault begins and one when it ends.

    Args:
        path: the file; `evidence/faults.jsonl` in Robot's output folder if not given, and none outside Robot Framework.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.records: list[FaultRecord] = []
        self._later: dict[int, Callable[[], tuple[bool, str]]] = {}
        self._lock = threading.RLock()

    def begin(
        self,
        fault: str,
        target: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        proof: str = "",
        later: Callable[[], tuple[bool, str]] | None = None,
        since: datetime | None = None,
        test: str | CurrentTest | None = CURRENT_TEST,
    ) -> FaultRecord:
        """Note that a fault began.

        Args:
            fault: the action.
            target: its subject.
            parameters: with which values.
            proof: the proof of its effect; empty without one.
            later: looks again whether it took effect: for a fault that waits for its occasion.
            since: when it began, if not now.
            test: to which it belongs, if not to the one that runs.
        """
        with self._lock:
            record = FaultRecord(
                run=RUN,
                number=len(self.records) + 1,
                fault=fault,
                target=target,
                parameters=dict(parameters or {}),
                suite=robot_variable("SUITE NAME"),
                test=robot_variable("TEST NAME") if isinstance(test, CurrentTest) else test,
                start=current_test().start if isinstance(test, CurrentTest) else "",
                began=_stamp(since),
                proven=bool(proof),
                proof=proof,
            )
            self.records.append(record)
            if later is not None and not proof:
                self._later[record.number] = later
            self._write("begin", record)
            return record

    def ending(self, record: FaultRecord) -> None:
        """Note that a fault is about to be healed: from now on it may be gone."""
        with self._lock:
            if record.ending is None:
                record.ending = _stamp()

    def end(self, record: FaultRecord, healed: str = "") -> None:
        """Note that a fault is over."""
        with self._lock:
            self._look_again(record)
            self._later.pop(record.number, None)
            if record.ended is None:
                record.ended = _stamp()
                record.healed = healed
                self._write("end", record)

    def adopt(self, records: Sequence[FaultRecord]) -> None:
        """Assign faults without a test to the running test, which observes their effects."""
        with self._lock:
            for record in records:
                if record.test is None:
                    record.test, record.start = robot_variable("TEST NAME"), current_test().start

    def end_of(self, target: str, healed: str = "") -> None:
        """Close the journal entries of `target` that have no owner to end them."""
        with self._lock:
            for record in self.records:
                if record.target == target and record.ended is None and record.number not in self._later:
                    self.end(record, healed)

    def now(self, fault: str, target: str, proof: str, *, took: float = 0.0) -> FaultRecord:
        """Note a fault that is over, and took that many seconds."""
        record = self.begin(fault, target, proof=proof, since=datetime.now(UTC) - timedelta(seconds=took))
        self.end(record)
        return record

    def lasting(self) -> list[FaultRecord]:
        """The faults that have not ended."""
        with self._lock:
            return [record for record in self.records if record.ended is None]

    def unproven(self, suite: str | None = None, test: str | None = None) -> list[FaultRecord]:
        """The faults of a test that nothing proves."""
        with self._lock:
            found = [record for record in self.records if (record.suite, record.test) == (suite, test)]
            for record in found:
                self._look_again(record)
            return [record for record in found if not record.proven]

    def _look_again(self, record: FaultRecord) -> None:
        if not record.proven and (look := self._later.get(record.number)) is not None:
            record.proven, record.proof = look()

    def _write(self, op: str, record: FaultRecord) -> None:
        folder = evidence_folder()
        path = self.path or (folder / FILE_NAME if folder else None)
        if path is None:
            return
        json_lines.append(path, [{"op": op, **msgspec.to_builtins(record)}])


JOURNAL = FaultJournal()
"""The journal of this run."""


def _stamp(moment: datetime | None = None) -> str:
    return (moment or datetime.now(UTC)).isoformat(timespec="milliseconds")
