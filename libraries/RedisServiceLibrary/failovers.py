"""Keywords that tell of the failovers of a replicated Redis; the faults of FaultLibrary bring them about."""

from __future__ import annotations

from datetime import timedelta

from ocpp_resilience.errors import NotPossibleHere, UsageError, WaitTimeout
from ocpp_resilience.redis.services import Failover, RedisService, ReplicatedRedis
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.waiting import wait_until


class Failovers(Component):
    """Keywords about the failovers of a Redis with a replica."""

    def __init__(self, services: Registry[RedisService]) -> None:
        self._services = services

    @keyword(tags=("redis", "getter"))
    def get_last_failover(self, *, alias: str = "redis") -> Failover:
        """Returns the failover that the last fault, such as `kill primary`, has caused.

        Args:
            alias: which Redis; one that was started with `service=sentinel`.

        Returns:
            The failover: `old` and `new` (ports), `took` (seconds), `lag` (bytes that the replica lacked), `proof`.

        Raises:
            NotPossibleHere: this Redis has no replica.
            UsageError: there was none.

        Example:
        ```robotframework
        Inject Fault    kill primary
        ${failover}    Get Last Failover
        Log    The replica lacked ${failover.lag} bytes.
        ```
        """
        return self._failed_over(alias)[1]

    @keyword(tags=("redis", "getter"))
    def get_clients_of_old_primary(
        self, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=30)
    ) -> list[str]:
        """Returns the connections of clients to the node that was the primary before the last failover.

        Waits until there are none. Replica, sentinels and the test's own connections do not count.

        Args:
            alias: which Redis; one that was started with `service=sentinel` and has failed over.
            timeout: the longest wait until the last one is gone.

        Returns:
            A description of each connection that is left, from Redis; empty if there is none.

        Raises:
            NotPossibleHere: this Redis has no replica.
            UsageError: it has not failed over.

        Example:
        ```robotframework
        Inject Fault    partition primary
        ${left}    Get Clients Of Old Primary
        Should Be Empty    ${left}
        ```
        """
        service, failover = self._failed_over(alias)
        left: list[str] = []

        def none_left() -> bool | None:
            left[:] = service.clients_of(failover.old)
            return None if left else True

        try:
            wait_until(none_left, timeout=timeout, failure=lambda: "", longest_pause=0.1)
        except WaitTimeout:
            return left
        return []

    def _failed_over(self, alias: str) -> tuple[ReplicatedRedis, Failover]:
        service = self._services.get(alias)
        if not isinstance(service, ReplicatedRedis):
            raise NotPossibleHere(f"{service.name} has no replica: start it with `service=sentinel`.")
        if service.last_failover is None:
            raise UsageError(
                f"{service.name} has not failed over; cause a failover first, for example by the fault `kill primary`."
            )
        return service, service.last_failover
