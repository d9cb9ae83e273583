"""Keywords that sample resource use in the background."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import overload

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.evidence.measure.memory import Bound, MemoryGrowth, visible_leak
from ocpp_resilience.evidence.measure.sampling import Sampler
from ocpp_resilience.evidence.measure.sources import (
    CLIENTS,
    CONNECTED,
    PENDING,
    QUEUE,
    CorrelationSource,
    RedisSource,
    Source,
    why_not_inspected,
)
from ocpp_resilience.profile import target_of_run
from ocpp_resilience.report import series
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.robot.variables import evidence_folder
from ocpp_resilience.text import file_name
from ocpp_resilience.waiting import seconds

CHARTS = {
    "Queue depth": ("messages", {QUEUE}),
    "Open connections": ("connections", {CLIENTS, CONNECTED}),
    "Pending correlations": ("commands", {PENDING}),
}
"""Title of a chart to its unit and the samples in it; memory and processor time have charts of their own."""


class Sampling(Component):
    """Memory, processor time, queue depth, connections and pending correlations over time."""

    def __init__(self) -> None:
        self._samplers: Registry[Sampler] = Registry("sampling", starter="Start Sampling", close=_close)
        self._numbers = itertools.count(1)

    @keyword(tags=("load", "measurement"))
    def start_sampling(
        self,
        *,
        alias: str = "sampling",
        every: timedelta = timedelta(milliseconds=500),
        redis_url: str | None = None,
        server_url: str | None = None,
        target: str | None = None,
        queues: list[str] | None = None,
        token: str = "",
        **processes: int | None,
    ) -> None:
        """Samples resource use and counts of the system in the background.

        Processes and their children: memory and processor time. Redis, as it reports itself, so that it may run in a
        container or elsewhere: `redis`, its memory and processor time; `queue depth`; `Redis clients`; and `charge
        points`, the connected ones, if the target keeps a set of them. The server: `pending correlations`, if the
        target can list them; otherwise the log says so. A source that cannot be reached leaves a gap.

        The samples are kept as `evidence/samples-*.jsonl` in Robot's output folder.

        Args:
            alias: the name of this sampling in the other keywords.
            every: the time between two samples.
            redis_url: the Redis to look at, such as the result of `Get Redis Url`.
            server_url: the base of the HTTP API, such as the result of `Get Server Url`.
            target: the target profile: a name, or the path of a file; by default as at `Start Server`.
            queues: the lists whose lengths together are the queue depth; the target's request queue if not given.
            token: a bearer token for the server, if it requires one.
            processes: names and process ids, such as `server=${pid}`; `${None}` for one that cannot be measured.

        Raises:
            ServiceError: there is no such process.
            UsageError: there is nothing to sample, or the target or an address cannot be used.

        Example:
        ```robotframework
        ${pid}      Get Server Process Id
        ${redis}    Get Redis Url
        Start Sampling    server=${pid}    redis_url=${redis}
        Run Load    rate=100    duration=30s
        ${memory}    Stop Sampling    server
        ```
        """
        profile = target_of_run(target)
        sources: list[Source] = []
        if redis_url is not None:
            sources.append(RedisSource(redis_url, profile, queues or ()))
        if server_url is not None:
            if why := why_not_inspected(profile):
                logger.info(f"Pending correlations are not sampled. {why}")
            else:
                sources.append(CorrelationSource(server_url, profile, token))
        folder = evidence_folder()
        file = None if folder is None else folder / f"samples-{file_name(alias)}-{next(self._numbers)}.jsonl"
        if file is not None:
            file.unlink(missing_ok=True)
        if self._samplers.find(alias) is not None:
            self._samplers.remove(alias, self.cleanup)
        pids = {name: int(pid) for name, pid in processes.items() if pid is not None}
        elsewhere = processes.keys() - pids
        sampler = Sampler(pids, sources=sources, every=seconds(every), file=file, elsewhere=elsewhere)
        self._samplers.add(alias, sampler, self.cleanup)

    @overload
    def stop_sampling(
        self, name: str, *, alias: str = ..., warm_up: timedelta = ..., required: timedelta = ...
    ) -> MemoryGrowth: ...
    @overload
    def stop_sampling(self, name: None = ..., *, alias: str = ...) -> None: ...
    @keyword(tags=("load", "measurement"))
    def stop_sampling(
        self,
        name: str | None = None,
        *,
        alias: str = "sampling",
        warm_up: timedelta = timedelta(seconds=10),
        required: timedelta = timedelta(minutes=10),
    ) -> MemoryGrowth | None:
        """Stops sampling, draws the series with the faults shaded, and returns the memory growth of a process.

        The slope after the warm-up is Theil and Sen's, with its 95 % confidence interval, and extrapolated to the
        required time.

        Args:
            name: which process, or `redis`; without one, nothing is judged.
            warm_up: the time at the beginning that does not count.
            required: the time that growth is extrapolated to.

        Returns:
            An object with `base_mb`, `plain_mb`, `plain_percent` (first tenth to last), `lowest_mb` (first third to
            last), `slope`, `slope_low`, `slope_high` (KB a second), `growth_mb`, `growth_low_mb`, `growth_high_mb`,
            `growth_low_percent`, `growth_high_percent` (over the required time), `seconds`, `samples`, `falling` and
            `summary`.

        Raises:
            UsageError: there are too few samples, or the process ended.
            LacksCapability: the process was given as `${None}`.
            ServiceError: sampling broke off, so that samples are missing.

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
        sampler.check()
        _draw(sampler)
        for what, (count, error) in sampler.missed.items():
            logger.info(f"{what} could not be seen at {count} looks, at the last of them: {error}")
        if name is None:
            return None
        growth = sampler.growth(name, warm_up=seconds(warm_up), required_seconds=seconds(required))
        logger.info(f"Memory of {name}: {growth.summary}.")
        return growth

    @keyword(tags=("measurement", "getter"))
    def get_highest_sample(self, name: str = QUEUE, *, alias: str = "sampling") -> float:
        """Returns the highest value that a sampling has seen so far.

        Args:
            name: `queue depth`, `Redis clients`, `charge points` or `pending correlations`.
            alias: which sampling; it may go on or have ended.

        Raises:
            UsageError: there are no samples of this name.

        Example:
        ```robotframework
        ${redis}    Get Redis Url
        Start Sampling    every=100 ms    redis_url=${redis}
        Queue Generated Messages    1000
        Wait Until Queue Is Empty
        Stop Sampling
        ${peak}    Get Highest Sample    queue depth
        ```
        """
        value = max(value for _, value in self._samplers.get(alias).value(name))
        logger.info(f"Highest {name}: {value:g}.")
        return value

    @keyword(tags=("load", "measurement"))
    def get_time_to_leak_verdict(
        self,
        name: str,
        *,
        alias: str = "sampling",
        warm_up: timedelta = timedelta(seconds=10),
        required: timedelta = timedelta(minutes=10),
        most_mb: float,
        most_percent: float,
    ) -> float | None:
        """Judges the memory of a process at each sample, as `Memory Should Be Stable` would do at that time.

        Args:
            name: which process.
            warm_up: the time at the beginning that does not count.
            required: the time that growth is extrapolated to.
            most_mb: the limit over the required time, in MB (1,000,000 bytes).
            most_percent: the limit over the required time, in percent.

        Returns:
            Seconds from the first sample to the one at which memory was first found to grow beyond a limit; `None` if
            it was at none.

        Raises:
            UsageError: the process was not sampled, or it ended.

        Example:
        ```robotframework
        ${memory}    Stop Sampling    server
        ${seconds}    Get Time To Leak Verdict    server    most_mb=100    most_percent=10
        ```
        """
        after = self._samplers.get(alias).accused_after(
            name,
            warm_up=seconds(warm_up),
            required_seconds=seconds(required),
            most_mb=most_mb,
            most_percent=most_percent,
        )
        logger.info(f"Memory of {name}: {'not accused' if after is None else f'accused after {after:.1f} s'}.")
        return after

    @keyword(tags=("load", "getter"))
    def get_visible_leak(self, memory: MemoryGrowth, messages: int, *, most_mb: float, most_percent: float) -> float:
        """Returns the smallest leak that a run of this many messages can detect, in bytes per message.

        A smaller one keeps the limits over the run, even if it exceeds them in a year.

        Args:
            memory: the result of `Stop Sampling`.
            messages: how many were sent.
            most_mb: the limit, in MB (1,000,000 bytes).
            most_percent: the limit, in percent.

        Example:
        ```robotframework
        ${memory}    Stop Sampling    server
        ${bytes}    Get Visible Leak    ${memory}    60000    most_mb=100    most_percent=10
        ```
        """
        smallest = visible_leak(memory.base_mb, messages, most_mb=most_mb, most_percent=most_percent)
        logger.info(f"A leak of less than {smallest:.0f} bytes a message cannot be seen with {messages} messages.")
        return smallest

    @keyword(tags=("load", "check"))
    def memory_should_be_stable(self, memory: MemoryGrowth, *, most_mb: float, most_percent: float) -> Bound:
        """Fails if the memory growth exceeds a limit with statistical certainty.

        Growth is certain by the lower bound of the confidence interval: growth that could be chance is no failure. A
        twentieth of the required time has to be sampled, a fifth of the limit lost, and the lowest memory has to have
        risen too: a process that grows into its work, or a garbage collector, is no leak.

        Args:
            memory: the result of `Stop Sampling`.
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


def _close(sampler: Sampler) -> None:
    sampler.stop()
    if not sampler.told:
        sampler.check()


def _draw(sampler: Sampler) -> None:
    """A chart of each kind of sample that there is."""
    memory, cpu = {}, {}
    for name, each in sampler.series.items():
        memory[name] = [(at, size / 1_000_000) for at, size in zip(each.times, each.bytes, strict=False)]
        cpu[name] = each.cpu_share()
    if any(memory.values()):
        series.keep(f"Memory: {', '.join(memory)}", "MB", memory, monotonic=True)
    if any(cpu.values()):
        series.keep(f"Processor time: {', '.join(cpu)}", "% of a core", cpu, monotonic=True)
    for title, (unit, names) in CHARTS.items():
        lines = {name: sampler.values[name] for name in sorted(names) if name in sampler.values}
        if any(value for points in lines.values() for _, value in points):
            series.keep(title, unit, lines, monotonic=True)
        elif lines:
            logger.info(f"{title}: 0 {unit} at every look ({sum(map(len, lines.values()))}).")
