"""The server is stopped in order."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import ServerProcessFault


@dataclass(eq=False)
class StopServer(ServerProcessFault):
    """The server ends cleanly (SIGTERM)."""

    name = "stop server"
    effect = "connections of charge points and API clients are closed cleanly; new ones are refused"

    def bring_down(self) -> None:
        self.on.server().stop()
