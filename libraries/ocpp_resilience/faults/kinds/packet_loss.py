"""A line that loses packets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.bases import ToxicFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT
from ocpp_resilience.waiting import seconds

SLOW_TRIPS = 3
PATIENCE = 15
"""Trips that are made for each one that is expected to be slow."""


@dataclass(eq=False)
class PacketLoss(ToxicFault):
    """Segments are lost and retransmitted by TCP: they arrive `rto` later, and all later data waits."""

    name = "packet loss"
    effect = "some replies arrive 0.2 s late or later, as after a retransmission"
    evidence = "some round trips take `rto` or longer"
    own_proxy_only = True
    toxic = "packet_loss"

    loss: float = 0.1
    rto: timedelta = timedelta(milliseconds=200)

    def __post_init__(self) -> None:
        if not 0 < self.loss < 1:
            raise UsageError(f"A loss of {self.loss:g} cannot be used, allowed is a share above 0 and below 1.")

    def attributes(self) -> Mapping[str, float]:
        return {"loss": self.loss, "rto": seconds(self.rto) * 1000}

    def streams(self) -> tuple[str, ...]:
        return ("upstream", "downstream")

    def prove(self) -> Proof:
        least, slow, trips = seconds(self.rto), 0, 0
        with self.path.probe(limit=PROOF_LIMIT + 10 * least) as probe:
            while slow < SLOW_TRIPS and trips < SLOW_TRIPS * PATIENCE / self.loss:
                seen = probe.ping()
                trips += 1
                slow += seen.what == "reply" and seen.took >= least
        return slow >= SLOW_TRIPS, f"{slow} of {trips} round trips took at least {least * 1000:.0f} ms"
