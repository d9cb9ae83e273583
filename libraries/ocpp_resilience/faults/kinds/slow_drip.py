"""Replies in pieces of a few bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ocpp_resilience.faults.bases import ToxicFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT, Seen
from ocpp_resilience.waiting import seconds

PIECES = 12


@dataclass(eq=False)
class SlowDrip(ToxicFault):
    """Replies arrive a few bytes at a time, with a pause after each piece."""

    name = "slow drip"
    effect = "replies arrive a few bytes at a time"
    evidence = "the time that a reply of known size takes"
    toxic = "slicer"

    size: int = 8
    pause: timedelta = timedelta(milliseconds=10)

    def attributes(self) -> Mapping[str, float]:
        return {"average_size": self.size, "size_variation": 0, "delay": int(seconds(self.pause) * 1_000_000)}

    def prove(self) -> Proof:
        pause = seconds(self.pause)

        def least(seen: Seen) -> float:
            return max(0, min(PIECES, seen.size // self.size) - 1) * pause

        return self.takes_at_least(PIECES * pause + PROOF_LIMIT, least, lambda probe: probe.echo(PIECES * self.size))
