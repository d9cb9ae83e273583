"""Answers of a charge point to commands: sensible defaults, or as scripted by the test."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp import Version, ocpp_version
from ocpp_resilience.ocpp.version import Settings

ANY = "*"
"""In the place of an action: every command."""


class How(enum.Enum):
    """Reactions of a charge point to a command."""

    ACCEPT = "accept"
    OBEY = "obey"
    REJECT = "reject"
    CALLERROR = "callerror"
    SILENCE = "silence"
    DISCONNECT = "disconnect"
    TWICE = "twice"
    UNKNOWN_ID = "unknown id"
    CROSS = "cross"


@dataclass(slots=True, kw_only=True)
class Script:
    """The scripted reaction to the commands of an action.

    Attributes:
        how: the reaction.
        delay: how long to wait before, in seconds.
        spread: up to how much longer, by chance, in seconds.
        payload: the payload of the answer, in the place of the sensible one.
        code: the error code of a CALLERROR.
        description: the description of a CALLERROR.
        times: for how many commands; `None` for all.
        action: the message sent before the answer, so that the two cross.
        patience: how long its answer is waited for, in seconds.
    """

    how: How = How.ACCEPT
    delay: float = 0.0
    spread: float = 0.0
    payload: Mapping[str, Any] | None = None
    code: str = "GenericError"
    description: str = "Scripted by the test."
    times: int | None = None
    action: str = "Heartbeat"
    patience: float = 30.0


@dataclass(slots=True)
class Behaviour:
    """A charge point's configuration and its scripted reactions to commands."""

    version: Version = field(default_factory=ocpp_version)
    configuration: Settings = field(init=False)
    _scripts: dict[str, list[Script]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.configuration = self.version.settings()

    def follow(self, action: str, script: Script) -> None:
        """Do as the script says from now on with the commands of `action`, or with all (`*`).

        A script for this many times goes before the one that was there; any other takes its place.
        """
        known = self._scripts.get(action, []) if script.times is not None else []
        self._scripts[action] = [script, *known]

    def forget(self) -> None:
        """Answer sensibly again."""
        self._scripts.clear()

    def script_for(self, action: str) -> Script:
        """The script for a command that has come; counts it."""
        for name in (action, ANY):
            for script in self._scripts.get(name, []):
                if script.times is None:
                    return script
                if script.times > 0:
                    script.times -= 1
                    return script
        return Script()

    def accept(self, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The payload of the sensible answer; `None` for an action that no charge point knows."""
        command = self.version.commands.get(action)
        return None if command is None else command.accept(payload, self.configuration)

    def reject(self, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The payload of the answer that says no; `None` where OCPP has no such answer."""
        command = self.version.commands.get(action)
        return None if command is None else command.reject(payload)


def check_can_reject(action: str, version: Version) -> None:
    """Check that OCPP has an answer to `action` that says no.

    Raises:
        UsageError: it has not.
    """
    refusable = [name for name, command in version.commands.items() if command.refusable]
    if action not in (ANY, *refusable):
        allowed = ", ".join(refusable)
        raise UsageError(f"'{action}' has no refusing answer (allowed: {allowed}). Use how=callerror.")
