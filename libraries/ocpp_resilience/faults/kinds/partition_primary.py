"""The primary of a replicated Redis is cut off from sentinels and replica."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import FailoverFault
from ocpp_resilience.redis.services import FailoverHow


@dataclass(eq=False)
class PartitionPrimary(FailoverFault):
    """The primary is cut off from the sentinels and the replica, and replaced, while clients still reach it."""

    name = "partition primary"
    effect = "the old primary still accepts writes, which are lost later"
    how = FailoverHow.PARTITION
