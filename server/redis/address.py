"""The address of Redis and the way to connect: direct, over TLS, or to the primary that the sentinels name."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ReadOnlyError, RedisError  # noqa: A004 - the client's own

SENTINEL_PORT = 26379
KNOWN_FOR = 0.1
"""Seconds for which connections that are opened at the same time ask the sentinels once."""
_SCHEMES = {"redis", "rediss", "redis+sentinel", "rediss+sentinel"}
_SERVICE = re.compile(r"/(?P<service>[A-Za-z0-9._-]+)(/(?P<db>\d*))?")


class NotPrimary(ReadOnlyError):
    """The other end is no primary, or not the one that the sentinels name."""


@dataclass(frozen=True)
class Address:
    """A Redis URL, checked.

    Attributes:
        url: as given.
        ca: PEM file with the authorities that may sign Redis' certificate; the system's when empty.
        service: the name under which the sentinels know the primary; empty without sentinels.
        sentinels: their hosts and ports.
    """

    url: str
    ca: str = ""
    service: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    _options: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, url: str, ca: str = "") -> Address:
        """Check a URL: `redis://`, `rediss://`, `unix://`, or `redis+sentinel://host:port,host:port/service/db`.

        Raises:
            ValueError: it cannot be used.
        """
        scheme, _, rest = url.partition("://")
        if scheme == "unix":
            if not re.fullmatch(r"/[^?]+(\?db=\d+)?", rest):
                raise ValueError(url)
            return cls(url)
        if scheme not in _SCHEMES:
            raise ValueError(url)
        if not scheme.endswith("+sentinel"):
            parts = urlsplit(url)
            usable = not parts.query and not parts.fragment and re.fullmatch(r"(/\d*)?", parts.path)
            if not usable or not parts.hostname or parts.port == 0:
                raise ValueError(url)
            parts.hostname.encode("idna")  # connecting will parse it the same way; raises a ValueError
            return cls(url, ca)
        login, _, hosts = rest.partition("/")[0].rpartition("@")
        path = _SERVICE.fullmatch("/" + rest.partition("/")[2])
        if path is None:
            raise ValueError(url)
        user, _, password = login.partition(":")
        options = {"db": int(path["db"] or 0), "username": unquote(user) or None, "password": unquote(password) or None}
        return cls(url, ca, path["service"], tuple(_host(each) for each in hosts.split(",")), options)

    @property
    def secure(self) -> bool:
        """Whether connections are encrypted."""
        return self.url.startswith("rediss")

    def options(self, reply_timeout: float) -> dict[str, Any]:
        """Settings of connections: no automatic retry by the client library, and a timeout on silence."""
        options = {
            # redis-py would repeat a commit whose reply was lost; the request queue settles that itself.
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "socket_timeout": reply_timeout,
            "socket_connect_timeout": reply_timeout / 2,
        }
        if not self.url.startswith("unix:"):
            options["socket_keepalive"] = True  # a Unix socket knows no such thing
        if self.secure:
            options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
            options["ssl_ca_certs"] = self.ca or None
        return options

    def pool(self, kind: type[ConnectionPool] = ConnectionPool, *, reply_timeout: float, **more: Any) -> Any:
        """A pool of connections; more arguments are those of the pool, and win over `options`."""
        options = self.options(reply_timeout) | more
        if not self.service:
            pool: Any = kind.from_url(self.url, **options)
            pool.connection_class = _steady(pool.connection_class)
            return pool
        base = _SecurePrimaryConnection if self.secure else _PrimaryConnection
        return kind(connection_class=_steady(base), sentinels=self.finder(reply_timeout), **self._options, **options)

    def client(self, *, connections: int, reply_timeout: float, **more: Any) -> Redis:
        """A client with at most this many connections."""
        options = {"max_connections": connections, "timeout": reply_timeout} | more
        return Redis.from_pool(self.pool(BlockingConnectionPool, reply_timeout=reply_timeout, **options))

    def finder(self, reply_timeout: float) -> Sentinels:
        """The sentinels, one object for all connections of a process to this address."""
        found = _finders.get(self.url)
        if found is None:
            found = _finders[self.url] = Sentinels(self, reply_timeout)
        return found


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"redis://{text}")
    if not parts.hostname or parts.path or parts.query or parts.port == 0:
        raise ValueError(text)
    return parts.hostname, parts.port or SENTINEL_PORT


class Sentinels:
    """Asks the sentinels for the primary.

    A sentinel that was cut off may still name the old one: of all that answer, the one with the newest configuration
    is believed.

    Args:
        address: names the sentinels and the service.
        reply_timeout: seconds in which a sentinel has to answer.
    """

    def __init__(self, address: Address, reply_timeout: float) -> None:
        self._address = address
        self._timeout = reply_timeout / 2
        self._asking: asyncio.Task[tuple[str, int]] | None = None
        self._found: tuple[str, int] | None = None
        self._found_at = 0.0

    async def primary(self) -> tuple[str, int]:
        """Host and port of the primary.

        Raises:
            ConnectionError: no sentinel answers, or none knows the service; the message has each one's answer.
        """
        if self._found is not None and time.monotonic() - self._found_at < KNOWN_FOR:
            return self._found
        loop = asyncio.get_running_loop()
        if self._asking is None or self._asking.done() or self._asking.get_loop() is not loop:
            self._asking = loop.create_task(self._ask_all(), name="sentinels")
        return await asyncio.shield(self._asking)

    async def _ask_all(self) -> tuple[str, int]:
        answers = await asyncio.gather(*(self._ask(*each) for each in self._address.sentinels), return_exceptions=True)
        known = [answer for answer in answers if isinstance(answer, tuple)]
        if not known:
            said = "; ".join(
                f"{host}:{port}: {answer}"
                for (host, port), answer in zip(self._address.sentinels, answers, strict=True)
            )
            raise ConnectionError(f"no sentinel names the primary of {self._address.service!r} ({said})")
        _, host, port = max(known, key=lambda answer: answer[0])
        self._found, self._found_at = (host, port), time.monotonic()
        return self._found

    async def _ask(self, host: str, port: int) -> tuple[int, str, int]:
        options = self._address.options(self._timeout) | {"host": host, "port": port}
        connection: Any = (SSLConnection if self._address.secure else Connection)(**options)
        try:
            async with asyncio.timeout(self._timeout):
                await connection.connect()
                await connection.send_command("SENTINEL", "MASTER", self._address.service)
                reply = await connection.read_response()
        except RedisError:
            raise
        except TimeoutError:
            raise ConnectionError("no answer in time") from None
        finally:
            await connection.disconnect(nowait=True)
        about = dict(zip(reply[::2], reply[1::2], strict=True))
        return int(about[b"config-epoch"]), about[b"ip"].decode(), int(about[b"port"])


_finders: dict[str, Sentinels] = {}


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


class _ToPrimary:
    """Each time it connects, it goes to the primary of that moment, and makes sure that this is one."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)

    async def _connect(self) -> None:
        self.host, self.port = await self._sentinels.primary()
        await super()._connect()  # type: ignore[misc]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)  # type: ignore[misc]
        await self.send_command("ROLE", check_health=False)  # type: ignore[attr-defined]
        role = (await self.read_response())[0]  # type: ignore[attr-defined]
        if role != b"master":
            raise NotPrimary(f"{self.host}:{self.port}, which the sentinels name as primary, says that it is {role!r}")


class _PrimaryConnection(_ToPrimary, Connection):
    pass


class _SecurePrimaryConnection(_ToPrimary, SSLConnection):
    pass


_steady_classes: dict[type, type] = {}


def _steady(kind: type) -> type:
    if kind not in _steady_classes:
        _steady_classes[kind] = type(f"Steady{kind.__name__}", (_SteadyConnection, kind), {})
    return _steady_classes[kind]
