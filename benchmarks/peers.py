"""Compares load engine and fault proxy with the tools that are usual for the job, those that are installed.

    python benchmarks/peers.py [--only honesty] [--longer 2]

Debian: haproxy, redis-tools, tsung; PyPI: locust. One table, and results/bench-peers.json; exit statuses as with
bench.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bench
from bench import Program

PROGRAMS = {
    "load": Program(
        ["load_generator.py", "--peers", "--connections", "50", "1000", "10000"],
        500,
        "round trips by CPU-second beside Locust, tsung and a raw loop",
    ),
    "proxy": Program(["fault_proxy.py"], 180, "the fault proxy beside HAProxy in TCP mode"),
    "honesty": Program(["latency_honesty.py"], 200, "which tool reports that the server stalled"),
}
ALL_SECONDS = 900.0

if __name__ == "__main__":
    sys.exit(bench.main(PROGRAMS, all_seconds=ALL_SECONDS, output=Path("results/bench-peers.json")))
