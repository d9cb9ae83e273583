"""Samples of what processes use, taken beside whatever else goes on, and kept as a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from resilience.errors import ServiceError, UsageError
from resilience.measure.memory import MemoryGrowth, memory_growth


@dataclass(slots=True)
class Series:
    """Samples of one process and those under it.

    Attributes:
        times: monotonic clock, in seconds.
        bytes: resident memory.
        cpu: processor time since its start, in seconds.
    """

    times: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


class Sampler:
    """Samples processes in a thread of its own until it is stopped.

    Args:
        processes: name to process id.
        every: seconds between two samples.
        file: where samples are kept, JSON lines; not kept if not given.
    """

    def __init__(self, processes: Mapping[str, int], *, every: float = 0.5, file: Path | None = None) -> None:
        if not processes:
            raise UsageError("There is no process to sample; give a name and a process id, such as server=${pid}.")
        try:
            self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        except psutil.Error as error:
            raise ServiceError(f"A process to sample is not there: {error}.") from None
        self.series = {name: Series() for name in processes}
        self.ended: dict[str, str] = {}
        self.file = file
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resilience-sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        output = self.file.open("ab") if self.file else None
        try:
            due = time.monotonic()
            while True:
                for line in self._sample():
                    if output:
                        output.write(line)
                due = max(due + self._every, time.monotonic())
                if self._stop.wait(due - time.monotonic()):
                    return
        finally:
            if output:
                output.close()

    def _sample(self) -> list[bytes]:
        lines = []
        for name, root in self._processes.items():
            if name in self.ended:
                continue
            at = time.monotonic()
            try:
                size, cpu = 0, 0.0
                for process in [root, *root.children(recursive=True)]:
                    size += process.memory_info().rss
                    used = process.cpu_times()
                    cpu += used.user + used.system
            except psutil.Error as error:
                self.ended[name] = str(error)
                continue
            series = self.series[name]
            series.times.append(at)
            series.bytes.append(size)
            series.cpu.append(cpu)
            lines.append(msgspec.json.encode({"t": time.time(), "name": name, "bytes": size, "cpu": cpu}) + b"\n")
        return lines

    def stop(self) -> None:
        """Take no more samples."""
        self._stop.set()
        self._thread.join()

    def growth(self, name: str, *, warm_up: float, required_seconds: float) -> MemoryGrowth:
        """How the memory of a process grew; see `memory_growth`.

        Raises:
            UsageError: there is no such process, or too few samples.
        """
        series = self.get(name)
        count = min(len(series.times), len(series.bytes))
        return memory_growth(
            series.times[:count], series.bytes[:count], warm_up=warm_up, required_seconds=required_seconds
        )

    def get(self, name: str) -> Series:
        """The samples of a process.

        Raises:
            UsageError: there is no such process, or it ended while it was sampled.
        """
        if name not in self.series:
            raise UsageError(f"'{name}' was not sampled; {', '.join(self.series)} was.")
        if name in self.ended:
            raise UsageError(f"'{name}' ended while it was sampled: {self.ended[name]}.")
        return self.series[name]
