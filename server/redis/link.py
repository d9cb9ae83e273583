"""The one place that connects to Redis, notices that it is gone, backs off and says so."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import hiredis
import structlog
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError  # noqa: A004 - the client's own

from server.redis.replies import Replies

logger = structlog.get_logger()

REPLY_TIMEOUT = 2.0
"""Seconds without an answer after which a command counts as failed, where nothing else is set (`REDIS_TIMEOUT`); a
blocking command gets them on top of its wait, and connecting half of them."""
LONGEST_WAIT = 1.0
"""Seconds that a blocking command may wait at the server."""
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.4
"""Seconds between attempts: short enough to be back well under a second after Redis, long enough to cost nothing."""
LOG_EVERY = 10.0
"""Seconds between two records about the same outage."""
LOG_CHANGES_EVERY = 1.0
"""Seconds between two records about different outages."""


_OPTIONS: dict[str, Any] = {
    # redis-py would send a commit again whose reply was lost; see the queue for how that is settled.
    "retry": Retry(NoBackoff(), 0),
    "protocol": 2,
}


def connection_options(url: str, reply_timeout: float = REPLY_TIMEOUT) -> dict[str, Any]:
    """A connection to a dead host is noticed by keep-alive; a Unix socket knows no such thing."""
    options = _OPTIONS | {"socket_timeout": reply_timeout, "socket_connect_timeout": reply_timeout / 2}
    return options if url.startswith("unix:") else options | {"socket_keepalive": True}


class _SteadyConnection:
    """A reset connection is a `ConnectionError` like any other.

    uvloop raises a plain RuntimeError for a write to a transport that the reset has closed meanwhile, which the client
    library lets through.
    """

    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        """Send; raises `redis.exceptions.ConnectionError` where there is no connection any more."""
        try:
            await super().send_packed_command(*arguments, **options)  # type: ignore[misc]
        except RuntimeError as error:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise ConnectionError(f"the connection is closed: {error}") from error


_steady_classes: dict[type, type] = {}


def steady(pool: Any) -> Any:
    """Have the connections of a pool report a reset as the client library reports every other lost connection."""
    kind = pool.connection_class
    if kind not in _steady_classes:
        _steady_classes[kind] = type(f"Steady{kind.__name__}", (_SteadyConnection, kind), {})
    pool.connection_class = _steady_classes[kind]
    return pool


_NO_REPLY = hiredis.pack_command(("CLIENT", "REPLY", "SKIP"))  # type: ignore[arg-type]
"""Redis then sends no reply to the command behind it."""


class RedisWire:
    """One connection that carries one command after the other.

    The client's pool, retry, instrumentation and stream layers cost more than a round trip to a local Redis does; the
    parts of the server whose commands are few and strictly in turn do without them. How to connect, and which exception
    is which, is the client library's business here, too.
    """

    def __init__(self, url: str, *, reply_timeout: float = REPLY_TIMEOUT, wait: float = 0.0) -> None:
        pool = steady(ConnectionPool.from_url(url, **connection_options(url, reply_timeout)))
        self._connection: Any = pool.make_connection()
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
        """Connect where there is no connection: whatever fails in here, no command was sent.

        Raises:
            RedisError: no connection can be had.
        """
        if self._replies is None or not self._replies.usable:
            await self._connected()

    async def _connected(self) -> Replies:
        # The other end may have closed it meanwhile: what would be sent over it would get nowhere.
        await self.close()
        connection = self._connection
        await connection.connect()
        # The client library has no public way to either; tests say when they move.
        transport, error_of = connection._writer.transport, connection._parser.parse_error  # noqa: SLF001
        self._replies = Replies(transport, error_of)
        return self._replies

    async def send(self, *arguments: str | bytes | int | float) -> None:
        """Send a command whose reply comes with `read`, on a connection that has subscribed; raises as `execute`."""
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

    def _live(self) -> Replies:
        if self._replies is None:
            raise ConnectionError("there is no connection")
        return self._replies

    async def close(self) -> None:
        """Drop the connection; the next command opens a new one."""
        if self._replies is not None:
            self._replies.close()
            self._replies = None
        await self._connection.disconnect(nowait=True)


class RedisLink:
    """Connections to Redis and what is known of their health.

    Each part of the server that is at work with Redis all the time reports under its name: `succeeded` after a round
    trip, `recover` after an error, which waits for the next attempt. The link is healthy while no part is failing: a
    Redis that answers one and refuses the other (read-only, say) is not. A part that reported a failure goes on trying
    until it can report a success. Who asks Redis only now and then handles its errors itself and does not report.

    Retrying is never left to the client library: only the caller knows what may be done twice.

    Args:
        url: where Redis is.
        reply_timeout: seconds without an answer after which a command counts as failed.

    Attributes:
        client: for commands of any part of the server, side by side.
        healthy: whether Redis answers every part.
        since: when `healthy` last changed, RFC 3339; `None` before the first round trip.
        reconnects: how many times Redis came back.
        last_error: the last failure, as text.
        reply_timeout: as given.
    """

    def __init__(self, url: str, *, reply_timeout: float = REPLY_TIMEOUT) -> None:
        options = connection_options(url, reply_timeout)
        pool: Any = BlockingConnectionPool.from_url(url, max_connections=4, timeout=reply_timeout, **options)
        self.client: Redis = Redis.from_pool(steady(pool))
        self._url = url
        self.reply_timeout = reply_timeout
        self._wires: list[RedisWire] = []
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

    def wire(self, *, wait: float = 0.0) -> RedisWire:
        """A connection of the caller's own, opened with its first command; closed with the link at the latest.

        Args:
            wait: seconds that its commands may wait at the server; they come on top of the time for a reply.
        """
        wire = RedisWire(self._url, reply_timeout=self.reply_timeout, wait=wait)
        self._wires.append(wire)
        return wire

    def expect(self, by: str) -> None:
        """The part `by` is about to begin: the link is not healthy before it has reported a success."""
        if not self.healthy:
            self._failing.add(by)

    def succeeded(self, by: str) -> None:
        """A round trip of the part `by` worked: Redis is there and takes its commands."""
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
        """The part `by` has ended while others go on: its last failure does not count any more."""
        self._failing.discard(by)

    async def recover(self, error: RedisError, by: str, *wires: RedisWire) -> None:
        """A round trip of the part `by` failed: take note, and wait until the next attempt is due.

        Args:
            error: what came in the place of the reply.
            by: the part's name.
            wires: the part's own connections; they are dropped, so that the next attempt has fresh ones.
        """
        self.failed(error, by)
        for wire in wires:
            await wire.close()
        # Those in use belong to others, who find out for themselves.
        await self.client.connection_pool.disconnect(inuse_connections=False)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._attempts, 10))
        self._attempts += 1
        # Jitter, so that many instances do not come back at the same instant.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets

    def failed(self, error: RedisError, by: str) -> None:
        """A round trip of the part `by` failed: one record when that is news, then one every 10 seconds."""
        self._failing.add(by)
        self.last_error = f"{type(error).__name__}: {error}"
        clock = time.monotonic()
        if self.healthy or self.since is None:
            self.healthy = False
            self.since = now()
            # News, but a connection that comes and goes all the time must not fill the log.
            self._next_log = min(self._next_log, self._last_log + LOG_CHANGES_EVERY)
        if clock >= self._next_log:
            self._last_log = clock
            self._announce = True
            self._next_log = clock + LOG_EVERY
            logger.error("redis_unavailable", error=self.last_error, since=self.since)

    async def close(self) -> None:
        """Close every connection."""
        for wire in self._wires:
            await wire.close()
        await self.client.connection_pool.disconnect()
        await self.client.aclose()


def now() -> str:
    """The time as answers and records carry it: RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
