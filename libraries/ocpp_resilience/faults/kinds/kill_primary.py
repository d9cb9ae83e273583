"""The primary of a replicated Redis is killed."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import FailoverFault
from ocpp_resilience.redis.services import FailoverHow


@dataclass(eq=False)
class KillPrimary(FailoverFault):
    """The primary is killed (SIGKILL), and the replica promoted. It comes back as one that has not heard of it."""

    name = "kill primary"
    effect = "connections break; the sentinels elect another primary after a second or two"
    how = FailoverHow.KILL
