"""Faults on Redis, on the way to it and on the server, each proven by measuring its effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from FaultLibrary.commands import Commands
from FaultLibrary.lifecycle import Lifecycle
from FaultLibrary.network import Network
from FaultLibrary.redis_itself import RedisItself
from FaultLibrary.replication import ReplicationFaults
from FaultLibrary.schedules import Schedules
from FaultLibrary.state import FaultState
from ocpp_resilience.robot.library import KeywordLibrary

__all__ = ["FaultLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, Commands, Lifecycle, Network, RedisItself, ReplicationFaults, Schedules):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class FaultLibrary(_Keywords):
    """Hurts Redis, its network and the server as production does, and proves that it did.

    `Start Fault Proxy` puts a proxy before a Redis; give its URL to the server instead of Redis' own. Faults of the
    network (`Add Latency`, `Black Hole`, `Half Open`, …) and faults at chosen commands (`Lose The Reply To`) act on it,
    faults of Redis itself (`Make Redis Read-Only`, …) on the Redis behind it. The test's own libraries keep the direct
    URL, so that faults do not affect them.

    Each fault lasts until `Heal Fault`, `Heal All` or the end of the suite. Its effect is measured when it begins (PING
    refused, a round trip that takes longer, …) and written with begin and end to `evidence/faults.jsonl` in Robot's
    output folder, as are the effects of `Kill Redis`, `Pause Server` and similar keywords. A fault whose effect was not
    seen does not fail by itself: it makes every requirement that is then to be shown in the same test inconclusive.

    A fault of the network must affect traffic: until a client other than the test has connected through the proxy, it
    is not proven, since the system uses another way.

    The proxy speaks Toxiproxy's HTTP API; `proxy=` or `FAULT_PROXY` (`robot --variable FAULT_PROXY:http://…`, or the
    environment) names a real Toxiproxy to use instead. Faults that need the proxy of this project are documented as
    such, and skip the test there. The clients of a real Toxiproxy are not visible.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Library         OcppServerLibrary
    Library         FaultLibrary

    *** Test Cases ***
    The Server Notices That Redis Does Not Answer
        ${redis}    Start Redis
        ${through proxy}    Start Fault Proxy    ${redis}
        Start Server    ${through proxy}
        Wait Until Server Is Ready
        Black Hole
        Wait Until Health Is    degraded    timeout=10 s
        Heal All
        Wait Until Health Is    healthy    timeout=30 s
    ```
    """

    def __init__(self) -> None:
        state = FaultState()
        super().__init__(
            [
                Lifecycle(state),
                Network(state),
                Commands(state),
                RedisItself(state),
                Schedules(state),
                ReplicationFaults(state),
            ]
        )
