"""The primary of a replicated Redis is replaced in order."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import FailoverFault
from ocpp_resilience.redis.services import FailoverHow


@dataclass(eq=False)
class DemotePrimary(FailoverFault):
    """The sentinels replace the primary, as in maintenance (SENTINEL FAILOVER)."""

    name = "demote primary"
    effect = "the old primary answers `UNBLOCKED`, then `READONLY`; its port stays open"
    how = FailoverHow.DEMOTE
