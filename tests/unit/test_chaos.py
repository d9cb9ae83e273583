"""`make chaos` works: a short one, whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import prepared

from ocpp_resilience.ledger import Verdict, check

ROOT = Path(__file__).resolve().parents[2]


def test_a_few_faults_by_chance(tmp_path: Path) -> None:
    variables = {
        "SEED": "12",
        "FAULTS": "6",
        "EDGE FAULTS": "3",
        "MESSAGES": "50",
        "CHARGE POINTS": "5",
        "LONGEST FAULT": "0.4 s",
        "LONGEST PAUSE": "0.2 s",
    }
    options = [part for name, value in variables.items() for part in ("--variable", f"{name}:{value}")]
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path), *options, "benchmarks/chaos.robot"]
    done = prepared.run(command, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Seed 12, 6 faults, 3 at the edge." in done.stdout
    faults = [json.loads(line) for line in (tmp_path / "evidence" / "faults.jsonl").read_text().splitlines()]
    assert sum(each["op"] == "end" and each["proven"] for each in faults) >= 9
    kept = sorted((tmp_path / "evidence").glob("*.jsonl"))
    ledgers = [file for file in kept if file.name.startswith(("ledger-", "load-", "commands-"))]
    judged = check(ledgers)
    assert (judged.verdict, set(judged.seeds)) == (Verdict.CLEAN, {12})
    ways = {json.loads(line).get("via") for file in ledgers for line in file.read_text().splitlines()}
    assert {"queue", "websocket", "command"} <= ways
