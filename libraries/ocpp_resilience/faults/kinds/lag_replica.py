"""A replica that lags behind."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import ReplicationFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.redis_admin import PROBE_KEY


@dataclass(eq=False)
class LagReplica(ReplicationFault):
    """The replica is paused (SIGSTOP), so writes of the primary do not reach it."""

    name = "lag replica"
    effect = "none without WAIT; with WAIT, no write is confirmed"
    evidence = "the number of bytes that the replica lacks after a write"

    def begin(self) -> None:
        self.replicated.lag_replica()

    def prove(self) -> Proof:
        service = self.replicated
        service.command("SET", PROBE_KEY, "1", "PX", "1", timeout=2)
        lag = service.lag()
        return lag > 0, f"the replica lacks {lag} bytes"
