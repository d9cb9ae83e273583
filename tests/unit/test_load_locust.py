"""The load on Locust's master and workers: totals are sums, percentiles come from merged histograms, one ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from resilience.ledger import Verdict, check
from resilience.ports import free_port

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="the extra 'locust' is not installed")

LOCUSTFILE = Path(__file__).resolve().parents[2] / "libraries" / "resilience" / "load" / "locustfile.py"


@pytest.fixture
def url() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("load_server.py")), "{}"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield f"ws://127.0.0.1:{int(server.stdout.readline())}/ocpp/{{charge_point_id}}"
        server.terminate()


def test_a_master_and_two_workers_send_one_load(url: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(
        json.dumps({"url": url, "model": "open", "charge_points": 21, "stages": [{"seconds": 3, "rate": 100}]})
    )
    results = tmp_path / "results"
    port = str(free_port())
    base = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless"]
    master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "2"]
    commands = [
        [*base, *master, "-u", "1", "--load-plan", str(plan), "--load-results", str(results)],
        *[[*base, "--worker", "--master-host", "127.0.0.1", "--master-port", port]] * 2,
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
        for command in commands
    ]
    try:
        output, _ = processes[0].communicate(timeout=60)
        assert processes[0].returncode == 0, output
        for worker in processes[1:]:
            worker.communicate(timeout=20)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    data = json.loads((results / "load.json").read_bytes())
    assert (data["due"], data["answered"], data["latency"]["samples"]) == (300, 300, 300)
    assert (data["processes"], data["workers"], data["charge_points"]) == (2, 2, 21)
    assert sum(second["answered"] for second in data["seconds"]) == 300
    report = check(sorted(results.glob("ledger.*.jsonl")))
    assert (report.verdict, report.acknowledged) == (Verdict.CLEAN, 300)
    assert "ledger clean" in output
