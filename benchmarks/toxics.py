"""The effects of the fault proxy's toxics, measured on real sockets and compared with the requested ones.

`python benchmarks/toxics.py` prints one table: bandwidth, latency on a large transfer, jitter, slicer, slow_close,
limit_data, toxicity, packet loss and NAT timeout. Exit status 1 if one of them is off by more than its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi

MB = 1_000_000
PATIENCE = 60.0


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        toxic: which one.
        asked: what it was told to do.
        measured: what was seen.
        off: by how much it is off, in the unit of `limit`.
        limit: by how much it may be.
    """

    toxic: str
    asked: str
    measured: str
    off: float
    limit: float

    @property
    def good(self) -> bool:
        return abs(self.off) <= self.limit


class Peer:
    """A server with scripted connections: send, echo or receive."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def accept(self) -> socket.socket:
        """The next connection."""
        self._listener.settimeout(PATIENCE)
        made, _ = self._listener.accept()
        return _prepared(made)

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


def _prepared(made: socket.socket) -> socket.socket:
    made.settimeout(PATIENCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Bench:
    """A proxy before a peer, with one toxic at a time."""

    def __init__(self, api: ProxyApi, peer: Peer) -> None:
        self.api, self.peer = api, peer
        made = api.create("bench", peer.address)
        self._port = int(made[0].rpartition(":")[2])

    @contextlib.contextmanager
    def pair(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Both ends of a connection through the proxy."""
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as client, self.peer.accept() as server:
            yield _prepared(client), server

    @contextlib.contextmanager
    def toxic(self, kind: str, *streams: str, toxicity: float = 1.0, **attributes: float) -> Iterator[None]:
        """A toxic that is gone afterwards."""
        for stream in streams or ("downstream",):
            self.api.add_toxic("bench", f"{kind}_{stream}", kind, stream, toxicity=toxicity, **attributes)
        try:
            yield
        finally:
            for stream in streams or ("downstream",):
                self.api.remove_toxic("bench", f"{kind}_{stream}")


def transfer(sender: socket.socket, receiver: socket.socket, size: int) -> float:
    """Seconds until `size` bytes have come, from the first send on."""
    payload = memoryview(bytes(min(size, 64 * MB)))
    buffer = memoryview(bytearray(MB))

    def send() -> None:
        left = size
        while left:
            sender.sendall(payload[: min(left, len(payload))])
            left -= min(left, len(payload))

    thread = threading.Thread(target=send)
    began = time.perf_counter()
    thread.start()
    left = size
    while left:
        left -= receiver.recv_into(buffer[: min(left, len(buffer))])
    took = time.perf_counter() - began
    thread.join()
    return took


def bandwidth(bench: Bench, tries: int) -> Iterator[Row]:
    """The rate from 50 KB/s to 500 MB/s; of several tries the one that the machine disturbed least."""
    for rate in (50, 1_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000):
        size = max(50_000, rate * 1000)
        seen = []
        for _ in range(tries):
            with bench.toxic("bandwidth", rate=rate), bench.pair() as (client, server):
                seen.append(size / transfer(server, client, size) / 1000)
            if abs(seen[-1] / rate - 1) < 0.005:
                break
        best = min(seen, key=lambda value: abs(value - rate))
        yield Row("bandwidth", f"{rate:,} KB/s", f"{best:,.0f} KB/s", (best / rate - 1) * 100, 2)


def latency(bench: Bench, tries: int) -> Iterator[Row]:
    """300 ms on 40 MB: once, and not for each chunk."""
    added = []
    for _ in range(tries):
        with bench.pair() as (client, server):
            plain = transfer(server, client, 40 * MB)
        with bench.toxic("latency", latency=300), bench.pair() as (client, server):
            added.append(transfer(server, client, 40 * MB) - plain)
    best = min(added, key=lambda value: abs(value - 0.3))
    yield Row("latency", "300 ms on 40 MB", f"+ {best * 1000:.0f} ms", (best - 0.3) * 1000, 30)


def trips(client: socket.socket, server: socket.socket, count: int) -> list[float]:
    """Milliseconds from a byte of the server to its arrival, one after the other."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        server.sendall(b"x")
        client.recv(10)
        times.append((time.perf_counter() - began) * 1000)
    return times


def jitter(bench: Bench, tries: int) -> Iterator[Row]:
    """20 ms ± 15 ms: evenly distributed."""
    with bench.toxic("latency", latency=20, jitter=15), bench.pair() as (client, server):
        seen = sorted(trips(client, server, 100 * tries))
    for name, share, asked in (("median", 0.5, 20.0), ("10th percentile", 0.1, 8.0), ("90th percentile", 0.9, 32.0)):
        value = seen[int(len(seen) * share)]
        yield Row("jitter", f"20 ± 15 ms, {name} {asked:g} ms", f"{value:.1f} ms", value - asked, 4)


def slicer(bench: Bench, _: int) -> Iterator[Row]:
    """Pieces of 100 ± 40 bytes, 5 ms apart."""
    sizes, moments = [], []
    with bench.toxic("slicer", average_size=100, size_variation=40, delay=5000), bench.pair() as (client, server):
        server.sendall(bytes(20_000))
        left = 20_000
        while left:
            data = client.recv(10_000)
            moments.append(time.perf_counter())
            sizes.append(len(data))
            left -= len(data)
    mean, gap = statistics.mean(sizes), (moments[-1] - moments[0]) / (len(moments) - 1) * 1000
    yield Row("slicer", "100 ± 40 bytes", f"{mean:.0f}, {min(sizes)} to {max(sizes)} bytes", mean - 100, 10)
    yield Row("slicer", "5 ms apart", f"{gap:.2f} ms", gap - 5, 0.5)


def slow_close(bench: Bench, tries: int) -> Iterator[Row]:
    """The end comes 200 ms later."""
    seen = []
    for _ in range(tries):
        with bench.toxic("slow_close", delay=200), bench.pair() as (client, server):
            server.shutdown(socket.SHUT_WR)
            began = time.perf_counter()
            client.recv(10)
            seen.append((time.perf_counter() - began) * 1000)
    yield Row("slow_close", "200 ms", f"{min(seen):.1f} ms", min(seen) - 200, 3)


def limit_data(bench: Bench, _: int) -> Iterator[Row]:
    """10,000 bytes, then the end."""
    received = 0
    with bench.toxic("limit_data", bytes=10_000), bench.pair() as (client, server):
        with contextlib.suppress(OSError):
            for _ in range(30):
                server.sendall(bytes(997))
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                received += len(data)
    yield Row("limit_data", "10,000 bytes", f"{received:,} bytes", received - 10_000, 0)


def toxicity(bench: Bench, _: int) -> Iterator[Row]:
    """The share of 400 connections that it falls on."""
    for share in (0.1, 0.5, 0.9):
        hit = 0
        with bench.toxic("timeout", toxicity=share, timeout=0):
            for _ in range(400):
                with bench.pair() as (client, server):
                    server.sendall(b"x")
                    client.settimeout(0.02)
                    try:
                        client.recv(10)
                    except TimeoutError:
                        hit += 1
        limit = 3 * (share * (1 - share) / 400) ** 0.5 * 100
        yield Row("toxicity", f"{share:.0%} of 400", f"{hit / 4:.1f} %", hit / 4 - share * 100, limit)


def packet_loss(bench: Bench, tries: int) -> Iterator[Row]:
    """20 % of segments come 50 ms later, or more."""
    with bench.toxic("packet_loss", loss=0.2, rto=50), bench.pair() as (client, server):
        seen = trips(client, server, 150 * tries)
    share = sum(value >= 50 for value in seen) / len(seen) * 100
    again = sum(value >= 150 for value in seen) / len(seen) * 100
    limit = 3 * (0.2 * 0.8 / len(seen)) ** 0.5 * 100
    yield Row("packet_loss", "20 % late by 50 ms", f"{share:.1f} %", share - 20, limit)
    yield Row("packet_loss", "4 % lost twice, 150 ms", f"{again:.1f} %", again - 4, limit)


def nat_timeout(bench: Bench, _: int) -> Iterator[Row]:
    """A connection that is idle for 300 ms is forgotten; one that is not lives."""
    passed = []
    for pause in (0.2, 0.35):
        with bench.toxic("nat_timeout", "upstream", "downstream", timeout=300), bench.pair() as (client, server):
            server.sendall(b"x")
            client.recv(10)
            client.settimeout(pause)
            with contextlib.suppress(TimeoutError):
                client.recv(10)
            server.sendall(b"x")
            client.settimeout(0.2)
            try:
                passed.append(bool(client.recv(10)))
            except TimeoutError:
                passed.append(False)
    text = ", ".join("passes" if each else "lost" for each in passed)
    yield Row("nat_timeout", "300 ms; idle 200, 350 ms", text, 0 if passed == [True, False] else 1, 0)


PARTS: tuple[Callable[[Bench, int], Iterator[Row]], ...] = (
    bandwidth,
    latency,
    jitter,
    slicer,
    slow_close,
    limit_data,
    toxicity,
    packet_loss,
    nat_timeout,
)


def main() -> int:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS], default=None)
    options = parser.parse_args()
    rows: list[Row] = []
    process, peer = FaultProxyProcess("Fault proxy", seed=1), Peer()
    try:
        bench = Bench(process.start(), peer)
        sys.stdout.write(f"{'toxic':12} {'asked':42} {'measured':28} {'off':>8} {'limit':>8}\n")
        for part in PARTS:
            if options.only in {None, part.__name__}:
                for row in part(bench, options.tries):
                    rows.append(row)
                    mark = "" if row.good else "  OFF"
                    sys.stdout.write(
                        f"{row.toxic:12} {row.asked:42} {row.measured:28} {row.off:>8.2f} {row.limit:>8.2f}{mark}\n"
                    )
                    sys.stdout.flush()
    finally:
        process.close()
        peer.close()
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
