"""Keywords that watch what processes use while something else goes on."""

from __future__ import annotations

import itertools
from datetime import timedelta

from robot.api import logger
from robot.api.deco import keyword

from resilience import series
from resilience.errors import ExpectationFailed
from resilience.library import Component
from resilience.measure.memory import Bound, MemoryGrowth
from resilience.measure.sampling import Sampler
from resilience.registry import Registry
from resilience.robot_variables import output_folder
from resilience.waiting import seconds


class Sampling(Component):
    """Memory and processor time over time."""

    def __init__(self) -> None:
        self._samplers: Registry[Sampler] = Registry(
            "sampling", starter="Start Sampling", close=lambda sampler: sampler.stop()
        )
        self._numbers = itertools.count(1)

    @keyword(tags=("load", "measurement"))
    def start_sampling(
        self, alias: str = "sampling", *, every: timedelta = timedelta(milliseconds=500), **processes: int
    ) -> None:
        """Takes samples of the memory and processor time of processes, and of those under them, in the background.

        The samples are kept as `samples-*.jsonl` in Robot's output folder.

        Args:
            alias: the name of this sampling in the other keywords.
            every: the time between two samples.
            processes: names and process ids, such as `server=${pid}`.

        Raises:
            ServiceError: there is no such process.
            UsageError: none was given.

        Example:
        ```robotframework
        ${pid}    Get Server Process Id
        Start Sampling    server=${pid}
        Run Load    rate=100    duration=30s
        ${memory}    Stop Sampling    server
        ```
        """
        folder = output_folder()
        file = None if folder is None else folder / f"samples-{alias}-{next(self._numbers)}.jsonl"
        if file is not None:
            file.unlink(missing_ok=True)
        if self._samplers.find(alias) is not None:
            self._samplers.remove(alias, self.cleanup)
        sampler = Sampler({name: int(pid) for name, pid in processes.items()}, every=seconds(every), file=file)
        self._samplers.add(alias, sampler, self.cleanup)

    @keyword(tags=("load", "measurement"))
    def stop_sampling(
        self,
        name: str,
        *,
        alias: str = "sampling",
        warm_up: timedelta = timedelta(seconds=10),
        required: timedelta = timedelta(minutes=10),
    ) -> MemoryGrowth:
        """Ends a sampling, and returns how the memory of one of its processes grew.

        The slope after the warm-up is Theil and Sen's, with its 95 % confidence interval, and extrapolated to the
        required time.

        Args:
            name: which process.
            alias: which sampling.
            warm_up: what does not count at the beginning.
            required: the time that growth is extrapolated to.

        Returns:
            An object with `base_mb`, `plain_mb`, `plain_percent` (first tenth to last), `slope`, `slope_low`,
            `slope_high` (KB a second), `growth_mb`, `growth_low_mb`, `growth_high_mb`, `growth_low_percent`,
            `growth_high_percent` (over the required time), `seconds`, `samples` and `summary`.

        Raises:
            UsageError: there are too few samples, or the process ended.

        Example:
        ```robotframework
        ${pid}    Get Server Process Id
        Start Sampling    server=${pid}
        Run Load    rate=100    duration=30s
        ${memory}    Stop Sampling    server    warm_up=5s
        Log    ${memory.summary}
        ```
        """
        sampler = self._samplers.get(alias)
        sampler.stop()
        growth = sampler.growth(name, warm_up=seconds(warm_up), required_seconds=seconds(required))
        logger.info(f"Memory of {name}: {growth.summary}.")
        samples = sampler.get(name)
        memory = [(at, size / 1_000_000) for at, size in zip(samples.times, samples.bytes, strict=False)]
        series.keep(f"Memory of {name}", "MB", {"resident": memory}, monotonic=True)
        return growth

    @keyword(tags=("load", "check"))
    def memory_should_be_stable(self, memory: MemoryGrowth, *, most_mb: float, most_percent: float) -> Bound:
        """Fails when memory certainly grows beyond a limit.

        Certain is what the lower bound of the confidence interval says: a growth that could be chance accuses nobody.

        Args:
            memory: what `Stop Sampling` returned.
            most_mb: the limit over the required time, in MB (1,000,000 bytes).
            most_percent: the limit over the required time, in percent.

        Returns:
            `within`, when even the upper bound stays below both limits; else `inconclusive`.

        Raises:
            ExpectationFailed: it grows beyond a limit.

        Example:
        ```robotframework
        ${memory}    Stop Sampling    server
        Memory Should Be Stable    ${memory}    most_mb=100    most_percent=10
        ```
        """
        bound = memory.bound(most_mb=most_mb, most_percent=most_percent)
        if bound is Bound.BEYOND:
            raise ExpectationFailed(
                f"Memory grows beyond {most_mb:g} MB or {most_percent:g} % in {memory.required_seconds:.0f} s: "
                f"{memory.summary}."
            )
        logger.info(f"{bound.value}: {memory.summary}.")
        return bound
