"""The server under test: its lifecycle, health, log and resource use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.ocpp.model import ConfigurationModel
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.server import OcppServer
from OcppServerLibrary.api import Api
from OcppServerLibrary.connection_events import Announced
from OcppServerLibrary.counts import CountsKept
from OcppServerLibrary.endpoints import Endpoints
from OcppServerLibrary.health_watch import HealthWatch
from OcppServerLibrary.kept import StoredState
from OcppServerLibrary.lifecycle import Lifecycle
from OcppServerLibrary.log import Log
from OcppServerLibrary.targets import Targets
from OcppServerLibrary.usage import Usage

__all__ = ["OcppServerLibrary"]


if TYPE_CHECKING:

    class _Keywords(
        KeywordLibrary, Announced, Api, CountsKept, Endpoints, HealthWatch, StoredState, Lifecycle, Log, Targets, Usage
    ):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class OcppServerLibrary(_Keywords):
    """Runs a server under test and looks at it from outside.

    A target profile describes a server (its start, ports, HTTP paths, log): `reference` is the server of this project,
    a path is a server of your own. The keywords are the same for all of them.

    `Start Server` returns when the server has reported its ports; `Wait Until Server Is Ready` waits until it is ready
    for work. It is ended at the end of the suite that started it, also after a failure. Several servers have an `alias`
    each; the keywords use `server` by default.

    The server's log is data: its records are dictionaries, and keywords count and match them by their fields, in the
    same names for every target. The log continues when the server is started again under its alias; `Mark Server Log`
    returns a position in it for `since`.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Library         OcppServerLibrary

    *** Test Cases ***
    The Server Says That It Is Degraded While Redis Is Away
        ${redis}    Start Redis
        Start Server    ${redis}
        Wait Until Server Is Ready
        Stop Redis
        Wait Until Health Is    degraded
        Start Redis
        Wait Until Health Is    healthy    timeout=30s
    ```
    """

    def __init__(self) -> None:
        servers: Registry[OcppServer] = Registry("Server", starter="Start Server", close=_close)
        configurations: dict[str, ConfigurationModel] = {}
        self.servers = servers
        super().__init__(
            [
                Lifecycle(servers),
                Endpoints(servers),
                HealthWatch(servers),
                Log(servers),
                Usage(servers),
                StoredState(servers, configurations),
                Api(servers, configurations),
                Announced(servers),
                CountsKept(servers),
                Targets(),
            ]
        )


def _close(server: OcppServer) -> None:
    """Close a server; its faults and its sampling end with it."""
    RECORDER.unwatch(server)
    RECORDER.tell_end(server.alias, None)
    try:
        server.close()
    finally:
        JOURNAL.end_of(server.name, "the server was removed")
