"""A reply that is lost after Redis ran its command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.faults.bases import COMMIT, CommandFault


@dataclass(eq=False)
class LoseReply(CommandFault):
    """Redis runs a command, and the connection is cut before the client has its reply.

    A command that Redis refused, according to its error reply (NOSCRIPT, EXECABORT, OOM, …), is passed over.
    """

    name = "lose commit reply"
    effect = "the system cannot know whether Redis ran the command"

    command: str = COMMIT
    keys: list[str] = field(default_factory=list)
    occurrence: int = 1
    times: int = 1

    def rule(self) -> dict[str, Any]:
        return {
            **self.selected(self.command, self.keys),
            "occurrence": self.occurrence,
            "times": self.times,
            "when": "after",
            "action": "cut",
        }
