"""Measures what a message from WebSocket to WebSocket costs, in this tree and in another one, in turns.

    python benchmarks/message_path.py [--base ../base] [--rounds 8] [--points 200] [--output results/bench-message.json]

The method for "faster than before": a server of each tree stands on a Redis of its own, both with the same interpreter
and the same packages. In each round both have a turn of the same length, and the order changes from round to round;
the other one is idle meanwhile. In a turn each charge point has one Heartbeat outstanding at any time: the system
always has all the work that it can take, so the rate is its capacity. The figures are ratios within a round, new to
old; the median and the quartiles of the ratios count. A machine that other programs use, too, slows both turns down.

The processor time of server and Redis for a message depends less on other programs than the rate does, and says
which of the two is the limit. The clients are plain sockets in this process, and the same for both trees.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from figures import Figure, Part, progress
from gateway import connected, frame

from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services.base import AppendOnly
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.system.server import OcppServer

TURN_SECONDS = 1.5
ROUNDS_SECONDS = 60.0
"""Time limit of the rounds."""

PART = Part(__doc__)


class System:
    """A server of one tree, its Redis and its connected charge points.

    Args:
        name: for messages.
        tree: the folder that `server/` stands in.
        append_only: when Redis flushes.
        points: charge points.
    """

    def __init__(self, name: str, tree: Path, append_only: AppendOnly, points: int) -> None:
        self._redis = EmbeddedRedis(f"bench, {name}", append_only=append_only)
        self._server = OcppServer(f"bench {name}", Target.load("reference"))
        self._ends = contextlib.ExitStack()
        self._ends.callback(self._redis.close)
        self._ends.callback(self._server.close)
        self._number = 0
        self.rates: list[float] = []
        self.medians: list[float] = []
        self.server_us: list[float] = []
        self.redis_us: list[float] = []
        try:
            self._redis.start(10)
            self._server.configure(
                self._redis.url(), {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(tree.resolve()), "WS_MESSAGE_RATE": "0"}
            )
            self._server.start()
            self._server.wait_until_well(10)
            self._processes = [psutil.Process(self._server.process.pid), psutil.Process(self._redis.pid)]
            self._points = self._ends.enter_context(connected(self._server.ws_port, points))
        except BaseException:
            self._ends.close()
            raise

    def close(self) -> None:
        """End everything."""
        self._ends.close()

    def turn(self, seconds: float, *, counts: bool = True) -> None:
        """Keep every charge point busy for so long."""
        before = [sum(process.cpu_times()[:2]) for process in self._processes]
        processed = self._server.inspection()["processed"]
        rate, times = self._busy(seconds)
        processed = self._server.inspection()["processed"] - processed
        if abs(processed - len(times)) > len(self._points):
            # While Redis is away the gateway answers Heartbeats in the place of the processor.
            raise SystemExit(f"{len(times)} messages were answered, and {processed} processed")
        if counts:
            used = [sum(process.cpu_times()[:2]) for process in self._processes]
            server, redis = ((after - first) / len(times) * 1e6 for first, after in zip(before, used, strict=True))
            self.rates.append(rate)
            self.medians.append(statistics.median(times) * 1000)
            self.server_us.append(server)
            self.redis_us.append(redis)

    def _busy(self, seconds: float) -> tuple[float, list[float]]:
        """Rate and times; with few words a message, since this program has its share of the processors, too."""
        times: list[float] = []
        points = {point.fileno(): point for point in self._points}
        sent: dict[int, tuple[float, bytes]] = {}
        clock = time.perf_counter
        with select.epoll() as poll:
            began = clock()
            for number, point in points.items():
                sent[number] = self._send(point, began)
                poll.register(number, select.EPOLLIN)
            while sent:
                ready = poll.poll(20)
                if not ready:
                    raise SystemExit("no answer within 20 seconds")
                now = clock()
                for number, _ in ready:
                    point = points[number]
                    when, wanted = sent.pop(number)
                    # One answer is outstanding and short: it comes whole.
                    answer = point.recv(4096)
                    if wanted not in answer:
                        raise SystemExit(f"wanted {wanted!r}, got {answer!r}")
                    times.append(now - when)
                    if now - began < seconds:
                        sent[number] = self._send(point, now)
        return len(times) / (clock() - began), times

    def _send(self, point: socket.socket, now: float) -> tuple[float, bytes]:
        self._number += 1
        point.send(frame(self._number))
        return now, b',"%d",' % self._number


def main() -> int:
    """Run every measurement."""
    add = PART.arguments.add_argument
    add("--base", type=Path, help="a folder with another version of server/, which has its turns beside this one")
    add("--rounds", type=int, default=8, help="turns of each tree (default 8)")
    add("--points", type=int, default=200, help="charge points, each with one message outstanding (default 200)")
    add("--flush", action="store_true", help="have Redis flush every write to disk")
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Turns of one tree, or of two."""
    if options.base and not Path(options.base, "server", "__main__.py").is_file():
        PART.arguments.error(f"--base {options.base}: there is no server/ in it")
    here = Path(__file__).resolve().parents[1]
    trees = {"base": options.base, "this tree": here} if options.base else {"this tree": here}
    append_only = AppendOnly.ALWAYS if options.flush else AppendOnly.OFF
    progress(f"{options.points} charge points, {', '.join(trees)} in turns, {os.cpu_count()} cores")
    with contextlib.ExitStack() as ends:
        systems = {}
        for name, tree in trees.items():
            systems[name] = System(name, tree, append_only, options.points)
            ends.callback(systems[name].close)
        order = list(systems.values())
        for system in order:
            system.turn(TURN_SECONDS, counts=False)
        for _ in PART.rounds(options.rounds, ROUNDS_SECONDS):
            for system in order:
                system.turn(TURN_SECONDS)
            order.reverse()
        yield from _figures(systems["this tree"], systems.get("base"))


def _figures(new: System, old: System | None) -> Iterator[Figure]:
    for name, unit, values, before, target in (
        ("capacity, one process", "msg/s", new.rates, old and old.rates, ">= 1.5"),
        ("round trip p50 at capacity", "ms", new.medians, old and old.medians, ""),
        ("server CPU a message", "us", new.server_us, old and old.server_us, ""),
        ("Redis CPU a message", "us", new.redis_us, old and old.redis_us, ""),
    ):
        if not before:
            yield Figure(name, statistics.median(values), unit, rounds=len(values))
            continue
        ratios = [one / other for one, other in zip(values, before, strict=True)]
        low, ratio, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        reference = f"base: {statistics.median(before):,.1f} {unit}; quartiles of the ratio {low:.2f} to {high:.2f}"
        met = ratio >= 1.5 if target else None
        yield Figure(name, statistics.median(values), unit, reference, ratio, target, met, len(values))


if __name__ == "__main__":
    sys.exit(main())
