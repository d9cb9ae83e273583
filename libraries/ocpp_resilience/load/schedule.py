"""The schedule of the open model, and the detection of the time when it cannot be kept."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from ocpp_resilience.load.charge_point import LoadChargePoint
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.recorder import Recorder
from ocpp_resilience.load.result import LAG_LIMIT_MS, LoadTotals, cause_of_slip

SPIN_BELOW = 300.0
"""Up to this rate (messages a second) the last millisecond before a message is due is waited out on the processor: the
loop's timers are whole milliseconds, which would be counted as latency."""
CAPACITY_SECONDS = 1.0
"""Seconds before the schedule slipped; the answers in this time are the server's capacity."""


class Arrivals:
    """Hands out messages at their due times, independent of the answers.

    Args:
        plan: has the schedule.
        recorder: counts due messages, and the lateness of this process.
        points: the charge points of this process, by their number.
        over: called when the last message was handed out.
    """

    def __init__(
        self, plan: Plan, recorder: Recorder, points: Mapping[int, LoadChargePoint], over: Callable[[], None]
    ) -> None:
        self._plan = plan
        self._recorder = recorder
        self._points = points
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._numbered: Iterator[tuple[int, float]] = enumerate(plan.schedule())
        self._next: tuple[int, float] | None = None
        self._began = 0.0
        self._in_time = 0.0
        self._ended = False

    def begin(self, at: float) -> None:
        """Start the schedule at that time."""
        self._began = at
        self._in_time = at + self._plan.length + LAG_LIMIT_MS / 1000
        self._take()
        self._tick()

    def end(self) -> None:
        """Nothing is handed out any more."""
        self._ended = True

    def _take(self) -> None:
        self._next = None
        for number, due in self._numbered:
            owner = number % self._plan.charge_points
            if owner in self._points:
                self._next = (owner, self._began + due)
                return

    def _tick(self) -> None:
        """Hand out due messages, and schedule the next call."""
        if self._ended:
            return
        at = time.monotonic()
        part, lag = self._recorder.part, self._recorder.times["lag"].add
        while self._next is not None and self._next[1] <= at:
            owner, due = self._next
            part.due += 1
            part.due_in_time += at <= self._in_time
            lag(at - due)
            self._points[owner].arrival(due, at)
            self._take()
        if self._next is None:
            self._over()
            return
        wait = self._next[1] - time.monotonic()
        if wait > 0.0015:
            self._loop.call_later(wait - 0.001 if self._spins(at) else wait, self._tick)
        elif self._spins(at):
            self._loop.call_soon(self._tick)
        else:
            self._loop.call_later(0.001, self._tick)

    def _spins(self, at: float) -> bool:
        left = at - self._began
        for stage in self._plan.stages:
            if left < stage.seconds:
                return stage.rate / self._plan.own[1] <= SPIN_BELOW
            left -= stage.seconds
        return False


class SlipWatch:
    """Detects that a message is overdue for too long, and measures process and server just before.

    Args:
        slip: seconds that a message may be overdue.
        recorder: the totals so far, and the place to note the slip.
        every: seconds between two looks.
    """

    def __init__(self, slip: float, recorder: Recorder, every: float) -> None:
        self._slip = slip
        self._recorder = recorder
        self._every = every
        self._spent: deque[LoadTotals] = deque(maxlen=round(CAPACITY_SECONDS / every) + 1)

    def slipped(self, at: float, oldest: float | None) -> bool:
        """Whether the schedule has slipped; the oldest overdue message was due at `oldest`."""
        self._spent.append(self._recorder.spent(at))
        if oldest is None or at - oldest <= self._slip:
            return False
        part = self._recorder.part
        first, last = self._spent[0], self._spent[-1]
        part.slipped_at = oldest - part.began
        part.slip_rate = (last.answered - first.answered) / max(last.at - first.at, self._every)
        part.slip_cause = cause_of_slip(first, last)
        return True
