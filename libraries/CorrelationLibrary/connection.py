"""Keywords that open commands, and let charge points come and go."""

from __future__ import annotations

import math

from robot.api import logger
from robot.api.types import Secret

from CorrelationLibrary.base import CommandConnection, LineComponent
from ocpp_resilience.correlation.commands import CommandClient
from ocpp_resilience.correlation.gateway_stand_in import Answering, GatewayStandIn
from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile import target_of_run
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import examples


class Connection(LineComponent):
    """Opening, closing, charge points."""

    @keyword(tags=("commands", "lifecycle"))
    def open_commands(
        self,
        redis_url: str | Secret,
        server_url: str,
        *,
        target: str | None = None,
        protocol: str | None = None,
        alias: str = "commands",
        token: str | Secret = "",
    ) -> None:
        """Prepares commands to a system under test; nothing is sent yet.

        An open connection of this alias is closed first.

        Args:
            redis_url: where Redis is.
            server_url: the base of the HTTP API, as `Get Server Url` gives it.
            target: a bundled target profile, or the path of one; by default as at `Start Server`.
            protocol: the OCPP version, such as `ocpp2.0.1`; by default that of the variable `PROTOCOL`, else that of
                the profile.
            alias: the name in the other keywords.
            token: the API token, where the system asks for one.

        Raises:
            UsageError: the target cannot be used.

        Example:
        ```robotframework
        ${redis}    Get Redis Url
        ${server}    Get Server Url
        Open Commands    ${redis}    ${server}
        ```
        """
        profile = target_of_run(target, protocol)
        secret = token.value if isinstance(token, Secret) else token
        redis = redis_url.value if isinstance(redis_url, Secret) else redis_url
        client = CommandClient(server_url, profile, token=secret, run=self._ids.token)
        if self._lines.find(alias) is not None:
            self._lines.remove(alias, self.cleanup)
        self._lines.add(alias, CommandConnection(profile, client, GatewayStandIn(redis, profile), secret), self.cleanup)
        logger.info(f"Commands go to {client.url}.")

    @keyword(tags=("commands", "lifecycle"))
    def close_commands(self, *, alias: str = "commands", missing_ok: bool = False) -> None:
        """Cancels the pending commands, and removes the announced charge points.

        Not needed at the end of a suite, where this happens by itself.

        Args:
            missing_ok: accept that they are not open, as in the teardown of a skipped test.

        Raises:
            UsageError: they are not open.

        Example:
        ```robotframework
        Open Commands    ${redis}    ${server}    alias=other
        Close Commands    alias=other
        ```
        """
        if missing_ok and self._lines.find(alias) is None:
            return
        self._lines.remove(alias, self.cleanup)

    @keyword(tags=("commands", "charge_point"))
    def announce_charge_points(
        self,
        charge_points: int | list[str] = 1,
        *,
        for_commands: int = 1,
        answering: Answering = Answering.HELD,
        alias: str = "commands",
    ) -> list[str]:
        """Announces charge points in Redis as a gateway does: session, set of connected charge points, connect event.

        Args:
            charge_points: how many new ones, or their ids. Those that are connected already only change how they
                answer.
            for_commands: how many commands will be under way at the same time. Where the target takes only this many to
                one charge point (`commands.at_once` in its profile), there will be charge points enough for them.
            answering: `held` keeps commands until `Answer Commands`, `at once` answers each when it arrives.

        Returns:
            The ids.

        Raises:
            UsageError: there is none, or the target does not describe the announcement of a charge point.
            ServiceError: Redis cannot be reached.

        Example:
        ```robotframework
        @{points}    Announce Charge Points    50
        Announce Charge Points    ${points}    answering=at once
        ```
        """
        line = self._lines.get(alias)
        if isinstance(charge_points, int):
            if charge_points < 1:
                raise UsageError(f"charge_points is {charge_points}; allowed is 1 or more, or a list of ids.")
            most = line.target.commands.at_once
            enough = charge_points if most is None else max(charge_points, math.ceil(for_commands / most))
            charge_points = [self._ids.charge_point() for _ in range(enough)]
        line.stand_in.announce(charge_points, answering=answering)
        line.charge_points += [each for each in charge_points if each not in line.charge_points]
        shown = examples(charge_points, most=50)
        logger.info(f"{len(charge_points)} connected, answering {answering.value}: {shown}")
        return charge_points

    @keyword(tags=("commands", "charge_point", "getter"))
    def get_announced_charge_points(self, *, alias: str = "commands", missing_ok: bool = False) -> list[str]:
        """Returns the ids of all charge points that were announced, for example to remove their data.

        Args:
            missing_ok: whether to return none where these commands are not open.

        Raises:
            UsageError: they are not open.

        Example:
        ```robotframework
        @{ids}    Get Announced Charge Points
        Add Charge Points To Test Data    ${ids}
        ```
        """
        if missing_ok and self._lines.find(alias) is None:
            return []
        return self._lines.get(alias).stand_in.known

    @keyword(tags=("commands", "charge_point"))
    def disconnect_charge_points(self, *charge_points: str, alias: str = "commands") -> None:
        """Disconnects announced charge points: removes their sessions and publishes the event.

        Args:
            charge_points: which; all that were announced if none is given.

        Raises:
            ServiceError: Redis cannot be reached.

        Example:
        ```robotframework
        @{points}    Announce Charge Points    2
        Disconnect Charge Points    @{points}
        ```
        """
        line = self._lines.get(alias)
        gone = list(charge_points) or list(line.charge_points)
        line.stand_in.disconnect(gone)
        line.charge_points = [each for each in line.charge_points if each not in gone]
        logger.info(f"Disconnected: {', '.join(gone)}")
