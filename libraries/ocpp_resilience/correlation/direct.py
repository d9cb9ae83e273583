"""The correlation manager of the reference server alone, in a separate process: memory, and many workers at once.

    python -m ocpp_resilience.correlation.direct memory --pending 100000
    python -m ocpp_resilience.correlation.direct workers --workers 50 --operations 1000

The result is printed as one line of JSON. The process is separate so that its memory is the manager's alone, and so
that a load on it does not slow down Robot Framework.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import random
import subprocess
import sys
import time
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import psutil

from ocpp_resilience.errors import ServiceError, UsageError
from ocpp_resilience.guardian import GuardedProcess
from ocpp_resilience.waiting import in_words, seconds

ENDS = ("resolve", "fail", "cancel", "expire")
"""The ways in which a request ends; `mixed` takes each for a quarter of them."""

NO_ANSWER = ("fail", "cancel", "expire")
EXPIRY_SECONDS = 0.5
EXPIRY_LOOKS = 100
"""Looks, ten milliseconds apart, at which no other request has expired, after which no more are expected to."""

LONGEST_OUTCOME_SECONDS = 2.0
MOST_WITHOUT_OUTCOME = 5
"""The workers stop after this many operations without an outcome; the others count as lost."""
EXAMPLES = 2

IN_FLIGHT = 20
"""Requests that one worker has pending at the same time."""


class MemoryReport(msgspec.Struct, kw_only=True):
    """The cost of many pending requests, each with a waiting caller.

    Memory is that of Python's objects (`tracemalloc`). The process itself returns memory to the system in pieces of a
    megabyte, and only those without a living object, so that its size says little about the use.

    Attributes:
        pending: how many were pending at once.
        bytes_each: memory of one, in bytes.
        kilobytes_each: the same in KB (1,000 bytes).
        used_bytes: memory of all of them, in bytes.
        left_bytes: the part of it that is still used when all have ended.
        resident_bytes: the size of the process before, with all of them pending, and afterwards.
        percent_left: by how much more is used afterwards than before, in percent of the size of the process before.
        left_over: requests that are still pending afterwards.
        ended: how many ended in which way.
        seconds: from the first registration until all had ended.
    """

    pending: int
    bytes_each: float
    kilobytes_each: float
    used_bytes: int
    left_bytes: int
    resident_bytes: list[int]
    percent_left: float
    left_over: int
    ended: dict[str, int]
    seconds: float


class WorkersReport(msgspec.Struct, kw_only=True):
    """The outcome of the operations of many workers.

    Attributes:
        workers: how many worked at the same time.
        operations: how many requests each of them registered.
        lost: requests without an outcome, or with another one than the manager reported for their answer.
        mixed_up: requests with the answer to another one.
        left_over: pending at the end.
        miscounted: differences between the manager's counters and the events, summed up.
        outcomes: outcome to number.
        totals: the manager's counters.
        seconds: how long all of it took.
        examples: the outcomes of the first lost requests.
    """

    workers: int
    operations: int
    lost: int
    mixed_up: int
    left_over: int
    miscounted: int
    outcomes: dict[str, int]
    totals: dict[str, int]
    seconds: float
    examples: list[str] = []

    @property
    def summary(self) -> str:
        """The whole in one line."""
        text = (
            f"{self.workers} workers with {self.operations} requests each: {self.lost} lost, "
            f"{self.mixed_up} mixed up, {self.left_over} left over, {self.miscounted} miscounted"
        )
        return f"{text}; lost, for example, {'; '.join(self.examples)}" if self.examples else text


def measure_memory(
    pending: int, *, end: str = "mixed", timeout: timedelta | float = timedelta(seconds=60)
) -> MemoryReport:
    """Have this many requests pending at once in a separate process, then end them all.

    Args:
        pending: how many.
        end: how they end: `resolve`, `fail`, `cancel`, `expire`, or `mixed`.
        timeout: the longest that it may take.

    Raises:
        UsageError: a value cannot be used.
        ServiceError: the process failed or took too long.
    """
    return start_measuring_memory(pending, end=end).report(seconds(timeout))


def start_measuring_memory(pending: int, *, end: str = "mixed") -> MemoryMeasurement:
    """Begin `measure_memory`, and do not wait.

    Raises:
        UsageError: a value cannot be used.
    """
    if pending < 1:
        raise UsageError(f"pending is {pending}, at least 1 is required.")
    if end not in {*ENDS, "mixed"}:
        raise UsageError(f"end is '{end}' (allowed: {', '.join(ENDS)}, mixed).")
    return MemoryMeasurement(_Child(["memory", "--pending", str(pending), "--end", end]))


def run_workers(
    workers: int,
    operations: int,
    *,
    seed: int | None = None,
    timeout: timedelta | float = timedelta(seconds=60),
) -> WorkersReport:
    """Run many concurrent workers whose requests are answered, refused, cancelled or expire.

    Args:
        workers: how many.
        operations: how many requests each.
        seed: makes the same operations again.
        timeout: the longest that it may take.

    Raises:
        UsageError: a value cannot be used.
        ServiceError: the process failed or took too long.
    """
    if workers < 1 or operations < 1:
        raise UsageError(f"workers is {workers}, operations is {operations}; at least 1 of each is needed.")
    words = ["workers", "--workers", str(workers), "--operations", str(operations)]
    if seed is not None:
        words += ["--seed", str(seed)]
    return msgspec.json.decode(_Child(words).output(seconds(timeout)), type=WorkersReport)


class _Child:
    """The separate process."""

    def __init__(self, words: list[str]) -> None:
        command = [sys.executable, "-m", "ocpp_resilience.correlation.direct", *words]
        self._process = GuardedProcess[bytes](
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def output(self, timeout: float) -> bytes:
        """Wait for its end; however the wait ends, by Ctrl-C or a test timeout too, the process is gone afterwards."""
        try:
            output, errors = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ServiceError(
                f"The process with the correlation manager did not finish within {in_words(timeout)}."
            ) from None
        finally:
            self.kill()
        if self._process.returncode:
            last = errors.decode("utf-8", "replace").strip().splitlines()[-20:]
            raise ServiceError(
                f"The process with the correlation manager ended with status {self._process.returncode}. "
                + "\n".join(last)
            )
        return output

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class MemoryMeasurement:
    """A measurement of memory that goes on in a separate process."""

    def __init__(self, child: _Child) -> None:
        self._child = child

    def report(self, timeout: float) -> MemoryReport:
        """Wait for the result.

        Raises:
            ServiceError: the process failed or took too long.
        """
        return msgspec.json.decode(self._child.output(timeout), type=MemoryReport)

    def close(self) -> None:
        """Break it off."""
        self._child.kill()


# ---------------------------------------------------------------- in the child


@functools.cache
def _server() -> Any:
    """The module with the manager, within all that a server has loaded; only this process knows the server."""
    importlib.import_module("server.app")
    return importlib.import_module("server.correlation.manager")


async def _memory(pending: int, end: str) -> MemoryReport:
    await _fill_and_empty(min(pending, 1_000), "mixed")  # objects that are made only once are not measured
    return await _fill_and_empty(pending, end)


async def _fill_and_empty(pending: int, end: str) -> MemoryReport:
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    manager: Any = _server().CorrelationManager()
    ways = ENDS if end == "mixed" else (end,)

    def plan() -> Iterator[tuple[str, str, str]]:
        """Way, message id and charge point of each, new each time: keeping the texts is the manager's cost.

        Those that expire come last and do so at the same instant. The loop has no turn before the last is registered,
        so that all of them are pending at once on a slow machine too.
        """
        for index, way in enumerate(ways):
            for number in range(index, pending, len(ways)):
                yield way, f"{way}-{number:08d}", f"CP-{number % 50:03d}"

    resident = [_resident()]
    tracemalloc.start(1)
    used = [_used()]
    began = time.perf_counter()
    deadline = 0.0
    waiting: list[Generator[Any, None, Any]] = []
    for way, message_id, charge_point in plan():
        limit = 600.0
        if way == "expire":
            deadline = deadline or loop.time() + EXPIRY_SECONDS
            limit = max(0.001, deadline - loop.time())
        waiter = manager.register(message_id, charge_point, "GetConfiguration", timeout=limit).__await__()
        next(waiter)  # as a task does: from here on it waits
        waiting.append(waiter)
    del waiter
    seen = len(manager)
    resident.append(_resident())
    used.append(_used())
    for way, message_id, charge_point in plan():
        _end(manager, way, message_id, charge_point)
    await _expired(manager)
    ended: Counter[str] = Counter()
    while waiting:
        ended[_ended(waiting.pop())] += 1
    took = time.perf_counter() - began
    left_over = len(manager)
    await asyncio.sleep(0.05)  # the loop's own turn: it lets go of timers that were cancelled
    resident.append(_resident())
    used.append(_used())
    tracemalloc.stop()
    # Objects that are kept on purpose (ended ids, by which late answers are told from unknown ones) are included.
    del manager
    if unhandled:
        raise RuntimeError(f"{len(unhandled)} unhandled exceptions in the event loop: {unhandled[0]}")
    return MemoryReport(
        pending=seen,
        bytes_each=(used[1] - used[0]) / pending,
        kilobytes_each=(used[1] - used[0]) / pending / 1000,
        used_bytes=used[1] - used[0],
        left_bytes=used[2] - used[0],
        resident_bytes=resident,
        percent_left=100 * (used[2] - used[0]) / resident[0],
        left_over=left_over,
        ended=dict(ended),
        seconds=took,
    )


async def _expired(manager: Any) -> None:
    """Wait until nothing is pending any more, or nothing more expires."""
    pending, idle = len(manager), 0
    while pending and idle < EXPIRY_LOOKS:
        await asyncio.sleep(0.01)
        idle = idle + 1 if len(manager) == pending else 0
        pending = len(manager)


def _ended(waiter: Generator[Any, None, Any]) -> str:
    """The way in which the request of `waiter` ended."""
    module = _server()
    try:
        waiter.send(None)
    except StopIteration:
        return "resolve"
    except module.CorrelationTimeout:
        return "expire"
    except module.CallErrorReceived:
        return "fail"
    except module.CorrelationCancelled:
        return "cancel"
    except RuntimeError:  # it waits still
        waiter.close()
    return "none"


def _used() -> int:
    """The memory that Python's objects take up, in bytes."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _end(manager: Any, way: str, message_id: str, charge_point: str) -> Any:
    if way == "resolve":
        return manager.resolve(message_id, charge_point, {"unknownKey": [message_id]})
    if way == "fail":
        return manager.fail(message_id, charge_point, "GenericError", message_id, {})
    if way == "cancel":
        return manager.cancel(message_id)
    return None


async def _outcome(correlation: Any) -> tuple[str, Any]:
    """The end of a request: its kind, and the result for its caller."""
    module = _server()
    try:
        return "resolve", await correlation
    except module.CorrelationTimeout:
        return "expire", None
    except module.CallErrorReceived as error:
        return "fail", error
    except module.CorrelationCancelled:
        return "cancel", None


def _resident() -> int:
    """Memory of this process in bytes, after free memory was returned to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


@dataclass
class _Tally:
    """Observations of the workers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    without_outcome: int = 0
    lost: int = 0
    mixed_up: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, way: str, message_id: str, outcome: str, result: Any, *, delivered: bool) -> None:
        """Count a request that was to end in some way; one without an outcome is missing in `outcomes`."""
        if outcome == "none":
            self.without_outcome += 1
            self._show(f"{message_id}, whose end was to be '{way}', has none after {LONGEST_OUTCOME_SECONDS:g} s")
            return
        self.outcomes[outcome] += 1
        allowed = {"resolve", "expire"} if way == "race" else {way}
        # The caller's result must agree with the manager's report on the answer.
        if outcome not in allowed or delivered != (outcome == "resolve"):
            self.lost += 1
            said = "delivered" if delivered else "not delivered"
            self._show(f"{message_id}, whose end was to be '{way}', ended by '{outcome}', its answer {said}")
        if outcome == "resolve" and result != {"unknownKey": [message_id]}:
            self.mixed_up += 1
        if outcome == "fail" and message_id not in str(result):
            self.mixed_up += 1

    def _show(self, what: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)


async def _workers(workers: int, operations: int, seed: int) -> WorkersReport:
    manager: Any = _server().CorrelationManager()
    tally = _Tally()
    began = time.perf_counter()
    ending = _Ending(manager, random.Random(seed))  # noqa: S311 - no secret
    ender = asyncio.create_task(ending.run())
    try:
        async with asyncio.TaskGroup() as tasks:
            for worker in range(workers):
                chance = random.Random(f"{seed}-{worker}")  # noqa: S311 - no secret
                tasks.create_task(_worker(manager, ending, tally, worker=worker, operations=operations, chance=chance))
    finally:
        ender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ender
    totals = manager.totals.as_dict()
    happened = {
        "registered": workers * operations,
        "resolved": tally.outcomes["resolve"],
        "failed": tally.outcomes["fail"],
        "expired": tally.outcomes["expire"],
        "cancelled": tally.outcomes["cancel"],
    }
    return WorkersReport(
        workers=workers,
        operations=operations,
        lost=workers * operations - sum(tally.outcomes.values()) + tally.lost,
        mixed_up=tally.mixed_up,
        left_over=len(manager),
        miscounted=sum(abs(totals.get(name, 0) - count) for name, count in happened.items()),
        outcomes=dict(tally.outcomes),
        totals=totals,
        seconds=time.perf_counter() - began,
        examples=tally.examples,
    )


class _Ending:
    """Ends requests of all workers, in a different order."""

    def __init__(self, manager: Any, chance: random.Random) -> None:
        self._manager = manager
        self._chance = chance
        self._todo: list[tuple[str, str, str]] = []
        self._there = asyncio.Event()
        self.verdicts: dict[str, Any] = {}

    def add(self, way: str, message_id: str, charge_point: str) -> None:
        """Have a request ended soon."""
        self._todo.append((way, message_id, charge_point))
        self._there.set()

    async def run(self) -> None:
        """End pending requests until cancelled."""
        while True:
            await self._there.wait()
            self._there.clear()
            todo, self._todo = self._todo, []
            self._chance.shuffle(todo)
            for way, message_id, charge_point in todo:
                self.verdicts[message_id] = _end(self._manager, way, message_id, charge_point)
                if self._chance.random() < 0.02:
                    await asyncio.sleep(0)


async def _worker(
    manager: Any, ending: _Ending, tally: _Tally, *, worker: int, operations: int, chance: random.Random
) -> None:
    """One worker: registers requests, has another task end each in one of several ways, and checks the result.

    A fifth of the requests are answered at about the instant at which they expire: either may come first, but the
    caller's result has to agree with the manager's report on the answer.
    """
    loop = asyncio.get_running_loop()
    point = f"CP-{worker:03d}"
    started = 0
    open_requests: deque[tuple[str, str, Any]] = deque()
    while (started < operations or open_requests) and tally.without_outcome < MOST_WITHOUT_OUTCOME:
        while started < operations and len(open_requests) < IN_FLIGHT:
            way = chance.choice((*ENDS, "race"))
            message_id = f"{worker}-{started}"
            limit = {"expire": 0.02, "race": 0.005}.get(way, 600.0)
            correlation = manager.register(message_id, point, "GetConfiguration", timeout=limit)
            open_requests.append((way, message_id, correlation))
            if way == "race":
                loop.call_later(limit * chance.uniform(0.9, 1.1), ending.add, "resolve", message_id, point)
            elif way != "expire":
                ending.add(way, message_id, point)
            started += 1
        way, message_id, correlation = open_requests.popleft()
        outcome, result = await _outcome_in_time(correlation)
        tally.note(
            way,
            message_id,
            outcome,
            result,
            delivered=way not in NO_ANSWER and _delivered(ending.verdicts.get(message_id)),
        )


async def _outcome_in_time(correlation: Any) -> tuple[str, Any]:
    try:
        async with asyncio.timeout(LONGEST_OUTCOME_SECONDS):
            return await _outcome(correlation)
    except TimeoutError:
        return "none", None


def _delivered(verdict: Any) -> bool:
    return bool(verdict == "delivered")


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two measurements, and write the result as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m ocpp_resilience.correlation.direct", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    memory = commands.add_parser("memory", help="memory of many pending requests")
    memory.add_argument("--pending", type=int, default=100_000)
    memory.add_argument("--end", choices=[*ENDS, "mixed"], default="mixed")
    workers = commands.add_parser("workers", help="many concurrent workers")
    workers.add_argument("--workers", type=int, default=50)
    workers.add_argument("--operations", type=int, default=1_000)
    workers.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    for name in ("pending", "workers", "operations"):
        if (count := getattr(given, name, 1)) < 1:
            parser.error(f"--{name} {count} cannot be used, allowed is a number above 0")
    work: Callable[[], Any] = (
        (lambda: _memory(given.pending, given.end))
        if given.command == "memory"
        else (lambda: _workers(given.workers, given.operations, given.seed))
    )
    report = asyncio.run(work())
    sys.stdout.write(json.dumps(msgspec.to_builtins(report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
