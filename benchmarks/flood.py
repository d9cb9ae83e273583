"""Measures what charge points that send as fast as they can do to the others, in this tree and in another one.

    python benchmarks/flood.py [--base ../base] [--flooders 1 5] [--points 45] [--output results/bench-flood.json]

A server on a Redis of its own, and charge points that send two Heartbeats a second each. Meanwhile flooders send one
kind of frame as fast as they can, from a process of their own: Heartbeats, the shortest frames, and frames of 200 KB.
The health of the server is asked for 20 times a second.

The median of the others counts by their median just before and just behind the flood: a machine that other programs
use, too, slows all of them down. `--base` is the folder of another version, whose server is measured the same way, for
a table before and after. An answer that does not come within 15 seconds counts as 15 seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from figures import Figure, Part, progress
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from ocpp_resilience.load.flood import Flood, FloodPlan
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services.base import AppendOnly
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.system.server import OcppServer

FRAMES = {
    "Heartbeats": '[2,"{n}","Heartbeat",{}]',
    "frames of two bytes": "[]",
    "frames of 200 KB": '[2,"1","DataTransfer",{"vendorId":"V","data":"' + "x" * 200_000 + '"}]',
}
FLOOD_SECONDS = 6.0
"""Seconds of a flood; they end before the server closes its connection for having stayed at the limit (10)."""
QUIET_SECONDS = 3.0
"""Seconds of the same charge points without a flood, just before it, and again behind it."""
BETWEEN = 0.5
"""Seconds between two Heartbeats of a charge point."""
HEALTH_EVERY = 0.05
ANSWER_LIMIT = 15.0
WELL_LIMIT = 120.0
"""Seconds in which the server answers at once again after a flood."""

PART = Part(__doc__)


@dataclass
class Times:
    """What the others saw, in seconds.

    Attributes:
        answers: from a Heartbeat to its answer.
        health: from a request to its answer.
    """

    answers: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)


class System:
    """A server of one tree, and its Redis.

    Args:
        name: for messages.
        tree: the folder that `server/` stands in.
    """

    def __init__(self, name: str, tree: Path) -> None:
        self._redis = EmbeddedRedis(f"bench, {name}", append_only=AppendOnly.OFF)
        self._server = OcppServer(f"bench {name}", Target.load("reference"))
        self._ends = contextlib.ExitStack()
        self._ends.callback(self._redis.close)
        self._ends.callback(self._server.close)
        try:
            self._redis.start(10)
            self._server.configure(self._redis.url(), {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(tree.resolve())})
            self._server.start()
            self._server.wait_until_well(10)
        except BaseException:
            self._ends.close()
            raise

    def close(self) -> None:
        """End both."""
        self._ends.close()

    @property
    def memory(self) -> float:
        """Resident memory of the server, in MB."""
        return float(psutil.Process(self._server.process.pid).memory_info().rss) / 1e6

    @property
    def logged(self) -> float:
        """Size of the server's log, in MB."""
        return self._server.process.stdout.stat().st_size / 1e6

    def flood(self, flooders: int, frame: str) -> Flood:
        """Charge points that send as fast as they can, from now on."""
        urls = [f"ws://127.0.0.1:{self._server.ws_port}/ocpp/FLOOD-{number}" for number in range(flooders)]
        return Flood(FloodPlan(urls=urls, subprotocol="ocpp1.6", frame=frame, seconds=60))

    async def others(self, points: int, seconds: float) -> Times:
        """The charge points that do not flood, and health."""
        times = Times()
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(self._ask_for_health, times, until))
            for number in range(points):
                tasks.create_task(self._beat(number, points, times, until))
        return times

    async def _beat(self, number: int, points: int, times: Times, until: float) -> None:
        # Not all of them at the same time.
        await asyncio.sleep(BETWEEN * number / points)
        address = f"ws://127.0.0.1:{self._server.ws_port}/ocpp/OTHER-{number}"
        with contextlib.suppress(OSError, WebSocketException):
            async with connect(address, subprotocols=["ocpp1.6"], open_timeout=ANSWER_LIMIT, close_timeout=1) as socket:  # type: ignore[list-item]
                while time.monotonic() < until:
                    began = time.perf_counter()
                    await socket.send(f'[2,"{number}-{began}","Heartbeat",{{}}]')
                    try:
                        async with asyncio.timeout(ANSWER_LIMIT):
                            await socket.recv()
                    except TimeoutError:
                        times.answers.append(ANSWER_LIMIT)
                        return
                    times.answers.append(time.perf_counter() - began)
                    await asyncio.sleep(BETWEEN)
                return
        times.answers.append(ANSWER_LIMIT)  # it was not even let in

    def _ask_for_health(self, times: Times, until: float) -> None:
        while time.monotonic() < until:
            times.health.append(self._health())
            time.sleep(HEALTH_EVERY)

    def _health(self) -> float:
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._server.http_port, timeout=ANSWER_LIMIT)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            return ANSWER_LIMIT
        finally:
            connection.close()
        return time.perf_counter() - began

    def wait_until_well(self) -> None:
        """Wait for the end of what a flood has left."""
        until = time.monotonic() + WELL_LIMIT
        while self._health() > 0.5:
            if time.monotonic() > until:
                raise SystemExit(f"the server did not answer at once again within {WELL_LIMIT:g} s of a flood")
            time.sleep(0.5)


def main() -> int:
    """Run every measurement."""
    add = PART.arguments.add_argument
    add("--base", type=Path, help="a folder with another version of server/, which is measured before this one")
    add("--flooders", type=int, nargs="+", default=[1, 5], help="charge points that flood (default 1 and 5)")
    add("--points", type=int, default=45, help="charge points beside them (default 45)")
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Each flood in each tree."""
    if options.base and not Path(options.base, "server", "__main__.py").is_file():
        PART.arguments.error(f"--base {options.base}: there is no server/ in it")
    here = Path(__file__).resolve().parents[1]
    trees = {"before": options.base, "after": here} if options.base else {"this tree": here}
    for flooders in options.flooders:
        for name, frame in FRAMES.items():
            for tree, folder in trees.items():
                progress(f"{flooders} flooders, {name}, {tree}")
                # Each flood meets a new server: one that is still busy with the flood before says nothing.
                with contextlib.closing(System(tree, folder)) as system:
                    yield from one(system, f"{flooders} send {name}, {tree}", flooders, frame, options.points)


def one(system: System, name: str, flooders: int, frame: str, points: int) -> Iterator[Figure]:
    """The figures of one flood."""
    asyncio.run(system.others(points, 1.0))
    quiet = asyncio.run(system.others(points, QUIET_SECONDS))
    memory, logged = system.memory, system.logged
    flood = system.flood(flooders, frame)
    try:
        during = asyncio.run(system.others(points, FLOOD_SECONDS))
        grown, written = system.memory - memory, system.logged - logged
        sent = flood.stop().sent
    finally:
        flood.close()
    system.wait_until_well()
    quiet.answers += asyncio.run(system.others(points, QUIET_SECONDS)).answers
    before, median = (statistics.median(each.answers) * 1000 for each in (quiet, during))
    ratio = median / before
    yield Figure(f"{name}: median of the others", median, "ms", f"{before:.1f} ms without", ratio, "< 2", ratio < 2)
    health = max(during.health) * 1000
    usual = statistics.median(during.health) * 1000
    yield Figure(f"{name}: health, longest", health, "ms", f"median {usual:.1f} ms", None, "< 100 ms", health < 100)
    yield Figure(f"{name}: memory", grown, "MB", f"{sent:,} frames sent")
    yield Figure(f"{name}: log", written, "MB", f"in {FLOOD_SECONDS:g} s")


if __name__ == "__main__":
    sys.exit(main())
