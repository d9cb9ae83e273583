"""The server is killed."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import ServerProcessFault


@dataclass(eq=False)
class KillServer(ServerProcessFault):
    """The server is killed (SIGKILL)."""

    name = "kill server"
    effect = "connections of charge points and API clients break; new ones are refused"

    def bring_down(self) -> None:
        self.on.server().kill()
