"""Stands in for a gateway behind Redis: announces charge points, takes their commands, and answers as scripted.

It does what the wire contract requires of a gateway, and no more: the session hash, the set of connected charge points,
the connect event (a hint), messages off the lists `responses`, answers to the list `requests`.
"""

from __future__ import annotations

import asyncio
import enum
import json
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from redis.exceptions import RedisError

from ocpp_resilience import background
from ocpp_resilience.errors import LacksCapability, ServiceError
from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.ocpp.version import Version
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import database_in, open_async_client, shown_url
from ocpp_resilience.transport.answers import read_body
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.waiting import wait_until

T = TypeVar("T")

MOST_AT_ONCE = 500
BLOCK_SECONDS = 1
FEW_LISTS = 100
LISTS_PER_SECOND = 5_000
SOCKET_SECONDS = 5.0
KEYS_OF_CHARGE_POINTS = ("session", "responses", "charge_point", "configuration", "transactions")


class Answering(enum.Enum):
    """Reactions of the stand-in to a command."""

    AT_ONCE = "at once"
    HELD = "held"


class Order(enum.Enum):
    """The order in which commands that were held are answered."""

    RECEIVED = "received"
    REVERSED = "reversed"
    RANDOM = "random"


class Way(enum.Enum):
    """The scripted answer to a command."""

    RESULT = "result"
    ERROR = "error"
    TWICE = "twice"
    UNKNOWN = "unknown"


@dataclass(eq=False, kw_only=True)
class Received:
    """A command that a charge point was sent.

    Attributes:
        charge_point: the charge point.
        message_id: the id of the CALL.
        action: its action.
        payload: its payload.
        envelope: the whole message.
        received_at: when, on the monotonic clock.
        answers: how many answers to it were written.
    """

    charge_point: str
    message_id: str
    action: str
    payload: dict[str, Any]
    envelope: dict[str, Any] = field(default_factory=dict)
    received_at: float = 0.0
    answers: int = 0

    def carries(self, mark: str) -> bool:
        """Whether `mark` is a text somewhere in the payload."""
        return json.dumps(mark) in json.dumps(self.payload)


@dataclass(frozen=True, kw_only=True)
class ScriptedAnswer:
    """An answer that was written.

    Attributes:
        charge_point: the charge point.
        message_id: the id that it has.
        payload: its payload; for a CALLERROR code, description and details.
        command: the answered command; `None` for an answer with an unknown id.
    """

    charge_point: str
    message_id: str
    payload: Any
    command: Received | None


class GatewayStandIn:
    """Stands in for a gateway and its charge points.

    Args:
        redis_url: where Redis is.
        target: key names and the format of announcements.
    """

    def __init__(self, redis_url: str, target: Target) -> None:
        self.target = target
        self.address = shown_url(redis_url)
        self.gateway = f"stand-in-{secrets.token_hex(4)}"
        self.received: list[Received] = []
        self.problem: str | None = None
        self._url = redis_url
        self._charge_points: dict[str, Answering] = {}
        self._known: set[str] = set()
        self._held: dict[str, Received] = {}
        self._client: Any = None
        self._blocking: Any = None
        self._blocked: int | None = None
        self._task: asyncio.Task[Any] | None = None
        self._taker: Future[None] | None = None
        self._changed: asyncio.Event | None = None
        self._payload: Callable[[Received], dict[str, Any]] = partial(default_payload, version=target.version)
        protocol = target.gateway.subprotocol
        self._request = Body(target.queue.request, protocol=protocol, sender=self.gateway)
        self._response = None if target.queue.answer is None else Body(target.queue.answer, protocol=protocol)

    # ---------------------------------------------------------------- from the keywords' thread

    def announce(self, charge_points: Iterable[str], *, answering: Answering = Answering.HELD) -> None:
        """Let charge points connect, or change how connected ones answer.

        Raises:
            LacksCapability: the target does not describe the announcement of a charge point, or has no list of each.
            ServiceError: Redis cannot be reached.
        """
        if problem := self.target.why_no_stand_in:
            raise LacksCapability(
                f"The gateway of target '{self.target.name}' cannot be simulated: {problem} in {self.target.source}."
            )
        self._run(self._announce, list(charge_points), answering)
        if self._taker is None:
            self._taker = background.start(self._take_all)

    @property
    def known(self) -> list[str]:
        """The charge points that were ever announced, and not removed."""
        return sorted(background.call(lambda: set(self._known)))

    def disconnect(self, charge_points: Iterable[str]) -> None:
        """Let charge points go: their sessions are removed and the event is published.

        Raises:
            ServiceError: Redis cannot be reached.
        """
        self._run(self._disconnect, list(charge_points))

    def held(self, *, marks: set[str] | None = None, charge_points: set[str] | None = None) -> list[Received]:
        """The commands without an answer, the oldest first; with `marks` or `charge_points` only those."""

        def snapshot() -> list[Received]:
            return list(self._held.values())

        return [
            each
            for each in background.call(snapshot)
            if (charge_points is None or each.charge_point in charge_points)
            and (marks is None or any(each.carries(mark) for mark in _texts(each.payload) & marks))
        ]

    def wait_for_held(self, probe: Callable[[], list[Received]], count: int, *, timeout: float) -> list[Received]:
        """Wait until `probe` gives at least `count` commands.

        Raises:
            WaitTimeout: there were fewer.
        """
        last: list[Received] = []

        def enough() -> list[Received] | None:
            nonlocal last
            last = probe()
            return last if len(last) >= count else None

        def failure() -> str:
            note = f"; {self.problem}" if self.problem else ""
            return f"Expected {count} unanswered commands at the charge points, found {len(last)}{note}"

        return wait_until(enough, timeout=timeout, failure=failure, longest_pause=0.02)

    def answer(
        self,
        commands: Sequence[Received],
        *,
        way: Way = Way.RESULT,
        order: Order = Order.RECEIVED,
        seed: int | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> list[ScriptedAnswer]:
        """Write the answers to `commands`; they are not held any more, but for those answered with an unknown id.

        Args:
            commands: the commands to answer.
            way: how.
            order: in which order.
            seed: makes a random order again.
            payload: the payload of the answers, in place of the default for the action.

        Raises:
            ServiceError: Redis cannot be reached.
        """
        chosen = list(commands)
        if order is Order.REVERSED:
            chosen.reverse()
        elif order is Order.RANDOM:
            random.Random(seed).shuffle(chosen)  # noqa: S311 - no secret
        return self._run(self._answer, chosen, way, payload)

    def noted(self) -> int:
        """Number of correlations in Redis, of all instances.

        Raises:
            UsageError: the target has no such key.
            ServiceError: Redis cannot be reached.
        """
        return self._run(self._count, self.target.key_glob("correlation"))

    def close(self) -> None:
        """Remove the charge points and everything of theirs from Redis, and end the connections.

        Raises:
            ServiceError: Redis cannot be reached, so that something may be left.
        """
        try:
            if self._known:
                self._run(self._remove)
        finally:
            background.run(self._end, timeout=2 * SOCKET_SECONDS)

    def _run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        try:
            return background.run(function, *args, timeout=30)
        except RedisError as error:
            raise ServiceError(
                f"Redis at {self.address} refused a command of the stand-in for the gateway: {error}"
            ) from None

    # ---------------------------------------------------------------- on the loop

    def _redis(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self, *, single: bool = False) -> Any:
        client = open_async_client(
            self._url,
            socket_timeout=SOCKET_SECONDS,
            connect_timeout=SOCKET_SECONDS,
            name=self.gateway,
            single=single,
            retries=3,
        )
        if database_in(self._url) is None:
            client.connection_pool.connection_kwargs["db"] = self.target.redis.databases.queue
        return client

    async def _announce(self, charge_points: list[str], answering: Answering) -> None:
        announcement = self.target.announcement
        keys = self.target.redis.keys
        pipeline = self._redis().pipeline(transaction=False)
        for point in charge_points:
            if point not in self._charge_points:
                session = self.target.announced("session", point, gateway=self.gateway)
                if keys.session is not None and session:
                    pipeline.hset(self.target.key("session", charge_point_id=point), mapping=session)
                if keys.connected is not None:
                    pipeline.sadd(keys.connected, point)
                if keys.control_connect is not None and announcement.connect:
                    event = self.target.announced("connect", point, gateway=self.gateway)
                    pipeline.publish(keys.control_connect, json.dumps(event))
            self._charge_points[point] = answering
        self._known.update(charge_points)
        await pipeline.execute()
        if self._changed is not None:
            self._changed.set()
        if self._blocked is not None:
            # The wait at the earlier lists is restarted with the new ones included.
            await self._redis().execute_command("CLIENT", "UNBLOCK", self._blocked)

    async def _disconnect(self, charge_points: list[str]) -> None:
        announcement = self.target.announcement
        keys = self.target.redis.keys
        pipeline = self._redis().pipeline(transaction=False)
        for point in charge_points:
            self._charge_points.pop(point, None)
            if keys.session is not None:
                pipeline.delete(self.target.key("session", charge_point_id=point))
            if keys.connected is not None:
                pipeline.srem(keys.connected, point)
            if keys.control_disconnect is not None and announcement.disconnect:
                event = self.target.announced("disconnect", point, gateway=self.gateway)
                pipeline.publish(keys.control_disconnect, json.dumps(event))
        await pipeline.execute()

    async def _take_all(self) -> None:
        self._task = asyncio.current_task()
        self._changed = asyncio.Event()
        client = self._blocking = self._connect(single=True)
        while True:
            self._changed.clear()
            if not self._charge_points:
                await self._changed.wait()
                continue
            try:
                self._blocked = int(await client.client_id())
                lists = {self.target.key("responses", charge_point_id=point): point for point in self._charge_points}
                entries = await self._take(client, lists)
                await self._look_at(entries)
                self.problem = None
            except (RedisError, OSError) as error:
                # Redis may be down for a while; entries stay in the lists.
                self.problem = f"Redis at {self.address} cannot be reached: {error}"
                await asyncio.sleep(0.1)

    async def _take(self, client: Any, lists: Mapping[str, str]) -> list[tuple[str, bytes]]:
        """Read at least one message and all other available ones; nothing after a second without a message."""
        oldest_first = self.target.queue.answer_push == "left"
        block, pop = (client.brpop, "rpop") if oldest_first else (client.blpop, "lpop")
        first = await block(list(lists), timeout=BLOCK_SECONDS)
        if first is None:
            return []
        found = [(lists[first[0].decode()], first[1])]
        # To look at a thousand lists for one message each time would take longer than the messages.
        if len(lists) > FEW_LISTS:
            await asyncio.sleep(len(lists) / LISTS_PER_SECOND)
        pipeline = client.pipeline(transaction=False)
        for name in lists:
            getattr(pipeline, pop)(name, MOST_AT_ONCE)
        for point, entries in zip(lists.values(), await pipeline.execute(), strict=True):
            found += [(point, entry) for entry in entries or ()]
        return found

    async def _look_at(self, entries: list[tuple[str, bytes]]) -> None:
        at_once: list[Received] = []
        for point, entry in entries:
            command = read_command(point, entry, self._response)
            if command is None:
                continue
            self.received.append(command)
            self._held[command.message_id] = command
            if self._charge_points.get(point) is Answering.AT_ONCE:
                at_once.append(command)
        if at_once:
            await self._answer(at_once, Way.RESULT, None)

    async def _answer(
        self, commands: list[Received], way: Way, payload: Mapping[str, Any] | None
    ) -> list[ScriptedAnswer]:
        given: list[ScriptedAnswer] = []
        texts: list[str] = []
        for command in commands:
            message_id = command.message_id
            body: Any
            frame: list[Any]
            if way is Way.UNKNOWN:
                message_id = f"unknown-{secrets.token_hex(8)}"
            if way is Way.ERROR:
                refusal = f"The charge point refuses {command.action}: {secrets.token_hex(4)}."
                body = ["GenericError", refusal, {"asked": command.message_id}]
                frame = [4, message_id, *body]
            else:
                body = dict(payload) if payload is not None else self._payload(command)
                frame = [3, message_id, body]
            text = self._envelope(command.charge_point, frame)
            own = None if way is Way.UNKNOWN else command
            for _ in range(2 if way is Way.TWICE else 1):
                texts.append(text)
                given.append(
                    ScriptedAnswer(charge_point=command.charge_point, message_id=message_id, payload=body, command=own)
                )
                if own is not None:
                    own.answers += 1
        client = self._redis()
        push = client.lpush if self.target.queue.push == "left" else client.rpush
        for first in range(0, len(texts), MOST_AT_ONCE):
            await push(self.target.redis.keys.requests, *texts[first : first + MOST_AT_ONCE])
        for each in given:
            if each.command is not None:
                self._held.pop(each.command.message_id, None)
        return given

    def _envelope(self, point: str, frame: list[Any]) -> str:
        return json.dumps(self._request.written(point, frame))

    async def _count(self, pattern: str) -> int:
        return len([key async for key in self._redis().scan_iter(match=pattern, count=1000)])

    async def _remove(self) -> None:
        client = self._redis()
        await self._disconnect(list(self._charge_points))
        names = [name for name in KEYS_OF_CHARGE_POINTS if getattr(self.target.redis.keys, name) is not None]
        await client.delete(*(self.target.key(name, charge_point_id=point) for point in self._known for name in names))
        self._known.clear()

    async def _end(self) -> None:
        self._taker = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=SOCKET_SECONDS)
        clients, self._client, self._blocking = (self._client, self._blocking), None, None
        for client in clients:
            if client is not None:
                with suppress(RedisError, OSError):
                    await client.aclose()


def read_command(charge_point: str, entry: bytes, body: Body | None = None) -> Received | None:
    """The CALL in a message to a charge point; `None` for anything else.

    Args:
        charge_point: in whose list it stood.
        entry: the message.
        body: the template of messages to charge points; the envelope of the wire contract, or the frame alone, if none
            is given.
    """
    frame = read_body(entry, body)[1]
    match frame:
        case [MessageType.CALL, message_id, action, dict(payload)]:
            pass
        case _:
            return None
    document = json.loads(entry)
    return Received(
        charge_point=charge_point,
        message_id=str(message_id),
        action=str(action),
        payload=payload,
        envelope=document if isinstance(document, dict) else {},
        received_at=time.monotonic(),
    )


def default_payload(command: Received, version: Version) -> dict[str, Any]:
    """A CALLRESULT that fits the action.

    The question of the version (GetConfiguration, GetVariables) gets back the names that it asked for as unknown ones,
    and the message id as the value of `MessageId`: so a caller can tell its own answer from others, and two answers to
    equal commands apart.
    """
    if command.action == version.question.action:
        return version.question.answer(command.payload, command.message_id)
    known = version.commands.get(command.action)
    return {"status": "Accepted"} if known is None else dict(known.accept(command.payload, {}))


def _texts(payload: Any) -> set[str]:
    if isinstance(payload, str):
        return {payload}
    if isinstance(payload, dict):
        payload = list(payload.values())
    if isinstance(payload, list):
        return {text for part in payload for text in _texts(part)}
    return set()
