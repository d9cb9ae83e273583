"""Compares the load engine and Locust with a raw closed loop of `websockets` on uvloop, against one WebSocket server.

    python benchmarks/load_generator.py [--output results/bench-load.json] [--pairs 15] [--connections 50 1000]

All candidates stay connected the whole time and take turns: one runs for a slice of about a second while the others
stand still (SIGSTOP), so that a machine which changes its speed changes it for all. What counts is the median of the
ratios of neighbouring slices, in round trips a second of the generator's processor time. The load engine keeps
percentiles and ledger; Locust (the extra; left out where it is not installed) keeps its own statistics, one task a
message (benchmarks/locust_peer.py), and so does tsung (Debian: tsung; only with --peers). The raw
loop does nothing but send and receive, and always has 50 connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import mmap
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
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
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

SLICE = 0.8
SETTLE = 0.15
SETTLE_CONNECTED = 4.0
RAW_CONNECTIONS = 50
PAIRS_SECONDS = 45.0
"""Time limit of the pairs of one comparison."""
TARGETS = {50: 1.0, 1000: 0.8}
RAW = "raw websockets"
ENGINE = "load engine"
PATHS = ("/raw", "/ocpp", "/locust", "/tsung")
"""Of the raw loop, the load engine, Locust and tsung; each has a counter."""
TSUNG = """<?xml version="1.0"?>
<!DOCTYPE tsung SYSTEM "/usr/share/tsung/tsung-1.0.dtd">
<tsung loglevel="error" version="1.0">
  <clients><client host="localhost" use_controller_vm="true" maxusers="{connections}"/></clients>
  <servers><server host="127.0.0.1" port="{port}" type="tcp"/></servers>
  <load><arrivalphase phase="1" duration="3600" unit="second">
    <users maxnumber="{connections}" arrivalrate="{connections}" unit="second"/>
  </arrivalphase></load>
  <sessions><session name="ocpp" probability="100" type="ts_websocket">
    <request><websocket type="connect" path="/tsung"></websocket></request>
    <for from="1" to="1000000000" var="i">
      <request><websocket type="message" frame="text">[2,"1","Heartbeat",{{}}]</websocket></request>
    </for>
  </session></sessions>
</tsung>
"""


def serve(counters: str) -> None:
    """Answer every CALL with a CALLRESULT, and count by the beginning of the path."""
    shared = _shared(Path(counters))
    counts = [0] * len(PATHS)

    class Peer(WSListener):
        def __init__(self, which: int) -> None:
            self.which = which

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type is WSMsgType.CLOSE:
                transport.disconnect()
                return
            counts[self.which] += 1
            struct.pack_into("<Q", shared, 8 * self.which, counts[self.which])
            message_id = frame.get_payload_as_bytes().split(b'"', 2)[1]
            transport.send(WSMsgType.TEXT, b'[3,"%b",{"currentTime":"2026-01-15T10:30:00Z"}]' % message_id)

    def accept(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        which = next(number for number, path in enumerate(PATHS) if request.path.startswith(path.encode()))
        response = WSUpgradeResponse.create_101_response(extra_headers={"Sec-WebSocket-Protocol": "ocpp1.6"})
        return WSUpgradeResponseWithListener(response, Peer(which))

    async def run() -> None:
        server = await ws_create_server(accept, "127.0.0.1", 0, backlog=2000)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()

    uvloop.run(run())


def raw(url: str) -> None:
    """The raw closed loop."""

    async def one(number: int) -> None:
        async with connect(
            f"{url}/raw/{number}",
            subprotocols=[Subprotocol("ocpp1.6")],
            compression=None,
            ping_interval=None,
            proxy=None,
        ) as connection:
            message = 0
            while True:
                message += 1
                await connection.send(f'[2,"{message}","Heartbeat",{{}}]')
                await connection.recv()

    async def run() -> None:
        await asyncio.gather(*(one(number) for number in range(RAW_CONNECTIONS)))

    uvloop.run(run())


def _shared(file: Path) -> mmap.mmap:
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), 8 * len(PATHS))


@contextlib.contextmanager
def _process(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _slice(shared: mmap.mmap, which: int, process: psutil.Process) -> tuple[float, float]:
    """Round trips a second, and a second of the candidate's processor time."""
    process.resume()
    time.sleep(SETTLE)
    began, before, used = time.perf_counter(), struct.unpack_from("<Q", shared, 8 * which)[0], _cpu(process)
    time.sleep(SLICE)
    count = struct.unpack_from("<Q", shared, 8 * which)[0] - before
    length, cpu = time.perf_counter() - began, _cpu(process) - used
    process.suspend()
    return count / length, count / max(cpu, 0.01)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def compare(connections: int, pairs: int, *, peers: bool = False) -> Iterator[Figure]:
    """One comparison: the load engine, and Locust and tsung where they are installed, with the raw loop."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        counters = Path(folder, "counters")
        counters.write_bytes(bytes(8 * len(PATHS)))
        me = (sys.executable, __file__)
        server = stack.enter_context(_process(*me, "--serve", str(counters), stdout=subprocess.PIPE))
        assert server.stdout is not None
        url = f"ws://127.0.0.1:{int(server.stdout.readline())}"
        candidates = {
            RAW: _process(*me, "--raw", url),
            ENGINE: _process(sys.executable, "-m", "ocpp_resilience.load", _plan(folder, url, connections)),
        }
        paths = {RAW: 0, ENGINE: 1}
        if find_spec("locust"):
            candidates["Locust"] = _locust(folder, url, connections)
            paths["Locust"] = 2
        if peers and shutil.which("tsung"):
            candidates["tsung"] = _tsung(folder, url, connections)
            paths["tsung"] = 3
        processes = {name: stack.enter_context(candidate) for name, candidate in candidates.items()}
        shared = _shared(counters)
        _wait_until_all_send(shared, {paths[name]: (name, process) for name, process in processes.items()})
        each = {name: _at_work(process) for name, process in processes.items()}
        for process in each.values():
            process.suspend()
        rates: dict[str, list[float]] = {name: [] for name in each}
        costs: dict[str, list[float]] = {name: [] for name in each}
        for _ in PART.rounds(pairs, PAIRS_SECONDS):
            for name, process in each.items():
                rate, cost = _slice(shared, paths[name], process)
                rates[name].append(rate)
                costs[name].append(cost)
    for name in each:
        if name != RAW:
            yield from _figures(name, connections, rates, costs)


def _plan(folder: str, url: str, connections: int) -> str:
    plan = Path(folder, "0.plan")
    ledger = str(Path(folder, "ledger.jsonl"))
    plan.write_text(
        json.dumps(
            {"url": url + "/ocpp/{charge_point_id}", "charge_points": connections, "seconds": 3600, "ledger": ledger}
        )
    )
    return str(plan)


def _locust(folder: str, url: str, connections: int) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    file = Path(__file__).with_name("locust_peer.py")
    options = (
        "--headless",
        "--only-summary",
        "-u",
        str(connections),
        "-r",
        str(connections),
        "--host",
        url + "/locust",
    )
    log = Path(folder, "locust.log")
    command = (sys.executable, "-m", "locust", "-f", str(file), *options, "--logfile", str(log), "ChargePoint")
    return _process(*command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def _tsung(folder: str, url: str, connections: int) -> Iterator[subprocess.Popen[str]]:
    file = Path(folder, "tsung.xml")
    file.write_text(TSUNG.format(connections=connections, port=url.rpartition(":")[2]))
    command = ("tsung", "-f", str(file), "-l", folder, "start")
    silent: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with _process(*command, env={**os.environ, "HOME": folder}, **silent) as process:
        try:
            yield process
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()


def _at_work(process: subprocess.Popen[str]) -> psutil.Process:
    """The process that sends: tsung is a shell script, and its child does the work."""
    own = psutil.Process(process.pid)
    return next((child for child in own.children(recursive=True) if "beam" in child.name()), own)


def _wait_until_all_send(shared: mmap.mmap, processes: dict[int, tuple[str, subprocess.Popen[str]]]) -> None:
    until = time.monotonic() + 120
    while not all(struct.unpack_from("<Q", shared, 8 * number)[0] for number in processes):
        time.sleep(0.05)
        for name, process in processes.values():
            if process.poll() is not None:
                raise SystemExit(f"{name} exited with status {process.returncode}")
        if time.monotonic() > until:
            raise SystemExit("not every candidate has sent something within 120 s")
    # Locust starts its users within a second or so, and everybody shares the processors meanwhile.
    time.sleep(SETTLE_CONNECTED)


def _figures(
    name: str, connections: int, rates: dict[str, list[float]], costs: dict[str, list[float]]
) -> Iterator[Figure]:
    """Round trips by processor time, which counts, and by the clock."""
    ratios = [cost / reference for cost, reference in zip(costs[name], costs[RAW], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    target = TARGETS.get(connections) if name == ENGINE else None
    yield Figure(
        f"{name}, {connections:,} connections, per second of processor time",
        statistics.median(costs[name]),
        "round trips",
        f"raw websockets, {RAW_CONNECTIONS}: {statistics.median(costs[RAW]):,.0f}; quartiles {low:.2f} to {high:.2f}",
        ratio,
        "" if target is None else f">= {target:g}",
        None if target is None else ratio >= target,
        len(ratios),
    )
    yield Figure(
        f"{name}, {connections:,} connections, by the clock",
        statistics.median(rates[name]),
        "round trips/s",
        f"raw websockets, {RAW_CONNECTIONS}: {statistics.median(rates[RAW]):,.0f}",
        statistics.median(rate / raw for rate, raw in zip(rates[name], rates[RAW], strict=True)),
        rounds=len(ratios),
    )


PART = Part(__doc__)


def main() -> int:
    """Run the comparisons, or one of the candidates."""
    PART.arguments.add_argument("--pairs", type=int, default=15)
    PART.arguments.add_argument("--peers", action="store_true", help="tsung, too, where it is installed")
    PART.arguments.add_argument("--connections", type=int, nargs="+", default=[50, 1000])
    candidate = {"--serve": serve, "--raw": raw}.get(sys.argv[1] if len(sys.argv) == 3 else "")
    if candidate is not None:
        candidate(sys.argv[2])
        return 0
    return PART.main(measure)


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """All comparisons."""
    for connections in options.connections:
        progress(f"{connections:,} connections: the candidates in turn")
        yield from compare(connections, options.pairs, peers=options.peers)


if __name__ == "__main__":
    sys.exit(main())
