"""Correlation of commands and answers: the waiting callers by message id, with their deadlines.

A `CorrelationManager` knows nothing of Redis, HTTP or OCPP payloads and may be used directly:

    manager = CorrelationManager()
    correlation = manager.register("m-1", "CP-001", "Reset", timeout=30)
    manager.resolve("m-1", "CP-001", {"status": "Accepted"})  # by whoever reads the charge point's answers
    payload = await correlation

Entries are keyed by the message id alone: two equal commands to one charge point are two entries (OCPP-J 1.6 section
4.1.4: an answer carries the id of the CALL that it answers, and nothing else that would tell the two apart). Deadlines
stand in a heap behind one timer of the event loop, so neither waiting nor expiry looks at entries that are not due.

The design and what was rejected: docs/decisions/0006-answers-are-correlated-by-message-id.md.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Generator, Iterable
from enum import StrEnum
from typing import Any, NamedTuple

EXPIRIES_PER_TURN = 250
"""Entries that expire in one turn of the event loop; others get their turn in between when very many are due."""
REMEMBERED = 10_000
"""Ended ids that are remembered at least, and half of those that are remembered at most."""
_COMPACT_ABOVE = 128
"""Below this many entries the heap is not worth compacting."""


class CorrelationError(Exception):
    """A correlation has ended without an answer that can be used.

    Attributes:
        message_id: the command's message id.
        charge_point_id: the charge point that was asked.
        action: the OCPP action.
    """

    def __init__(self, message_id: str, charge_point_id: str, action: str, what: str) -> None:
        self.message_id = message_id
        self.charge_point_id = charge_point_id
        self.action = action
        super().__init__(f"{action} {message_id!r} to {charge_point_id!r}: {what}")


class CorrelationTimeout(CorrelationError):
    """No answer came in time."""


class CorrelationCancelled(CorrelationError):
    """The caller has cancelled its request."""


class CorrelationClosed(CorrelationError):
    """The manager was closed; nothing waits any more and nothing can be registered."""


class ChargePointDisconnected(CorrelationError):
    """The charge point went away before it answered."""


class DuplicateMessageId(CorrelationError):
    """The message id is pending, or was pending recently, so an answer would be ambiguous."""


class CallErrorReceived(CorrelationError):
    """The charge point answered with a CALLERROR (OCPP-J 1.6 section 4.2.3).

    Attributes:
        code: error code.
        description: error description.
        details: error details.
    """

    def __init__(  # noqa: PLR0917 - what every correlation error says, and the three of a CALLERROR
        self, message_id: str, charge_point_id: str, action: str, code: str, description: str, details: dict[str, Any]
    ) -> None:
        self.code = code
        self.description = description
        self.details = details
        super().__init__(message_id, charge_point_id, action, f"CALLERROR {code}: {description}")


class Verdict(StrEnum):
    """The outcome of delivering an answer.

    Members:
        DELIVERED: the waiting caller has it now.
        LATE: the correlation ended without an answer (expired, cancelled, disconnected) before this one came.
        DUPLICATE: the command was answered before.
        UNKNOWN: no such message id, or not one that this charge point was sent.
    """

    DELIVERED = "delivered"
    LATE = "late"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


class Pending(NamedTuple):
    """A correlation as inspection shows it; `age` and `timeout` in seconds."""

    message_id: str
    charge_point_id: str
    action: str
    age: float
    timeout: float


class Totals:
    """Event counts since the manager was made; the fields are named after the contract's totals.

    `registered` is the sum of `resolved`, `failed`, `expired`, `cancelled` and what is pending; a disconnected charge
    point's and a closed manager's correlations count as cancelled. `late`, `duplicate` and `unknown` count answers.
    """

    __slots__ = ("cancelled", "duplicate", "expired", "failed", "late", "registered", "resolved", "unknown")

    def __init__(self) -> None:
        self.registered = self.resolved = self.failed = self.expired = self.cancelled = 0
        self.late = self.duplicate = self.unknown = 0

    def as_dict(self) -> dict[str, int]:
        """Name to count."""
        return {
            name: getattr(self, name)
            for name in (
                "registered",
                "resolved",
                "failed",
                "expired",
                "cancelled",
                "late",
                "duplicate",
                "unknown",
            )
        }


class Correlation:
    """One command that waits for its answer; awaiting it returns the payload of the CALLRESULT.

    Await it from one task. If that task is cancelled meanwhile, so is the correlation.

    Raises:
        CallErrorReceived: the answer was a CALLERROR.
        CorrelationTimeout: no answer within `timeout`.
        ChargePointDisconnected: the charge point went away.
        CorrelationCancelled: `CorrelationManager.cancel`.
        CorrelationClosed: `CorrelationManager.close`.

    Attributes:
        message_id: the id that the answer will have.
        charge_point_id: the charge point that will answer.
        action: the OCPP action.
        timeout: seconds from registration to expiry.
        deadline: when it expires, by the manager's clock.
    """

    __slots__ = ("_future", "_manager", "_outcome", "action", "charge_point_id", "deadline", "message_id", "timeout")

    def __init__(  # noqa: PLR0917 - made in one place, the manager
        self,
        manager: CorrelationManager,
        message_id: str,
        charge_point_id: str,
        action: str,
        timeout: float,
        deadline: float,
    ) -> None:
        self._manager: CorrelationManager | None = manager
        self._future: asyncio.Future[None] | None = None
        # Its outcome: a payload, the three parts of a CALLERROR, or the class of the error to raise. The error is made
        # where it is raised: a stored one would keep its traceback, and that the frames of the waiting caller.
        self._outcome: dict[str, Any] | tuple[str, str, dict[str, Any]] | type[CorrelationError] | None = None
        self.message_id = message_id
        self.charge_point_id = charge_point_id
        self.action = action
        self.timeout = timeout
        self.deadline = deadline

    @property
    def pending(self) -> bool:
        """Whether it still waits."""
        return self._manager is not None

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        if self._manager is not None:
            self._future = asyncio.get_running_loop().create_future()
            try:
                yield from self._future
            except asyncio.CancelledError:
                if self._manager is not None:
                    self._manager.cancel(self.message_id)
                raise
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        outcome = self._outcome
        about = (self.message_id, self.charge_point_id, self.action)
        if isinstance(outcome, dict):
            return outcome
        if isinstance(outcome, tuple):
            raise CallErrorReceived(*about, *outcome)
        if outcome is None:
            raise RuntimeError(f"correlation {self.message_id!r} was woken without an outcome")
        raise outcome(*about, _REASONS[outcome].format(self.timeout))

    def _settle(self, outcome: dict[str, Any] | tuple[str, str, dict[str, Any]] | type[CorrelationError]) -> None:
        self._outcome = outcome
        self._manager = None
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


_REASONS: dict[type[CorrelationError], str] = {
    CorrelationTimeout: "no answer within {0:g} s",
    CorrelationCancelled: "cancelled",
    CorrelationClosed: "no longer waited for, the server stops",
    ChargePointDisconnected: "the charge point disconnected before it answered",
}


class CorrelationManager:
    """Commands that wait for answers, by message id. For one event loop; not for several threads.

    Args:
        clock: seconds, monotonic; for tests. Expiry is triggered by the event loop's timer in any case.
        remembered: minimum number of remembered ended ids, by which late and duplicate answers are told from unknown
            ones. Up to twice as many are held: a full generation becomes the old one, and the old one is dropped.

    Attributes:
        totals: event counts so far.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, remembered: int = REMEMBERED) -> None:
        self._clock = clock
        self._remembered = max(1, remembered)
        self._pending: dict[str, Correlation] = {}
        self._by_charge_point: dict[str, set[str]] = {}
        self._heap: list[tuple[float, int, Correlation]] = []
        self._sequence = 0
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        self._ended: dict[str, Verdict] = {}
        self._ended_before: dict[str, Verdict] = {}
        self._closed = False
        self.totals = Totals()

    def __len__(self) -> int:
        return len(self._pending)

    def register(self, message_id: str, charge_point_id: str, action: str, *, timeout: float) -> Correlation:
        """Begin to wait for an answer; call it before the command is sent, or the answer may be there first.

        Args:
            message_id: the CALL's id, unique.
            charge_point_id: the charge point that will answer.
            action: the OCPP action, for inspection and errors.
            timeout: seconds, above 0, from now.

        Returns:
            An awaitable for the answer.

        Raises:
            ValueError: the timeout is not a number above 0.
            DuplicateMessageId: the id is waited for, or ended so recently that it is remembered.
            CorrelationClosed: the manager is closed.
        """
        if not 0 < timeout < float("inf"):
            raise ValueError(f"timeout is {timeout!r}, allowed is a number of seconds above 0")
        if self._closed:
            raise CorrelationClosed(message_id, charge_point_id, action, _REASONS[CorrelationClosed])
        if message_id in self._pending or self._memory(message_id) is not None:
            raise DuplicateMessageId(message_id, charge_point_id, action, "the message id is in use already")
        correlation = Correlation(
            self, message_id, charge_point_id, action, timeout, deadline := self._clock() + timeout
        )
        self._pending[message_id] = correlation
        self._by_charge_point.setdefault(charge_point_id, set()).add(message_id)
        self._sequence += 1
        heapq.heappush(self._heap, (deadline, self._sequence, correlation))
        self.totals.registered += 1
        if self._timer is None or deadline < self._timer_due:
            self._schedule()
        return correlation

    def resolve(self, message_id: str, charge_point_id: str, payload: dict[str, Any]) -> Verdict:
        """Hand a CALLRESULT to its caller.

        Args:
            message_id: as in the answer.
            charge_point_id: the sender; an answer of another charge point than the one asked is unknown.
            payload: the CALLRESULT's payload.
        """
        verdict = self._end(message_id, charge_point_id, payload)
        if verdict is Verdict.DELIVERED:
            self.totals.resolved += 1
        return verdict

    def fail(
        self, message_id: str, charge_point_id: str, code: str, description: str = "", details: Any = None
    ) -> Verdict:
        """Hand a CALLERROR to its caller; arguments as in `resolve`, and the fields of the CALLERROR."""
        verdict = self._end(message_id, charge_point_id, (code, description, details or {}))
        if verdict is Verdict.DELIVERED:
            self.totals.failed += 1
        return verdict

    def cancel(self, message_id: str) -> bool:
        """Cancel a pending request; returns `False` if there is none with this id."""
        correlation = self._pending.get(message_id)
        if correlation is None:
            return False
        self._drop(correlation, CorrelationCancelled)
        return True

    def disconnect(self, charge_point_id: str, message_ids: Iterable[str] | None = None) -> int:
        """Fail the pending requests to this charge point with `ChargePointDisconnected`.

        Args:
            charge_point_id: the disconnected charge point.
            message_ids: the commands that went over the connection that is gone; all of this charge point's when left
                out.

        Returns:
            How many were failed.
        """
        waiting = self._by_charge_point.get(charge_point_id, set())
        ids = list(waiting if message_ids is None else waiting.intersection(message_ids))
        for message_id in ids:
            self._drop(self._pending[message_id], ChargePointDisconnected)
        return len(ids)

    def close(self) -> int:
        """Fail everything that waits, with `CorrelationClosed`, and refuse anything new; returns how many."""
        self._closed = True
        waiting = list(self._pending.values())
        for correlation in waiting:
            self._drop(correlation, CorrelationClosed)
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return len(waiting)

    def waits(self, message_id: str) -> bool:
        """Whether an answer with this id is waited for."""
        return message_id in self._pending

    def knows(self, message_id: str) -> bool:
        """Whether this id is waited for, or was and is still remembered."""
        return message_id in self._pending or self._memory(message_id) is not None

    def oldest(self, most: int = 100) -> list[Pending]:
        """The oldest pending requests, oldest first, at most `most`."""
        now = self._clock()
        # Registration order is the dictionary's order: nothing has to be sorted.
        return [
            Pending(one.message_id, one.charge_point_id, one.action, now - (one.deadline - one.timeout), one.timeout)
            for one, _ in zip(self._pending.values(), range(most), strict=False)
        ]

    def expire(self, most: int = EXPIRIES_PER_TURN) -> int:
        """Expire overdue requests in the order of their deadlines, at most `most`. The timer calls this.

        Returns:
            How many ended, each with `CorrelationTimeout`.
        """
        now, ended = self._clock(), 0
        heap = self._heap
        while heap and ended < most:
            deadline, _, correlation = heap[0]
            if correlation.pending:
                if deadline > now:
                    break
                self._forget(correlation)
                self._remember(correlation.message_id, Verdict.LATE)
                self.totals.expired += 1
                correlation._settle(CorrelationTimeout)  # noqa: SLF001 - the manager's own
                ended += 1
            heapq.heappop(heap)
        self._compact()
        return ended

    def _end(
        self, message_id: str, charge_point_id: str, outcome: dict[str, Any] | tuple[str, str, dict[str, Any]]
    ) -> Verdict:
        correlation = self._pending.get(message_id)
        if correlation is None:
            verdict = self._memory(message_id) or Verdict.UNKNOWN
            if verdict is Verdict.LATE:
                # The first answer after the end is late, any other one is a duplicate.
                self._remember(message_id, Verdict.DUPLICATE)
                self.totals.late += 1
            elif verdict is Verdict.DUPLICATE:
                self.totals.duplicate += 1
            else:
                self.totals.unknown += 1
            return verdict
        if correlation.charge_point_id != charge_point_id:
            self.totals.unknown += 1
            return Verdict.UNKNOWN
        self._forget(correlation)
        self._remember(message_id, Verdict.DUPLICATE)
        correlation._settle(outcome)  # noqa: SLF001 - the manager's own
        self._compact()
        return Verdict.DELIVERED

    def _drop(self, correlation: Correlation, error: type[CorrelationError]) -> None:
        self._forget(correlation)
        self._remember(correlation.message_id, Verdict.LATE)
        self.totals.cancelled += 1
        correlation._settle(error)  # noqa: SLF001 - the manager's own
        self._compact()

    def _forget(self, correlation: Correlation) -> None:
        del self._pending[correlation.message_id]
        ids = self._by_charge_point[correlation.charge_point_id]
        ids.remove(correlation.message_id)
        if not ids:
            del self._by_charge_point[correlation.charge_point_id]

    def _compact(self) -> None:
        """Give memory back once most of the heap has ended before its deadline; amortised over those that ended."""
        if len(self._heap) > 2 * len(self._pending) + _COMPACT_ABOVE:
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            # A dictionary does not shrink by itself.
            self._pending = dict(self._pending)
            self._by_charge_point = {name: set(ids) for name, ids in self._by_charge_point.items()}
        elif not self._pending:
            self._heap.clear()
            self._pending, self._by_charge_point = {}, {}

    def _memory(self, message_id: str) -> Verdict | None:
        return self._ended.get(message_id) or self._ended_before.get(message_id)

    def _remember(self, message_id: str, verdict: Verdict) -> None:
        if len(self._ended) >= self._remembered and message_id not in self._ended:
            self._ended_before, self._ended = self._ended, {}
        self._ended[message_id] = verdict

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer_due = self._heap[0][0]
            delay = self._timer_due - self._clock()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(delay, self._turn) if delay > 0 else loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._timer = None
        self.expire()
        self._schedule()
