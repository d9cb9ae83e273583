"""Connections that do not live long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ocpp_resilience.faults.bases import ToxicFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT
from ocpp_resilience.waiting import seconds


@dataclass(eq=False)
class KeepResetting(ToxicFault):
    """Each connection, open or new, is reset (RST) a while after it was opened."""

    name = "keep resetting"
    effect = "every connection is reset (RST) soon after it opens"
    evidence = "a connection that the test opens is reset"
    toxic = "reset_peer"

    after: timedelta = timedelta(milliseconds=50)

    def attributes(self) -> Mapping[str, float]:
        return {"timeout": seconds(self.after) * 1000}

    def prove(self) -> Proof:
        limit = seconds(self.after) + PROOF_LIMIT
        with self.path.probe(limit=limit) as probe:
            seen = probe.ping()  # a real Toxiproxy resets only where something comes
            if seen.what == "reply":
                seen = probe.ending(limit)
        return seen.what == "reset", str(seen)
