"""A connection that is cut in the middle of a reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ocpp_resilience.faults.kinds.lose_reply import LoseReply


@dataclass(eq=False)
class CutMidReply(LoseReply):
    """The connection is cut when half of a reply has come."""

    name = "cut mid-reply"
    effect = "half of a reply arrives, then the connection is closed"

    command: str = "*"

    def rule(self) -> dict[str, Any]:
        return super().rule() | {"cut_after": 0.5}
