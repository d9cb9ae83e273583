"""A Redis whose replicas are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisSettingsFault
from ocpp_resilience.faults.fault import Proof

MORE_THAN_ANY = 1000
"""Replicas. The one that a Redis with sentinels has must not be enough."""


@dataclass(eq=False)
class NoReplicas(RedisSettingsFault):
    """Redis wants replicas for each write (min-replicas-to-write), and has fewer, or none."""

    name = "no replicas"
    effect = "every write is answered `NOREPLICAS`"
    evidence = "a SET is answered NOREPLICAS"
    refuses_writes = True

    def settings(self) -> Mapping[str, str | int]:
        return {"min-replicas-max-lag": 10, "min-replicas-to-write": MORE_THAN_ANY}

    def prove(self) -> Proof:
        return self.on.redis().refuses_writes("NOREPLICAS")
