"""A Redis that takes no writes."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class ReadOnly(RedisFault):
    """Redis becomes a replica without a primary (REPLICAOF): it answers reads and refuses writes."""

    name = "read-only"
    effect = "every write is answered `READONLY`, as on a replica"
    evidence = "a SET is answered READONLY"
    refuses_writes = True

    def begin(self) -> None:
        self.redis.run("REPLICAOF", "127.0.0.1", "1")

    def prove(self) -> Proof:
        return self.redis.refuses_writes("READONLY")

    def end(self) -> None:
        self.redis.run("REPLICAOF", "NO", "ONE")
