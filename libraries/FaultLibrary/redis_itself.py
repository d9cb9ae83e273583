"""Keywords for faults of Redis itself."""

from __future__ import annotations

from FaultLibrary.state import FaultState
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.robot.library import Component, keyword


class RedisItself(Component):
    """What Redis can be brought to; on the Redis behind a fault proxy, through a connection that does not use it."""

    def __init__(self, state: FaultState) -> None:
        self._state = state

    def _inject(self, fault: str, alias: str) -> FaultRecord:
        self._state.refuse_external(alias, fault.replace("_", " "))
        return self._state.injector.inject(getattr(self._state.redis(alias), fault)())

    @keyword("Make Redis Read-Only", tags=("fault", "redis"))
    def make_redis_read_only(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis refuse writes, as a replica does.

        Proven by a SET that is answered READONLY.

        Args:
            alias: the fault proxy before that Redis.

        Returns:
            The fault, for `Heal Fault`.

        Raises:
            ServiceError: Redis does not answer, or does not let itself be configured.

        Example:
        ```robotframework
        Make Redis Read-Only
        Heal All
        ```
        """
        return self._inject("read_only", alias)

    @keyword("Make Redis Run Out Of Memory", tags=("fault", "redis"))
    def make_redis_run_out_of_memory(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis refuse whatever needs memory.

        Proven by a SET that is answered OOM.

        Args:
            alias: the fault proxy before that Redis.

        Returns:
            The fault, for `Heal Fault`.

        Raises:
            ServiceError: Redis does not answer, or does not let itself be configured.

        Example:
        ```robotframework
        Make Redis Run Out Of Memory
        Heal All
        ```
        """
        return self._inject("out_of_memory", alias)

    @keyword("Make Redis Busy", tags=("fault", "redis"))
    def make_redis_busy(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis answer BUSY to everything, as while a script runs that does not end.

        Proven by a PING that is answered BUSY.

        Args:
            alias: the fault proxy before that Redis.

        Returns:
            The fault, for `Heal Fault`.

        Raises:
            ServiceError: Redis does not answer, or does not let itself be configured.

        Example:
        ```robotframework
        Make Redis Busy
        Heal All
        ```
        """
        return self._inject("busy", alias)

    @keyword("Let No More Clients In", tags=("fault", "redis"))
    def let_no_more_clients_in(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis refuse new connections (maxclients), and closes those of its clients.

        The connections of the test's own libraries stay. Proven by a connection that is refused with that error.

        Args:
            alias: the fault proxy before that Redis.

        Returns:
            The fault, for `Heal Fault`.

        Raises:
            ServiceError: Redis does not answer, or does not let itself be configured.

        Example:
        ```robotframework
        Let No More Clients In
        Heal All
        ```
        """
        return self._inject("max_clients", alias)

    @keyword("Change Redis Password", tags=("fault", "redis"))
    def change_redis_password(self, *, alias: str = "faults") -> FaultRecord:
        """Gives Redis another password than its clients know, and closes their connections.

        The connections of the test's own libraries stay. Proven by a PING that is refused. The old one
        comes back when it is healed.

        Args:
            alias: the fault proxy before that Redis.

        Returns:
            The fault, for `Heal Fault`.

        Raises:
            ServiceError: Redis does not answer, or does not let itself be configured.

        Example:
        ```robotframework
        Change Redis Password
        Heal All
        ```
        """
        return self._inject("wrong_password", alias)

    @keyword(tags=("fault", "redis"))
    def kill_redis_clients(self, *, alias: str = "faults") -> FaultRecord:
        """Lets Redis close the connections of its clients (CLIENT KILL), once.

        Those of the test's own libraries stay. Proven by the number of connections that Redis has closed.

        Args:
            alias: the fault proxy before that Redis.

        Returns:
            The fault.

        Raises:
            ServiceError: Redis does not answer.

        Example:
        ```robotframework
        Kill Redis Clients
        ```
        """
        record = self._inject("kill_clients", alias)
        self._state.injector.heal(record)
        return record
