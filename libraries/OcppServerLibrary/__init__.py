"""The server under test: its life, its health, its log and what it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.server import OcppServer
from OcppServerLibrary.endpoints import Endpoints
from OcppServerLibrary.health_watch import HealthWatch
from OcppServerLibrary.kept import Kept
from OcppServerLibrary.lifecycle import Lifecycle
from OcppServerLibrary.log import Log
from OcppServerLibrary.targets import Targets
from OcppServerLibrary.usage import Usage

__all__ = ["OcppServerLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, Endpoints, HealthWatch, Kept, Lifecycle, Log, Targets, Usage):
        """What editors complete: a library has the keywords of all its topics, which it finds at run time."""

else:
    _Keywords = KeywordLibrary


class OcppServerLibrary(_Keywords):
    """Runs a server under test and looks at it from outside.

    What a server looks like (how it is started, its ports, HTTP paths, log) is in a target profile: `reference` is the
    server of this project, a path is a server of your own. The keywords are the same for all of them.

    `Start Server` returns when the server says on which ports it listens; `Wait Until Server Is Ready` waits until it
    is ready for work. It is ended when the suite ends that started it, also after a failure. Several servers have an
    `alias` each; the keywords work on `server` unless told otherwise.

    The server's log is data: its records are dictionaries, and keywords count and match them by their fields, whatever
    the target calls these. The log goes on when the server is started again under its alias; `Mark Server Log` says
    from where on to look.

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
        self.servers = servers
        super().__init__(
            [
                Lifecycle(servers),
                Endpoints(servers),
                HealthWatch(servers),
                Log(servers),
                Usage(servers),
                Kept(servers),
                Targets(),
            ]
        )


def _close(server: OcppServer) -> None:
    """What was done to a server lasts no longer than the server."""
    RECORDER.unwatch(server)
    RECORDER.tell_end(server.alias, None)
    try:
        server.close()
    finally:
        JOURNAL.end_of(server.name, "the server was removed")
