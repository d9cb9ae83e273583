"""The suites against a server that differs in all that a profile can say: they find its faults, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from robot.api import ExecutionResult

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "tests" / "other_server" / "profile.yaml"

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
EXPECTED = {
    "Every Action In Every Message Format Is Answered In Time": (PASS, ""),
    "A Malformed Message Is Set Aside And The Valid Ones Around It Are Processed": (
        SKIP,
        "This target has no list of dead letters (redis.keys.dead_letters in its profile).",
    ),
    "The Server Shuts Down Quickly While The Queue Is Empty": (
        FAIL,
        "Server 'server' exited with status -15, expected",
    ),
    "Messages Of Fifty Charge Points Are Answered In The Order Of Each": (PASS, ""),
    "Several Processors Keep The Order Of Each Charge Point": (
        SKIP,
        "Target 'other' does not support several processors (capabilities in ",
    ),
    "A Running Server Survives An Outage Of Redis And Answers Everything Once": (
        FAIL,
        "Server 'server' exited with status 1. Its standard error ends with:",
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("other")
    command = [sys.executable, "-m", "robot", "--outputdir", str(folder), "--console", "none"]
    for name in EXPECTED:
        command += ["--test", name]
    subprocess.run(
        [*command, "--variable", f"TARGET:{PROFILE}", str(ROOT / "suites")],
        capture_output=True,
        timeout=240,
        check=False,
        cwd=ROOT,
    )
    result = ExecutionResult(str(folder / "output.xml"))
    return {test.name: (test.status, test.message) for test in result.suite.all_tests}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_suites_find_exactly_the_faults_that_it_has(outcomes: dict[str, tuple[str, str]], name: str) -> None:
    status, message = EXPECTED[name]
    assert outcomes[name][0] == status, outcomes[name][1]
    assert outcomes[name][1].startswith(message)
