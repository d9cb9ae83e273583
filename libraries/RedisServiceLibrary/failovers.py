"""Keywords that lose the primary of a replicated Redis, and bring it back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from robot.api import logger

from ocpp_resilience.errors import NotPossibleHere, WaitTimeout
from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.redis.services import Failover, FailoverHow, RedisService, ReplicatedRedis
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.waiting import in_words, wait_until


class Failovers(Component):
    """Keywords about failovers: the loss of the primary, and its return."""

    def __init__(self, services: Registry[RedisService]) -> None:
        self._services = services
        self._old: dict[str, int] = {}

    @keyword(tags=("redis", "fault"))
    def fail_over_redis(
        self, how: FailoverHow, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=60)
    ) -> Failover:
        """Loses the primary, and returns when the sentinels have promoted the replica.

        Proven by ROLE of both nodes and by the sentinels' word. `Heal Redis` brings the old primary back.

        Args:
            how: `kill` ends the primary, `demote` has the sentinels replace it, `pause` stops it until it is replaced,
                `partition` cuts it off from sentinels and replica while clients still reach it.
            alias: which Redis; one that was started with `service=sentinel`.
            timeout: the longest wait for the new primary.

        Returns:
            The failover: `old` and `new` (ports), `took` (seconds), `lag` (bytes that the replica lacked), `proof`.

        Raises:
            NotPossibleHere: this Redis has no replica.
            WaitTimeout: the sentinels promoted no replica.

        Example:
        ```robotframework
        Start Redis    service=sentinel
        ${failover}    Fail Over Redis    kill
        Heal Redis
        ```
        """
        service = self._replicated(alias)
        failover = service.fail_over(how, timeout)
        JOURNAL.begin(
            "failover",
            service.name,
            parameters={"how": how.value, "lag": failover.lag},
            proof=failover.proof,
            since=datetime.now(UTC) - timedelta(seconds=failover.took),
        )
        self._old[alias] = failover.old
        took = in_words(failover.took)
        logger.info(f"{service.name} failed over in {took}, its replica lacked {failover.lag} bytes. {failover.proof}.")
        return failover

    @keyword(tags=("redis", "fault"))
    def stop_redis_replica(self, *, alias: str = "redis") -> None:
        """Pauses the replica, so that its replication lags, until `Heal Redis`.

        Args:
            alias: which Redis; one that was started with `service=sentinel`.

        Raises:
            NotPossibleHere: this Redis has no replica.

        Example:
        ```robotframework
        Stop Redis Replica
        Heal Redis
        ```
        """
        service = self._replicated(alias)
        effect = service.lag_replica()
        JOURNAL.begin("replica stopped", service.name, proof=effect.proof)

    @keyword(tags=("redis",))
    def heal_redis(self, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=60)) -> None:
        """Restarts the lost nodes, and waits until the old primary follows the new one.

        Until the sentinels have demoted it, the old primary is a stale one: it still reports the role of a primary.

        Args:
            alias: which Redis; one that was started with `service=sentinel`.
            timeout: the longest wait until both nodes and all sentinels agree.

        Raises:
            NotPossibleHere: this Redis has no replica.
            WaitTimeout: they do not agree; the message shows the primary that each names.

        Example:
        ```robotframework
        Fail Over Redis    pause
        Heal Redis
        ```
        """
        service = self._replicated(alias)
        effect = service.heal(timeout)
        JOURNAL.end_of(service.name, effect.proof)
        logger.info(f"{service.name} healed in {in_words(effect.took)}. {effect.proof}.")

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

        Example:
        ```robotframework
        Fail Over Redis    demote
        Heal Redis
        ${left}    Get Clients Of Old Primary
        Should Be Empty    ${left}
        ```
        """
        service = self._replicated(alias)
        left: list[str] = []

        def none_left() -> bool | None:
            left[:] = service.clients_of(self._old[alias])
            return None if left else True

        try:
            wait_until(none_left, timeout=timeout, failure=lambda: "", longest_pause=0.1)
        except WaitTimeout:
            return left
        return []

    def _replicated(self, alias: str) -> ReplicatedRedis:
        service = self._services.get(alias)
        if not isinstance(service, ReplicatedRedis):
            raise NotPossibleHere(f"{service.name} has no replica: start it with `service=sentinel`.")
        return service
