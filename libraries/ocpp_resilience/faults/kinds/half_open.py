"""Connections whose peer has vanished without closing them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ocpp_resilience.faults.bases import OpenConnectionsFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import LIMIT, PROOF_LIMIT, GatewayAddress


class Gone(enum.Enum):
    """The end that is gone: the `server` (Redis, the gateway), or the `client` (the system, the charge point)."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(eq=False)
class HalfOpen(OpenConnectionsFault):
    """The open connections have lost one end without notice to the other; new connections work.

    By default the end behind the proxy is gone where that is Redis, and the charge point where it is a gateway.
    """

    name = "half-open"
    effect = "one end is gone, and the other end is not told"
    evidence = "a PING on an old connection is not answered, one on a new connection is; the number of dead connections"

    gone: Gone | None = None

    @property
    def client_is_gone(self) -> bool:
        """Whether it is the client that is gone."""
        gateway = isinstance(self.path.address, GatewayAddress)
        return (self.gone or (Gone.CLIENT if gateway else Gone.SERVER)) is Gone.CLIENT

    @property
    def action(self) -> str:  # type: ignore[override]
        return "client_gone" if self.client_is_gone else "half_open"

    def prove(self) -> Proof:
        # The client that is gone is the probe's own end too: the proxy says how many servers were not told.
        old = self.probe.ending(LIMIT) if self.client_is_gone else self.path.keeps_silent(self.probe)
        new = self.path.ping(limit=PROOF_LIMIT)
        # Another fault may have ended the server since, and with it what was half-open.
        dead = self.hit
        there = "its client is gone" if self.client_is_gone else f"PING on an old one: {old}"
        works = old.what in ({"closed", "reset"} if self.client_is_gone else {"silence"})
        return works and new.what == "reply" and dead > 1, f"{dead} connections dead; {there}, PING on a new one: {new}"

    def end(self) -> None:
        super().end()
        # Half-open connections are closed with a reset, which must not take other faults along.
        if self.path.api.connections(self.path.proxy)["half_open"]:
            self.path.api.act(self.path.proxy, "close_half_open")
