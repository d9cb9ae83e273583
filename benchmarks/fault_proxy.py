"""What the fault proxy costs: throughput and latency through it, without faults, beside the direct way, in turns.

Needs `redis-benchmark` (REDIS_BENCHMARK names another one) for the throughput; the latency is measured without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from figures import Figure, Part, progress

from ocpp_resilience.faults.client import FaultProxyProcess
from ocpp_resilience.redis.services import AppendOnly, EmbeddedRedis

RATIO = 0.4
"""Least share of the direct throughput that has to be left."""
THROUGHPUT_SECONDS, TRIPS_SECONDS = 20.0, 10.0
"""What the rounds of one comparison may take."""
ADDED = 0.06
"""Most milliseconds that may be added to the median round trip of one connection."""


def throughput(program: str, port: int, pipeline: int, requests: int) -> float:
    """Requests a second of SET on 50 connections."""
    command = [program, "-p", str(port), "-c", "50", "-P", str(pipeline), "-n", str(requests), "-t", "set", "--csv"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return float(output.strip().splitlines()[-1].split(",")[1].strip('"'))


def round_trip(port: int, count: int = 3000) -> float:
    """The median of a PING on one connection, in milliseconds."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(100)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


PART = Part(__doc__)


def main() -> int:
    """Run every measurement."""
    PART.arguments.add_argument("--rounds", type=int, default=3)
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """All of it, direct and through the proxy in turns."""
    redis = EmbeddedRedis("Redis", append_only=AppendOnly.OFF)
    proxy = FaultProxyProcess("Fault proxy", seed=1)
    program = os.environ.get("REDIS_BENCHMARK") or shutil.which("redis-benchmark")
    try:
        redis.start(20)
        made = proxy.start().create("bench", f"127.0.0.1:{redis.port}")
        ports = {"direct": redis.port, "proxy": int(made["listen"].rpartition(":")[2])}
        if not program:
            progress("no redis-benchmark (REDIS_BENCHMARK): the throughput is not measured")
        for pipeline, requests in ((16, 300_000), (1, 60_000)) if program else ():
            progress(f"throughput, {pipeline} commands at once")
            rates: dict[str, list[float]] = {"direct": [], "proxy": []}
            for _ in PART.rounds(options.rounds, THROUGHPUT_SECONDS):
                for way, port in ports.items():
                    rates[way].append(throughput(program or "", port, pipeline, requests))
            ratio = statistics.median(a / b for a, b in zip(rates["proxy"], rates["direct"], strict=True))
            yield Figure(
                f"SET through the fault proxy, pipeline {pipeline}",
                statistics.median(rates["proxy"]),
                "requests/s",
                f"direct: {statistics.median(rates['direct']):,.0f}",
                ratio,
                f">= {RATIO:g}",
                ratio >= RATIO,
                len(rates["proxy"]),
            )
        progress("round trips")
        trips: dict[str, list[float]] = {"direct": [], "proxy": []}
        for _ in PART.rounds(options.rounds, TRIPS_SECONDS):
            for way, port in ports.items():
                trips[way].append(round_trip(port))
        through, direct = statistics.median(trips["proxy"]), statistics.median(trips["direct"])
        yield Figure(
            "added to a round trip by the fault proxy",
            through - direct,
            "ms",
            f"direct: {direct:.4f} ms",
            (through - direct) / ADDED,
            f"<= {ADDED:g} ms",
            through - direct <= ADDED,
            len(trips["proxy"]),
        )
    finally:
        proxy.close()
        redis.close()


if __name__ == "__main__":
    sys.exit(main())
