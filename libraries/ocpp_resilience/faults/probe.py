"""Looking at Redis from outside, on raw sockets: the measurements that prove a fault."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from ocpp_resilience.errors import UsageError

LIMIT = 0.3
"""Seconds without a reply that count as silence."""
PROOF_LIMIT = 5.0
"""Seconds in which something that has to be seen is seen, also on a machine that stands still now and then."""


@dataclass(frozen=True)
class Seen:
    """What came of one request.

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
            "reply": f"{self.text} {took}",
            "silence": f"no answer {took}",
            "closed": f"connection closed {took}",
            "reset": f"connection reset {took}",
            "refused": "connection refused",
        }[self.what]


class Address:
    """Where a Redis is, from its URL.

    Raises:
        UsageError: the URL is not of the form redis://[user:password@]host:port/db.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "redis" or not parts.hostname:
            raise UsageError("A fault proxy needs a Redis URL of the form redis://[user:password@]host:port/db.")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or 6379
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")

    def at(self, host: str, port: int) -> str:
        """The same URL with another address."""
        parts = urlsplit(self.url)
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{user}@{host}:{port}" if user else f"{host}:{port}").geturl()


class Probe:
    """One connection to Redis, for requests in turn.

    Args:
        address: whose user and password are used.
        host: where to connect.
        port: where to connect.
        limit: seconds without an answer that count as silence.
        count: told of each connection (1), and when it did not come about (-1), so that no probe is taken for a client.
    """

    def __init__(
        self,
        address: Address,
        host: str,
        port: int,
        *,
        limit: float = LIMIT,
        count: Callable[[int], object] = lambda _: None,
    ) -> None:
        count(1)
        try:
            self._socket = socket.create_connection((host, port), limit)
        except OSError:
            count(-1)
            raise
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.limit = limit
        if address.password:
            self.ask("AUTH", *([address.user] if address.user else []), address.password)

    def ask(self, *words: str | bytes, limit: float | None = None) -> Seen:
        """Send one request whose reply is a line or one string."""
        began = time.perf_counter()
        received = b""
        try:
            self._socket.settimeout(limit or self.limit)
            self._socket.sendall(encode(*words))
            while not _whole(received):
                if not (data := self._socket.recv(262144)):
                    return Seen("closed", took=time.perf_counter() - began, size=len(received))
                received += data
        except TimeoutError:
            return Seen("silence", took=time.perf_counter() - began, size=len(received))
        except OSError:
            return Seen("reset", took=time.perf_counter() - began, size=len(received))
        line = received.partition(b"\r\n")[0].decode("utf-8", "replace")
        return Seen("reply", line, time.perf_counter() - began, len(received))

    def more(self, limit: float) -> bool:
        """Whether anything comes within so many seconds, the end of the connection included."""
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


def look(
    address: Address,
    host: str,
    port: int,
    *words: str,
    limit: float = LIMIT,
    count: Callable[[int], object] = lambda _: None,
) -> Seen:
    """One request on a connection of its own."""
    began = time.perf_counter()
    try:
        with Probe(address, host, port, limit=limit, count=count) as probe:
            return probe.ask(*(words or ("PING",)))
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


def _whole(reply: bytes) -> bool:
    line, found, rest = reply.partition(b"\r\n")
    if not found:
        return False
    if line[:1] == b"$" and line != b"$-1":
        return len(rest) >= int(line[1:]) + 2
    return True
