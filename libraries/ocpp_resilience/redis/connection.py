"""The connection to Redis, and waiting that outlives its outages."""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

import redis
from redis import sentinel
from redis.asyncio import sentinel as async_sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from ocpp_resilience.errors import ExpectationFailed, ResilienceError, UsageError
from ocpp_resilience.robot.variables import chosen_for_the_run
from ocpp_resilience.waiting import LONGEST_PAUSE, wait_until

T = TypeVar("T")

CONNECT_TIMEOUT = 1.0
CA_VARIABLE = "REDIS_CA"
SENTINEL = "+sentinel"
SENTINEL_PORT = 26379
PRIMARY_KNOWN_FOR = 0.1
"""Seconds after which the sentinels are asked again for the primary."""
SILENT_FOR = 2.0
"""The same, when none of them has answered."""
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
    """The factory of every client: commands are not retried by default, and nothing is sent yet.

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
        if replicated := SentinelUrl.parse(url):
            return _to_primary(replicated, sentinels, options, database)
        client = kind.from_url(url, single_connection_client=single, **options)
    except ValueError as error:
        raise UsageError(f"The Redis URL '{shown_url(url)}' cannot be used: {error}") from None
    # A database in the URL would win over one given as an argument.
    if database is not None:
        client.connection_pool.connection_kwargs["db"] = database
    return client


class SentinelUrl(NamedTuple):
    """The parts of a `redis+sentinel://` URL.

    Attributes:
        secure: whether connections are encrypted.
        user: the user of the nodes, percent-encoded; `None` for the default one.
        password: its password, percent-encoded; `None` without one.
        hosts: host and port of each sentinel.
        service: the name under which they know the primary.
        database: the number of the database; `None` if the URL names none.
    """

    secure: bool
    user: str | None
    password: str | None
    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int | None

    @classmethod
    def parse(cls, url: str) -> SentinelUrl | None:
        """The parts of `url`; `None` for a URL of another kind.

        Raises:
            ValueError: it has the scheme, and the rest is not as it has to be.
        """
        if SENTINEL not in url.partition("://")[0]:
            return None
        found = _SENTINEL_URL.fullmatch(url)
        if found is None:
            raise ValueError("allowed is redis+sentinel://[user:password@]host:port,host:port/service/db")
        hosts = []
        for each in found["hosts"].split(","):
            parts = urlsplit(f"redis://{each}")
            if not parts.hostname:
                raise ValueError(f"'{each}' is no host of a sentinel")
            hosts.append((parts.hostname, parts.port or SENTINEL_PORT))
        database = int(found["db"]) if found["db"] else None
        return cls(
            found["scheme"] == "rediss",
            found["user"] or None,
            found["password"] or None,
            tuple(hosts),
            found["service"],
            database,
        )

    def of_node(self, host: str, port: int) -> str:
        """The URL of one node, for its client."""
        login = "" if self.password is None else f"{self.user or ''}:{self.password}@"
        path = "" if self.database is None else f"/{self.database}"
        return f"redis{'s' if self.secure else ''}://{login}{host}:{port}{path}"

    def with_hosts(self, hosts: Iterable[tuple[str, int]]) -> str:
        """The same URL with other sentinels."""
        login = "" if self.password is None else f"{self.user or ''}:{self.password}@"
        places = ",".join(f"{host}:{port}" for host, port in hosts)
        path = "" if self.database is None else f"/{self.database}"
        return f"redis{'s' if self.secure else ''}+sentinel://{login}{places}/{self.service}{path}"

    def nodes(self) -> list[tuple[str, int]]:
        """Host and port of each node, the primary first, as the sentinel with the newest configuration knows them.

        Raises:
            redis.ConnectionError: no sentinel answers.
        """
        newest: tuple[int, list[tuple[str, int]]] | None = None
        for host, port in self.hosts:
            with suppress(redis.RedisError), closing(self._sentinel(host, port)) as client:
                about = _pairs(client.execute_command("SENTINEL", "MASTER", self.service))
                others = [_pairs(each) for each in client.execute_command("SENTINEL", "REPLICAS", self.service)]
                epoch = int(about["config-epoch"])
                if newest is None or epoch > newest[0]:
                    newest = epoch, [(each["ip"], int(each["port"])) for each in (about, *others)]
        if newest is None:
            raise redis.ConnectionError(f"no sentinel names the primary of '{self.service}'")
        return newest[1]

    def _sentinel(self, host: str, port: int) -> Any:
        scheme = "rediss" if self.secure else "redis"
        client = open_client(f"{scheme}://{host}:{port}", socket_timeout=CONNECT_TIMEOUT, text=True, single=True)
        client.response_callbacks.clear()
        return client


def _pairs(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _to_primary(found: SentinelUrl, sentinels: Any, options: dict[str, Any], database: int | None) -> Any:
    secure = {"ssl": True} if found.secure else {}
    timeouts = {key: value for key, value in options.items() if key in {"socket_connect_timeout", "retry"}}
    timeouts["socket_timeout"] = options["socket_connect_timeout"]
    timeouts |= {key: value for key, value in options.items() if key.startswith("ssl_")} | secure
    pool = {"connection_pool_class": _PrimaryPool} if sentinels is sentinel.Sentinel else {}
    return sentinels(list(found.hosts), sentinel_kwargs=timeouts | {"protocol": 2}, **options, **secure).master_for(
        found.service,
        **pool,
        db=(found.database or 0) if database is None else database,
        username=unquote(found.user) if found.user else None,
        password=unquote(found.password) if found.password else None,
    )


class NoPrimary(redis.ConnectionError):
    """No sentinel names the primary."""


class _PrimaryPool(sentinel.SentinelConnectionPool):
    """Drops a connection that no longer leads to the primary, even if it stays open and works."""

    _look_at = -math.inf
    _primary: Any = None

    def get_master_address(self) -> Any:
        """Host and port of the primary.

        Raises:
            NoPrimary: no sentinel names it; caused by the refusal where each one refuses connections.
        """
        pool: Any = super()
        try:
            return pool.get_master_address()
        except sentinel.MasterNotFoundError:
            refusal = _refusal(each.connection_pool.connection_kwargs for each in self.sentinel_manager.sentinels)
            raise NoPrimary(f"no sentinel names the primary of '{self.service_name}'") from refusal

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """A connection to the primary that the sentinels name."""
        connection: Any = super().get_connection(*arguments, **options)
        if time.monotonic() > self._look_at:
            try:
                self._primary = self.get_master_address()
                self._look_at = time.monotonic() + PRIMARY_KNOWN_FOR
            except NoPrimary:
                # What works goes on to be used. To ask takes long, while no sentinel answers.
                self._primary = connection.host, connection.port
                self._look_at = time.monotonic() + SILENT_FOR
        if (connection.host, connection.port) != self._primary:
            connection.disconnect()
            # Otherwise the first command would connect to the same node again.
            try:
                connection.connect()
            except BaseException:
                self.release(connection)
                raise
        return connection


def _refusal(sentinels: Iterable[dict[str, Any]]) -> ConnectionRefusedError | None:
    """The refusal of the last of these, if each of them refuses connections."""
    refusal = None
    for each in sentinels:
        try:
            socket.create_connection((each["host"], each["port"]), CONNECT_TIMEOUT).close()
        except ConnectionRefusedError as error:
            refusal = error
        except OSError:
            return None
        else:
            return None
    return refusal


def connect(url: str, *, database: int | None = None, socket_timeout: float = SOCKET_TIMEOUT) -> RedisClient:
    """`open_client`, with the types of the commands that are used here."""
    return cast("RedisClient", open_client(url, database=database, socket_timeout=socket_timeout))


def database_in(url: str) -> int | None:
    """The number of the database that `url` names."""
    with suppress(ValueError):
        if replicated := SentinelUrl.parse(url):
            return replicated.database
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


def nothing_ended(seen: str) -> str:  # noqa: ARG001 - as one that knows of a system
    """Of a wait that depends on no process."""
    return ""


class RedisWatch:
    """Looks at Redis again and again, and remembers how often it could not be reached.

    Args:
        address: of Redis, for messages.
        ended: says that the system that is waited for has ended by itself, with what was seen of it; empty while it has
            not. It ends a wait at once.
    """

    def __init__(self, address: str, *, ended: Callable[[str], str] = nothing_ended) -> None:
        self._address = address
        self._ended = ended
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
        """`wait_until` that continues during an outage of Redis, and mentions the outage in its failure.

        Raises:
            ExpectationFailed: the system that is waited for has ended.
        """
        guarded = self.guard(probe)

        def look() -> T | None:
            # What it did before it ended counts.
            ended = bool(self._ended(""))
            found = guarded()
            if found is None and ended:
                raise ExpectationFailed(self._ended(f"{failure()}{self.note}."))
            return found

        return wait_until(
            look,
            timeout=timeout,
            failure=lambda: f"{failure()}{self.note}",
            longest_pause=longest_pause,
        )
