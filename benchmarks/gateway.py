"""Measures the gateway: memory of an idle connection, and the round trip from WebSocket to WebSocket.

    python benchmarks/gateway.py [--output results/bench-gateway.json] [--rounds 3]

The reference for the round trip is a bare `websockets` echo, served by a process of its own and measured in turn with
the gateway by the same clients, which are plain sockets so that the ratio is the servers' and not theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
from figures import Figure, Part, progress
from request_queue import running

from ocpp_resilience.redis.services.base import AppendOnly

CHARGE_POINTS = 50
TRIPS = 100
"""Round trips of each charge point in one turn."""
TRIPS_SECONDS = 20.0
"""Time limit of the comparison."""
IDLE = (1_000, 5_000)
"""Connections at which memory is measured."""
KIB_PER_CONNECTION = 40.0
TIMES_ECHO = 6.0

_UPGRADE = (
    "GET /ocpp/IDLE-{} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
)

_ECHO = """
import asyncio, contextlib, sys, uvloop
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

async def echo(connection):
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0, subprotocols=["ocpp1.6"], compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)

uvloop.run(main())
"""


PART = Part(__doc__)


def main() -> int:
    """Run every measurement."""
    PART.arguments.add_argument("--rounds", type=int, default=3, help="repetitions of the comparison (default 3)")
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Round trips, then connections that do nothing."""
    with running(AppendOnly.OFF) as (_, server):
        progress(f"{CHARGE_POINTS} charge points at once, in turn with the echo")
        yield from _round_trips(server.ws_port, options.rounds)
    with running(AppendOnly.OFF) as (_, server):
        progress(f"up to {IDLE[-1]:,} connections that do nothing")
        yield from _idle(server.process.pid, server.ws_port)


def _round_trips(port: int, rounds: int) -> Iterator[Figure]:
    """50 charge points at once, each with one Heartbeat outstanding, in turn with the echo."""
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    with _echo() as echo, connected(port) as points, connected(echo) as echoes:
        _trips(points, 5)
        _trips(echoes, 5)
        for _ in PART.rounds(rounds, TRIPS_SECONDS):
            bare.append(_trips(echoes, TRIPS))
            ours.append(_trips(points, TRIPS))
    for name, share, target in (("p50", 0.5, TIMES_ECHO), ("p99", 0.99, None)):
        own, reference = ([turn[int(len(turn) * share)] for turn in turns] for turns in (ours, bare))
        ratio = statistics.median(one / other for one, other in zip(own, reference, strict=True))
        yield Figure(
            f"WebSocket round trip {name}, {CHARGE_POINTS} charge points",
            statistics.median(own) * 1000,
            "ms",
            f"bare websockets echo: {statistics.median(reference) * 1000:.2f} ms",
            ratio,
            f"<= {target:g}" if target else "",
            None if target is None else ratio <= target,
        )


def _trips(connections: list[socket.socket], count: int) -> list[float]:
    """Each connection sends, waits for the answer and starts again; sorted times in seconds."""
    times: list[float] = []
    sent: dict[socket.socket, float] = {}
    left = dict.fromkeys(connections, count)
    with selectors.DefaultSelector() as selector:
        for one in connections:
            selector.register(one, selectors.EVENT_READ)
            sent[one] = time.perf_counter()
            one.sendall(frame(count))
        while left:
            ready = selector.select(timeout=10)
            if not ready:
                raise SystemExit("no answer within 10 seconds")
            for key, _ in ready:
                one = key.fileobj
                assert isinstance(one, socket.socket)
                # One answer is outstanding and short: it comes whole.
                answer = one.recv(65536)
                now = time.perf_counter()
                if b',"%d",' % left[one] not in answer:
                    raise SystemExit(f"message {left[one]} was answered {answer!r}")
                times.append(now - sent[one])
                left[one] -= 1
                if left[one]:
                    sent[one] = time.perf_counter()
                    one.sendall(frame(left[one]))
                else:
                    del left[one]
                    selector.unregister(one)
    return sorted(times)


def frame(number: int) -> bytes:
    """A Heartbeat in a masked text frame (RFC 6455 section 5.2); the mask is zero: the text stands there as it is."""
    text = b'[2,"%d","Heartbeat",{}]' % number
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


@contextlib.contextmanager
def connected(port: int, count: int = CHARGE_POINTS) -> Iterator[list[socket.socket]]:
    connections: list[socket.socket] = []
    try:
        _open(port, connections, count)
        for one in connections:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connections
    finally:
        for one in connections:
            one.close()


@contextlib.contextmanager
def _echo() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        except BaseException:
            # It may not have come so far as to say its port: nobody hears it any more.
            process.kill()
            raise
        finally:
            process.stdin.close()


def _idle(pid: int, port: int) -> Iterator[Figure]:
    """Memory of the server for a connection. The clients are plain sockets, which cost this process nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    process = psutil.Process(pid)
    open_sockets: list[socket.socket] = []
    try:
        # The first connections pay for what all share.
        _open(port, open_sockets, 50)
        base, first = _settled(process), len(open_sockets)
        for count in IDLE:
            if hard < count + 200:
                print(f"{count} connections: not measured, {hard} files may be open")
                continue
            _open(port, open_sockets, count)
            used = (_settled(process) - base) / (len(open_sockets) - first) / 1024
            yield Figure(
                f"memory per idle connection, {count:,} connections",
                used,
                "KiB",
                f"target: {KIB_PER_CONNECTION:g} KiB",
                used / KIB_PER_CONNECTION,
                "<= 1",
                used <= KIB_PER_CONNECTION,
            )
        before = sum(process.cpu_times()[:2])
        time.sleep(5)
        share = (sum(process.cpu_times()[:2]) - before) / 5 * 100
        yield Figure(f"CPU with {len(open_sockets):,} idle connections", share, "% of a core")
    finally:
        for one in open_sockets:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _open(port: int, open_sockets: list[socket.socket], until: int) -> None:
    while len(open_sockets) < until:
        few = []
        for number in range(len(open_sockets), min(until, len(open_sockets) + 100)):
            one = socket.create_connection(("127.0.0.1", port), 10)
            one.sendall(_UPGRADE.format(number).encode())
            few.append(one)
        open_sockets += few
        for one in few:
            if b" 101 " not in one.recv(4096):
                raise SystemExit("a connection was refused")


def _settled(process: psutil.Process) -> int:
    """The resident memory, once it has stopped to change."""
    last = -1
    while (now := process.memory_info().rss) != last:
        last = now
        time.sleep(1.5)
    return now


if __name__ == "__main__":
    sys.exit(main())
