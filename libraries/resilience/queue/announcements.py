"""Announcing charge points to systems that listen only to those whose connection they have heard of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from resilience.queue.link import RedisClient
from resilience.target import Target

GATEWAY = "acceptance-tests"


class Announcements:
    """The connect and disconnect events that a gateway would publish, for charge points that have none (PUBLISH).

    Args:
        target: says channels and shapes.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connected: dict[str, None] = {}

    @classmethod
    def of(cls, target: Target) -> Announcements | None:
        """`None` for a target that answers whether or not a connection was announced."""
        return cls(target) if target.announcement.required else None

    def connect(self, client: RedisClient, charge_points: Iterable[str]) -> None:
        """Announce those that were not announced yet, in one round trip; raises as the client does."""
        new = [each for each in charge_points if each not in self._connected]
        self._publish(client, "control_connect", "connect", new)
        self._connected |= dict.fromkeys(new)

    def disconnect(self, client: RedisClient) -> None:
        """Take back what was announced; raises as the client does."""
        gone = list(self._connected)
        self._connected.clear()
        self._publish(client, "control_disconnect", "disconnect", gone)

    def _publish(
        self,
        client: RedisClient,
        channel: str,
        what: Literal["connect", "disconnect"],
        charge_points: list[str],
    ) -> None:
        if not charge_points:
            return
        pipeline = client.pipeline(transaction=False)
        for each in charge_points:
            event = self._target.announced(what, each, gateway=GATEWAY)
            pipeline.publish(self._target.key(channel), json.dumps(event))
        pipeline.execute()
