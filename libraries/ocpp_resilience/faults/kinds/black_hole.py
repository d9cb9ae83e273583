"""A way on which everything disappears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ocpp_resilience.faults.bases import TRIES, ToxicFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT


@dataclass(eq=False)
class BlackHole(ToxicFault):
    """Connections are accepted and stay open, but no data passes in either direction."""

    name = "black hole"
    effect = "connections stay open, but no data arrives"
    evidence = "a PING is not answered"
    toxic = "timeout"

    toxicity: float = 1.0

    def attributes(self) -> Mapping[str, float]:
        return {"timeout": 0}

    def streams(self) -> tuple[str, ...]:
        return ("upstream", "downstream")

    def prove(self) -> Proof:
        for _ in range(1 if self.toxicity == 1 else TRIES):
            with self.path.probe(limit=PROOF_LIMIT) as probe:
                seen = self.path.keeps_silent(probe)
            if seen.what == "silence":
                break
        return seen.what == "silence", f"PING: {seen}"
