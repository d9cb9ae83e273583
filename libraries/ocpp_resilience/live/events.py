"""A listener of Robot Framework that says which test runs: one JSON line for each start of a suite or test."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from ocpp_resilience import json_lines
from ocpp_resilience.evidence.measurements import RUN


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """The start of the run, or of a test.

    Attributes:
        op: which of the two.
        run: the run that it belongs to, as in `measurements.jsonl`.
        t: when, in seconds since 1970.
        tests: how many tests the run has; 0 for a test.
        suite: full name of the suite.
        name: name of the test; empty for the run.
    """

    op: Literal["run", "test"]
    run: str
    t: float
    tests: int = 0
    suite: str = ""
    name: str = ""


class Events:
    """Appends a line to a file when the run starts, and when a test starts.

    Args:
        path: the file.
    """

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def start_suite(self, data: Any, result: Any) -> None:
        """A suite starts."""
        if result.parent is None:
            self._write(Started(op="run", run=RUN, t=time.time(), tests=data.test_count, suite=result.full_name))

    def start_test(self, _data: Any, result: Any) -> None:
        """A test starts."""
        self._write(Started(op="test", run=RUN, t=time.time(), suite=result.parent.full_name, name=result.name))

    def _write(self, event: Started) -> None:
        json_lines.append(self._path, [event])
