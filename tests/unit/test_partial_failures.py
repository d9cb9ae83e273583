"""The rows of R16.7: one test has many of them, so that an error has to name its row."""

from __future__ import annotations

import sys
from pathlib import Path

import prepared
from robot.api import ExecutionResult

RESOURCE = Path(__file__).parents[2] / "resources" / "faults.resource"
SUITE = f"""
*** Settings ***
Resource    {RESOURCE}

*** Test Cases ***
One Row
    [Template]    Is Survived And Recovered From
    half-open for 3 s

Two Rows
    [Template]    Is Survived And Recovered From
    latency 300 ms for 1 s
    reset connections
"""


def test_a_failing_row_names_itself_with_any_error(tmp_path: Path) -> None:
    """Nothing was started: the rows fail long before there is a value to compare with a threshold."""
    suite = tmp_path / "rows.robot"
    suite.write_text(SUITE)
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path), "--console", "none", str(suite)]
    prepared.run(command, timeout=180)
    one, two = (test.message for test in ExecutionResult(str(tmp_path / "output.xml")).suite.tests)
    assert one.startswith("half-open for 3 s: There is no Server 'server'")
    assert "1) latency 300 ms for 1 s: There is no Server 'server'" in two
    assert "2) reset connections: There is no Server 'server'" in two


def test_a_failing_row_of_two_names_the_one_that_failed(tmp_path: Path) -> None:
    suite = tmp_path / "rows.robot"
    row = "    [Template]    Both Are Survived And Recovered From\n    busy for 1 s    half-open for 3 s\n"
    suite.write_text(f"*** Settings ***\nResource    {RESOURCE}\n\n*** Test Cases ***\nA Row Of Two\n{row}")
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path), "--console", "none", str(suite)]
    prepared.run(command, timeout=180)
    (test,) = ExecutionResult(str(tmp_path / "output.xml")).suite.tests
    assert test.message.startswith("busy for 1 s: There is no Server 'server'")
