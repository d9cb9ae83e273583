"""Keywords that look for the limit, and for the way back from beyond it."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta

from robot.api import logger

from LoadLibrary.workshop import LoadSetup
from ocpp_resilience.errors import UsageError, WaitTimeout
from ocpp_resilience.load import LoadResult, LoadRun, Model, Plan, Profile, Stage
from ocpp_resilience.load.result import spread_of
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.waiting import in_words, seconds, wait_until

EDGE = 1
"""Seconds at either end of a load at the limit that are not whole ones."""
FEWEST = 5
"""So many seconds at the limit at least."""
SERIES = 20
"""Heartbeats one after the other that make one look at the response time."""


def rising(start: float, factor: float, most: float, step: float) -> list[Stage]:
    """The stages of a load whose rate rises from `start` to `most`, in messages a second.

    A server that falls behind at one rate may be overdue for too long only at the next one. Nothing follows the last
    one, so it is offered twice as long.
    """
    stages, rate = [], start
    while rate < most:
        stages.append(Stage(step, rate))
        rate *= factor
    return [*stages, Stage(2 * step, most)]


class Capacity(Component):
    """Capacity and recovery."""

    def __init__(self, workshop: LoadSetup) -> None:
        self._shop = workshop

    @keyword(tags=("load", "measurement"))
    def find_capacity(
        self,
        *,
        alias: str = "capacity",
        profile: Profile = Profile.HEARTBEAT,
        charge_points: int | None = None,
        start: float = 200,
        factor: float = 1.5,
        most: float = 50_000,
        step: timedelta = timedelta(seconds=1),
        slip: timedelta = timedelta(milliseconds=500),
        timeout: timedelta = timedelta(seconds=30),
        precision: float = 5,
        longest: timedelta = timedelta(seconds=20),
        processes: int = 1,
    ) -> LoadResult:
        """Raises the rate step by step until answers are late, then measures the throughput at that limit.

        A schedule can slip because the server does not answer, or because the generator does not send and read; the
        last second before shows which (round trips against the generator's own lateness, and its processor time). If it
        was the server, each charge point then sends as soon as it is answered, second by second, until the capacity is
        known precisely enough.

        Args:
            alias: the name of this load.
            profile: the behaviour of the charge points.
            charge_points: how many; by default the number in the data file.
            start: the first rate, in messages a second.
            factor: each step has this many times the rate of the one before.
            most: the last rate, offered for two steps, so that a server that falls behind is seen to.
            step: how long a rate is offered.
            slip: a message that is overdue by so much ends it.
            timeout: after which an answer does not count any more.
            precision: how far off the capacity may be, in percent (95 % confidence).
            longest: the longest time at the limit; the result has the uncertainty reached by then.
            processes: how many generate the load; the first one whose schedule slips ends it for all.

        Returns:
            The result of the load whose schedule slipped; its `capacity` are the answers a second at the limit
            (mean), `capacity_spread` is how far off that may be, in percent (95 % confidence), and `capacity_unknown`
            tells why it is only a lower bound, if it is one: the generator was the limit, or no limit was reached.

        Raises:
            ServiceError: the load was broken off.
            UsageError: the steps cannot be used.

        Example:
        ```robotframework
        ${capacity}    Find Capacity    charge_points=200
        Log    ${capacity.capacity} messages a second, within ${capacity.capacity_spread} %
        ```
        """
        if precision <= 0:
            raise UsageError(f"precision is {precision}; allowed is more than 0 percent.")
        if factor <= 1 or start <= 0 or most < start:
            raise UsageError("The rate has to increase: factor above 1, start above 0, most at least start.")
        plan = self._shop.plan(
            profile=profile,
            model=Model.OPEN,
            charge_points=charge_points,
            stages=rising(start, factor, most, seconds(step)),
            slip=seconds(slip),
            timeout=seconds(timeout),
            drain=False,
        )
        run = self._shop.start(alias, plan, self.cleanup, processes=processes)
        result = self._shop.ended(run, None)
        if result.slipped_at is not None:
            saturated = self._saturate(
                f"{alias} at the limit",
                self._shop.plan(
                    profile=profile,
                    model=Model.CLOSED,
                    charge_points=charge_points,
                    seconds=seconds(longest) + 2 * EDGE,
                    timeout=seconds(timeout),
                ),
                precision,
                processes,
            )
            result.add_saturated(saturated)
        slipped = "did not slip" if result.slipped_at is None else f"slipped after {result.slipped_at:.1f} s"
        logger.info(
            f"The schedule {slipped}. The capacity is {result.capacity:.0f} answers a second, within "
            f"{result.capacity_spread:.1f} %. {result.summary}; at the limit by second: "
            f"{', '.join(str(each) for each in result.at_the_limit)}."
        )
        if result.capacity_unknown:
            logger.warn(f"The capacity is a lower bound: {result.capacity_unknown}.")
        return result

    def _saturate(self, alias: str, plan: Plan, precision: float, processes: int) -> LoadResult:
        """Have each charge point send as soon as it is answered, until the rate is known that precisely."""
        run = self._shop.start(alias, plan, self.cleanup, processes=processes, ledger=False)
        by_second: dict[int, int] = {}

        def known() -> bool | None:
            progress = run.progress()
            if progress.seconds >= EDGE:
                by_second[int(progress.seconds)] = progress.last_second
            whole = list(by_second.values())[EDGE:]
            return True if not run.running or (len(whole) >= FEWEST and spread_of(whole) <= precision) else None

        with contextlib.suppress(WaitTimeout):
            wait_until(known, timeout=plan.seconds or 0, failure=lambda: "", longest_pause=0.2)
        return self._shop.ended(run, plan.timeout + 10, stop=True)

    @keyword(tags=("load", "measurement"))
    def measure_response_time(self, samples: int = 100) -> LoadResult:
        """Sends Heartbeats of one charge point one after the other: the response time without load.

        Args:
            samples: how many.

        Returns:
            The result; `latency` has the times.

        Raises:
            UsageError: it is less than one.

        Example:
        ```robotframework
        ${normal}    Measure Response Time
        Log    ${normal.latency.p50} ms
        ```
        """
        if samples < 1:
            raise UsageError(f"samples is {samples}; allowed is 1 or more.")
        result = self._series(samples, 30)
        logger.info(f"Response time: {result.latency}.")
        return result

    @keyword(tags=("load", "measurement", "wait"))
    def wait_until_response_time_is_normal(
        self,
        normal: LoadResult,
        *,
        after: LoadResult | None = None,
        factor: float = 2.0,
        timeout: timedelta = timedelta(seconds=60),
    ) -> float:
        """Waits until the median response time is at most `factor` times the median before the load.

        Args:
            normal: the result of `Measure Response Time`.
            after: the load that it has to recover from; the time counts from its end, and from now if it is not given.
            factor: up to which multiple of before it is normal.

        Returns:
            Seconds until the first series of 20 Heartbeats with a normal median began.

        Raises:
            WaitTimeout: it did not become normal; the message shows the last value.

        Example:
        ```robotframework
        ${normal}    Measure Response Time
        ${load}    Run Load    rate=1000    duration=5s
        ${seconds}    Wait Until Response Time Is Normal    ${normal}    after=${load}
        ```
        """
        began = time.monotonic() if after is None else after.ended
        limit = seconds(timeout)
        seen = ""

        def normal_again() -> float | None:
            nonlocal seen
            asked = max(0.0, time.monotonic() - began)
            result = self._series(SERIES, max(1.0, limit - asked))
            median = result.latency.p50
            seen = f"{median:.2f} ms" if result.answered else "no answer"
            if result.answered == result.due and median <= factor * normal.latency.p50:
                logger.info(f"Normal after {in_words(asked)}: median {median:.2f} ms.")
                return asked
            return None

        return wait_until(
            normal_again,
            timeout=max(0.0, began + limit - time.monotonic()),
            failure=lambda: (
                f"Heartbeats still take {seen} (median of {SERIES}), more than {factor:g} x the "
                f"{normal.latency.p50:.2f} ms of before"
            ),
        )

    def _series(self, samples: int, timeout: float) -> LoadResult:
        plan = self._shop.plan(model=Model.CLOSED, charge_points=1, messages=samples, timeout=timeout, seconds=timeout)
        run = LoadRun("The response time measurement", plan)
        try:
            run.start()
            return run.wait(2 * timeout + 30)
        finally:
            run.close()
