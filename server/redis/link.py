"""The one place that connects to Redis, notices that it is gone, backs off and says so."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import functools
import random
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import hiredis
import structlog
from redis.asyncio import Redis
from redis.exceptions import (  # the client's own names
    BusyLoadingError,
    ConnectionError,  # noqa: A004
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from server.redis.address import Address, NotPrimary
from server.redis.replies import Replies

logger = structlog.get_logger()

REPLY_TIMEOUT = 2.0
"""Seconds without an answer after which a command counts as failed, where nothing else is set (`REDIS_TIMEOUT`); a
blocking command gets them on top of its wait, and connecting half of them."""
LONGEST_WAIT = 1.0
"""Seconds that a blocking command may wait at the server."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5
"""Seconds between attempts at most: short enough to be back well under a second after Redis, and long enough to spread
a hundred processes that lost it at the same instant."""
MOVE_EVERY = 1.0
"""Seconds between two times that every connection is dropped, where there is no primary to be found."""
WATCH_EVERY = 1.0
"""Seconds between two looks at the primary that the sentinels name."""
LOG_EVERY = 10.0
"""Seconds between two records about the same outage."""
LOG_CHANGES_EVERY = 1.0
"""Seconds between two records about different outages."""


class Reaction(StrEnum):
    """Measures after an error, before the next attempt."""

    RECONNECT = "reconnect"
    """The connection is broken, or may be: open another one."""
    MOVE = "move"
    """The other end is not the primary (any more): drop every connection, and look for the primary."""
    WAIT = "wait"
    """The other end refuses for now (LOADING, MISCONF, NOREPLICAS, OOM, BUSY, NOPERM): ask again over the same one."""


class NotReplicated(ResponseError):
    """Fewer replicas than `REDIS_WAIT_REPLICAS` have a write."""


_NUMBER = re.compile(r"\d+")
"""Ports and counts, which do not make an error another one."""
_MOVED = ("READONLY", "UNBLOCKED", "MASTERDOWN")


def reaction_to(error: RedisError) -> Reaction:
    """The measures that an error of a command calls for."""
    if isinstance(error, ReadOnlyError | MasterDownError) or any(code in str(error) for code in _MOVED):
        return Reaction.MOVE
    if isinstance(error, BusyLoadingError | ResponseError):
        return Reaction.WAIT
    return Reaction.RECONNECT


_NO_REPLY = hiredis.pack_command(("CLIENT", "REPLY", "SKIP"))  # type: ignore[arg-type]
"""Redis then sends no reply to the command behind it."""


class RedisWire:
    """One connection that carries one command after the other.

    The client's pool, retry, instrumentation and stream layers cost more than a round trip to a local Redis does; the
    parts of the server whose commands are few and strictly in turn do without them. How to connect, and which exception
    is which, is the client library's business here, too.
    """

    def __init__(self, address: Address | str, *, reply_timeout: float = REPLY_TIMEOUT, wait: float = 0.0) -> None:
        address = Address.parse(address) if isinstance(address, str) else address
        self._connection: Any = address.pool(reply_timeout=reply_timeout).make_connection()
        self._timeout = wait + reply_timeout
        self._replies: Replies | None = None

    async def execute(self, *arguments: str | bytes | int | float, behind: Sequence[str | float] = ()) -> Any:
        """Send a command and return its reply; connects first where there is no connection.

        Args:
            arguments: the command.
            behind: a command that runs before it and whose reply Redis does not send.

        Raises:
            RedisError: no connection, no answer in time, or Redis refused the command.
        """
        replies = self._replies
        if replies is None or not replies.usable:
            replies = await self._connected()
        try:
            packed = hiredis.pack_command(arguments)  # type: ignore[arg-type]
            if behind:
                packed = _NO_REPLY + hiredis.pack_command(tuple(behind)) + packed  # type: ignore[arg-type]
            replies.write(packed)
            if replies.full is not None:
                await replies.drained(self._timeout)
            reply = await replies.next(self._timeout)
        except BaseException:
            # A reply that is still to come must not be taken for that of the next command.
            await self.close()
            raise
        if isinstance(reply, Exception):
            if str(reply).startswith("WRONGTYPE") and not str(arguments[0]).startswith("EVAL"):
                # Redis does not say which key it is.
                raise ResponseError(f"WRONGTYPE {arguments[0]!s} {arguments[1]!s}: {reply}") from None
            raise reply
        return reply

    async def connect(self) -> None:
        """Connect if there is no connection. An error raised here means that no command was sent.

        Raises:
            RedisError: no connection can be had.
        """
        if self._replies is None or not self._replies.usable:
            await self._connected()

    async def _connected(self) -> Replies:
        # The peer may have closed it meanwhile, and commands would get lost.
        await self.close()
        connection = self._connection
        await connection.connect()
        # The client library has no public way to either; tests say when they move.
        transport, error_of = connection._writer.transport, connection._parser.parse_error  # noqa: SLF001
        self._replies = Replies(transport, error_of)
        return self._replies

    async def send(self, *arguments: str | bytes | int | float) -> None:
        """Send a command on a subscribed connection, whose reply comes with `read`; raises as `execute`."""
        self._live().write(hiredis.pack_command(arguments))  # type: ignore[arg-type]

    async def read(self, timeout: float) -> Any:  # noqa: ASYNC109 - as the client's own
        """The next message of a connection that has subscribed; `None` after `timeout` seconds without one.

        Raises:
            RedisError: the connection is broken.
        """
        try:
            reply = await self._live().next(timeout)
        except TimeoutError:
            return None
        if isinstance(reply, Exception):
            raise reply
        return reply

    @property
    def peer(self) -> tuple[str, int] | None:
        """Host and port of the other end; `None` if there is no connection."""
        if self._replies is None or not self._replies.usable:
            return None
        return self._connection.host, self._connection.port

    def _live(self) -> Replies:
        if self._replies is None:
            raise ConnectionError("there is no connection")
        return self._replies

    async def replicated(self, replicas: int) -> None:
        """Wait until this many replicas have acknowledged the last write of this connection (WAIT).

        Raises:
            NotReplicated: fewer have it, after half the time for a reply.
            RedisError: no connection, or no answer in time.
        """
        limit = self._timeout / 2
        reached = await self.execute("WAIT", replicas, int(limit * 1000))
        if reached < replicas:
            raise NotReplicated(f"{reached} of {replicas} replicas have the last write after {limit:g} s")

    def abort(self, why: RedisError) -> None:
        """Give the connection up now: a command that waits for its reply fails with `why`."""
        if self._replies is not None:
            self._replies.give_up(why)

    async def close(self) -> None:
        """Drop the connection; the next command opens a new one."""
        if self._replies is not None:
            self._replies.close()
            self._replies = None
        await self._connection.disconnect(nowait=True)


class RedisLink:
    """Connections to Redis and their health.

    Each component that uses Redis all the time reports under its name: `succeeded` after a round trip, `recover` after
    an error, which waits for the next attempt. The link is healthy while no component is failing: a Redis that answers
    one and refuses another (read-only, for example) is not healthy. A component that reported a failure keeps trying
    until it can report a success. Components that use Redis only now and then handle their errors themselves and do not
    report.

    Retrying is never left to the client library: only the caller knows which commands may be repeated.

    Args:
        address: where Redis is, or its URL.
        reply_timeout: seconds without an answer after which a command counts as failed.
        wait_replicas: replicas that must have a write before its effects are published.

    Attributes:
        client: for commands of any part of the server, side by side.
        healthy: whether Redis answers every part.
        since: when `healthy` last changed, RFC 3339; `None` before the first round trip.
        reconnects: how many times Redis came back.
        last_error: the last failure, as text.
        address: as given.
        reply_timeout: as given.
        wait_replicas: as given.
    """

    def __init__(self, address: Address | str, *, reply_timeout: float = REPLY_TIMEOUT, wait_replicas: int = 0) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.client: Redis = self.address.client(connections=4, reply_timeout=reply_timeout)
        self.reply_timeout = reply_timeout
        self.wait_replicas = wait_replicas
        self._clients = [self.client]
        self._wires: list[RedisWire] = []
        self._moved_at = -MOVE_EVERY
        self._failing: set[str] = set()
        self.healthy = False
        self.since: str | None = None
        self.reconnects = 0
        self.last_error: str | None = None
        self._was_connected = False
        self._attempts = 0
        self._last_log = -LOG_EVERY
        self._next_log = 0.0
        self._announce = True
        # The kinds of errors of this outage that are in the log.
        self._told: set[str] = set()

    def wire(self, *, wait: float = 0.0) -> RedisWire:
        """A connection of the caller's own, opened with its first command; closed with the link at the latest.

        Args:
            wait: seconds that its commands may wait at the server; they come on top of the time for a reply.
        """
        wire = RedisWire(self.address, reply_timeout=self.reply_timeout, wait=wait)
        self._wires.append(wire)
        return wire

    def adopt(self, client: Redis) -> None:
        """Also drop this client's connections when Redis is lost or moves; the client's owner closes it."""
        self._clients.append(client)

    def expect(self, by: str) -> None:
        """The part `by` is about to begin: the link is not healthy before it has reported a success."""
        if not self.healthy:
            self._failing.add(by)

    def succeeded(self, by: str) -> None:
        """A round trip of the part `by` worked: Redis is available and accepts its commands."""
        if self.healthy:
            return
        self._failing.discard(by)
        if self._failing:
            return
        self.healthy = True
        self.since = now()
        self._attempts = 0
        if self._was_connected:
            self.reconnects += 1
        self._was_connected = True
        if self._announce:
            self._announce = False
            logger.info("redis_connected", reconnects=self.reconnects)

    def leaves(self, by: str) -> None:
        """The part `by` has ended while others continue: its last failure no longer counts."""
        self._failing.discard(by)

    async def recover(self, error: RedisError, by: str, *wires: RedisWire) -> None:
        """A round trip of the part `by` failed: take note, and wait until the next attempt is due.

        Args:
            error: the error in place of the reply.
            by: the part's name.
            wires: the part's own connections; they are dropped, so that the next attempt has fresh ones.
        """
        self.failed(error, by)
        match reaction_to(error):
            case Reaction.MOVE if time.monotonic() - self._moved_at >= MOVE_EVERY:
                await self.leave_demoted(error)
            case Reaction.RECONNECT | Reaction.MOVE:
                for wire in wires:
                    await wire.close()
                # Connections in use belong to other callers, which notice the loss themselves.
                for client in self._clients:
                    await _drop_connections(client, inuse_connections=False)
            case Reaction.WAIT:
                pass
        window = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._attempts, 10))
        self._attempts += 1
        # Spread over the whole window, so that many instances do not come back at the same instant.
        await asyncio.sleep(window * random.uniform(0.25, 1.0))  # noqa: S311 - not for secrets

    async def leave_demoted(self, error: RedisError) -> None:
        """Drop every connection: they lead to a server that is not the primary any more."""
        self._moved_at = time.monotonic()
        for wire in self._wires:
            wire.abort(error)
        for client in self._clients:
            await _drop_connections(client)

    async def watch(self, absent: str, stop: asyncio.Event) -> None:
        """Notice that Redis is not the primary any more, also where no command fails, until `stop` is set.

        Args:
            absent: the name of a list that is never there.
            stop: ends it.
        """
        async with asyncio.TaskGroup() as tasks:
            sentry = tasks.create_task(self._notice_demotion(absent), name="demotion")
            try:
                await (self._compare(stop) if self.address.service else stop.wait())
            finally:
                sentry.cancel()

    async def _notice_demotion(self, absent: str) -> None:
        """Block at Redis as the queue does, with a reply.

        A Redis that is demoted ends what blocks there with UNBLOCKED. To the queue's own blocking command it sends no
        reply, since the message may be long: nothing would come over that connection until it is given up.
        """
        wire = self.wire(wait=WATCH_EVERY)
        while True:
            try:
                await wire.execute("BLMOVE", absent, absent, "RIGHT", "RIGHT", WATCH_EVERY)
            except RedisError as error:
                if reaction_to(error) is Reaction.MOVE and time.monotonic() - self._moved_at >= MOVE_EVERY:
                    await self.leave_demoted(error)
                await asyncio.sleep(LONGEST_PAUSE * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets

    async def _compare(self, stop: asyncio.Event) -> None:
        """Compare our connections with the primary that the sentinels name.

        An old primary that was cut off from the sentinels alone goes on to take writes, and says that it is the
        primary: the connections to it stay open and fail in nothing.
        """
        finder = self.address.finder(self.reply_timeout)
        while not stop.is_set():
            with contextlib.suppress(builtins.TimeoutError):
                await asyncio.wait_for(stop.wait(), WATCH_EVERY)
            with contextlib.suppress(RedisError):  # no sentinel answers: keep a working connection
                primary = await finder.primary()
                stale = [wire for wire in self._wires if wire.peer not in {None, primary}]
                if stale:
                    host, port = primary
                    logger.warning("redis_primary_moved", host=host, port=port, connections=len(stale))
                    await self.leave_demoted(NotPrimary(f"the sentinels name {host}:{port} as primary"))

    def failed(self, error: RedisError, by: str) -> None:
        """A round trip of the part `by` failed: a record when the outage or its reason is news, or every 10 seconds."""
        self._failing.add(by)
        self.last_error = f"{type(error).__name__}: {error}"
        clock = time.monotonic()
        kind = _NUMBER.sub("", self.last_error)
        news = kind not in self._told
        if self.healthy or self.since is None:
            self.healthy = False
            self.since = now()
            self._told.clear()
            news = True
        if news:
            # But a connection that comes and goes all the time must not fill the log.
            self._next_log = min(self._next_log, self._last_log + LOG_CHANGES_EVERY)
        if clock >= self._next_log:
            self._told.add(kind)
            self._last_log = clock
            self._announce = True
            self._next_log = clock + LOG_EVERY
            logger.error("redis_unavailable", error=self.last_error, since=self.since)

    async def close(self) -> None:
        """Close every connection."""
        for wire in self._wires:
            await wire.close()
        await _drop_connections(self.client)
        with contextlib.suppress(RedisError):
            await self.client.aclose()


def now() -> str:
    """The time as answers and records carry it: RFC 3339, UTC, milliseconds."""
    second, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_to_the_second(second)}.{milliseconds:03d}Z"


@functools.lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


async def _drop_connections(client: Redis, **which: bool) -> None:
    """Drop those of a client's pool. With TLS, a peer that does not answer does not end its side either."""
    with contextlib.suppress(RedisError):
        await client.connection_pool.disconnect(**which)
