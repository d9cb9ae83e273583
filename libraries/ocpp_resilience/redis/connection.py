"""The connection to Redis, and waiting that outlives its outages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ocpp_resilience.errors import ResilienceError, UsageError
from ocpp_resilience.waiting import LONGEST_PAUSE, wait_until

T = TypeVar("T")

CONNECT_TIMEOUT = 1.0
SOCKET_TIMEOUT = 5.0
"""Seconds for one reply: a machine that stands still for two or three does not make Redis one that is away."""

OWN_CLIENTS = "acceptance-test"
"""How the names of our own connections begin: the fault that closes connections leaves these alone."""

AWAY = (redis.ConnectionError, redis.TimeoutError)
"""What redis-py raises while Redis cannot be reached or does not answer."""


class RedisClient(Protocol):
    """The commands of redis-py that are used here, with the types that they have without decoding."""

    connection_pool: Any

    def close(self) -> None: ...
    def delete(self, *keys: str) -> int: ...
    def get(self, key: bytes) -> bytes | None: ...
    def hgetall(self, key: bytes) -> dict[bytes, bytes]: ...
    def llen(self, key: str) -> int: ...
    def lrange(self, key: str | bytes, first: int, last: int) -> list[bytes]: ...
    def ping(self) -> bool: ...
    def pipeline(self, transaction: bool) -> Any: ...
    def scan_iter(self, *, count: int) -> Iterable[bytes]: ...
    def srem(self, key: str, *members: str) -> int: ...
    def smembers(self, key: str | bytes) -> set[bytes]: ...
    def type(self, key: str) -> bytes: ...
    def xrange(self, key: bytes) -> list[Any]: ...
    def zrange(self, key: str | bytes, first: int, last: int, *, withscores: bool = False) -> list[Any]: ...


class QueueUnavailable(ResilienceError):
    """Redis could not be reached, and the keyword could not wait for it."""


def connect(url: str, *, database: int | None = None, socket_timeout: float = SOCKET_TIMEOUT) -> RedisClient:
    """A client for `url` that never repeats a command by itself; nothing is sent yet.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        database: the number of the database, in the place of the one in the URL.
        socket_timeout: the longest wait for one reply, in seconds.

    Raises:
        UsageError: the URL cannot be used.
    """
    more: dict[str, object] = {} if database is None else {"db": database}
    try:
        client = redis.Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=socket_timeout,
            client_name=f"{OWN_CLIENTS}-queue",
        )
    except ValueError as error:
        raise UsageError(f"The Redis URL '{shown_url(url)}' cannot be used: {error}") from None
    # A database in the URL would win over one given as an argument.
    client.connection_pool.connection_kwargs.update(more)
    return cast(RedisClient, client)


def database_in(url: str) -> int | None:
    """The number of the database that `url` names."""
    parts = urlsplit(url)
    if "db=" in parts.query:
        number = next(value for value in parts.query.split("&") if value.startswith("db=")).removeprefix("db=")
    else:
        number = "" if parts.scheme == "unix" else parts.path.strip("/")
    return int(number) if number.isdigit() else None


def shown_url(url: str) -> str:
    """`url` without user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:  # it is not one; what stands before its last @ may be secret all the same
        return url.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def is_local(client: RedisClient) -> bool:
    """Whether the Redis of `client` runs on this machine."""
    options = client.connection_pool.connection_kwargs
    return "path" in options or options.get("host") in {"127.0.0.1", "::1", "localhost"}


def was_refused(error: BaseException | None) -> bool:
    """Whether `error` came of nobody listening."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_away(error: redis.RedisError) -> bool:
    """Whether Redis cannot be reached, does not answer, or answers BUSY to everything while a script runs."""
    return isinstance(error, AWAY) or "BUSY " in str(error)


class RedisWatch:
    """Looks at Redis again and again, and remembers how often it could not be reached."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._error: str | None = None
        self.failures = 0

    def guard(self, probe: Callable[[], T | None]) -> Callable[[], T | None]:
        """`probe`, which answers `None` ("not yet") while Redis cannot be reached."""

        def look() -> T | None:
            try:
                found = probe()
            except (*AWAY, redis.ResponseError) as error:
                if not is_away(error):
                    raise
                self._error = str(error) or type(error).__name__
                self.failures += 1
                return None
            self._error = None
            return found

        return look

    @property
    def away(self) -> bool:
        """Whether Redis could not be reached at the last look."""
        return self._error is not None

    @property
    def note(self) -> str:
        """What a failure adds to its text; empty if Redis could be reached all the time."""
        if self._error is not None:
            return f"; Redis at {self._address} was not reachable at the end: {self._error}"
        if self.failures:
            return f"; Redis at {self._address} could not be reached at {self.failures} looks in between"
        return ""

    def wait(
        self,
        probe: Callable[[], T | None],
        *,
        timeout: timedelta | float,
        failure: Callable[[], str],
        longest_pause: float = LONGEST_PAUSE,
    ) -> T:
        """`wait_until`, which goes on while Redis is away, and says so in its failure."""
        return wait_until(
            self.guard(probe),
            timeout=timeout,
            failure=lambda: f"{failure()}{self.note}",
            longest_pause=longest_pause,
        )
