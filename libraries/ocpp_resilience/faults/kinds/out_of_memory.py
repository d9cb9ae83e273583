"""A Redis that has used all of its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisSettingsFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class OutOfMemory(RedisSettingsFault):
    """Redis has reached its memory limit (maxmemory): it refuses commands that need memory."""

    name = "out of memory"
    effect = "every write is answered `OOM`"
    evidence = "a SET is answered OOM"
    refuses_writes = True

    def settings(self) -> Mapping[str, str | int]:
        return {"maxmemory-policy": "noeviction", "maxmemory": 1}

    def prove(self) -> Proof:
        return self.redis.refuses_writes("OOM")
