"""The charge points of one generating process, from their connections to their last answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

import psutil

from ocpp_resilience.load.charge_point import LoadChargePoint
from ocpp_resilience.load.connection import RETRY_SECONDS, Network
from ocpp_resilience.load.limits import memory_is_short
from ocpp_resilience.load.plan import Model, Plan
from ocpp_resilience.load.recorder import Recorder
from ocpp_resilience.load.result import Part
from ocpp_resilience.load.schedule import Arrivals, SlipWatch
from ocpp_resilience.load.scripts import words_of
from ocpp_resilience.ocpp.validation import compiled

SWEEP_SECONDS = 0.05
CLOSING_SECONDS = 2.0


class Fleet:
    """All charge points of this process, on one event loop.

    Args:
        plan: the plan.

    Attributes:
        recorder: the measurements so far.
        over: set when the last answer has come, or is no longer waited for.
        stopping: nothing new is begun any more.
    """

    def __init__(self, plan: Plan) -> None:
        self.recorder = Recorder(plan)
        self.over = asyncio.Event()
        self.stopping = False
        self._plan = plan
        self._open = plan.model is Model.OPEN
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._network = Network(
            plan=plan,
            recorder=self.recorder,
            chance=random.Random(f"{plan.seed}/fleet/{plan.own[0]}"),  # noqa: S311
            spawn=self._spawn,
            broke=self._fail,
            tls=ssl.create_default_context() if plan.url.startswith("wss:") else None,
        )
        first, step = plan.own
        # Compiled before anything is opened: later there may be no descriptor left to read a schema with.
        validators = {
            action: compiled(plan.version, action, is_response=True)
            for action in words_of(plan.version).actions(plan.profile)
        }
        prefix = f"{secrets.token_hex(3)}-"
        self._points = {
            number: LoadChargePoint(self, self._network, number, cp, prefix=prefix, validators=validators)
            for number, cp in enumerate(plan.ids())
            if number % step == first
        }
        self._unfinished = len(self._points)
        self._finishing = False
        self._blackout_began = 0.0
        self._arrivals = Arrivals(plan, self.recorder, self._points, self.stop) if self._open else None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task of the fleet, which is cancelled at the end."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Something broke that must not break: end the run and say so."""
        self._failed = self._failed or error
        self.over.set()

    async def connect(self) -> None:
        """Connect all charge points, a few at a time, until all are connected or the time is up."""
        gate = asyncio.Semaphore(self._plan.connect_at_once)
        end = time.monotonic() + self._plan.connect_timeout
        times = self.recorder.times["connecting"]

        async def one(point: LoadChargePoint) -> None:
            pause = RETRY_SECONDS[0]
            while True:
                async with gate:
                    if await point.connection.connect(times):
                        return
                if time.monotonic() + pause > end or self.stopping:
                    return
                await asyncio.sleep(self._network.pause(pause))
                pause = min(2 * pause, RETRY_SECONDS[1])

        await asyncio.gather(*(one(point) for point in self._points.values()))
        self.recorder.all_connected(len(self._points))

    async def run(self, start_at: float, progress: Callable[[float], None]) -> Part:
        """Run the plan from `start_at` (monotonic clock) on; returns the result.

        Args:
            start_at: when.
            progress: called once a second, with the start time of sending.
        """
        await asyncio.sleep(max(0.0, start_at - time.monotonic()))
        began = start_at if self._open else max(start_at, time.monotonic())
        self.recorder.begin(began)
        for point in self._points.values():
            if not point.connection.there:
                self._spawn(point.connection.stay_connected(at_once=False))
            point.begin()
        self._spawn(self._sweep())
        self._spawn(self._every_second(began, progress))
        if self._plan.blackout_at is not None:
            self._loop.call_later(self._plan.blackout_at, self._black_out)
        if self._arrivals is not None:
            self._arrivals.begin(began)
        else:
            if self._plan.seconds is not None:
                self._loop.call_later(self._plan.seconds, self.stop)
            for point in self._points.values():
                point.send_next(time.monotonic())
        await self.over.wait()
        return await self._end()

    def stop(self) -> None:
        """Stop the schedule; running sessions are finished."""
        if self.stopping:
            return
        self.stopping = True
        if self._arrivals is not None:
            self._arrivals.end()
        else:
            for point in self._points.values():
                point.stopping = True
        self._release_held()
        if not self._open:
            self._loop.call_later(self._plan.timeout, self.over.set)
        else:
            if not self._plan.drain or self.recorder.part.slipped_at is not None:
                self._drop_overdue()
            self._loop.call_later(self._plan.timeout, self._give_up)
        self._check_end()

    def _drop_overdue(self) -> None:
        for point in self._points.values():
            point.drop_overdue()

    def _give_up(self) -> None:
        self._drop_overdue()
        self._loop.call_later(self._plan.timeout, self.over.set)
        self._check_end()

    def _check_end(self) -> None:
        if self.over.is_set() or not self.stopping:
            return
        points = self._points.values()
        if not self._open:
            if all(point.gone for point in points):
                self.over.set()
            return
        # Charge points that are still away after a blackout are waited for: whether all come back is the question.
        if self._network.blackout or any(point.overdue or point.waiting for point in points):
            return
        if not self._finishing:
            self._finishing = True
            for point in points:
                point.finish(time.monotonic())
        if not any(point.waiting for point in points):
            self.over.set()

    # --- what charge points say

    def finished(self) -> None:
        """A charge point has come to the end of its script."""
        self._unfinished -= 1
        self._release_held()
        if self._unfinished <= 0:
            self.over.set()

    def holds(self) -> None:
        """A charge point waits for the others."""
        self._release_held()

    def _release_held(self) -> None:
        """Release the charge points that wait for each other, once all have arrived or no others can come."""
        held = [point for point in self._points.values() if point.held]
        if held and (self.stopping or self._open or len(held) >= self._unfinished):
            for point in held:
                point.unhold()
            self._loop.call_soon(self._go_on, held)

    def _go_on(self, points: list[LoadChargePoint]) -> None:
        at = time.monotonic()
        for point in points:
            point.release(at)

    def connected_again(self) -> None:
        """Check whether all charge points are connected again after the blackout."""
        if self._network.blackout and self.recorder.connected == len(self._points):
            self.recorder.part.recovered_after = time.monotonic() - self._blackout_began
            self._network.blackout = False
            self._check_end()

    def later(self, seconds: float, act: Callable[[float], None], argument: float) -> None:
        """Call `act` after this many seconds, unless the run is over by then."""
        self._loop.call_later(seconds, self._unless_over, act, argument)

    def _unless_over(self, act: Callable[[float], None], argument: float) -> None:
        if not self.over.is_set():
            act(argument)

    # --- what goes on beside

    def _black_out(self) -> None:
        """Cut every connection; all reconnect immediately."""
        if self.over.is_set() or self.stopping:
            return
        self._blackout_began = time.monotonic()
        self._network.blackout = True
        for point in self._points.values():
            point.connection.cut()

    async def _sweep(self) -> None:
        """Find unanswered and overdue messages, and the end of the load."""
        watch = None if self._plan.slip is None else SlipWatch(self._plan.slip, self.recorder, SWEEP_SECONDS)
        expected = time.monotonic() + SWEEP_SECONDS
        while True:
            await asyncio.sleep(max(0.0, expected - time.monotonic()))
            at = time.monotonic()
            if not self._open and not self._plan.pause:
                self.recorder.times["lag"].add(max(0.0, at - expected))
            expected = at + SWEEP_SECONDS
            for point in self._points.values():
                point.expire(at - self._plan.timeout)
            if watch is not None and not self.stopping:
                due = [point.oldest_due for point in self._points.values()]
                if watch.slipped(at, min((each for each in due if each is not None), default=None)):
                    self.stop()
            self._check_end()

    async def _every_second(self, began: float, progress: Callable[[float], None]) -> None:
        number = 0
        while True:
            await asyncio.sleep(max(0.0, began + number + 1 - time.monotonic()))
            self.recorder.close_second()
            self._look_at_memory()
            progress(began)
            number += 1

    def _look_at_memory(self) -> None:
        with contextlib.suppress(OSError):  # without a descriptor nothing can be looked at
            memory = psutil.virtual_memory()
            if short := memory_is_short(memory.available, memory.total):
                self.recorder.limit(short)

    async def _end(self) -> Part:
        self._network.closing = True
        self.recorder.sending_ended(time.monotonic())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for point in self._points.values():
            point.end()
        part = self.recorder.finish(self._failed)
        await asyncio.gather(*(point.connection.close(CLOSING_SECONDS) for point in self._points.values()))
        return part
