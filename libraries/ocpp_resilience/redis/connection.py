"""The connection to Redis, and waiting that outlives its outages."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

import redis
from redis import sentinel
from redis.asyncio import sentinel as async_sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from ocpp_resilience.errors import ResilienceError, UsageError
from ocpp_resilience.robot.variables import chosen_for_the_run
from ocpp_resilience.waiting import LONGEST_PAUSE, wait_until

T = TypeVar("T")

CONNECT_TIMEOUT = 1.0
CA_VARIABLE = "REDIS_CA"
SENTINEL = "+sentinel"
SENTINEL_PORT = 26379
PRIMARY_KNOWN_FOR = 0.1
"""Seconds after which the sentinels are asked again for the primary."""
_SENTINEL_URL = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://((?P<user>[^:@/]*)(:(?P<password>[^@/]*))?@)?(?P<hosts>[^/@]+)"
    r"/(?P<service>[A-Za-z0-9._-]+)(/(?P<db>\d*))?"
)
SOCKET_TIMEOUT = 5.0
"""Seconds for one reply: a machine that stands still for two or three does not make Redis one that is away."""

OWN_CLIENTS = "acceptance-test"
"""Prefix of the names of our own connections; the fault that closes connections leaves these open."""
CLIENT_NAME = f"{OWN_CLIENTS}-queue"

AWAY = (redis.ConnectionError, redis.TimeoutError)
"""Exceptions of redis-py while Redis cannot be reached or does not answer."""


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


def open_client(
    url: str,
    *,
    database: int | None = None,
    socket_timeout: float | None = SOCKET_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    name: str = CLIENT_NAME,
    text: bool = False,
    single: bool = False,
    retries: int = 0,
) -> Any:
    """The factory of every client: it repeats no command unless told to, and nothing is sent yet.

    Args:
        url: `redis://`, `rediss://`, `unix://`, or `redis+sentinel://host:port,host:port/service/db`, with user and
            password. With sentinels each connection goes to the primary that they name at that moment. The authorities
            that may sign Redis' certificate are those in the file that the run has for `REDIS_CA`, or the system's.
        database: the number of the database, in the place of the one in the URL.
        socket_timeout: the longest wait for one reply, in seconds; `None` for any.
        connect_timeout: the longest wait for a connection, in seconds.
        name: the name of the client in Redis.
        text: replies are text, not bytes.
        single: one connection for all commands.
        retries: how often a command is repeated whose reply was lost: only where that does no harm.

    Raises:
        UsageError: the URL cannot be used.
    """
    return _opened(redis.Redis, Retry, sentinel.Sentinel, **locals())


def open_async_client(
    url: str,
    *,
    database: int | None = None,
    socket_timeout: float | None = SOCKET_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    name: str = CLIENT_NAME,
    text: bool = False,
    single: bool = False,
    retries: int = 0,
) -> Any:
    """`open_client` for asyncio."""
    return _opened(redis.asyncio.Redis, AsyncRetry, async_sentinel.Sentinel, **locals())


def _opened(
    kind: Any,
    retry: Any,
    sentinels: Any,
    url: str,
    *,
    database: int | None,
    socket_timeout: float | None,
    connect_timeout: float,
    name: str,
    text: bool,
    single: bool,
    retries: int,
) -> Any:
    options: dict[str, Any] = {
        "protocol": 2,
        "retry": retry(ExponentialBackoff(cap=1.0, base=0.1), retries),
        "socket_connect_timeout": connect_timeout,
        "socket_timeout": socket_timeout,
        "client_name": name,
        "decode_responses": text,
        "encoding_errors": "backslashreplace" if text else "strict",
    }
    if url.startswith("rediss") and (authorities := chosen_for_the_run(CA_VARIABLE)):
        options["ssl_ca_certs"] = authorities
    try:
        if SENTINEL in url.partition("://")[0]:
            return _to_primary(url, sentinels, options, database)
        client = kind.from_url(url, single_connection_client=single, **options)
    except ValueError as error:
        raise UsageError(f"The Redis URL '{shown_url(url)}' cannot be used: {error}") from None
    # A database in the URL would win over one given as an argument.
    if database is not None:
        client.connection_pool.connection_kwargs["db"] = database
    return client


def _to_primary(url: str, sentinels: Any, options: dict[str, Any], database: int | None) -> Any:
    found = _SENTINEL_URL.fullmatch(url)
    if found is None:
        raise ValueError("allowed is redis+sentinel://[user:password@]host:port,host:port/service/db")
    secure = {"ssl": True} if found["scheme"] == "rediss" else {}
    hosts = []
    for each in found["hosts"].split(","):
        parts = urlsplit(f"redis://{each}")
        hosts.append((parts.hostname, parts.port or SENTINEL_PORT))
    timeouts = {key: value for key, value in options.items() if key in {"socket_connect_timeout", "retry"}}
    timeouts["socket_timeout"] = options["socket_connect_timeout"]
    timeouts |= {key: value for key, value in options.items() if key.startswith("ssl_")} | secure
    pool = {"connection_pool_class": _PrimaryPool} if sentinels is sentinel.Sentinel else {}
    return sentinels(hosts, sentinel_kwargs=timeouts | {"protocol": 2}, **options, **secure).master_for(
        found["service"],
        **pool,
        db=int(found["db"] or 0) if database is None else database,
        username=unquote(found["user"]) if found["user"] else None,
        password=unquote(found["password"]) if found["password"] else None,
    )


class _PrimaryPool(sentinel.SentinelConnectionPool):
    """Leaves a connection that does not lead to the primary any more, also where it stays open and works."""

    _looked_at = -math.inf
    _primary: Any = None

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """A connection to the primary that the sentinels name."""
        connection: Any = super().get_connection(*arguments, **options)
        if time.monotonic() - self._looked_at > PRIMARY_KNOWN_FOR:
            pool: Any = super()
            self._primary, self._looked_at = pool.get_master_address(), time.monotonic()
        if (connection.host, connection.port) != self._primary:
            connection.disconnect()
            # Otherwise the first command would connect to the same node again.
            try:
                connection.connect()
            except BaseException:
                self.release(connection)
                raise
        return connection


def connect(url: str, *, database: int | None = None, socket_timeout: float = SOCKET_TIMEOUT) -> RedisClient:
    """`open_client`, with the types of the commands that are used here."""
    return cast("RedisClient", open_client(url, database=database, socket_timeout=socket_timeout))


def database_in(url: str) -> int | None:
    """The number of the database that `url` names."""
    if SENTINEL in url.partition("://")[0]:
        found = _SENTINEL_URL.fullmatch(url)
        return int(found["db"]) if found and found["db"] else None
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
    except ValueError:  # not a URL; the part before its last @ may be secret all the same
        return url.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def is_local(client: RedisClient) -> bool:
    """Whether the Redis of `client` runs on this machine."""
    options = client.connection_pool.connection_kwargs
    return "path" in options or options.get("host") in {"127.0.0.1", "::1", "localhost"}


def was_refused(error: BaseException | None) -> bool:
    """Whether `error` means that nothing listens on the port."""
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
        """An addition to an error message about the reachability of Redis; empty if it was reachable all the time."""
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
