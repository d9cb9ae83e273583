"""Keywords for faults of Redis itself."""

from __future__ import annotations

from FaultLibrary.base import FaultKeywords, fault_keyword
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.kinds.busy import Busy
from ocpp_resilience.faults.kinds.kill_clients import KillClients
from ocpp_resilience.faults.kinds.out_of_memory import OutOfMemory
from ocpp_resilience.faults.kinds.read_only import ReadOnly
from ocpp_resilience.faults.kinds.too_many_clients import TooManyClients
from ocpp_resilience.faults.kinds.wrong_password import WrongPassword


class RedisItself(FaultKeywords):
    """Faults of the Redis behind a fault proxy, made through a connection that does not use the proxy."""

    @fault_keyword(ReadOnly, "Make Redis Read-Only")
    def make_redis_read_only(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis refuse writes, as a replica does.

        Example:
        ```robotframework
        Make Redis Read-Only
        Heal All
        ```
        """
        return self._begin(ReadOnly, alias)

    @fault_keyword(OutOfMemory, "Make Redis Run Out Of Memory")
    def make_redis_run_out_of_memory(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis refuse commands that need memory.

        Example:
        ```robotframework
        Make Redis Run Out Of Memory
        Heal All
        ```
        """
        return self._begin(OutOfMemory, alias)

    @fault_keyword(Busy, "Make Redis Busy")
    def make_redis_busy(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis answer BUSY to every command, as during an endless script.

        Example:
        ```robotframework
        Make Redis Busy
        Heal All
        ```
        """
        return self._begin(Busy, alias)

    @fault_keyword(TooManyClients, "Limit Redis Clients")
    def limit_redis_clients(self, *, alias: str = "faults") -> FaultRecord:
        """Makes Redis refuse new connections (maxclients), and closes those of its clients.

        The connections of the test's own libraries stay.

        Example:
        ```robotframework
        Limit Redis Clients
        Heal All
        ```
        """
        return self._begin(TooManyClients, alias)

    @fault_keyword(WrongPassword, "Change Redis Password")
    def change_redis_password(self, *, alias: str = "faults") -> FaultRecord:
        """Changes the password of Redis, and closes the connections of its clients.

        The connections of the test's own libraries stay. The old password comes back when it is healed.

        Example:
        ```robotframework
        Change Redis Password
        Heal All
        ```
        """
        return self._begin(WrongPassword, alias)

    @fault_keyword(KillClients)
    def kill_redis_clients(self, *, alias: str = "faults") -> FaultRecord:
        """Lets Redis close the connections of its clients (CLIENT KILL), once.

        Those of the test's own libraries stay.

        Returns:
            The fault.

        Example:
        ```robotframework
        Kill Redis Clients
        ```
        """
        return self._begin(KillClients, alias)
