"""A reset of open connections."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import OpenConnectionsFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT


@dataclass(eq=False)
class ResetConnections(OpenConnectionsFault):
    """The connections that are open now are reset (RST), once."""

    name = "reset connections"
    effect = "open connections are reset (RST), also in the middle of a message"
    evidence = "a connection that the test opened is reset with the others"
    lasts = False
    action = "reset"

    def prove(self) -> Proof:
        with self.probe as probe:
            seen = probe.ending(PROOF_LIMIT)
        return seen.what == "reset" and self.hit > 1, f"{self.hit} connections; ours: {seen}"
