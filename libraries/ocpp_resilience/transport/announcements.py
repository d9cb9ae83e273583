"""Announces charge points to systems that ignore charge points without an announced connection."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import RedisClient

GATEWAY = "acceptance-tests"


class Announcements:
    """The announcement of a charge point in place of a gateway: the session (HSET), the event (PUBLISH), or both.

    Args:
        target: describes keys, channels and formats.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connected: dict[str, None] = {}

    @classmethod
    def of(cls, target: Target) -> Announcements | None:
        """`None` for a target that answers whether or not a connection was announced."""
        return cls(target) if target.announcement.required else None

    def unknown(self, charge_points: Iterable[str]) -> list[str]:
        """Those that were not announced yet."""
        return [each for each in charge_points if each not in self._connected]

    def connect(self, client: RedisClient, charge_points: Iterable[str]) -> None:
        """Announce those that were not announced yet, in one round trip; raises as the client does."""
        new = self.unknown(charge_points)
        self._write(client, "connect", new)
        self._connected |= dict.fromkeys(new)

    def disconnect(self, client: RedisClient) -> None:
        """Withdraw the announcements; raises as the client does."""
        gone = list(self._connected)
        self._connected.clear()
        self._write(client, "disconnect", gone)

    def _write(self, client: RedisClient, what: Literal["connect", "disconnect"], charge_points: list[str]) -> None:
        if not charge_points:
            return
        declared = self._target.announcement
        pipeline = client.pipeline(transaction=False)
        for each in charge_points:
            if declared.session:
                key = self._target.key("session", charge_point_id=each)
                if what == "connect":
                    pipeline.hset(key, mapping=self._target.announced("session", each, gateway=GATEWAY))
                else:
                    pipeline.delete(key)
            if getattr(declared, what):
                event = self._target.announced(what, each, gateway=GATEWAY)
                pipeline.publish(self._target.key(f"control_{what}"), json.dumps(event))
        pipeline.execute()
