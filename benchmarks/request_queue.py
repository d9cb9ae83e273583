"""Measures the reference server against Redis itself, both in the same run, and prints a table.

    python benchmarks/request_queue.py [--output results/bench-queue.json] [--rounds 5]

Machines are shared and change their speed within seconds. So figures are ratios to a reference that was measured
right beside it, in turn, several times; the median of the ratios counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import hiredis
import psutil
import redis
from figures import Figure, Part, progress

from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import open_client
from ocpp_resilience.redis.services.base import AppendOnly
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import wait_until

MESSAGES = 20_000
CHARGE_POINTS = 50
PATIENCE = timedelta(seconds=60)
REQUESTS = "ocpp:requests"
ALWAYS = "fsync always"
DRAIN_SECONDS, TRIPS_SECONDS, CONCURRENT_SECONDS = 20.0, 12.0, 12.0
"""Time limit of the rounds of one comparison."""
TRIPS, LPUSHES = 400, 50_000
"""Round trips in one round, and commands by which Redis' own rate is found; a quarter of both where each is flushed."""


PART = Part(__doc__)


def main() -> int:
    """Run every measurement."""
    PART.arguments.add_argument("--rounds", type=int, default=5, help="repetitions of each comparison (default 5)")
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Without flushing to disk, then with it."""
    for append_only, mode in ((AppendOnly.OFF, "append-only off"), (AppendOnly.ALWAYS, ALWAYS)):
        with running(append_only) as (url, server):
            yield from _all(url, server, mode, options.rounds)


@contextlib.contextmanager
def running(append_only: AppendOnly) -> Iterator[tuple[str, OcppServer]]:
    """A server on a Redis of its own."""
    service = EmbeddedRedis("bench", append_only=append_only)
    server = OcppServer("bench", Target.load("reference"))
    try:
        service.start(10)
        server.configure(service.url(), {})
        server.start()
        yield service.url(), server
    finally:
        server.close()
        service.close()


def _all(url: str, server: OcppServer, mode: str, rounds: int) -> Iterator[Figure]:
    client = open_client(url, socket_timeout=30)
    process = psutil.Process(server.process.pid)
    progress(f"{mode}: draining a backlog, one message after the other, 50 at once")
    always = mode == ALWAYS
    yield from _drain(client, process, mode, rounds)
    yield _round_trip(client, mode, rounds, ("PING",), target=6.0)
    if always:
        # PING costs no flush to disk. A flushed write is the fair limit: a message needs one when it is queued and one
        # when it is committed.
        yield _round_trip(client, mode, rounds, ("SET", "bench:list", "x"), target=None)
    if not always:
        yield from _concurrent(client, mode, rounds)
        yield from _idle(server)
    client.close()


def _heartbeats(start: int, count: int) -> list[bytes]:
    return [
        b'{"action":"Heartbeat","chargePointId":"BENCH-%03d","messageId":"%d"}' % (number % CHARGE_POINTS, number)
        for number in range(start, start + count)
    ]


def _clear(client: redis.Redis) -> None:
    client.delete(*(f"ocpp:responses:BENCH-{number:03d}" for number in range(CHARGE_POINTS)), "bench:list")


def _drain(client: redis.Redis, process: psutil.Process, mode: str, rounds: int) -> Iterator[Figure]:
    """Time to drain 20,000 queued Heartbeats, all answers counted, in turn with LPUSH by 50 clients, no pipeline."""
    rates, limits, cpu = [], [], []
    for number in PART.rounds(rounds, DRAIN_SECONDS):
        limits.append(_lpush_rate(client, LPUSHES // _slower(mode)))
        _clear(client)
        messages = _heartbeats(number * MESSAGES, MESSAGES)
        used = sum(process.cpu_times()[:2])
        began = time.perf_counter()
        # In one command the whole backlog is there at once, and filling the queue is part of the time.
        client.lpush(REQUESTS, *messages)
        wait_until(
            lambda: True if client.llen(REQUESTS) == 0 else None,
            timeout=PATIENCE,
            failure=lambda: f"{client.llen(REQUESTS)} messages left",
            longest_pause=0.005,
        )
        rates.append(MESSAGES / (time.perf_counter() - began))
        cpu.append((sum(process.cpu_times()[:2]) - used) / MESSAGES * 1e6)
        _check_answers(client)
    _clear(client)
    ratio = statistics.median(rate / limit for rate, limit in zip(rates, limits, strict=True))
    limit = statistics.median(limits)
    yield Figure(
        f"drain rate, {mode}",
        statistics.median(rates),
        "msg/s",
        f"LPUSH -P 1: {limit:,.0f}/s",
        ratio,
        ">= 0.25",
        ratio >= 0.25,
        len(rates),
    )
    yield Figure(
        f"server CPU per message, {mode}", statistics.median(cpu), "us", "Go peer: 360 us", statistics.median(cpu) / 360
    )


def _check_answers(client: redis.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(CHARGE_POINTS):
        pipeline.lrange(f"ocpp:responses:BENCH-{number:03d}", 0, -1)
    ids = [json.loads(answer)["message_id"] for answers in pipeline.execute() for answer in answers]
    if len(ids) != MESSAGES or len(set(ids)) != MESSAGES:
        raise SystemExit(f"{MESSAGES} messages had {len(ids)} answers, {len(set(ids))} of them different")


def _slower(mode: str) -> int:
    return 4 if mode == ALWAYS else 1


def _lpush_rate(client: redis.Redis, count: int) -> float:
    """LPUSH by 50 clients, each waiting for its reply (-P 1): Redis' highest rate from producers."""
    host, port = (client.connection_pool.connection_kwargs[key] for key in ("host", "port"))
    program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if program:
        done = subprocess.run(
            [program, "-h", host, "-p", str(port), "-n", str(count), "-c", "50", "-P", "1", "--csv",
             "LPUSH", "bench:list", "x" * 70],
            check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        client.delete("bench:list")
        return float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))
    rate = _closed_loop(host, port, 50, count, lambda _: [hiredis.pack_command(("LPUSH", "bench:list", "x" * 70))])[0]
    client.delete("bench:list")
    return rate


def _round_trip(
    client: redis.Redis, mode: str, rounds: int, command: tuple[str, ...], *, target: float | None
) -> Figure:
    """One message after the other: LPUSH and BRPOP of its answer, in turn with `command`, by the same client."""
    ratios, trips, pings = [], [], []
    for _ in PART.rounds(rounds, TRIPS_SECONDS):
        trip, ping = [], []
        for number in range(TRIPS // _slower(mode)):
            began = time.perf_counter()
            client.execute_command(*command)
            pinged = time.perf_counter()
            client.lpush(REQUESTS, b'{"action":"Heartbeat","chargePointId":"BENCH-RT","messageId":"%d"}' % number)
            if client.brpop("ocpp:responses:BENCH-RT", 5) is None:
                raise SystemExit("a message was not answered within 5 seconds")
            trip.append(time.perf_counter() - pinged)
            ping.append(pinged - began)
        trips.append(statistics.median(trip))
        pings.append(statistics.median(ping))
        ratios.append(trips[-1] / pings[-1])
    client.delete("bench:list")
    ratio = statistics.median(ratios)
    return Figure(
        f"round trip p50, {mode}",
        statistics.median(trips) * 1e6,
        "us",
        f"{command[0]}: {statistics.median(pings) * 1e6:.0f} us",
        ratio,
        f"<= {target:g}" if target else "",
        None if target is None else ratio <= target,
        len(ratios),
    )


def _concurrent(client: redis.Redis, mode: str, rounds: int) -> Iterator[Figure]:
    """50 charge points at once, each with one message outstanding."""
    host, port = (client.connection_pool.connection_kwargs[key] for key in ("host", "port"))

    def commands(number: int) -> list[bytes]:
        message = b'{"action":"Heartbeat","chargePointId":"BENCH-%03d","messageId":"c"}' % number
        return [
            hiredis.pack_command(("LPUSH", REQUESTS, message)),
            hiredis.pack_command(("BRPOP", f"ocpp:responses:BENCH-{number:03d}", "5")),
        ]

    p50s, p99s, pings, rates = [], [], [], []
    for _ in PART.rounds(rounds, CONCURRENT_SECONDS):
        ping = _closed_loop(host, port, 50, 5_000, lambda _: [hiredis.pack_command(("PING",))])
        done = _closed_loop(host, port, 50, 5_000, commands)
        rates.append(done[0])
        p50s.append(done[1])
        p99s.append(done[2])
        pings.append(ping[1])
    reference = f"PING by 50: {statistics.median(pings) * 1000:.2f} ms"
    ratio = statistics.median(p50 / ping for p50, ping in zip(p50s, pings, strict=True))
    yield Figure(f"50 concurrent p50, {mode}", statistics.median(p50s) * 1000, "ms", reference, ratio)
    p99 = statistics.median(p99s) * 1000
    yield Figure(f"50 concurrent p99, {mode}", p99, "ms", "Go peer: 39 ms", p99 / 39, "<= 1", p99 <= 39)
    yield Figure(f"50 concurrent rate, {mode}", statistics.median(rates), "msg/s")


def _closed_loop(
    host: str, port: int, connections: int, total: int, commands: Callable[[int], list[bytes]]
) -> tuple[float, float, float]:
    """Each connection sends its commands, waits for the last reply and starts again; returns rate, p50 and p99 (s)."""
    selector = selectors.DefaultSelector()
    states: list[dict[str, Any]] = []
    times: list[float] = []
    began = time.perf_counter()
    try:
        for number in range(connections):
            connection = socket.create_connection((host, port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            packed = commands(number)
            state = {"socket": connection, "data": b"".join(packed), "replies": len(packed), "left": 0}
            state["reader"] = hiredis.Reader()
            states.append(state)
            selector.register(connection, selectors.EVENT_READ, state)
        for state in states:
            state["left"], state["sent"] = state["replies"], time.perf_counter()
            state["socket"].sendall(state["data"])
        while len(times) < total:
            ready = selector.select(timeout=10)
            if not ready:
                raise SystemExit("no reply within 10 seconds")
            for key, _ in ready:
                state = key.data
                state["reader"].feed(state["socket"].recv(65536))
                while (reply := state["reader"].gets()) is not False:
                    if reply is None or isinstance(reply, Exception):
                        raise SystemExit(f"a command failed: {reply!r}")
                    state["left"] -= 1
                if state["left"] == 0:
                    now = time.perf_counter()
                    times.append(now - state["sent"])
                    state["left"], state["sent"] = state["replies"], now
                    state["socket"].sendall(state["data"])
    finally:
        for state in states:
            state["socket"].close()
        selector.close()
    took = time.perf_counter() - began
    times.sort()
    return len(times) / took, times[len(times) // 2], times[int(len(times) * 0.99)]


def _idle(server: OcppServer) -> Iterator[Figure]:
    share = server.process.cpu_share(timedelta(seconds=5)) * 100
    yield Figure("idle CPU", share, "% of a core", "limit: 2 %", share / 2, "<= 1", share <= 2)
    yield Figure("memory after the load", server.process.memory().resident_bytes / 2**20, "MiB")


if __name__ == "__main__":
    sys.exit(main())
