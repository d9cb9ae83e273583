"""Sentinels that nobody reaches."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import ReplicationFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class PartitionSentinels(ReplicationFault):
    """Pauses this many sentinels (SIGSTOP), as if they were cut off: without two of three there is no quorum."""

    name = "partition sentinels"
    effect = "sentinels do not answer; the primary keeps running"
    evidence = "the number of sentinels that do not answer"

    count: int = 2

    def begin(self) -> None:
        self.replicated.pause_sentinels(self.count)

    def prove(self) -> Proof:
        silent = self.replicated.silent_sentinels()
        return silent == self.count, f"{silent} sentinels do not answer; {self.replicated.roles()}"
