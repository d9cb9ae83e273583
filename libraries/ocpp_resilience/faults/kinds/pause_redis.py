"""Redis stands still."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import PROCESS_LIMIT, RedisProcessFault
from ocpp_resilience.redis.services import Effect


@dataclass(eq=False)
class PauseRedis(RedisProcessFault):
    """Redis stands still (SIGSTOP)."""

    name = "pause redis"
    effect = "connections stay open, and nothing is answered"

    def bring_down(self) -> Effect:
        return self.on.service().pause()

    def end(self) -> None:
        service = self.on.service()
        if service.is_there and not service.is_running:
            self._effect = service.resume(PROCESS_LIMIT)
