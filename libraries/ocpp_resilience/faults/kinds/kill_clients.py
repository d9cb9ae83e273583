"""Connections that Redis closes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.faults.bases import RedisFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT
from ocpp_resilience.waiting import wait_until


@dataclass(eq=False)
class KillClients(RedisFault):
    """Redis closes the connections of its clients (CLIENT KILL), those of the test excepted, once."""

    name = "kill clients"
    effect = "Redis closes its connections"
    evidence = "the number of connections that Redis closed"
    lasts = False

    def begin(self) -> None:
        self._killed = 0
        # After another fault they may only be on their way back.
        with contextlib.suppress(WaitTimeout):
            self._killed = wait_until(lambda: self.redis.kill_others() or None, timeout=PROOF_LIMIT, failure=lambda: "")

    def prove(self) -> Proof:
        return self._killed > 0, f"{self._killed} connections closed"
