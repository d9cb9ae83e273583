"""A router that forgets idle connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ocpp_resilience.faults.bases import ToxicFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT
from ocpp_resilience.waiting import seconds


@dataclass(eq=False)
class NatTimeout(ToxicFault):
    """A connection that is idle for `idle` is silently dropped: no data passes, and neither end gets an error.

    The proof waits for `idle` once.
    """

    name = "nat timeout"
    effect = "packets of an idle connection are silently dropped, both ways"
    evidence = "a PING on an idle connection is not answered, one on a new connection is"
    own_proxy_only = True
    toxic = "nat_timeout"

    idle: timedelta = timedelta(seconds=2)

    def attributes(self) -> Mapping[str, float]:
        return {"timeout": seconds(self.idle) * 1000}

    def streams(self) -> tuple[str, ...]:
        return ("upstream", "downstream")

    def prove(self) -> Proof:
        with self.path.probe(limit=PROOF_LIMIT) as probe:
            if probe.more(seconds(self.idle) * 1.05 + 0.05):
                return False, "the idle connection ended before its time"
            old = self.path.keeps_silent(probe)
        new = self.path.ping(limit=PROOF_LIMIT)
        idle = f"{seconds(self.idle):g} s"
        text = f"PING after {idle} without traffic: {old}, on a new connection: {new}"
        return old.what == "silence" and new.what == "reply", text
