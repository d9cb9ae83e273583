"""Compares the load engine with a raw closed loop of `websockets` on uvloop, against the same WebSocket server.

    python benchmarks/load_generator.py [--output results/bench-load.json] [--pairs 8] [--connections 50 1000]

Both candidates stay connected the whole time and take turns: one runs for a slice of about a second while the other
stands still (SIGSTOP), so that a machine which changes its speed changes it for both. What counts is the median of the
ratios of neighbouring slices. The load engine keeps percentiles and ledger, the raw loop does nothing but send and
receive; the raw loop always has 50 connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import mmap
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import uvloop
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
RAW_CONNECTIONS = 50
TARGETS = {50: 1.0, 1000: 0.8}


def serve(counters: str) -> None:
    """Answer every CALL with a CALLRESULT, and count by path: /raw/… first, everything else second."""
    shared = _shared(Path(counters))
    counts = [0, 0]

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
        which = 0 if request.path.startswith(b"/raw") else 1
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
        return mmap.mmap(opened.fileno(), 16)


@contextlib.contextmanager
def _process(*command: str, output: int | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=output, text=True)
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


def compare(connections: int, pairs: int) -> dict[str, object]:
    """One comparison."""
    with tempfile.TemporaryDirectory() as folder:
        counters = Path(folder, "counters")
        counters.write_bytes(bytes(16))
        me = (sys.executable, __file__)
        with _process(*me, "--serve", str(counters), output=subprocess.PIPE) as server:
            assert server.stdout is not None
            url = f"ws://127.0.0.1:{int(server.stdout.readline())}"
            plan = Path(folder, "0.plan")
            plan.write_text(
                json.dumps(
                    {
                        "url": f"{url}/ocpp/{{charge_point_id}}",
                        "charge_points": connections,
                        "seconds": 3600,
                        "ledger": str(Path(folder, "ledger.jsonl")),
                    }
                )
            )
            with (
                _process(*me, "--raw", url) as plain,
                _process(sys.executable, "-m", "resilience.load", str(plan)) as engine,
            ):
                shared = _shared(counters)
                while not all(struct.unpack_from("<QQ", shared)):
                    time.sleep(0.05)
                    if plain.poll() is not None or engine.poll() is not None:
                        raise RuntimeError("A candidate has ended.")
                time.sleep(1)
                candidates = psutil.Process(plain.pid), psutil.Process(engine.pid)
                for each in candidates:
                    each.suspend()
                rates, costs, ratios, cost_ratios = [], [], [], []
                for _ in range(pairs):
                    (reference, reference_cost), (rate, cost) = (
                        _slice(shared, which, candidate) for which, candidate in enumerate(candidates)
                    )
                    rates.append((reference, rate))
                    costs.append((reference_cost, cost))
                    ratios.append(rate / reference)
                    cost_ratios.append(cost / reference_cost)
    target = TARGETS.get(connections)
    ratio = statistics.median(cost_ratios)
    return {
        "connections": connections,
        "raw_rate": statistics.median(reference for reference, _ in rates),
        "engine_rate": statistics.median(rate for _, rate in rates),
        "ratio_of_rates": statistics.median(ratios),
        "raw_per_cpu_second": statistics.median(reference for reference, _ in costs),
        "engine_per_cpu_second": statistics.median(cost for _, cost in costs),
        "ratio": ratio,
        "quartiles": statistics.quantiles(cost_ratios, n=4),
        "target": target,
        "met": None if target is None else ratio >= target,
    }


def main() -> int:
    """Run the comparisons. A missed target is a figure, not a failure."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    arguments.add_argument("--output", type=Path, help="write the figures as JSON")
    arguments.add_argument("--pairs", type=int, default=8)
    arguments.add_argument("--connections", type=int, nargs="+", default=[50, 1000])
    arguments.add_argument("--serve", help=argparse.SUPPRESS)
    arguments.add_argument("--raw", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.raw:
        raw(options.raw)
    else:
        figures = [compare(connections, options.pairs) for connections in options.connections]
        for figure in figures:
            print(
                "{connections} connections: {engine_per_cpu_second:,.0f} round trips a second of processor time, raw "
                "websockets with 50: {raw_per_cpu_second:,.0f}; ratio {ratio:.2f} (target {target}, met {met}); by the "
                "clock {engine_rate:,.0f} and {raw_rate:,.0f} a second, ratio {ratio_of_rates:.2f}".format(**figure)
            )
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
