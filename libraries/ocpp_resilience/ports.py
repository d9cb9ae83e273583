"""Ports of this machine: find a free one, and check that a port is closed; and `host:port` as text."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import socket
import tempfile
from datetime import timedelta
from pathlib import Path

from ocpp_resilience.errors import ServiceError, UsageError
from ocpp_resilience.waiting import wait_until

HOST = "127.0.0.1"
PORTS = range(20000, 32000)
"""Below the ephemeral ports of Linux and macOS: while a service is down, no outgoing connection takes its port by
chance, and a client that reconnects to it does not connect to itself (TCP allows that)."""
CONNECT_LIMIT = 0.25


class Claims:
    """The ports of this process, which other test runs of the same user on this machine leave alone.

    A port is free until its service listens, and again while the service is down. Each claim is a lock on one byte of
    an empty file that all runs share; the system ends the locks with the process, however that ends.

    Args:
        file: the shared file; without write access to it, nothing is claimed.
    """

    def __init__(self, file: Path) -> None:
        self._claimed: set[int] = set()
        self._process = os.getpid()
        try:
            self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            self._file = -1

    def claim(self, port: int) -> bool:
        """Whether nobody else has claimed it; it is this process's own from now on."""
        if self._process != os.getpid():  # a forked process holds none of its parent's locks, and may use none of them
            self._process = os.getpid()
        elif port in self._claimed:
            return False
        if self._file >= 0:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            except OSError:
                return False
        self._claimed.add(port)
        return True

    def release(self, port: int) -> None:
        """Give a port back."""
        self._claimed.discard(port)
        if self._file >= 0:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, port)


@functools.cache
def _claims() -> Claims:
    return Claims(Path(tempfile.gettempdir()) / f"ocpp-resilience-ports-{os.getuid()}")


def free_port() -> int:
    """A free port of 127.0.0.1, which no other call gives, in this process or in another, while this process lives.

    Raises:
        ServiceError: none was found.
    """
    claims = _claims()
    for _ in range(200):
        port = random.choice(PORTS)  # noqa: S311 - nothing secret
        if not claims.claim(port):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                claims.release(port)
                continue
            return port
    raise ServiceError(f"There is no free port between {PORTS.start} and {PORTS.stop - 1} on {HOST}.")


def wait_until_refused(name: str, port: int, *, host: str = HOST, timeout: timedelta | float = 2.0) -> str:
    """Check that nothing listens on `port` any more; returns the observation as a sentence.

    Args:
        name: the service, for the message.
        port: the port.
        host: its address.
        timeout: the longest wait.

    Raises:
        WaitTimeout: something still accepts connections.
    """

    def refused() -> str | None:
        try:
            with socket.create_connection((host, port), CONNECT_LIMIT):
                return None
        except ConnectionRefusedError as error:
            return error.strerror or "Connection refused"
        except OSError:
            return None

    return wait_until(
        refused, timeout=timeout, failure=lambda: f"Connections to {host}:{port}, where {name} was, are not refused"
    )


def joined(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str) -> tuple[str, int]:
    """The parts of `host:port`.

    Raises:
        UsageError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"'{text}' is not an address; expected host:port")
    return host.removeprefix("[").removesuffix("]") or HOST, int(port)
