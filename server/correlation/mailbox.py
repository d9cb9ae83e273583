"""Wakes an instance up: one subscription for all its components."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from redis.exceptions import RedisError, TimeoutError  # noqa: A004 - as redis-py calls it

from server.redis.link import RedisLink
from server.store.keys import Keys

logger = structlog.get_logger()

NAME = "mailbox"
"""Name of this component in error reports to the link."""
QUIET_SECONDS = 2.0
"""Silence after which the connection is asked for a sign of life, which may take as long as any reply of Redis'."""

_read = msgspec.json.Decoder(list[str]).decode


class _Event(msgspec.Struct):
    """The fields of a connect or disconnect event that are used."""

    charge_point_id: str


_read_event = msgspec.json.Decoder(_Event).decode


class Mailbox:
    """Listens on the channel of one server.

    A wake-up is only a hint: Redis' pub/sub drops messages without a subscriber. A woken component looks for itself,
    and also looks now and then without a wake-up.

    Args:
        link: for the connection, and to report how Redis is.
        keys: key names.
        server_id: whose channel it is.
        on_wake: gets the ids of charge points whose list of responses has something, never an empty list.
        on_answers: called when the instance's list of answers may have entries; also after each subscription, since
            earlier messages are lost.
        on_subscribed: called after each subscription: Redis is there, perhaps again.
        on_session: gets the id of a charge point that has connected or disconnected, on any server.
        on_delivery: gets responses that were put in the lists of charge points, MessagePack; `None` where nobody here
            has connections.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        *,
        server_id: str,
        on_wake: Callable[[list[str]], None],
        on_answers: Callable[[], None],
        on_session: Callable[[str], None],
        on_subscribed: Callable[[], None] = lambda: None,
        on_delivery: Callable[[bytes], None] | None = None,
    ) -> None:
        self._link = link
        self._wire = link.wire()
        self._channel = keys.wake(server_id)
        self._deliveries = keys.delivery(server_id)
        self._channels = [self._channel, keys.control_connect, keys.control_disconnect]
        if on_delivery is not None:
            self._channels.append(self._deliveries)
        self._on_delivery = on_delivery
        self._on_wake = on_wake
        self._on_answers = on_answers
        self._on_subscribed = on_subscribed
        self._on_session = on_session
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """End `run` now: a wake-up that is not heard is not needed any more."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Listen until `stop`. Redis being away is waited out."""
        self._link.expect(NAME)
        self._task = asyncio.ensure_future(self._listen())
        if self._stopping:
            self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._stopping:
                self._task.cancel()
                raise
        finally:
            self._task = None
            await self._wire.close()

    async def _listen(self) -> None:
        while True:
            try:
                await self._wire.execute("SUBSCRIBE", *self._channels)
                self._link.succeeded(NAME)
                self._on_subscribed()
                self._on_answers()
                await self._hear()
            except RedisError as error:
                await self._link.recover(error, NAME, self._wire)

    async def _hear(self) -> None:
        asked = False
        while True:
            reply = await self._wire.read(self._link.reply_timeout if asked else QUIET_SECONDS)
            if reply is None:
                if asked:
                    raise TimeoutError("the subscription gave no sign of life")
                asked = True
                await self._wire.send("PING")
                continue
            asked = False
            if reply[0] == b"message":
                if self._on_delivery is not None and reply[1] == self._deliveries.encode():
                    self._on_delivery(reply[2])
                elif reply[1] == self._channel.encode():
                    self._take(reply[2])
                else:
                    self._changed(reply[2])

    def _take(self, payload: bytes) -> None:
        try:
            woken = _read(payload)
        except msgspec.MsgspecError as error:
            logger.warning("wake_up_unreadable", error=str(error))
            return
        if woken:
            self._on_wake(woken)
        else:
            self._on_answers()

    def _changed(self, payload: bytes) -> None:
        try:
            event = _read_event(payload)
        except msgspec.MsgspecError as error:
            logger.warning("event_unreadable", error=str(error))
            return
        self._on_session(event.charge_point_id)
