"""A chosen command that is cut, dropped, delayed, or answered with an error."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ocpp_resilience.faults.bases import CommandFault
from ocpp_resilience.waiting import seconds


class When(enum.Enum):
    """`before` the request reaches Redis, or `after` Redis ran it and before the client has its reply.

    `after` passes over commands that Redis refused: an error reply (NOSCRIPT, EXECABORT, OOM, …) goes through to the
    client and does not count. A command that is queued in a MULTI is not run either; name EXEC there.
    """

    BEFORE = "before"
    AFTER = "after"


class Action(enum.Enum):
    """`cut` the connection, `drop` the request or reply, `delay` it, or put an `error` in the place of the reply."""

    CUT = "cut"
    DROP = "drop"
    DELAY = "delay"
    ERROR = "error"


@dataclass(eq=False)
class DisturbCommand(CommandFault):
    """Chosen Redis commands are disturbed."""

    name = "disturb command"
    effect = "chosen commands are cut off, swallowed, delayed or refused"

    command: str = "*"
    action: Action = Action.DELAY
    when: When = When.AFTER
    keys: list[str] = field(default_factory=list)
    occurrence: int = 1
    times: int = 1
    probability: float = 1.0
    delay: timedelta = timedelta(milliseconds=500)
    error: str = "ERR injected fault"

    def rule(self) -> dict[str, Any]:
        return {
            **self.selected(self.command, self.keys),
            "action": self.action.value,
            "when": self.when.value,
            "occurrence": self.occurrence,
            "times": self.times,
            "probability": self.probability,
            "delay": seconds(self.delay) * 1000,
            "error": self.error,
        }
