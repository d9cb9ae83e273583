"""The cost of the fault proxy without faults: compared with a direct connection and HAProxy in TCP mode, in turns.

Needs `redis-benchmark` (REDIS_BENCHMARK names another one) for the throughput; the round trips are measured without it.
HAProxy is measured where it is installed (Debian: haproxy).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from figures import Figure, Part, progress

from ocpp_resilience.faults.client import FaultProxyProcess
from ocpp_resilience.ports import HOST, free_port
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.redis.services import AppendOnly, EmbeddedRedis
from ocpp_resilience.waiting import wait_until

RATIO = 0.4
"""Least share of the direct throughput that has to be left."""
THROUGHPUT_SECONDS, TRIPS_SECONDS = 20.0, 10.0
"""Time limit of the rounds of one comparison."""
ADDED = 0.06
"""Most milliseconds that may be added to the median round trip of one connection."""
LOADS = (
    ("pipeline 16", ["-P", "16", "-n", "300000"]),
    ("pipeline 1", ["-P", "1", "-n", "60000"]),
    ("values of 1 MiB", ["-P", "1", "-n", "400", "-d", str(1024 * 1024)]),
)
HAPROXY = """global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen redis
  bind {host}:{port}
  server redis {host}:{redis}
"""


def throughput(program: str, port: int, options: list[str]) -> float:
    """Requests a second of SET on 50 connections."""
    command = [program, "-p", str(port), "-c", "50", *options, "-t", "set", "--csv"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return float(output.strip().splitlines()[-1].split(",")[1].strip('"'))


def round_trip(port: int, count: int = 3000) -> float:
    """The median of a PING on one connection, in milliseconds."""
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(100)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def quartiles(values: list[float], digits: int = 4) -> str:
    """The middle half of the rounds."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return f"{low:,.{digits}f} to {high:,.{digits}f}"


@contextlib.contextmanager
def haproxy(redis: int) -> Iterator[tuple[int, int] | None]:
    """HAProxy before a Redis: its port and its process; `None` where there is no HAProxy."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        progress("no haproxy: nothing to compare with")
        yield None
        return
    with contextlib.closing(ChildProcess("HAProxy")) as process:
        port = free_port()
        configuration = Path(process.directory) / "haproxy.cfg"
        configuration.write_text(HAPROXY.format(host=HOST, port=port, redis=redis))
        process.start([program, "-db", "-f", str(configuration)])
        wait_until(lambda: _listens(port) or None, timeout=10, failure=process.output_tail)
        yield port, process.pid


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


PART = Part(__doc__)


def main() -> int:
    """Run every measurement."""
    PART.arguments.add_argument("--rounds", type=int, default=3)
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """All of it, each way in turns."""
    program = os.environ.get("REDIS_BENCHMARK") or shutil.which("redis-benchmark")
    with (
        contextlib.closing(EmbeddedRedis("Redis", append_only=AppendOnly.OFF)) as redis,
        contextlib.closing(FaultProxyProcess("Fault proxy", seed=1)) as proxy,
    ):
        redis.start(20)
        made = proxy.start().create("bench", f"{HOST}:{redis.port}")
        with haproxy(redis.port) as other:
            ports = {"direct": redis.port, "proxy": int(made[0].rpartition(":")[2])}
            pids = {"proxy": proxy.process.pid}
            if other is not None:
                ports["haproxy"], pids["haproxy"] = other
            if not program:
                progress("no redis-benchmark (REDIS_BENCHMARK): the throughput is not measured")
            for name, load in LOADS if program else ():
                yield from throughputs(options, program or "", name, load, ports=ports, pids=pids)
            yield from round_trips(options, ports)


def throughputs(
    options: argparse.Namespace,
    program: str,
    name: str,
    load: list[str],
    *,
    ports: dict[str, int],
    pids: dict[str, int],
) -> Iterator[Figure]:
    """Requests a second, and for each second of processor time that the proxy uses."""
    progress(f"throughput, {name}")
    rates: dict[str, list[float]] = {way: [] for way in ports}
    efficiency: dict[str, list[float]] = {way: [] for way in pids}
    for _ in PART.rounds(options.rounds, THROUGHPUT_SECONDS):
        for way, port in ports.items():
            before = cpu_seconds(pids[way]) if way in pids else 0.0
            rates[way].append(throughput(program, port, load))
            if way in pids:
                used = max(0.01, cpu_seconds(pids[way]) - before)
                efficiency[way].append(int(load[load.index("-n") + 1]) / used)
    ratio = statistics.median(a / b for a, b in zip(rates["proxy"], rates["direct"], strict=True))
    beside = {way: statistics.median(values) for way, values in rates.items()}
    reference = f"direct: {beside['direct']:,.0f}"
    if "haproxy" in beside:
        reference += f", HAProxy: {beside['haproxy']:,.0f}"
    yield Figure(
        f"SET through the fault proxy, {name}",
        beside["proxy"],
        "requests/s",
        reference,
        ratio,
        f">= {RATIO:g}",
        ratio >= RATIO,
        len(rates["proxy"]),
    )
    mine = statistics.median(efficiency["proxy"])
    theirs = statistics.median(efficiency["haproxy"]) if "haproxy" in efficiency else None
    yield Figure(
        f"the same for each CPU-second of the proxy, {name}",
        mine,
        "requests/CPU-s",
        "" if theirs is None else f"HAProxy: {theirs:,.0f}; quartiles {quartiles(efficiency['proxy'], 0)}",
        None if theirs is None else mine / theirs,
        rounds=len(rates["proxy"]),
    )


def round_trips(options: argparse.Namespace, ports: dict[str, int]) -> Iterator[Figure]:
    """Added time of a round trip; each round is compared with its own direct connection."""
    progress("round trips")
    trips: dict[str, list[float]] = {way: [] for way in ports}
    for _ in PART.rounds(options.rounds * 3, TRIPS_SECONDS):
        for way, port in ports.items():
            trips[way].append(round_trip(port))
    direct = statistics.median(trips["direct"])
    for way in ports.keys() - {"direct"}:
        added = [through - plain for through, plain in zip(trips[way], trips["direct"], strict=True)]
        value = statistics.median(added)
        ours = way == "proxy"
        yield Figure(
            f"added to a round trip by {'the fault proxy' if ours else 'HAProxy'}",
            value,
            "ms",
            f"direct: {direct:.4f} ms; quartiles {quartiles(added)}",
            value / ADDED if ours else None,
            f"<= {ADDED:g} ms" if ours else "",
            value <= ADDED if ours else None,
            len(added),
        )


if __name__ == "__main__":
    sys.exit(main())
