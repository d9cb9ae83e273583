"""Keywords for many faults: flapping, schedules, chance; and for any one fault by its name."""

from __future__ import annotations

import random
from datetime import timedelta

from robot.api import logger

from FaultLibrary.base import FaultKeywords, listing_faults
from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.fault import Place, Subjects
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.probe import RedisAddress
from ocpp_resilience.faults.registry import faults as registry
from ocpp_resilience.faults.schedule import Make, Row, Run, by_chance, read
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.waiting import wait_until

LONGEST = timedelta(minutes=10)


class Schedules(FaultKeywords):
    """Faults at set times."""

    @keyword(tags=("fault",))
    @listing_faults
    def inject_fault(
        self,
        fault: str,
        *,
        alias: str = "faults",
        redis: str = "redis",
        server: str = "server",
        target: str | None = None,
    ) -> FaultRecord:
        """Begins any fault by its name, with its arguments as in a row of `Run Fault Schedule`.

        Many faults have a keyword of their own, such as `Add Latency`; this one knows all of them:

        {faults}

        Args:
            fault: a name, the value of its first argument, and other arguments as `name=value`.
            redis: the Redis of RedisServiceLibrary that is stopped, killed and paused.
            target: the target profile that describes the `commit`; by default as at `Start Server`.

        Returns:
            The fault, for `Heal Fault`.

        Raises:
            UsageError: there is no such fault, or a value cannot be used.
            LacksCapability: the Redis is external, or the proxy a real Toxiproxy, and this fault is not possible there.

        Example:
        ```robotframework
        ${slow}    Inject Fault    latency 200 ms jitter=50 ms
        Heal Fault    ${slow}
        ```
        """
        name, value = registry().split(fault)
        self._state.check(registry().get(name), alias)
        on = self._state.subjects(alias, redis=redis, server=server, target=target)
        return self._state.begin(registry().make(name, value, on), alias)

    @keyword(tags=("fault", "schedule"))
    @listing_faults
    def run_fault_schedule(
        self,
        *schedule: str,
        alias: str = "faults",
        redis: str = "redis",
        server: str = "server",
        target: str | None = None,
        timeout: timedelta = LONGEST,
    ) -> list[FaultRecord]:
        """Injects faults at set times, and returns when the last one is healed.

        The schedule is a table of times and faults. A fault has a name, a value for its first argument, and others as
        `name=value`. A fault with `for` and a duration is healed after that time (one that waits for a command, such as
        `lose commit reply`, gets up to 10 s more); another lasts until an action ends it (`start redis`, `connect`,
        `resume redis`, `start server`, `resume server`, `heal all`) or the schedule is over. Faults:

        {faults}

        Args:
            schedule: cells in turn: a time from the start, and the action.
            redis: the Redis of RedisServiceLibrary that is stopped, killed and paused.
            target: the target profile that describes the `commit`; by default as at `Start Server`.
            timeout: the longest time that it may take; then it is stopped and healed.

        Returns:
            The faults, in the order in which they began.

        Raises:
            UsageError: a row is not understood.
            ResilienceError: a row could not be carried out.

        Example:
        ```robotframework
        Run Fault Schedule
        ...    at 0 s      kill redis
        ...    at 1.5 s    start redis
        ...    at 3 s      latency 200 ms for 2 s
        ```
        """
        self.start_fault_schedule(*schedule, alias=alias, redis=redis, server=server, target=target)
        return self._end(alias, timeout)

    @keyword(tags=("fault", "schedule"))
    def start_fault_schedule(
        self,
        *schedule: str,
        alias: str = "faults",
        redis: str = "redis",
        server: str = "server",
        target: str | None = None,
        for_later_test: bool = False,
    ) -> None:
        """Starts a fault schedule in the background.

        The same table as that of `Run Fault Schedule`; end it with `Fault Schedule Should End`. Each fault proxy has a
        schedule of its own. Faults of a schedule that a setup of a suite began belong to the test that ends it.

        Args:
            schedule: cells in turn: a time from the start, and the action.
            redis: the Redis of RedisServiceLibrary that is stopped, killed and paused.
            target: the target profile that describes the `commit`; by default as at `Start Server`.
            for_later_test: whether the faults belong to the test that ends the schedule, by waiting for its end or by
                `Heal All`, not to the running one.

        Raises:
            UsageError: a row is not understood, or another schedule runs at this proxy.

        Example:
        ```robotframework
        Start Fault Schedule    at 0 s    disconnect for 0.5 s    at 2.5 s    disconnect for 0.5 s
        ${sent}    Queue Generated Messages    1000
        Fault Schedule Should End
        ```
        """
        rows = read(schedule, registry())
        for row in rows:
            if row.action in registry().by_name:
                self._state.check(registry().get(row.action), alias)
        make = self._make(self._state.subjects(alias, redis=redis, server=server, target=target))
        self._start(alias, rows, make, for_later_test=for_later_test)

    @keyword(tags=("fault", "schedule"))
    def start_random_fault_schedule(
        self,
        count: int = 10,
        *,
        seed: int | None = None,
        faults: list[str] | None = None,
        shortest: timedelta = timedelta(milliseconds=300),
        longest: timedelta = timedelta(seconds=1),
        pause: timedelta = timedelta(seconds=1),
        alias: str = "faults",
        redis: str = "redis",
        server: str = "server",
        target: str | None = None,
    ) -> int:
        """Starts a schedule of random faults in the background, one after the other, and returns its seed.

        The same seed and the same arguments give the same schedule; it is logged row by row.

        Args:
            count: how many faults.
            faults: the names to choose from; all that `Run Fault Schedule` knows if not given.
            shortest: the shortest time that a fault lasts.
            longest: the longest time that a fault lasts.
            pause: the longest time between two faults; the shortest is half of it.
            redis: the Redis of RedisServiceLibrary that is stopped, killed and paused.
            target: the target profile that describes the `commit`; by default as at `Start Server`.

        Raises:
            UsageError: a name is not known, or another schedule runs at this proxy.

        Example:
        ```robotframework
        ${seed}    Start Random Fault Schedule    20    seed=42
        Fault Schedule Should End
        ```
        """
        chosen_from = [registry().get(name) for name in faults or registry().names()]
        if self._state.external(alias):
            chosen_from = [kind for kind in chosen_from if not kind.place.needs_redis_of_the_test]
        if not self._state.has_files(alias):
            chosen_from = [kind for kind in chosen_from if kind.place is not Place.REDIS_FILES]
        if not self._state.has_replica(redis):
            chosen_from = [kind for kind in chosen_from if kind.place is not Place.REPLICATION]
        path = self._state.paths.get(alias)
        if path.tls is None:
            chosen_from = [kind for kind in chosen_from if kind.place is not Place.TLS]
        if not isinstance(path.address, RedisAddress):
            chosen_from = [kind for kind in chosen_from if kind.place is Place.NETWORK]
        if not path.api.is_own:
            chosen_from = [kind for kind in chosen_from if not kind.own_proxy_only]
        names = [kind.name for kind in chosen_from]
        chosen = random.randrange(2**32) if seed is None else seed  # noqa: S311 - not secret
        lengths = (shortest.total_seconds(), longest.total_seconds())
        rows = by_chance(
            chosen, count, names, lasting=lengths, pause=(pause.total_seconds() / 2, pause.total_seconds())
        )
        logger.info(f"The seed of the fault schedule is {chosen}.", also_console=True)
        on = self._state.subjects(alias, redis=redis, server=server, target=target)
        self._start(alias, rows, self._make(on), in_turn=True)
        return chosen

    @keyword(tags=("fault", "schedule", "check"))
    def fault_schedule_should_end(self, *, timeout: timedelta = LONGEST, alias: str = "faults") -> list[FaultRecord]:
        """Waits until the running schedule has ended and all its faults are healed.

        Args:
            timeout: the longest wait; then the schedule is stopped and healed.

        Returns:
            The faults, in the order in which they began.

        Raises:
            UsageError: no schedule was started.
            WaitTimeout: it had not ended.
            ResilienceError: a row could not be carried out.

        Example:
        ```robotframework
        ${faults}    Fault Schedule Should End    timeout=60 s
        ```
        """
        return self._end(alias, timeout)

    def _end(self, alias: str, timeout: timedelta) -> list[FaultRecord]:
        run = self._running(alias)
        del self._state.runs[alias]
        try:
            run.wait(timeout)
        finally:
            run.injector.journal.adopt(run.records)
            for record in run.records:
                proof = record.proof or "nothing was seen"
                logger.info(f"{record}: {'proven' if record.proven else 'NOT PROVEN'}, {proof}; {record.healed}")
        return run.records

    @keyword(tags=("fault", "schedule"))
    def wait_for_next_fault(self, *, timeout: timedelta = timedelta(seconds=30), alias: str = "faults") -> FaultRecord:
        """Waits until the next fault of the running schedule has begun, and returns it.

        A fault that began since the last call of this keyword, or since the start, counts too: none is missed.

        Raises:
            UsageError: no schedule was started.
            WaitTimeout: none has begun; the message shows the error, if there was one.

        Example:
        ```robotframework
        Start Fault Schedule    at 1 s    disconnect for 0.5 s
        Wait For Next Fault
        Queue Generated Messages    100
        Fault Schedule Should End
        ```
        """
        run = self._running(alias)
        wait_until(
            lambda: True if len(run.records) > run.awaited else None,
            timeout=timeout,
            failure=lambda: f"No further fault has begun, {run.awaited} so far. {' '.join(run.errors)}",
        )
        run.awaited += 1
        return run.records[run.awaited - 1]

    @keyword(tags=("fault", "getter"))
    def fault_refuses_writes(self, fault: FaultRecord) -> bool:
        """Returns whether Redis answers every write with an error while the fault lasts.

        Args:
            fault: what a keyword of this library returned.

        Example:
        ```robotframework
        Start Fault Schedule    at 0 s    read-only for 1 s
        ${fault}    Wait For Next Fault
        ${refused}    Fault Refuses Writes    ${fault}
        Should Be True    ${refused}
        Fault Schedule Should End
        ```
        """
        return registry().get(fault.fault).refuses_writes

    @keyword(tags=("fault", "redis", "schedule"))
    def flap_redis(
        self,
        times: int = 5,
        *,
        down: timedelta = timedelta(milliseconds=500),
        up: timedelta = timedelta(seconds=2),
        alias: str = "faults",
    ) -> list[FaultRecord]:
        """Causes repeated outages of Redis, and returns after the last one.

        The connections through the fault proxy are closed and new ones refused, while Redis itself goes on: messages
        queued meanwhile on its own address are kept. For a Redis that really ends, see `kill redis` in `Run Fault
        Schedule`.

        Args:
            times: how often.
            down: how long it is away each time.
            up: how long it is there in between.

        Returns:
            The faults, each proven by a PING that was refused.

        Example:
        ```robotframework
        Flap Redis    times=5    down=0.5 s    up=2 s
        ```
        """
        step = down.total_seconds() + up.total_seconds()
        rows = [Row(number * step, "disconnect", "", down.total_seconds()) for number in range(times)]
        self._start(alias, rows, self._make(self._state.subjects(alias)))
        return self._end(alias, LONGEST)

    def _start(
        self, alias: str, rows: list[Row], make: Make, *, in_turn: bool = False, for_later_test: bool = False
    ) -> None:
        if alias in self._state.runs:
            raise UsageError("A fault schedule is running already; call `Fault Schedule Should End` first.")
        logger.info("\n".join(str(row) for row in rows))
        # Each with an injector of its own, so that healing the one leaves the other alone.
        run = self._state.runs[alias] = Run(rows, Injector(), make, in_turn=in_turn)
        if for_later_test:
            run.belongs_to_later_test()
        run.start()

    def _running(self, alias: str) -> Run:
        if alias not in self._state.runs:
            raise UsageError("No fault schedule was started; call `Start Fault Schedule` first.")
        return self._state.runs[alias]

    def _make(self, on: Subjects) -> Make:
        return lambda name, value: registry().make(name, value, on)
