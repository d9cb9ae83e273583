"""A Redis that lets no more clients in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisSettingsFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class TooManyClients(RedisSettingsFault):
    """No more clients are let in (maxclients), and the present ones have to connect again."""

    name = "too many clients"
    effect = "new connections are refused with `max number of clients reached`"
    evidence = "a new connection is refused with that error"

    def settings(self) -> Mapping[str, str | int]:
        return {"maxclients": 1}

    def begin(self) -> None:
        super().begin()
        self.redis.kill_others()

    def prove(self) -> Proof:
        return self.redis.says("-ERR max number of clients", "PING")
