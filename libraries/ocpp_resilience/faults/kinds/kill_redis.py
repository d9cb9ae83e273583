"""Redis is killed."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisProcessFault
from ocpp_resilience.redis.services import Effect


@dataclass(eq=False)
class KillRedis(RedisProcessFault):
    """Redis is killed (SIGKILL)."""

    name = "kill redis"
    effect = "connections break and new ones are refused; data that was not on disk is lost"

    def bring_down(self) -> Effect:
        return self.on.service().kill()
