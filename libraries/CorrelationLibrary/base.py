"""Shared parts of the keyword components."""

from __future__ import annotations

from ocpp_resilience.correlation.commands import Command, CommandClient, Commands
from ocpp_resilience.correlation.gateway_stand_in import GatewayStandIn
from ocpp_resilience.correlation.traffic import CommandTraffic
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.profile import Target
from ocpp_resilience.robot.library import Component
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.inspection import Correlations, inspect_correlations


class CommandConnection:
    """Both ends of the way of a command: the caller at the HTTP API, and the charge points behind Redis.

    Args:
        target: the system under test.
        client: sends commands.
        stand_in: stands in for the gateway.
        token: the API token; empty for none.
    """

    def __init__(self, target: Target, client: CommandClient, stand_in: GatewayStandIn, token: str) -> None:
        self.target = target
        self.client = client
        self.stand_in = stand_in
        self.charge_points: list[str] = []
        self.traffic: CommandTraffic | None = None
        self._token = token

    def inspect(self) -> Correlations:
        """Access to the correlation counts of the system under test."""
        return inspect_correlations(self.client.url, self.target, token=self._token)

    def close(self) -> None:
        """Cancel waiting commands, and remove the charge points."""
        try:
            if self.traffic is not None:
                self.traffic.close()
            self.client.close()
        finally:
            self.stand_in.close()


class LineComponent(Component):
    """A topic's keywords.

    Args:
        lines: the result of `Open Commands`.
        ids: gives ids that belong to this run.
    """

    def __init__(self, lines: Registry[CommandConnection], ids: Ids) -> None:
        self._lines = lines
        self._ids = ids


def several(commands: object) -> Commands:
    """`commands` as a collection, whether one was given or several.

    Raises:
        UsageError: they are something else.
    """
    if isinstance(commands, Commands):
        return commands
    if isinstance(commands, Command):
        return Commands([commands])
    if isinstance(commands, list | tuple) and all(isinstance(each, Command | Commands) for each in commands):
        return Commands(command for each in commands for command in several(each))
    raise UsageError(f"Expected the result of `Start Commands` or `Send Command`, not {commands!r}.")
