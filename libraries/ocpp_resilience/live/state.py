"""The state of a run, computed from the lines of its files. Without I/O."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime
from typing import Any

SECONDS_SHOWN = 180
"""Seconds of the charts."""
MOST_OPEN = 100_000
"""Messages without an answer that are remembered."""
QUANTILES = (0.5, 0.95, 0.99)
QUEUE_DEPTH = "queue depth"
"""Name of the samples of the queue's depth."""


class LiveState:
    """Progress of a run, and its last minutes.

    Attributes:
        run: the name of the run; empty before its first line.
    """

    def __init__(self) -> None:
        self._begin("", "", 0)

    def _begin(self, run: str, suite: str, total: int) -> None:
        self.run = run
        self._suite = suite
        self._total = total
        self._running: dict[str, Any] | None = None
        self._tests: list[dict[str, Any]] = []
        self._faults: dict[int, dict[str, Any]] = {}
        self._open: dict[tuple[str, str], float] = {}
        self._answers: dict[int, list[float]] = {}
        self._depth: deque[tuple[float, float]] = deque()
        self._latest = 0.0

    def event(self, line: dict[str, Any]) -> None:
        """The run, or a test, started (`ocpp_resilience.live.events`)."""
        if line["op"] == "run":
            self._begin(line["run"], line["suite"], line["tests"])
        else:
            self._running = {"name": line["name"], "suite": line["suite"], "since": line["t"]}

    def fact(self, line: dict[str, Any]) -> None:
        """A fact about a test (`facts.jsonl`)."""
        if line.get("op") != "test" or line.get("run") != self.run:
            return
        reasons = [reason["text"] for reason in line.get("reasons", ())]
        text = reasons[0] if reasons else line.get("message", "")
        about = {"name": line["name"], "suite": line["suite"], "status": line["status"], "seconds": line["seconds"]}
        self._tests.append(about | {"text": text})
        if self._running is not None and self._running["name"] == line["name"]:
            self._running = None

    def fault(self, line: dict[str, Any]) -> None:
        """A fault begins or ends (`faults.jsonl`)."""
        if line.get("run") != self.run:
            return
        self._faults[line["number"]] = {
            "fault": line["fault"],
            "target": line["target"],
            "began": _seconds(line["began"]),
            "ended": _seconds(line["ended"]) if line.get("ended") else None,
            "proof": line.get("proof", ""),
        }

    def message(self, line: dict[str, Any]) -> None:
        """A message is sent or answered (ledgers)."""
        op, t = line.get("op"), float(line.get("t", 0.0))
        self._latest = max(self._latest, t)
        key = (line.get("cp", ""), line.get("id", ""))
        if op == "invoke":
            self._open[key] = t
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
        elif op == "answer" and (sent := self._open.pop(key, None)) is not None:
            self._answers.setdefault(int(t), []).append((t - sent) * 1000)
        elif op in {"fail", "unknown"}:
            self._open.pop(key, None)

    def sample(self, line: dict[str, Any]) -> None:
        """A sample of a process or of a number (`samples-*.jsonl`)."""
        if line.get("name") == QUEUE_DEPTH and "value" in line:
            self._depth.append((line["t"], line["value"]))

    def as_data(self, now: float) -> dict[str, Any]:
        """What the page shows.

        Args:
            now: seconds since 1970.
        """
        since = now - SECONDS_SHOWN
        for second in [each for each in self._answers if each < since]:
            del self._answers[second]
        while self._depth and self._depth[0][0] < since:
            self._depth.popleft()
        # The running second is not over yet.
        over = [second for second in sorted(self._answers) if second < int(min(now, self._latest))]
        running = self._running and {**self._running, "seconds": round(now - self._running["since"], 1)}
        return {
            "now": now,
            "suite": self._suite,
            "total": self._total,
            "running": running,
            "tests": self._tests,
            "counts": {
                status: sum(test["status"] == status for test in self._tests)
                for status in ("PASS", "FAIL", "SKIP", "NOT RUN")
            },
            "seconds_shown": SECONDS_SHOWN,
            "rate": [[second, len(self._answers[second])] for second in over],
            "latency": [[second, *quantiles(self._answers[second])] for second in over],
            "depth": [list(each) for each in self._depth],
            "faults": [each for each in self._faults.values() if each["ended"] is None or each["ended"] >= since],
        }


def quantiles(values: list[float]) -> list[float]:
    """The quantiles of `QUANTILES`: the smallest value that so large a share does not exceed."""
    ordered = sorted(values)
    return [round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 2) for share in QUANTILES]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
