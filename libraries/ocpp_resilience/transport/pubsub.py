"""Requests and answers on Redis channels."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.redis.connection import AWAY, RedisClient
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.gathered import GatheredAnswers
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.transport.queue_keys import Names, QueueKeys
from ocpp_resilience.transport.sending import push

LISTEN_SECONDS = 0.2
SUBSCRIBE_SECONDS = 5.0


class ChannelRequests:
    """A channel, or one for each charge point: messages without a subscriber are lost, as the reply to PUBLISH shows.

    Args:
        client: any database.
        pattern: the name of the channel; may hold `{charge_point_id}`.
    """

    keeps = False

    def __init__(self, client: RedisClient, pattern: str) -> None:
        self.place = pattern
        self._client = client
        self._channels = Names(pattern)

    def push(self, messages: Sequence[SentMessage]) -> str | None:
        """Publish messages."""

        def refuse(message: SentMessage, receivers: Any) -> str | None:
            return None if receivers else f"there is no listener on '{self._channels.of(message)}'"

        return push(self._client, messages, lambda each: ("PUBLISH", self._channels.of(each), each.data), refuse)

    def length(self) -> int:
        """Nothing waits on a channel."""
        return 0

    def in_flight(self) -> int:
        """Messages that a subscriber has received are invisible."""
        return 0

    def oldest(self, count: int) -> list[bytes]:  # noqa: ARG002 - as lists have it
        """Nothing waits on a channel."""
        return []

    def waiting(self, ours: Callable[[bytes], bool]) -> int:  # noqa: ARG002 - the same
        """Nothing waits on a channel."""
        return 0

    def withdraw(self, ours: Callable[[bytes], bool]) -> int:  # noqa: ARG002 - the same
        """Nothing can be taken back."""
        return 0


class ChannelAnswers(GatheredAnswers):
    """A channel, or a pattern of channels, listened to from the start.

    Args:
        client: any database.
        keys: names the channels.
        body: reads the answers.
    """

    def __init__(self, client: RedisClient, keys: QueueKeys, *, body: Body | None) -> None:
        super().__init__(body)
        self._client: Any = client
        before, _, behind = keys.responses.partition("{")
        self._pattern = f"{before}*{behind.partition('}')[2]}" if behind else keys.responses
        self._by_point = "{charge_point_id}" in keys.responses
        self._edges = before, behind.partition("}")[2]
        self._subscribed = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Subscribe.

        Raises:
            ServiceError: it did not come about.
        """
        self._thread = threading.Thread(target=self._listen, name="answers on channels", daemon=True)
        self._thread.start()
        self._wait()

    def _wait(self) -> None:
        if not self._subscribed.wait(SUBSCRIBE_SECONDS):
            raise ServiceError(f"The channels '{self._pattern}' could not be subscribed to.")

    def begin(self, charge_points: Sequence[str]) -> None:
        """Follow these from now on; the subscription has to be there before the first request.

        Raises:
            ServiceError: there is none.
        """
        self._wait()
        super().begin(charge_points)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=False) as subscription:
                    subscription.psubscribe(self._pattern)
                    while not self._stop.is_set():
                        self._take(subscription.get_message(timeout=LISTEN_SECONDS))
            except (*AWAY, OSError, ValueError):
                self._subscribed.clear()
                self._stop.wait(LISTEN_SECONDS)

    def _take(self, found: dict[str, Any] | None) -> None:
        if found is None:
            return
        if found["type"] == "psubscribe":
            self._subscribed.set()
        elif found["type"] == "pmessage":
            channel = found["channel"].decode("utf-8", "replace")
            start, end = (len(edge) for edge in self._edges)
            point = channel[start : len(channel) - end] if self._by_point else None
            self.took_in(point, found["data"], seen_at=time.monotonic())

    def close(self) -> None:
        """End the subscription."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(SUBSCRIBE_SECONDS)
