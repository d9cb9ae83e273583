"""A way that is closed."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import NetworkFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class Disconnect(NetworkFault):
    """The proxy closes its connections and does not listen."""

    name = "disconnect"
    effect = "connections break and new ones are refused; both ends keep running"
    evidence = "a PING is refused"

    def begin(self) -> None:
        self.path.api.enable(self.path.proxy, False)

    def prove(self) -> Proof:
        seen = self.path.ping()
        return seen.what == "refused", f"PING: {seen}"

    def end(self) -> None:
        self.path.api.enable(self.path.proxy, True)
