"""Does a load tool report the stall of a server? Each installed tool loads a server that stalls for 1 s of 15.

    python benchmarks/latency_honesty.py [--rounds 1] [--output results/bench-honesty.json]

500 messages a second are due, from 50 charge points with 10 each. The server answers at once, but stands still for one
second in the middle. 500 messages are due meanwhile. One in a hundred of all 7,500 are 75, and the 75 that wait longest
were due in the first 150 ms of the stall: the true p99 is 850 ms. A tool that counts from the moment of sending, and
sends less while it waits, reports less. The figure is the tool's own p99 by the true one.

Tools: the load engine with its open model, and with its closed model, which shows what is left out; Locust
(`constant_throughput`) where it is installed. Others cannot be given this load: wrk speaks no WebSocket, and tsung
reports no quantiles.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import uvloop
from figures import Figure, Part, progress
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from ocpp_resilience.load import LoadRun, Model, Plan, Stage

RATE, USERS, SECONDS = 500, 50, 15
STALL_AT, STALL = 7.0, 1.0
"""Seconds from the first message to the stall, and its length."""
ROUNDS_SECONDS = 200.0
"""Time limit of the rounds."""


def true_quantile(share: float) -> float:
    """The quantile of the latency in ms: messages due in the stall wait for its end, and the others do not wait."""
    beyond = (1 - share) * RATE * SECONDS
    return max(0.0, (STALL - beyond / RATE) * 1000)


def serve() -> None:
    """Answer every CALL with a CALLRESULT; stand still once."""
    first: list[float] = []

    class Peer(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type is WSMsgType.CLOSE:
                transport.disconnect()
                return
            if not first:
                first.append(time.monotonic())
            elif len(first) == 1 and time.monotonic() - first[0] >= STALL_AT:
                first.append(time.monotonic())
                time.sleep(STALL)
            message_id = frame.get_payload_as_bytes().split(b'"', 2)[1]
            transport.send(WSMsgType.TEXT, b'[3,"%b",{"currentTime":"2026-01-15T10:30:00Z"}]' % message_id)

    def accept(_request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        response = WSUpgradeResponse.create_101_response(extra_headers={"Sec-WebSocket-Protocol": "ocpp1.6"})
        return WSUpgradeResponseWithListener(response, Peer())

    async def run() -> None:
        server = await ws_create_server(accept, "127.0.0.1", 0, backlog=2000)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    uvloop.run(run())


@contextlib.contextmanager
def stalling() -> Iterator[str]:
    """A server that will stall once; its URL."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def engine(url: str, model: Model) -> float:
    """The p99 in ms that the load engine reports."""
    target = f"{url}/ocpp/{{charge_point_id}}"
    if model is Model.OPEN:
        plan = Plan(url=target, charge_points=USERS, model=model, stages=[Stage(SECONDS, RATE)])
    else:
        plan = Plan(url=target, charge_points=USERS, model=model, seconds=SECONDS, pause=USERS / RATE)
    run = LoadRun("The load", plan)
    try:
        run.start()
        return float(run.wait(SECONDS + 60).latency.p99)
    finally:
        run.close()


def locust(url: str) -> float:
    """The p99 in ms that Locust reports."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(__file__).with_name("locust_peer.py")
        command = [sys.executable, "-m", "locust", "-f", str(file), "--headless", "--only-summary"]
        command += ["-u", str(USERS), "-r", str(USERS), "-t", f"{SECONDS}s", "--host", url, "--csv", "stats"]
        subprocess.run(
            [*command, "PacedChargePoint"], cwd=folder, capture_output=True, check=True, timeout=SECONDS + 60
        )
        with Path(folder, "stats_stats.csv").open(newline="") as rows:
            return next(float(row["99%"]) for row in csv.DictReader(rows) if row["Name"] == "Aggregated")


TOOLS: dict[str, Callable[[str], float]] = {
    "load engine, open model": lambda url: engine(url, Model.OPEN),
    "load engine, closed model": lambda url: engine(url, Model.CLOSED),
}

PART = Part(__doc__)


def main() -> int:
    """Run every tool, or the server."""
    if sys.argv[1:] == ["--serve"]:
        serve()
        return 0
    PART.arguments.add_argument("--rounds", type=int, default=1, help="runs of each tool (default 1)")
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Each tool in turn."""
    tools = dict(TOOLS)
    if find_spec("locust"):
        tools["Locust"] = locust
    else:
        progress("no Locust (the extra locust)")
    seen: dict[str, list[float]] = {name: [] for name in tools}
    for _ in PART.rounds(options.rounds, ROUNDS_SECONDS):
        for name, tool in tools.items():
            progress(name)
            with stalling() as url:
                seen[name].append(tool(url))
    truth = true_quantile(0.99)
    for name, values in seen.items():
        value = statistics.median(values)
        ours = "open" in name
        yield Figure(
            f"p99 with a stall of {STALL:g} s, {name}",
            value,
            "ms",
            f"true: {truth:.0f} ms",
            value / truth,
            "0.9 to 1.1" if ours else "",
            0.9 <= value / truth <= 1.1 if ours else None,
            len(values),
        )


if __name__ == "__main__":
    sys.exit(main())
