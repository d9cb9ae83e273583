"""What the fault proxy costs: throughput and latency through it, without faults, beside the direct way, in turns.

Needs `redis-benchmark` (REDIS_BENCHMARK names another one) for the throughput; the latency is measured without it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from resilience.faults.client import FaultProxyProcess
from resilience.services import AppendOnly, EmbeddedRedis

RATIO = 0.4
"""Least share of the direct throughput that has to be left."""
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


def measure(rounds: int) -> dict[str, Any]:
    """All of it, direct and through the proxy in turns."""
    redis = EmbeddedRedis("Redis", append_only=AppendOnly.OFF)
    proxy = FaultProxyProcess("Fault proxy", seed=1)
    found: dict[str, Any] = {}
    program = os.environ.get("REDIS_BENCHMARK") or shutil.which("redis-benchmark")
    try:
        redis.start(20)
        made = proxy.start().create("bench", f"127.0.0.1:{redis.port}")
        ports = {"direct": redis.port, "proxy": int(made["listen"].rpartition(":")[2])}
        for pipeline, requests in ((16, 300_000), (1, 60_000)) if program else ():
            rates: dict[str, list[float]] = {"direct": [], "proxy": []}
            for _ in range(rounds):
                for way, port in ports.items():
                    rates[way].append(throughput(program or "", port, pipeline, requests))
            medians = {way: statistics.median(each) for way, each in rates.items()}
            found[f"pipeline {pipeline}"] = medians | {"ratio": round(medians["proxy"] / medians["direct"], 3)}
        trips: dict[str, list[float]] = {"direct": [], "proxy": []}
        for _ in range(rounds):
            for way, port in ports.items():
                trips[way].append(round_trip(port))
        medians = {way: round(statistics.median(each), 4) for way, each in trips.items()}
        found["round trip"] = medians | {"added": round(medians["proxy"] - medians["direct"], 4)}
    finally:
        proxy.close()
        redis.close()
    found["met"] = found["round trip"]["added"] <= ADDED and all(
        each["ratio"] >= RATIO for name, each in found.items() if name.startswith("pipeline")
    )
    found["throughput measured"] = bool(program)
    return found


def main() -> None:
    """Measure, print, and write where told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    found = measure(given.rounds)
    text = json.dumps(found, indent=2)
    print(text)
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
