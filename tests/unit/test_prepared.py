"""Prepared child processes end with the test process, also when that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ocpp_resilience.waiting import wait_until

TESTS = Path(__file__).resolve().parents[1]
KILLED = """
import os, signal, sys
from prepared.prepared import start
with open(os.devnull, "wb") as nothing:
    child = start([sys.executable, "-m", "robot", "--output", "NONE", "long.robot"], stdout=nothing, stderr=nothing)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are ordinary processes")
def test_a_child_ends_with_a_test_process_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "long.robot").write_text("*** Test Cases ***\nLong\n    Sleep    60 s\n")
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    environment.pop("LD_PRELOAD", None)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{child}").exists() or None, timeout=10, failure=lambda: f"{child} still runs.")
