"""Charge points that send as fast as they can, in a separate process.

`python -m ocpp_resilience.load.flood` reads a `FloodPlan` as one line of JSON from its standard input and floods until
that ends, or the plan's time is over. It then writes a `FloodResult`. Sockets and threads instead of an event loop: a
flood is to cost the sender less than the receiver.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec
from websockets.frames import Frame, Opcode

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.guardian import GuardedProcess

BLOCK = 500
"""Frames that are handed to the system at once; fewer where they are long."""
BLOCK_BYTES = 256 * 1024
SEND_BUFFER = 64 * 1024
FIRST_NUMBER = 100_000_000
"""The number of the first frame; the later ones have as many digits."""
CONNECT_SECONDS = 10.0


class FloodPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The messages of a flood and its target.

    Attributes:
        urls: a WebSocket address for each charge point.
        subprotocol: the subprotocol that each offers.
        frame: the text of a frame; `{n}` stands for a number of nine digits, another one in each frame.
        seconds: the longest time.
        pings: whether pings are sent in the place of frames.
        reading: whether they read what they get.
    """

    urls: list[str]
    subprotocol: str
    frame: str
    seconds: float
    pings: bool = False
    reading: bool = True


class FloodResult(msgspec.Struct, kw_only=True):
    """The result of a flood.

    Attributes:
        sent: frames that the system took, of all charge points.
        size: bytes of these frames.
        closed: charge points whose connection the gateway ended.
        seconds: how long they sent.
    """

    sent: int = 0
    size: int = 0
    closed: int = 0
    seconds: float = 0.0


class Flood:
    """A flood that runs.

    Args:
        plan: the plan.

    Raises:
        ServiceError: a charge point could not connect; the message has the reason.
    """

    def __init__(self, plan: FloodPlan) -> None:
        command = [sys.executable, "-m", "ocpp_resilience.load.flood"]
        self._process = GuardedProcess[bytes](
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
        if self._process.stdout.readline() != b"connected\n":
            _, error = self._process.communicate()
            raise ServiceError(f"The flood could not start: {error.decode('utf-8', 'replace').strip()[-500:]}")

    def stop(self, *, after: float = 0.0) -> FloodResult:
        """Stop it and return the result.

        Args:
            after: seconds to wait for its own end, which comes when the gateway has ended all of its connections.

        Raises:
            ServiceError: it ended without a result; the message has the reason.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(after)
        output, error = self._process.communicate(timeout=CONNECT_SECONDS)
        if self._process.returncode:
            raise ServiceError(f"The flood failed: {error.decode('utf-8', 'replace').strip()[-500:]}")
        return msgspec.json.decode(output, type=FloodResult)

    def close(self) -> None:
        """Kill it in any state."""
        self._process.kill()
        self._process.communicate()


def main() -> int:
    """Flood as the plan on standard input says."""
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=FloodPlan)
    result = FloodResult()
    over = threading.Event()
    begun = threading.Semaphore(0)
    connections = [_connect(url, plan.subprotocol) for url in plan.urls]
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    threads = [
        threading.Thread(target=_send, args=(each, plan, result, over, begun), daemon=True) for each in connections
    ]
    if plan.reading:
        threads += [threading.Thread(target=_discard, args=(each,), daemon=True) for each in connections]
    began = time.monotonic()
    threading.Timer(plan.seconds, over.set).start()
    threading.Thread(target=_wait_for_the_end, args=(over,), daemon=True).start()
    for thread in threads:
        thread.start()
    threading.Thread(target=_end_with, args=(threads[: len(connections)], over), daemon=True).start()
    begun.acquire(timeout=CONNECT_SECONDS)
    over.wait()
    result.seconds = round(time.monotonic() - began, 3)
    sys.stdout.buffer.write(msgspec.json.encode(result))
    sys.stdout.flush()
    os._exit(0)


def _wait_for_the_end(over: threading.Event) -> None:
    """The starter closes standard input, and so does its end."""
    sys.stdin.buffer.read()
    over.set()


def _end_with(senders: list[threading.Thread], over: threading.Event) -> None:
    """Sending has stopped: the gateway has ended each connection."""
    for sender in senders:
        sender.join()
    over.set()


def _connect(url: str, subprotocol: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), CONNECT_SECONDS)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        if not data:
            break
        head += data
    if not head.startswith(b"HTTP/1.1 101 "):
        raise SystemExit(f"{url} answered {head.splitlines()[0].decode('latin-1') if head else 'nothing'}")
    connection.settimeout(None)
    # What waits in here costs this machine, and is not seen by the gateway.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    # The end resets the connection, so that unread frames do not prolong the flood.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return connection


def _send(
    connection: socket.socket, plan: FloodPlan, result: FloodResult, over: threading.Event, begun: threading.Semaphore
) -> None:
    block = max(1, min(BLOCK, BLOCK_BYTES // max(1, len(plan.frame))))
    frames = blocks(plan.frame, Opcode.PING if plan.pings else Opcode.TEXT, block)
    sent = 0
    try:
        while not over.is_set() or not sent:
            data = next(frames)
            connection.sendall(data)
            sent += block
            result.sent += block
            result.size += len(data)
            begun.release()
    except OSError:
        if not over.is_set():
            result.closed += 1


def blocks(text: str, opcode: Opcode, count: int) -> Iterator[bytes]:
    """Endless frames, `count` of them in each block.

    All numbers have as many digits, and the masking key is zero (RFC 6455 section 5.3), so that a block is one template
    with numbers put in: a flood costs the receiver, and little of the machine that both run on.
    """
    places = text.count("{n}")
    payload = text.replace("{n}", str(FIRST_NUMBER)).encode()
    masked = Frame(opcode, payload).serialize(mask=True)
    head = masked[: len(masked) - len(payload) - 4]
    template = (head + bytes(4)).replace(b"%", b"%%") + text.encode().replace(b"%", b"%%").replace(b"{n}", b"%d")
    many = template * count
    number = FIRST_NUMBER
    same = many % () if not places else b""
    while True:
        yield same or many % tuple(each for each in range(number, number + count) for _ in range(places))
        number += count


def _discard(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


if __name__ == "__main__":
    sys.exit(main())
