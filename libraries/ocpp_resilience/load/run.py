"""A load as the test run sees it: start it, watch it, await it, end it."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import msgspec

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.evidence.measure.contention import Contention
from ocpp_resilience.load.channel import Progress
from ocpp_resilience.load.generator import Generator
from ocpp_resilience.load.limits import limits_before, with_enough_addresses
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.result import LoadResult, together
from ocpp_resilience.waiting import seconds, wait_until

HEAD_START = 0.1
"""Seconds from the word to the processes until all begin to send."""


class LoadRun:
    """A load in separate processes.

    Args:
        name: its name in messages, for example `Load 'load'`.
        plan: the plan; a `ledger` in it gets the number of the process if there are several.
        processes: how many processes generate it.
    """

    def __init__(self, name: str, plan: Plan, *, processes: int = 1) -> None:
        plan.check()
        self.name = name
        self.plan = with_enough_addresses(plan)
        self.stem = ""
        """What its files are called."""
        self._generators = [Generator(f"{name}, process {number + 1}") for number in range(processes)]
        self._limits: list[str] = []
        self._result: LoadResult | None = None
        self._ending = False
        self._contention: Contention | None = None

    @property
    def running(self) -> bool:
        """Whether one of its processes runs."""
        return any(each.alive for each in self._generators)

    @property
    def result(self) -> LoadResult | None:
        """The result, once it was awaited."""
        return self._result

    def start(self) -> None:
        """Start the processes, wait until the charge points are connected, and let all begin at the same moment.

        Charge points that cannot be connected within the plan's `connect_timeout` go on trying while the load runs.

        Raises:
            ServiceError: a process ended; its output is shown.
            WaitTimeout: it did not come so far.
        """
        count = len(self._generators)
        self._limits = limits_before(self.plan)
        for number, generator in enumerate(self._generators):
            ledger = self.plan.ledger
            if ledger is not None and count > 1:
                path = Path(ledger)
                ledger = str(path.with_name(f"{path.stem}.{number + 1}{path.suffix}"))
            generator.start(msgspec.structs.replace(self.plan, own=(number, count), ledger=ledger))
        wait_until(
            lambda: all(each.connected for each in self._generators) or None,
            timeout=self.plan.connect_timeout + self.plan.timeout + 30,
            failure=lambda: f"{self.name} does not begin: {self._state()}",
            longest_pause=0.02,
        )
        self._contention = Contention(self.plan.url)
        start_at = time.monotonic() + HEAD_START
        for generator in self._generators:
            generator.go(start_at)

    def progress(self) -> Progress:
        """The progress, all processes together."""
        parts = [each.progress for each in self._generators]
        failures: Counter[str] = Counter()
        for part in parts:
            failures.update(part.failures)
        added = {
            name: sum(getattr(part, name) for part in parts)
            for name in ("connected", "charging", "sent", "answered", "refused", "invalid", "last_second")
        }
        return Progress(
            phase=parts[0].phase,
            seconds=max(part.seconds for part in parts),
            p99=max(part.p99 for part in parts),
            failures=dict(failures),
            **added,
        )

    def _state(self) -> str:
        """The progress, in words."""
        seen = self.progress()
        if seen.phase == "starting":
            return "its processes are starting"
        failures = "".join(f"; {count} x {kind}" for kind, count in seen.failures.items())
        return (
            f"{seen.connected} of {self.plan.charge_points} charge points are connected, {seen.charging} charging"
            f"; {seen.sent} messages sent, {seen.answered} answered, {seen.refused} refused{failures}"
        )

    def wait(self, timeout: timedelta | float) -> LoadResult:
        """Wait for its end and return the result.

        Raises:
            WaitTimeout: it still runs; it goes on.
            ServiceError: it was aborted; the message has the reason.
        """
        if self._result is None:
            try:
                wait_until(self._over, timeout=timeout, failure=lambda: "", longest_pause=0.05)
            except WaitTimeout:
                limit = seconds(timeout)
                state = self._state()
                text = f"{self.name} still runs after {limit:g} s: {state}."
                raise WaitTimeout(text, waited=limit, last_seen=state) from None
            self._result = self._collect()
            if self._contention is not None:
                self._result.others = self._contention.cores()
        return self._result

    def _over(self) -> bool | None:
        """Whether all processes have ended. Where the capacity is looked for, the first to end is the end for all."""
        if self.plan.slip is not None and not self._ending and not all(each.alive for each in self._generators):
            self._end_in_order()
        return None if self.running else True

    def _end_in_order(self) -> None:
        self._ending = True
        for generator in self._generators:
            generator.stop()

    def stop(self, timeout: timedelta | float = 10) -> LoadResult:
        """Stop it in order: nothing new begins, running sessions are finished; returns the result.

        Raises:
            ServiceError: it did not end cleanly; it was killed then.
        """
        self._end_in_order()
        try:
            return self.wait(timeout)
        except WaitTimeout as late:
            self.kill()
            raise ServiceError(f"{late} It was killed.") from None

    def kill(self) -> None:
        """End it immediately."""
        for generator in self._generators:
            generator.kill()

    def close(self) -> None:
        """End it immediately; the ledger stays."""
        for generator in self._generators:
            generator.close()

    def _collect(self) -> LoadResult:
        parts = [each.ended() for each in self._generators]
        whole = together(
            parts, profile=self.plan.profile.value, model=self.plan.model.value, lateness=self.plan.lateness
        )
        whole.scheduled = self.plan.length
        whole.saturated = [*self._limits, *whole.saturated]
        return whole
