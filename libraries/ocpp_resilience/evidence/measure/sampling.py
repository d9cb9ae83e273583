"""Samples of processes and other sources, taken in the background and kept in a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from ocpp_resilience.errors import NotPossibleHere, ResilienceError, ServiceError, UsageError
from ocpp_resilience.evidence.measure.memory import MemoryGrowth, accused_after, memory_growth
from ocpp_resilience.evidence.measure.sources import Look, Source, Usage

SHORTEST_CPU = 1.0
"""Processor time is counted in steps of 10 ms; a share over less than a second would mostly show these."""


@dataclass(slots=True)
class Series:
    """Samples of one process and those under it, or of Redis.

    Attributes:
        times: monotonic clock, in seconds.
        bytes: resident memory.
        cpu: processor time since its start, in seconds.
    """

    times: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def cpu_share(self) -> list[tuple[float, float]]:
        """Processor time in percent of one core, over at least a second each; a restarted process begins anew."""
        shares = []
        last = 0
        for number in range(1, min(len(self.times), len(self.bytes), len(self.cpu))):
            passed = self.times[number] - self.times[last]
            if self.cpu[number] < self.cpu[last]:
                last = number
            elif passed >= SHORTEST_CPU:
                shares.append((self.times[number], 100 * (self.cpu[number] - self.cpu[last]) / passed))
                last = number
        return shares


class Sampler:
    """Samples processes and other sources until it is stopped, each source in a separate thread.

    A source that does not answer, such as a Redis that is paused, leaves a gap in its own samples and in no other's.

    Args:
        processes: name to process id.
        sources: further sources; the sampler closes them.
        every: seconds between two samples.
        file: where samples are kept, JSON lines; not kept if not given.
        elsewhere: names of processes that cannot be measured, since they are not of the test run.
    """

    def __init__(
        self,
        processes: Mapping[str, int],
        *,
        sources: Sequence[Source] = (),
        every: float = 0.5,
        file: Path | None = None,
        elsewhere: Collection[str] = (),
    ) -> None:
        if not processes and not sources:
            raise UsageError("There is no process to sample; give a name and a process id, such as server=${pid}.")
        try:
            self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        except psutil.Error as error:
            raise ServiceError(f"A process to sample does not exist: {error}.") from None
        self._sources = list(sources)
        names = [name for source in sources for name in source.names]
        if double := sorted(set(names) & set(processes)):
            raise UsageError(
                f"'{double[0]}' is sampled already; give the process a name other than {', '.join(names)}."
            )
        self.series = {name: Series() for name in processes}
        self.values: dict[str, list[tuple[float, float]]] = {}
        self.ended: dict[str, str] = {}
        self.missed: dict[str, tuple[int, str]] = {}
        self._elsewhere = elsewhere
        self._broken: str | None = None
        self.told = False
        """Whether somebody was told that sampling broke off."""
        self._every = every
        self._stop = threading.Event()
        self._lock = threading.Lock()
        # Unbuffered: the live page reads it meanwhile.
        self._output = file.open("ab", buffering=0) if file else None
        looks: list[Callable[[], None]] = [self._look_at_processes] if processes else []
        looks += [lambda source=source: self._look_at(source) for source in sources]  # type: ignore[misc]
        self._threads = [
            threading.Thread(target=self._run, args=(look,), name="resilience-sampler", daemon=True) for look in looks
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, look: Callable[[], None]) -> None:
        due = time.monotonic()
        while True:
            try:
                look()
            except Exception as error:  # noqa: BLE001 - what is judged must not go by half of the samples
                self._broken = f"{type(error).__name__}: {error}"
                return
            due = max(due + self._every, time.monotonic())
            if self._stop.wait(due - time.monotonic()):
                return

    def _look_at_processes(self) -> None:
        for name, root in self._processes.items():
            if name in self.ended:
                continue
            at = time.monotonic()
            try:
                usage = _usage_of(root)
            except psutil.Error as error:
                self.ended[name] = str(error)
                continue
            self._keep(at, {name: usage})

    def _look_at(self, source: Source) -> None:
        at = time.monotonic()
        try:
            seen = source.look()
        except ResilienceError as error:
            self.missed[source.what] = self.missed.get(source.what, (0, ""))[0] + 1, str(error)
            return
        # Between request and answer; otherwise a slow answer would be dated too early.
        self._keep((at + time.monotonic()) / 2, seen)

    def _keep(self, at: float, seen: Look) -> None:
        now = time.time() - time.monotonic() + at
        lines = []
        for name, value in seen.items():
            if isinstance(value, Usage):
                series = self.series.setdefault(name, Series())
                series.times.append(at)
                series.bytes.append(value.bytes)
                series.cpu.append(value.cpu)
                lines.append({"t": now, "name": name, "bytes": value.bytes, "cpu": value.cpu})
            else:
                self.values.setdefault(name, []).append((at, value))
                lines.append({"t": now, "name": name, "value": value})
        if self._output is not None:
            with self._lock:
                self._output.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def stop(self) -> None:
        """Take no more samples, and close the sources."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for source in self._sources:
            source.close()
        if self._output is not None:
            self._output.close()

    def check(self) -> None:
        """Check that sampling did not break off unexpectedly.

        Raises:
            ServiceError: sampling stopped; the message has the reason.
        """
        if self._broken is not None:
            self.told = True
            raise ServiceError(f"Sampling stopped, and samples are missing: {self._broken}.")

    def growth(self, name: str, *, warm_up: float, required_seconds: float) -> MemoryGrowth:
        """The memory growth of a process, or of Redis; see `memory_growth`.

        Raises:
            UsageError: there is no such process, or too few samples.
        """
        return memory_growth(*self._memory(name), warm_up=warm_up, required_seconds=required_seconds)

    def accused_after(
        self, name: str, *, warm_up: float, required_seconds: float, most_mb: float, most_percent: float
    ) -> float | None:
        """Seconds until the memory of a process would first be judged to grow beyond a limit; see `accused_after`.

        Raises:
            UsageError: there is no such process.
        """
        return accused_after(
            *self._memory(name),
            warm_up=warm_up,
            required_seconds=required_seconds,
            most_mb=most_mb,
            most_percent=most_percent,
        )

    def _memory(self, name: str) -> tuple[list[float], list[int]]:
        series = self.get(name)
        count = min(len(series.times), len(series.bytes))
        return series.times[:count], series.bytes[:count]

    def get(self, name: str) -> Series:
        """The memory and processor time of a process, or of Redis.

        Raises:
            UsageError: there is no such process, or it ended while it was sampled.
            LacksCapability: it cannot be measured.
            ServiceError: sampling broke off.
        """
        self.check()
        if name in self._elsewhere:
            raise NotPossibleHere(
                f"'{name}' is not a process of this test run, so its resource use cannot be measured."
            )
        if name in self.ended:
            raise UsageError(f"'{name}' ended while it was sampled: {self.ended[name]}.")
        if name not in self.series:
            raise UsageError(self._not_sampled(name, self.series))
        return self.series[name]

    def value(self, name: str) -> list[tuple[float, float]]:
        """The samples of a number, such as the depth of the queue: monotonic clock and value.

        Raises:
            UsageError: there is none of this name.
            ServiceError: sampling broke off.
        """
        self.check()
        if name not in self.values:
            raise UsageError(self._not_sampled(name, self.values))
        return self.values[name]

    def _not_sampled(self, name: str, have: Mapping[str, object]) -> str:
        missed = "".join(f" {what}: {error}" for what, (_, error) in self.missed.items())
        return f"'{name}' was not sampled; {', '.join(have) or 'nothing'} was.{missed}"


def _usage_of(root: psutil.Process) -> Usage:
    """Resource use of a process and its children; children that end during the measurement are left out.

    Raises:
        psutil.Error: the process itself is not there.
    """
    size, cpu = 0, 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            resident, used = process.memory_info().rss, process.cpu_times()
        except psutil.NoSuchProcess:
            if process == root:
                raise
            continue
        size += resident
        cpu += used.user + used.system
    return Usage(size, cpu)
