"""Measures how fast a backlog is drained without shards and with eight, by one processor and by two, in turns.

    python benchmarks/shards.py [--output results/bench-shards.json] [--rounds 5] [--messages 20000]

In each round all four ways drain the same backlog one after the other, each with server processes of its own that are
held still (SIGSTOP) while it is another's turn. The figures are ratios to one processor without shards in the same
round; the median of the ratios counts. Two processors can be no faster than the cores that Redis and this program leave
them, so the number of cores is printed, too, and the processor time that a message costs Redis and the busiest of the
processors: with cores enough, the larger of the two is the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import psutil
import redis
from figures import Figure, Part, progress

from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import open_client
from ocpp_resilience.redis.services.base import AppendOnly
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import wait_until

CHARGE_POINTS = 50
ROUNDS_SECONDS = 45.0
"""Time limit of the rounds."""
PATIENCE = timedelta(seconds=120)
REQUESTS = "ocpp:requests"
WAYS = {
    "no shards, 1 processor": (1, 1),
    "no shards, 2 processors": (1, 2),
    "8 shards, 1 processor": (8, 1),
    "8 shards, 2 processors": (8, 2),
}
"""Name to the number of shards and of processors; the others are compared with the first one."""


class Way:
    """One way to drain: a Redis of its own, and its processors.

    Args:
        name: one of `WAYS`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.shards, processors = WAYS[name]
        self._service = EmbeddedRedis(f"bench, {name}", append_only=AppendOnly.OFF)
        self._servers = [OcppServer(f"bench-{number}", Target.load("reference")) for number in range(processors)]
        self.client: redis.Redis | None = None
        self.rates: list[float] = []
        self.redis_cpu: list[float] = []
        """Microseconds of Redis a message, one value a round."""
        self.busiest_cpu: list[float] = []
        """Microseconds of the processor that used most, divided by all messages of the round."""

    def start(self) -> None:
        """Start everything, and wait until the shards are shared."""
        self._service.start(10)
        settings = {"QUEUE_SHARDS": str(self.shards), "ROLE": "processor", "LEASE_SECONDS": "10m"}
        for server in self._servers:
            server.configure(self._service.url(), settings)
            server.start()
        self.client = open_client(self._service.url(), socket_timeout=30)
        if self.shards > 1:
            share = self.shards // len(self._servers)
            wait_until(
                lambda: all(len(one.inspection()["shards"]["owned"]) == share for one in self._servers) or None,
                timeout=PATIENCE,
                failure=lambda: "the shards are not shared evenly",
            )
        self.hold()

    def close(self) -> None:
        """End everything."""
        for server in self._servers:
            server.close()
        if self.client is not None:
            self.client.close()
        self._service.close()

    def hold(self) -> None:
        """Hold the processors still."""
        for server in self._servers:
            server.process.pause()

    def drain(self, messages: list[bytes]) -> None:
        """Put a backlog on the queue, let the processors go, and take the time until the last answer is there."""
        client = self.client
        assert client is not None
        client.lpush(REQUESTS, *messages)
        keys = [f"ocpp:responses:BENCH-{number:03d}" for number in range(CHARGE_POINTS)]

        def answered() -> int:
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.llen(key)
            return sum(pipeline.execute())

        before, redis_before = self._cpu(), _redis_cpu(client)
        began = time.perf_counter()
        for server in self._servers:
            server.process.resume()
        wait_until(
            lambda: answered() >= len(messages) or None,
            timeout=PATIENCE,
            failure=lambda: f"{answered()} of {len(messages)} messages answered",
            longest_pause=0.01,
        )
        self.rates.append(len(messages) / (time.perf_counter() - began))
        self.hold()
        used = [after - first for first, after in zip(before, self._cpu(), strict=True)]
        self.busiest_cpu.append(max(used) / len(messages) * 1e6)
        self.redis_cpu.append((_redis_cpu(client) - redis_before) / len(messages) * 1e6)
        _check(client, keys, messages)
        client.delete(*keys)

    def _cpu(self) -> list[float]:
        """Seconds of processor time of each processor."""
        return [sum(psutil.Process(server.process.pid).cpu_times()[:2]) for server in self._servers]


def _redis_cpu(client: redis.Redis) -> float:
    """Seconds of processor time of Redis."""
    info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _check(client: redis.Redis, keys: list[str], messages: list[bytes]) -> None:
    """Every message was answered once, in the order of its charge point."""
    for number, key in enumerate(keys):
        wanted = [json.loads(raw)["messageId"] for raw in messages[number::CHARGE_POINTS]]
        given = [json.loads(raw)["message_id"] for raw in reversed(client.lrange(key, 0, -1))]
        if given != wanted:
            raise SystemExit(f"{key}: {len(given)} answers, not the {len(wanted)} that were due in their order")


@contextlib.contextmanager
def running() -> Iterator[list[Way]]:
    """All ways, held still."""
    with contextlib.ExitStack() as ends:
        ways = []
        for name in WAYS:
            way = Way(name)
            ends.callback(way.close)
            way.start()
            ways.append(way)
        yield ways


PART = Part(__doc__)


def main() -> int:
    """Run every measurement."""
    add = PART.arguments.add_argument
    add("--rounds", type=int, default=5, help="how often each way has its turn (default 5)")
    add("--messages", type=int, default=20_000, help="messages in a backlog (default 20,000)")
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """All ways, in turn."""
    progress(f"{options.messages:,} Heartbeats of {CHARGE_POINTS} charge points, {os.cpu_count()} cores")
    with running() as ways:
        _turn(ways, 0, options.messages)
        for number in PART.rounds(options.rounds, ROUNDS_SECONDS):
            _turn(ways, number + 1, options.messages)
        for way in ways:
            yield from _figures(way, ways[0])


def _turn(ways: list[Way], number: int, count: int) -> None:
    first = number * count
    messages = [
        b'{"action":"Heartbeat","chargePointId":"BENCH-%03d","messageId":"%d"}' % (each % CHARGE_POINTS, each)
        for each in range(first, first + count)
    ]
    # The first round fills caches and does not count. Turns change, so that nobody always comes behind another.
    for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
        way.drain(messages)


def _figures(way: Way, base: Way) -> Iterator[Figure]:
    rates = way.rates[1:]
    ratios = [rate / reference for rate, reference in zip(rates, base.rates[1:], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    redis_us, busiest_us = statistics.median(way.redis_cpu[1:]), statistics.median(way.busiest_cpu[1:])
    cost = f"a message: Redis {redis_us:.1f} us, busiest processor {busiest_us:.1f} us"
    yield Figure(
        f"drain rate, {way.name}",
        statistics.median(rates),
        "msg/s",
        cost if way is base else f"{base.name}, quartiles {low:.2f} to {high:.2f}; {cost}",
        None if way is base else ratio,
        rounds=len(ratios),
    )


if __name__ == "__main__":
    sys.exit(main())
