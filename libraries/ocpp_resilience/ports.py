"""Ports of this machine: find a free one, and check that a port is closed."""

from __future__ import annotations

import random
import socket
from datetime import timedelta

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.waiting import wait_until

HOST = "127.0.0.1"
PORTS = range(20000, 32000)
"""Below the ephemeral ports of Linux and macOS: while a service is down, no outgoing connection takes its port by
chance, and a client that reconnects to it does not connect to itself (TCP allows that)."""
CONNECT_LIMIT = 0.25


def free_port() -> int:
    """A free port of 127.0.0.1.

    Raises:
        ServiceError: none was found.
    """
    for _ in range(200):
        port = random.choice(PORTS)  # noqa: S311 - nothing secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
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
