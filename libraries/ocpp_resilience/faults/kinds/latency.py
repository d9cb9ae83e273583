"""Latency and jitter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ocpp_resilience.faults.bases import ToxicFault
from ocpp_resilience.faults.fault import Direction, Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT
from ocpp_resilience.waiting import seconds

CONNECTIONS = 16


@dataclass(eq=False)
class Latency(ToxicFault):
    """Every byte arrives later."""

    name = "latency"
    effect = "replies arrive late; with jitter, by varying times"
    evidence = "round trips that take at least `latency` minus `jitter`"
    toxic = "latency"

    latency: timedelta = timedelta(milliseconds=100)
    jitter: timedelta = timedelta(0)
    direction: Direction = Direction.DOWNSTREAM
    toxicity: float = 1.0

    def attributes(self) -> Mapping[str, float]:
        return {"latency": seconds(self.latency) * 1000, "jitter": seconds(self.jitter) * 1000}

    def streams(self) -> tuple[str, ...]:
        return (self.direction.value,)

    def prove(self) -> Proof:
        least = max(0.0, seconds(self.latency) - seconds(self.jitter))
        limit = least + seconds(self.latency) + seconds(self.jitter) + PROOF_LIMIT
        if self.toxicity == 1:
            seen = [self.path.ping(limit=limit) for _ in range(3)]
            slow = [each for each in seen if each.what == "reply" and each.took >= least > 0]
            text = f"{len(slow)} of {len(seen)} round trips took at least {least * 1000:.0f} ms ({seen[0]})"
            return len(slow) == len(seen), text
        # Only some connections are slow: one of several has to be, and then in all that it does.
        slow_ones = 0
        for _ in range(CONNECTIONS):
            with self.path.probe(limit=limit) as probe:
                slow_ones += all((reply := probe.ping()).what == "reply" and reply.took >= least for _ in range(3))
        text = f"{slow_ones} of {CONNECTIONS} connections took at least {least * 1000:.0f} ms each time"
        return slow_ones > 0 < least, text
