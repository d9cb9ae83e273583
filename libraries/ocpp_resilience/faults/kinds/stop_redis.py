"""Redis is stopped in order."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import PROCESS_LIMIT, RedisProcessFault
from ocpp_resilience.redis.services import Effect


@dataclass(eq=False)
class StopRedis(RedisProcessFault):
    """Redis ends cleanly (SIGTERM)."""

    name = "stop redis"
    effect = "connections are closed cleanly; new ones are refused"

    def bring_down(self) -> Effect:
        return self.on.service().stop(PROCESS_LIMIT)
