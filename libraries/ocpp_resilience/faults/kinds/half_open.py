"""Connections whose other end is gone."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import OpenConnectionsFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT


@dataclass(eq=False)
class HalfOpen(OpenConnectionsFault):
    """The connections that are open now are dead without a word; new ones work."""

    name = "half-open"
    effect = "the other side is gone, and nothing said so"
    evidence = "a PING on an old connection without an answer, one on a new connection with one"
    action = "half_open"

    def prove(self) -> Proof:
        old, new = self.path.keeps_silent(self.probe), self.path.ping(limit=PROOF_LIMIT)
        dead = self.path.api.connections(self.path.proxy)["half_open"]
        return (
            old.what == "silence" and new.what == "reply" and dead > 1,
            f"{dead} connections dead; PING on an old one: {old}, on a new one: {new}",
        )

    def end(self) -> None:
        super().end()
        # Half-open connections are closed with a reset, which must not take other faults along.
        if self.path.api.connections(self.path.proxy)["half_open"]:
            self.path.api.act(self.path.proxy, "close_half_open")
