"""An old primary comes back and does not know that it is one."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import FailoverFault
from ocpp_resilience.redis.services import FailoverHow


@dataclass(eq=False)
class StalePrimary(FailoverFault):
    """The primary stands still until it is replaced, and then runs on, cut off from those that could tell it."""

    name = "stale primary"
    effect = "two nodes claim to be the primary; writes to the old one are lost later"
    how = FailoverHow.STALE
