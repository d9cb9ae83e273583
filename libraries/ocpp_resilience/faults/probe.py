"""Looking at Redis or a gateway from outside, on raw sockets: the measurements that prove a fault."""

from __future__ import annotations

import abc
import contextlib
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar
from urllib.parse import unquote, urlsplit

import redis

from ocpp_resilience.errors import ServiceError, UsageError
from ocpp_resilience.ports import joined
from ocpp_resilience.redis.connection import SentinelUrl

P = TypeVar("P", bound="Probe")

LIMIT = 0.3
"""Seconds without a reply that count as silence."""
PROOF_LIMIT = 5.0
"""Seconds in which something that has to be seen is seen, also on a machine that stands still now and then."""


@dataclass(frozen=True)
class Seen:
    """The result of one request.

    Attributes:
        what: `reply`, `silence`, `closed`, `reset`, `refused`.
        text: the first line of the reply.
        took: seconds from the request to the end of the reply.
        size: bytes received.
    """

    what: str
    text: str = ""
    took: float = 0.0
    size: int = 0

    def __str__(self) -> str:
        took = f"after {self.took * 1000:.1f} ms"
        return {
            "reply": f"{self.text[:100]} {took}",
            "silence": f"no answer {took}",
            "closed": f"connection closed {took}",
            "reset": f"connection reset {took}",
            "refused": "connection refused",
        }[self.what]


class Address(abc.ABC):
    """The service behind a fault proxy.

    Args:
        url: its URL.
        host: where it listens.
        port: where it listens.
    """

    def __init__(self, url: str, host: str, port: int) -> None:
        self.url = url
        self._host, self._port = host, port

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def servers(self) -> list[tuple[str, int]]:
        """Host and port of each server that clients of it may connect to."""
        return [(self.host, self.port)]

    def at(self, host: str, port: int) -> str:
        """The same URL with another address."""
        parts = urlsplit(self.url)
        user = parts.netloc.rpartition("@")[0]
        place = joined(host, port)
        return parts._replace(netloc=f"{user}@{place}" if user else place).geturl()

    @abc.abstractmethod
    def probe(
        self, host: str, port: int, *, limit: float = LIMIT, count: Callable[[int], object] = lambda _: None
    ) -> Probe:
        """A connection to it by way of `host` and `port`.

        Args:
            host: where to connect.
            port: where to connect.
            limit: seconds without an answer that count as silence.
            count: called with 1 for each connection and -1 for one that failed, so that no probe is taken for a client.
        """


class RedisAddress(Address):
    """A Redis as the service behind a fault proxy.

    Args:
        url: its URL.
        secure: with it, probes speak TLS; they do in any case where the URL begins with `rediss:`.

    Attributes:
        encrypted: whether TLS goes through a proxy before it, which then sees no commands.

    Raises:
        UsageError: the URL is not of the form redis[s]://[user:password@]host:port/db.
    """

    def __init__(self, url: str, secure: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self.encrypted = parts.scheme == "rediss"
        self._secure = _any_certificate() if self.encrypted and secure is None else secure
        if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
            raise UsageError(
                "A fault proxy needs a Redis URL of the form redis[s]://[user:password@]host:port/db or "
                "redis+sentinel://[user:password@]host:port,host:port/service/db."
            )
        super().__init__(url, parts.hostname, parts.port or 6379)
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")

    @property
    def node(self) -> str:
        """The URL of the server that takes the commands of this moment."""
        return self.url

    def probe(
        self, host: str, port: int, *, limit: float = LIMIT, count: Callable[[int], object] = lambda _: None
    ) -> RedisProbe:
        """A connection that is logged in."""
        made = RedisProbe(host, port, limit=limit, count=count, secure=self._secure)
        if self.password:
            made.log_in(self.user, self.password)
        return made


class SentinelAddress(RedisAddress):
    """The addresses of sentinels, whose primary is the current server.

    Raises:
        UsageError: the URL is not of the form redis+sentinel://[user:password@]host:port,host:port/service/db.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = SentinelUrl.parse(url)
        except ValueError as error:
            raise UsageError(f"This Redis cannot be used with a fault proxy: {error}.") from None
        if parts is None or parts.secure:
            raise UsageError("A fault proxy needs the URL of sentinels in the form redis+sentinel://.")
        self._parts = parts
        self._known: list[tuple[str, int]] = []
        super().__init__(parts.of_node(*parts.hosts[0]))
        self.url = url

    @property
    def sentinels(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each sentinel."""
        return self._parts.hosts

    @property
    def host(self) -> str:
        return self.servers[0][0]

    @property
    def port(self) -> int:
        return self.servers[0][1]

    @property
    def servers(self) -> list[tuple[str, int]]:
        """The nodes, the primary first; as they were known last, while no sentinel answers.

        Raises:
            ServiceError: no sentinel has ever answered.
        """
        try:
            self._known = self._parts.nodes()
        except redis.ConnectionError as error:
            if not self._known:
                raise ServiceError(f"The fault proxy does not find the nodes of Redis: {error}.") from None
        return self._known

    @property
    def node(self) -> str:
        return self._parts.of_node(self.host, self.port)

    def at_sentinels(self, hosts: Sequence[tuple[str, int]]) -> str:
        """The same URL with other sentinels."""
        return self._parts.with_hosts(hosts)


def redis_address(url: str) -> RedisAddress:
    """Where a Redis is, with sentinels or without.

    Raises:
        UsageError: the URL cannot be used.
    """
    return SentinelAddress(url) if "+sentinel" in url.partition("://")[0] else RedisAddress(url)


class GatewayAddress(Address):
    """A gateway as the service behind a fault proxy: it listens for WebSocket connections.

    TLS goes through the proxy as it is: gateway and charge points see each other's certificates.

    Raises:
        UsageError: the URL is not of the form ws://host:port/path or wss://host:port/path.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss"} or not parts.hostname:
            raise UsageError(f"A fault proxy needs a gateway URL of the form ws[s]://host:port/path, not '{url}'.")
        self._tls = parts.scheme == "wss"
        super().__init__(url, parts.hostname, parts.port or (443 if self._tls else 80))

    def probe(
        self, host: str, port: int, *, limit: float = LIMIT, count: Callable[[int], object] = lambda _: None
    ) -> GatewayProbe:
        """A connection for plain HTTP requests, or the beginning of TLS: it makes no session of a charge point."""
        return (TlsProbe if self._tls else GatewayProbe)(host, port, limit=limit, count=count)


class Probe(abc.ABC):
    """One connection, for requests in turn.

    Args:
        host: where to connect.
        port: where to connect.
        limit: seconds without an answer that count as silence.
        count: called with 1 for each connection and -1 for one that failed, so that no probe is taken for a client.
        secure: the context of TLS; none for a plain connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        limit: float = LIMIT,
        count: Callable[[int], object] = lambda _: None,
        secure: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port, self._count = host, port, count
        self._secure = secure
        self.limit = limit
        self._socket = self._connected()

    @abc.abstractmethod
    def ping(self, limit: float | None = None) -> Seen:
        """The shortest request and its reply."""

    @abc.abstractmethod
    def echo(self, size: int, limit: float | None = None) -> Seen:
        """Send a request with a reply of at least `size` bytes, if the service has such a request."""

    def settle(self) -> None:  # noqa: B027 - a request may end it
        """Use the connection once, unless a request would end it, to be sure that both ends exist."""

    def _connected(self) -> socket.socket:
        self._count(1)
        try:
            made = socket.create_connection((self._host, self._port), self.limit)
            if self._secure is not None:
                made = self._secure.wrap_socket(made, server_hostname=self._host)
        except OSError:
            self._count(-1)
            raise
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def _exchange(self, request: bytes, whole: Callable[[bytearray], bool], limit: float | None) -> Seen:
        """Send a request and read until the reply is `whole`."""
        began = time.perf_counter()
        received = bytearray()
        try:
            self._socket.settimeout(limit or self.limit)
            self._socket.sendall(request)
            while not whole(received):
                if not (data := self._socket.recv(262144)):
                    return Seen("closed", took=time.perf_counter() - began, size=len(received))
                received += data
        except TimeoutError:
            return Seen("silence", took=time.perf_counter() - began, size=len(received))
        except OSError:
            return Seen("reset", took=time.perf_counter() - began, size=len(received))
        line = received.partition(b"\r\n")[0].decode("utf-8", "replace")
        return Seen("reply", line, time.perf_counter() - began, len(received))

    @property
    def address(self) -> str:
        """`host:port` of its own end."""
        name = self._socket.getsockname()
        return joined(name[0], name[1])

    @property
    def ended(self) -> bool:
        """Whether the connection has ended, seen without waiting."""
        return self.more(0.001)

    def more(self, limit: float) -> bool:
        """Whether anything comes within this many seconds, the end of the connection included."""
        try:
            self._socket.settimeout(limit)
            self._socket.recv(262144)
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def ending(self, limit: float = 1.0) -> Seen:
        """Wait for the end of the connection."""
        began = time.perf_counter()
        try:
            self._socket.settimeout(limit)
            while self._socket.recv(65536):
                pass
        except TimeoutError:
            return Seen("silence", took=time.perf_counter() - began)
        except OSError:
            return Seen("reset", took=time.perf_counter() - began)
        return Seen("closed", took=time.perf_counter() - began)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RedisProbe(Probe):
    """A connection to Redis."""

    _login: Seen | None = None

    def log_in(self, user: str, password: str) -> None:
        """Log in; where Redis sends a reason and ends the connection, that is the reply to the next request."""
        self._login = self.ask("AUTH", *([user] if user else []), password)

    def ask(self, *words: str | bytes, limit: float | None = None) -> Seen:
        """Send one request whose reply is a line or one string."""
        seen = self._exchange(encode(*words), _whole, limit)
        refused = self._login is not None and self._login.text.startswith("-")
        return self._login if refused and seen.what in {"closed", "reset"} and self._login else seen

    def ping(self, limit: float | None = None) -> Seen:
        """PING."""
        return self.ask("PING", limit=limit)

    def settle(self) -> None:
        self.ping()

    def echo(self, size: int, limit: float | None = None) -> Seen:
        """ECHO of `size` bytes."""
        return self.ask("ECHO", b"x" * size, limit=limit)


class GatewayProbe(Probe):
    """A connection to a gateway: one HTTP request, which it refuses; the next one needs another connection."""

    def __init__(
        self, host: str, port: int, *, limit: float = LIMIT, count: Callable[[int], object] = lambda _: None
    ) -> None:
        super().__init__(host, port, limit=limit, count=count)
        self._used = False

    def ping(self, limit: float | None = None) -> Seen:
        """Send GET and return the complete answer."""
        try:
            if self._used:
                self.close()
                self._socket = self._connected()
        except OSError:
            return Seen("refused")
        self._used = True
        return self._greet(limit)

    def _greet(self, limit: float | None) -> Seen:
        request = f"GET / HTTP/1.1\r\nHost: {joined(self._host, self._port)}\r\nConnection: close\r\n\r\n"
        return self._exchange(request.encode(), _whole_http, limit)

    def echo(self, size: int, limit: float | None = None) -> Seen:  # noqa: ARG002 - see below
        """The same; the gateway decides on the size."""
        return self.ping(limit)


class TlsProbe(GatewayProbe):
    """A connection to a gateway that speaks TLS: the first two messages of a handshake, for which no certificate is
    needed."""

    def _greet(self, limit: float | None) -> Seen:
        seen = self._exchange(_client_hello(), _whole_record, limit)
        return replace(seen, text="the TLS handshake was answered") if seen.what == "reply" else seen


def look(
    address: Address, host: str, port: int, *, limit: float = LIMIT, count: Callable[[int], object] = lambda _: None
) -> Seen:
    """Send PING, or the shortest request of the service, on a separate connection."""
    return once(lambda: address.probe(host, port, limit=limit, count=count), lambda probe: probe.ping())


def once(connect: Callable[[], P], request: Callable[[P], Seen]) -> Seen:
    """One request on a separate connection, which may not come about."""
    began = time.perf_counter()
    try:
        with connect() as probe:
            return request(probe)
    except ConnectionRefusedError:
        return Seen("refused", took=time.perf_counter() - began)
    except TimeoutError:
        return Seen("silence", took=time.perf_counter() - began)
    except OSError:
        return Seen("reset", took=time.perf_counter() - began)


def encode(*words: str | bytes) -> bytes:
    """A request in Redis' protocol."""
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in raw)


def _whole(reply: bytearray) -> bool:
    line, found, rest = reply.partition(b"\r\n")
    if not found:
        return False
    if line[:1] == b"$" and line != b"$-1":
        return len(rest) >= int(line[1:]) + 2
    return True


def _whole_http(reply: bytearray) -> bool:
    head, found, body = reply.partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return len(body) >= (int(length[1]) if length else 0)


def _client_hello() -> bytes:
    """The first message of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _any_certificate().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def _any_certificate() -> ssl.SSLContext:
    """For probes, which measure the way and not the certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _whole_record(received: bytearray) -> bool:
    """Whether the first record of TLS is there (RFC 8446 section 5.1)."""
    return len(received) >= 5 and len(received) >= 5 + int.from_bytes(received[3:5])
