"""The server stands still."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import PROCESS_LIMIT, ServerProcessFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class PauseServer(ServerProcessFault):
    """The server stands still (SIGSTOP)."""

    name = "pause server"
    effect = "charge points and API clients get no answer while the server is paused"
    evidence = "the process is in state stopped"

    def bring_down(self) -> None:
        self.on.server().pause()

    def prove(self) -> Proof:
        paused = self.on.server().process.paused
        return paused, "process stopped" if paused else "process runs"

    def end(self) -> None:
        if self.on.server().process.paused:
            self.on.server().resume(PROCESS_LIMIT)
