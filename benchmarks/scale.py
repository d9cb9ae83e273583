"""The limits of one machine: open connections, and messages a second from charge point to charge point.

    python benchmarks/scale.py [--output results/bench-scale.json] [--connections 10000] [--rate 1000]

Charge points, gateway, processor and Redis share the machine. Redis flushes every write to disk, as by default.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from figures import Figure, Part, progress

from ocpp_resilience.evidence.measure.sampling import Sampler
from ocpp_resilience.load import LoadResult, LoadRun, Model, Plan, Profile, Stage
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services.base import AppendOnly
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.system.server import OcppServer

KIB_PER_CONNECTION = 40.0
HELD_SECONDS = 20.0
"""Seconds that connections are held; each charge point sends a Heartbeat once meanwhile."""
OTHER_FILES = 200
SUSTAINED_SECONDS = 15.0
FLEET = 200
TIMES_UNLOADED = 2.0
ROUNDS = 3
RESPONSE_SECONDS, CAPACITY_SECONDS = 45.0, 75.0
"""Time limit of the rounds of one comparison."""


@dataclass
class System:
    """Processes of a server on a Redis of their own; the gateway is the first."""

    servers: list[OcppServer]

    @property
    def url(self) -> str:
        """The URL of a charge point."""
        return f"{self.servers[0].gateway_url}/ocpp/{{charge_point_id}}"


PART = Part(__doc__)


def main() -> int:
    """Run every measurement."""
    add = PART.arguments.add_argument
    add("--connections", type=int, default=10_000, help="charge points held (10,000)")
    add("--rate", type=int, default=1_000, help="messages a second that are to be sustained (1,000)")
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Connections, then messages."""
    if problem := files_missing(options.connections):
        PART.arguments.error(problem)
    progress(f"{options.connections:,} charge points are held")
    yield from held(options.connections)
    progress("response time at 10 and at 100 messages a second")
    yield from response_time()
    progress(f"{options.rate:,} messages a second for {SUSTAINED_SECONDS:g} s")
    yield from sustained(options.rate)
    progress("the rate at which the schedule slips, with one process and with several")
    yield from capacities()


def files_missing(connections: int) -> str:
    """Advice about the limit of open files, if it is too low; the gateway needs as many as the load generator."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = connections + OTHER_FILES
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the gateway inherits it
        return ""
    return (
        f"--connections {connections} needs {wanted} open files in one process, and the system allows {hard} "
        f"(ulimit -Hn); raise that limit, or take at most {hard - OTHER_FILES} connections"
    )


@contextlib.contextmanager
def system(*roles: str, **settings: int) -> Iterator[System]:
    """Servers of these roles, the gateway first, with these settings, on a Redis of their own."""
    service = EmbeddedRedis("bench", append_only=AppendOnly.ALWAYS)
    servers = [OcppServer(f"{role} {number}", Target.load("reference")) for number, role in enumerate(roles, 1)]
    try:
        service.start(10)
        for server, role in zip(servers, roles, strict=True):
            server.configure(service.url(), {"ROLE": role, **settings})
            server.start()
        yield System(servers)
    finally:
        for server in servers:
            server.close()
        service.close()


def load(system: System, *, seconds: float, rate: float, to_rate: float | None = None, **plan: Any) -> LoadResult:
    """Run an open load to its end."""
    stages = [Stage(seconds, rate, to_rate)]
    run = LoadRun("The load", Plan(url=system.url, model=Model.OPEN, stages=stages, **plan))
    try:
        run.start()
        return run.wait(seconds + 120)
    finally:
        run.close()


def held(connections: int) -> Iterator[Figure]:
    """Connections held, Heartbeats answered on all of them, and the gateway's cost of one."""
    with system("gateway", "processor") as under_load:
        gateway = psutil.Process(under_load.servers[0].process.pid)
        # The first connections pay for what all share.
        load(under_load, seconds=2, rate=100, charge_points=50)
        base = gateway.memory_info().rss
        sampler = Sampler({"gateway": gateway.pid}, every=0.25)
        try:
            result = load(
                under_load,
                seconds=HELD_SECONDS,
                rate=connections / HELD_SECONDS,
                charge_points=connections,
                id_pattern="HELD-{:05d}",
                connect_timeout=120,
            )
        finally:
            sampler.stop()
        used = (max(sampler.get("gateway").bytes) - base) / connections / 1024
    kept = min(result.connected_at_start, result.fewest_connected)
    yield Figure(
        "connections held",
        kept,
        "",
        f"asked for: {connections:,}",
        kept / connections,
        f"{connections:,}",
        kept == connections,
    )
    yield Figure(
        "Heartbeats answered on them",
        result.answered_percent,
        "%",
        f"one each within {HELD_SECONDS:g} s; p50 {result.latency.p50:.1f} ms, p99 {result.latency.p99:.0f} ms",
        target="100 %",
        met=result.answered == result.due,
    )
    yield Figure(
        "gateway's memory per connection, highest",
        used,
        "KiB",
        f"target: {KIB_PER_CONNECTION:g} KiB",
        used / KIB_PER_CONNECTION,
        "<= 1",
        used <= KIB_PER_CONNECTION,
    )


def response_time() -> Iterator[Figure]:
    """The median at 100 messages a second by that at 10, in turn."""
    ratios, medians, unloaded = [], [], []
    with system("all") as one:
        load(one, seconds=2, rate=100, profile=Profile.MIX)
        for _ in PART.rounds(ROUNDS, RESPONSE_SECONDS):
            before = load(one, seconds=4, rate=10, profile=Profile.MIX).latency.p50
            loaded = load(one, seconds=4, rate=100, profile=Profile.MIX).latency.p50
            after = load(one, seconds=4, rate=10, profile=Profile.MIX).latency.p50
            unloaded.append((before + after) / 2)
            medians.append(loaded)
            ratios.append(loaded / unloaded[-1])
    ratio = statistics.median(ratios)
    yield Figure(
        "median at 100 msg/s, 50 charge points",
        statistics.median(medians),
        "ms",
        f"at 10 msg/s: {statistics.median(unloaded):.2f} ms",
        ratio,
        f"< {TIMES_UNLOADED:g}",
        ratio < TIMES_UNLOADED,
    )


def sustained(rate: int) -> Iterator[Figure]:
    """So many messages a second, on schedule, all answered."""
    with system("all") as one:
        result = load(one, seconds=SUSTAINED_SECONDS, rate=rate, charge_points=FLEET, profile=Profile.MIX)
    reached = result.answered == result.due and result.rate_on_schedule >= rate
    # Times are those of the generator then, but what was answered was answered.
    late = f"; {'; '.join(result.saturated)}" if result.saturated else ""
    yield Figure(
        f"sustained for {SUSTAINED_SECONDS:g} s, {FLEET} charge points",
        result.rate_on_schedule,
        "msg/s",
        f"p50 {result.latency.p50:.1f} ms, p99 {result.latency.p99:.0f} ms, max {result.latency.max:.0f} ms{late}",
        result.rate_on_schedule / rate,
        f">= {rate:,}",
        reached,
    )


def capacities() -> Iterator[Figure]:
    """The rate at which the schedule slips: one process for everything, and roles in processes of their own."""
    kinds: dict[str, Sequence[str]] = {
        "one process": ("all",),
        "gateway and processor": ("gateway", "processor"),
        "gateway and two processors, one at work": ("gateway", "processor", "processor"),
        "gateway and two processors, 8 shards": ("gateway", "processor", "processor"),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        systems = {
            kind: stack.enter_context(system(*roles, QUEUE_SHARDS=8 if "shards" in kind else 1))
            for kind, roles in kinds.items()
        }
        for _ in PART.rounds(ROUNDS, CAPACITY_SECONDS):
            for kind, each in systems.items():
                found[kind].append(_capacity(each))
    reference = found["one process"]
    for kind, rates in found.items():
        yield Figure(
            f"capacity, {kind}",
            statistics.median(rates),
            "msg/s",
            "" if rates is reference else "one process, in turn",
            None if rates is reference else statistics.median(a / b for a, b in zip(rates, reference, strict=True)),
        )


def _capacity(each: System) -> float:
    run = LoadRun(
        "The load",
        Plan(
            url=each.url,
            model=Model.OPEN,
            stages=[Stage(1, 500 * 1.4**step) for step in range(10)],
            charge_points=FLEET,
            slip=0.5,
        ),
    )
    try:
        run.start()
        return run.wait(120).capacity
    finally:
        run.close()


if __name__ == "__main__":
    sys.exit(main())
