"""Keywords for many faults: flapping, schedules, chance."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from robot.api import logger
from robot.utils import timestr_to_secs

from FaultLibrary.commands import COMMIT, lose_reply, selected
from FaultLibrary.state import FaultState, registry_of
from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.injection import Fault, Injector
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.network import OWN_ONLY
from ocpp_resilience.faults.schedule import Maker, Row, Run, by_chance, read
from ocpp_resilience.faults.services import redis_fault, server_fault
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.waiting import wait_until

LONGEST = timedelta(minutes=10)
OF_REDIS = frozenset(
    {
        "stop redis",
        "kill redis",
        "pause redis",
        "read-only",
        "out of memory",
        "busy",
        "too many clients",
        "wrong password",
        "kill clients",
    }
)
"""Faults of Redis itself, which are not done to a Redis of somebody else."""


class Schedules(Component):
    """Faults at set times."""

    def __init__(self, state: FaultState) -> None:
        self._state = state

    @keyword(tags=("fault", "schedule"))
    def run_fault_schedule(
        self,
        *schedule: str,
        alias: str = "faults",
        redis: str = "redis",
        server: str = "server",
        target: str = "reference",
        timeout: timedelta = LONGEST,
    ) -> list[FaultRecord]:
        """Carries out faults at set times and returns when the last one is healed.

        The schedule is a table of times and faults. A fault that says `for` how long is healed then (one that waits for
        its occasion, as `lose commit reply`, gets up to 10 s more when it has not had it); another lasts until
        something ends it (`start redis`, `resume server`, `heal all`) or the schedule is over. Faults: `latency
        100 ms`, `bandwidth 50`, `black hole`, `half-open`, `slow drip`, `disconnect`, `reset connections`, `keep
        resetting`, `cut mid-reply`, `lose commit reply`, `read-only`, `out of memory`, `busy`, `too many clients`,
        `wrong password`, `kill clients`; `stop redis`, `kill redis`, `pause redis`; `stop server`, `kill server`,
        `pause server`.

        Args:
            schedule: cells in turn: a time, counted from the start, and what happens then.
            alias: the fault proxy.
            redis: the Redis of RedisServiceLibrary that is stopped, killed and paused.
            server: the server of OcppServerLibrary.
            target: the target profile that knows what its `commit` is.
            timeout: the longest wait for its end; it is broken off and healed then.

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
        target: str = "reference",
    ) -> None:
        """Begins a fault schedule and returns at once; the test goes on beside it.

        The same table as that of `Run Fault Schedule`; end it with `Fault Schedule Should End`. Each fault proxy has a
        schedule of its own. Faults of a schedule that a setup of a suite began belong to the test that ends it.

        Args:
            schedule: cells in turn: a time, counted from the start, and what happens then.
            alias: the fault proxy.
            redis: the Redis of RedisServiceLibrary that is stopped, killed and paused.
            server: the server of OcppServerLibrary.
            target: the target profile that knows what its `commit` is.

        Raises:
            UsageError: a row is not understood, or another schedule runs at this proxy.

        Example:
        ```robotframework
        Start Fault Schedule    at 0 s    disconnect for 0.5 s    at 2.5 s    disconnect for 0.5 s
        ${sent}    Queue Generated Messages    1000
        Fault Schedule Should End
        ```
        """
        makers = self._makers(alias, redis, server, target)
        rows = read(schedule, makers)
        for row in rows:
            if row.action in OF_REDIS:
                self._state.refuse_external(alias, row.action)
            self._state.refuse_on_toxiproxy(alias, row.action)
        self._start(alias, rows, makers)

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
        target: str = "reference",
    ) -> int:
        """Begins a schedule of faults made by chance, one after the other, and returns its seed.

        The same seed and the same arguments give the same schedule; it is logged row by row.

        Args:
            count: how many faults.
            seed: what it is made from; by chance if not given, and logged.
            faults: the names to choose from; all that `Run Fault Schedule` knows if not given.
            shortest: the shortest time that a fault lasts.
            longest: the longest time that a fault lasts.
            pause: the longest time between two faults; the shortest is half of it.
            alias: the fault proxy.
            redis: the Redis of RedisServiceLibrary that is stopped, killed and paused.
            server: the server of OcppServerLibrary.
            target: the target profile that knows what its `commit` is.

        Raises:
            UsageError: a name is not known, or another schedule runs at this proxy.

        Example:
        ```robotframework
        ${seed}    Start Random Fault Schedule    20    seed=42
        Fault Schedule Should End
        ```
        """
        makers = self._makers(alias, redis, server, target)
        names = [" ".join(name.lower().split()) for name in faults] if faults else list(makers)
        if self._state.external(alias):
            names = [name for name in names if name not in OF_REDIS]
        if not self._state.paths.get(alias).api.is_own:
            names = [name for name in names if name not in OWN_ONLY]
        if unknown := [name for name in names if name not in makers]:
            raise UsageError(f"'{unknown[0]}' is no fault. There are {', '.join(sorted(makers))}.")
        chosen = random.randrange(2**32) if seed is None else seed  # noqa: S311 - not secret
        lengths = (shortest.total_seconds(), longest.total_seconds())
        rows = by_chance(
            chosen, count, names, lasting=lengths, pause=(pause.total_seconds() / 2, pause.total_seconds())
        )
        logger.info(f"The seed of the fault schedule is {chosen}.", also_console=True)
        self._start(alias, rows, makers, in_turn=True)
        return chosen

    @keyword(tags=("fault", "schedule", "check"))
    def fault_schedule_should_end(self, *, timeout: timedelta = LONGEST, alias: str = "faults") -> list[FaultRecord]:
        """Waits until the schedule that runs has ended and everything of it is healed.

        Args:
            timeout: the longest wait; it is broken off and healed then.
            alias: the fault proxy.

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
        """Waits until the next fault of the schedule that runs has begun, and returns it.

        What began since this keyword was called last, or since the start, counts too: no fault is missed.

        Args:
            timeout: the longest wait.
            alias: the fault proxy.

        Raises:
            UsageError: no schedule was started.
            WaitTimeout: none has begun; says what went wrong, if something did.

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
            failure=lambda: f"No fault has begun after the {run.awaited} that there were. {' '.join(run.errors)}",
        )
        run.awaited += 1
        return run.records[run.awaited - 1]

    @keyword(tags=("fault", "redis", "schedule"))
    def flap_redis(
        self,
        times: int = 5,
        *,
        down: timedelta = timedelta(milliseconds=500),
        up: timedelta = timedelta(seconds=2),
        alias: str = "faults",
    ) -> list[FaultRecord]:
        """Takes Redis away and brings it back, again and again, and returns after the last time.

        The connections through the fault proxy are closed and new ones refused, while Redis itself goes on: what is
        queued meanwhile on its own address is kept. For a Redis that really ends, see `kill redis` in
        `Run Fault Schedule`.

        Args:
            times: how often.
            down: how long it is away each time.
            up: how long it is there in between.
            alias: the fault proxy.

        Returns:
            The faults, each proven by a PING that was refused.

        Example:
        ```robotframework
        Flap Redis    times=5    down=0.5 s    up=2 s
        ```
        """
        step = down.total_seconds() + up.total_seconds()
        makers: dict[str, Maker] = {"disconnect": lambda _: self._state.paths.get(alias).disconnected()}
        rows = [Row(number * step, "disconnect", "", down.total_seconds()) for number in range(times)]
        self._start(alias, rows, makers)
        return self._end(alias, LONGEST)

    def _start(self, alias: str, rows: list[Row], makers: dict[str, Maker], *, in_turn: bool = False) -> None:
        if alias in self._state.runs:
            raise UsageError("A fault schedule runs already; `Fault Schedule Should End` waits for its end.")
        logger.info("\n".join(str(row) for row in rows))
        # Each with an injector of its own, so that healing the one leaves the other alone.
        run = self._state.runs[alias] = Run(rows, Injector(), makers, in_turn=in_turn)
        run.start()

    def _running(self, alias: str) -> Run:
        if alias not in self._state.runs:
            raise UsageError("No fault schedule was started; `Start Fault Schedule` starts one.")
        return self._state.runs[alias]

    def _makers(self, alias: str, redis: str, server: str, target: str) -> dict[str, Maker]:
        path = self._state.paths.get(alias)
        itself = self._state.redis(alias)
        # Looked up now, in Robot's own thread; what is not there is missed only by the row that needs it.
        services = _found("RedisServiceLibrary", "services", redis)
        servers = _found("OcppServerLibrary", "servers", server)

        def of_redis(how: str) -> Maker:
            return lambda _: redis_fault(_needed(services, "RedisServiceLibrary", redis), how)

        def of_server(how: str) -> Maker:
            return lambda _: server_fault(_needed(servers, "OcppServerLibrary", server), how)

        def commit_lost(_: str) -> Fault:
            return lose_reply(path, selected(COMMIT, None, target), 1, 1, False)

        makers: dict[str, Maker] = {
            "latency": lambda value: path.latency(_milliseconds(value, 100), 0, "downstream", 1.0),
            "bandwidth": lambda value: path.bandwidth(int(value or 50), "downstream", 1.0),
            "black hole": lambda _: path.black_hole(1.0),
            "half-open": lambda _: path.half_open(),
            "slow drip": lambda _: path.slow_drip(8, 0.01),
            "disconnect": lambda _: path.disconnected(),
            "reset connections": lambda _: path.reset_connections(),
            "keep resetting": lambda _: path.reset_peer(50),
            "cut mid-reply": lambda _: lose_reply(path, selected("*", None, target), 1, 1, True),
            "lose commit reply": commit_lost,
            "read-only": lambda _: itself.read_only(),
            "out of memory": lambda _: itself.out_of_memory(),
            "busy": lambda _: itself.busy(),
            "too many clients": lambda _: itself.max_clients(),
            "wrong password": lambda _: itself.wrong_password(),
            "kill clients": lambda _: itself.kill_clients(),
        }
        makers |= {f"{how} redis": of_redis(how) for how in ("stop", "kill", "pause")}
        makers |= {f"{how} server": of_server(how) for how in ("stop", "kill", "pause")}
        return makers


def _found(library: str, attribute: str, alias: str) -> object | None:
    try:
        return registry_of(library, attribute).find(alias)
    except UsageError:
        return None


def _needed(found: Any, library: str, alias: str) -> Any:
    if found is None:
        raise UsageError(f"There is no '{alias}' that {library} has started, so that nothing can be done to it.")
    return found


def _milliseconds(text: str, default: float) -> float:
    return float(timestr_to_secs(text)) * 1000 if text else default
