"""The server is stopped in order."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import ServerProcessFault


@dataclass(eq=False)
class StopServer(ServerProcessFault):
    """The server ends in order (SIGTERM)."""

    name = "stop server"
    effect = "charge points and callers: connections are closed in order, then refused"

    def bring_down(self) -> None:
        self.on.server().stop()
