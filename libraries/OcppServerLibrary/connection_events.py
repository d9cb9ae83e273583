"""Keywords about the events with which a gateway announces in Redis who connects and disconnects."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.profile import Trait
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.state.comparison import LOGGED_PROBLEMS
from ocpp_resilience.state.connection_events import ConnectionEvents
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import wait_until


class Announced(Component):
    """Events of connections."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers
        self._listening: Registry[ConnectionEvents] = Registry(
            "subscription to connection events",
            starter="Listen To Connection Events",
            close=ConnectionEvents.close,
        )

    @keyword(tags=("server", "connection"))
    def listen_to_connection_events(self, *, alias: str = "server") -> None:
        """Begins to listen for the events with which the system announces in Redis who connects and disconnects.

        `Find Wrong Connection Events` ends that; so does the end of the suite. Call it before the charge points
        connect: Redis drops what nobody listens to.

        Args:
            alias: which server; one that is listened to already is listened to anew.

        Raises:
            LacksCapability: the profile does not describe the events (`announcement`); the test is skipped.

        Example:
        ```robotframework
        Listen To Connection Events
        @{ids}    Connect Charge Points    10
        @{wrong}    Find Wrong Connection Events    ${ids}
        Should Be Empty    ${wrong}
        ```
        """
        server = self._servers.get(alias)
        server.target.require(Trait.CONNECTION_EVENTS)
        if self._listening.find(alias) is not None:
            self._listening.remove(alias, self.cleanup)
        self._listening.add(alias, ConnectionEvents(server.target, server.redis_url), self.cleanup)

    @keyword(tags=("server", "connection", "getter"))
    def find_wrong_connection_events(
        self,
        connected: Sequence[str] = (),
        gone: Sequence[str] = (),
        *,
        since: float = 0.0,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "server",
    ) -> list[str]:
        """Ends `Listen To Connection Events`, and returns errors in the events since then.

        Each event has the form that the profile gives (`announcement`), and a time between `since` and now. The last
        event of each charge point says whether it is connected now. No event is repeated, and each disconnect names the
        gateway and the remote address of a connection that was announced, and a later time.

        Args:
            connected: ids of charge points that have connected since, and are connected.
            gone: ids of charge points that have connected since, and are not connected any more.
            since: when the first of them connected, in seconds since 1970 (`time.time`).
            timeout: how long the events may take.

        Raises:
            UsageError: nobody listens.

        Example:
        ```robotframework
        Listen To Connection Events
        @{ids}    Connect Charge Points    2
        Disconnect All Charge Points    ${ids}
        @{wrong}    Find Wrong Connection Events    gone=${ids}
        Should Be Empty    ${wrong}
        ```
        """
        listening = self._listening.get(alias)
        found: list[str] = []

        def look() -> bool | None:
            found[:] = listening.problems(connected, gone, since)
            return None if found else True

        with contextlib.suppress(WaitTimeout):
            wait_until(look, timeout=timeout, failure=lambda: "")
        self._listening.remove(alias, self.cleanup)
        events = len(listening.events)
        logger.info(
            "\n".join(found[:LOGGED_PROBLEMS]) or f"{events} events say rightly who connected and disconnected."
        )
        return found
