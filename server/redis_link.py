"""The one place that connects to Redis, notices that it is gone, backs off and says so."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Any

import hiredis
import structlog
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = structlog.get_logger()

CONNECT_TIMEOUT = 1.0
REPLY_TIMEOUT = 2.0
"""Seconds without an answer after which a command counts as failed; a blocking command gets them on top of its wait."""
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
    "socket_connect_timeout": CONNECT_TIMEOUT,
    "socket_timeout": REPLY_TIMEOUT,
    # redis-py would send a commit again whose reply was lost; see the queue for how that is settled.
    "retry": Retry(NoBackoff(), 0),
    "protocol": 2,
}


def _options(url: str) -> dict[str, Any]:
    """A connection to a dead host is noticed by keep-alive; a Unix socket knows no such thing."""
    return _OPTIONS if url.startswith("unix:") else _OPTIONS | {"socket_keepalive": True}


class RedisWire:
    """One connection that carries one command after the other.

    The client's pool, retry and instrumentation layers cost more than a round trip to a local Redis does; the queue,
    whose commands are few and strictly in turn, does without them. Timeouts and errors are the client library's own.
    """

    def __init__(self, url: str, *, reply_timeout: float = REPLY_TIMEOUT) -> None:
        options = _options(url) | {"socket_timeout": reply_timeout}
        self._connection = ConnectionPool.from_url(url, **options).make_connection()  # type: ignore[no-untyped-call]

    async def execute(self, *arguments: str | bytes | int | float) -> Any:
        """Send a command and return its reply; connects first where there is no connection.

        Raises:
            RedisError: no connection, no answer in time, or Redis refused the command.
        """
        await self._connection.send_packed_command(hiredis.pack_command(arguments))  # type: ignore[arg-type]
        return await self._connection.read_response()

    async def close(self) -> None:
        """Drop the connection; the next command opens a new one."""
        await self._connection.disconnect(nowait=True)


class RedisLink:
    """Connections to Redis and what is known of their health.

    Whoever uses Redis reports: `succeeded` after a round trip, `recover` after an error, which waits for the next
    attempt. Retrying is never left to the client library: only the caller knows what may be done twice.

    Attributes:
        client: for commands of any part of the server, side by side.
        queue: for the queue's scripts.
        blocking: for the one command of the queue that waits at the server, at most for a second.
        healthy: whether the last round trip succeeded.
        since: when `healthy` last changed, RFC 3339; `None` before the first round trip.
        reconnects: how many times Redis came back.
        last_error: the last failure, as text.
    """

    def __init__(self, url: str) -> None:
        pool: Any = BlockingConnectionPool.from_url(url, max_connections=4, timeout=REPLY_TIMEOUT, **_options(url))
        self.client: Redis = Redis.from_pool(pool)
        self.queue = RedisWire(url)
        self.blocking = RedisWire(url, reply_timeout=LONGEST_WAIT + REPLY_TIMEOUT)
        self.healthy = False
        self.since: str | None = None
        self.reconnects = 0
        self.last_error: str | None = None
        self._was_connected = False
        self._attempts = 0
        self._last_log = -LOG_EVERY
        self._next_log = 0.0
        self._announce = True

    def succeeded(self) -> None:
        """A round trip worked: Redis is there and takes our commands."""
        if self.healthy:
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

    async def recover(self, error: RedisError) -> None:
        """A round trip failed: take note, drop the connections, and wait until the next attempt is due."""
        self.failed(error)
        await self._disconnect()
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._attempts, 10))
        self._attempts += 1
        # Jitter, so that many instances do not come back at the same instant.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets

    def failed(self, error: RedisError) -> None:
        """A round trip failed: one record when that is news, then one every 10 seconds."""
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
        await self._disconnect()
        await self.client.aclose()

    async def _disconnect(self) -> None:
        await self.client.connection_pool.disconnect()
        await self.queue.close()
        await self.blocking.close()


def now() -> str:
    """The time as answers and records carry it: RFC 3339, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
