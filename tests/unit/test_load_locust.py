"""The load on Locust's master and workers: totals are sums, percentiles come from merged histograms, one ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ocpp_resilience.ledger import Verdict, check
from ocpp_resilience.ports import free_port

LOCUSTFILE = Path(__file__).resolve().parents[2] / "libraries" / "ocpp_resilience" / "load" / "locustfile.py"
PATIENCE = 90
"""Seconds; on an idle machine it takes 10."""
CHARGE_POINTS, RATE, SECONDS = 21, 100, 2
DELAY = 0.1


@pytest.fixture
def url() -> Iterator[str]:
    """Of a server that is slow to charge points with odd numbers, which are those of the first worker."""
    options = {"delay": DELAY, "slow": ["1", "3", "5", "7", "9"]}
    command = [sys.executable, str(Path(__file__).with_name("load_server.py")), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"ws://127.0.0.1:{int(server.stdout.readline())}/ocpp/{{charge_point_id}}"
        finally:
            server.terminate()


def run_together(commands: dict[str, list[str]], folder: Path) -> str:
    """Run all of them until they end by themselves, each with status 0; returns the output of the first one."""
    with ExitStack() as stack:
        processes = []
        for name, command in commands.items():
            output = stack.enter_context((folder / f"{name}.log").open("w"))
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
            stack.callback(process.wait)
            stack.callback(process.kill)  # runs first; what has ended already does not mind
            processes.append(process)
        problem = ""
        try:
            for process in processes:
                process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            problem = f"they did not end within {PATIENCE} s"
        statuses = [process.poll() for process in processes]
    logs = {name: (folder / f"{name}.log").read_text() for name in commands}
    if problem or any(statuses):
        told = "\n".join(f"--- {name}\n{log}" for name, log in logs.items())
        pytest.fail(f"{problem or 'one of them failed'}; exit statuses {statuses}\n{told}")
    return next(iter(logs.values()))


def test_a_master_and_two_workers_send_one_load(url: str, tmp_path: Path) -> None:
    plan, results, port = tmp_path / "plan.json", tmp_path / "results", str(free_port())
    stages = [{"seconds": SECONDS, "rate": RATE}]
    plan.write_text(json.dumps({"url": url, "model": "open", "charge_points": CHARGE_POINTS, "stages": stages}))
    base = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless"]
    master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "2"]
    worker = [*base, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    output = run_together(
        {
            "master": [*base, *master, "-u", "1", "--load-plan", str(plan), "--load-results", str(results)],
            "first worker": worker,
            "second worker": worker,
        },
        tmp_path,
    )
    data = json.loads((results / "load.json").read_bytes())
    total = RATE * SECONDS

    # Totals are sums.
    ledgers = sorted(results.glob("ledger.*.jsonl"))
    each = [check([ledger]) for ledger in ledgers]
    assert len(each) == 2
    assert sum(report.acknowledged for report in each) == total
    # Messages go round the charge points: 105 of 200 are those of the eleven odd ones.
    assert sorted(report.acknowledged for report in each) == [95, 105]
    assert (data["due"], data["sent"], data["answered"]) == (total, total, total)
    assert sum(second["answered"] for second in data["seconds"]) == total
    assert (data["processes"], data["workers"], data["charge_points"]) == (2, 2, CHARGE_POINTS)

    # Percentiles are those of the merged histograms: more than half of all messages took as long as the server took
    # for the first worker. The mean of two medians would be about half of it. (Timers may be a millisecond early.)
    latency = data["latency"]
    assert latency["samples"] == data["service"]["samples"] == total
    slow = 0.8 * DELAY * 1000
    assert latency["min"] < slow < latency["p50"] <= latency["p99"] <= latency["max"]

    # One ledger over all.
    assert (data["ledger"]["verdict"], data["ledger"]["acknowledged"]) == ("clean", total)
    whole = check(ledgers)
    assert (whole.verdict, whole.acknowledged) == (Verdict.CLEAN, total)
    assert f"ledger clean: {whole.summary}" in output
