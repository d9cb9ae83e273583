"""A line with little bandwidth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.bases import ToxicFault
from ocpp_resilience.faults.fault import Direction, Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT


@dataclass(eq=False)
class Bandwidth(ToxicFault):
    """Only this many KB (1,000 bytes) a second pass, on each connection."""

    name = "bandwidth"
    effect = "large replies arrive slowly"
    evidence = "the time that a reply of known size takes"
    toxic = "bandwidth"

    rate: int = 50
    direction: Direction = Direction.DOWNSTREAM
    toxicity: float = 1.0

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise UsageError(f"A bandwidth of {self.rate} cannot be used, allowed is 1 KB a second or more.")

    def attributes(self) -> Mapping[str, float]:
        return {"rate": self.rate}

    def streams(self) -> tuple[str, ...]:
        return (self.direction.value,)

    def prove(self) -> Proof:
        size = max(200, self.rate * 200)
        return self.takes_at_least(
            PROOF_LIMIT, lambda seen: seen.size / (self.rate * 1000) * 0.8, lambda probe: probe.echo(size)
        )
