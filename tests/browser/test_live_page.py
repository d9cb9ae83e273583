"""The page of a run that goes on, in a real browser: desktop and phone, light and dark, until the run has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chromium import PROGRAM, Chromium

from ocpp_resilience.live import LiveServer
from ocpp_resilience.waiting import wait_until

pytestmark = pytest.mark.skipif(not PROGRAM, reason="needs Chromium (Debian: apt-get install chromium)")

EVIL = "<img src=x onerror=\"document.title='run'\">"
FOLDER = Path(__file__).resolve().parents[2] / "results" / "page"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveServer]:
    """In the middle of a run: two tests have ended, a load goes on, and Redis is away."""
    now = time.time()
    with LiveServer() as live:
        live.follow(tmp_path)
        started = {"op": "test", "run": "r", "t": now - 30, "suite": "S", "name": f"Load With Faults {EVIL}"}
        _append(live._events, {"op": "run", "run": "r", "t": now - 90, "tests": 5, "suite": "Suites"}, started)
        evidence = tmp_path / "evidence"
        evidence.mkdir()
        _append(
            evidence / "facts.jsonl",
            _fact("It Passes", "PASS"),
            _fact("It Fails", "FAIL", reasons=[{"text": f"Expected {EVIL}"}]),
        )
        _append(evidence / "faults.jsonl", _fault(1, now - 40, now - 35), _fault(2, now - 12, None))
        for number in range(600):
            at = now - 60 + number / 10
            message = {"t": at, "cp": "CP", "id": str(number)}
            answer = message | {"op": "answer", "t": at + 0.01 + (number % 50) / 1000}
            _append(evidence / "load-load-1.jsonl", message | {"op": "invoke"}, answer)
        for second in range(60):
            sample = {"t": now - 60 + second, "name": "queue depth", "value": float(second % 7)}
            _append(evidence / "samples-sampling-1.jsonl", sample)
        yield live


def _append(path: Path, *lines: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _fact(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"op": "test", "run": "r", "name": name, "suite": "S", "status": status, "seconds": 2.5} | more


def _fault(number: int, began: float, ended: float | None) -> dict[str, Any]:
    stamps = [at and datetime.fromtimestamp(at, UTC).isoformat() for at in (began, ended)]
    about = {"run": "r", "number": number, "fault": "killed", "target": f"Redis {EVIL}", "proof": "PING: refused"}
    return {"op": "begin", **about, "began": stamps[0], "ended": stamps[1]}


def shown(browser: Chromium, expression: str, expected: Callable[[Any], bool]) -> Any:
    """The value of an expression in the page, once it is as expected."""
    seen: list[Any] = []

    def probe() -> bool | None:
        seen.append(browser.evaluate(expression))
        return True if expected(seen[-1]) else None

    wait_until(probe, timeout=20, failure=lambda: f"{expression} is {seen[-1]!r}")
    return seen[-1]


TEXT = "document.getElementById('{}').textContent"


@pytest.mark.parametrize(
    ("name", "size"), [("live", (1280, 900)), ("live-dark", (1280, 900)), ("live-phone", (390, 844))]
)
def test_it_shows_the_run_as_it_is(live: LiveServer, browser: Chromium, name: str, size: tuple[int, int]) -> None:
    browser.resize(*size, mobile=name.endswith("phone"))
    browser.emulate(scheme="dark" if name.endswith("dark") else "light")
    browser.open(live.url)
    shown(browser, TEXT.format("title"), lambda text: text == "Run in progress: Suites")
    FOLDER.mkdir(parents=True, exist_ok=True)
    browser.screenshot(FOLDER / f"{name}.png", whole=True)
    counts = browser.evaluate(TEXT.format("counts"))
    assert counts == "2 of 5 tests: 1 passed, 1 failed, 0 skipped or not run"
    assert "Load With Faults" in browser.evaluate(TEXT.format("running"))
    for chart, lines in (("rate", 1), ("latency", 3), ("depth", 1)):
        drawn = f"[...document.querySelectorAll('#{chart} polyline')].map(line => line.points.numberOfItems)"
        assert len([points for points in browser.evaluate(drawn) if points > 50]) == lines
        assert browser.evaluate(f"document.querySelectorAll('#{chart} .fault').length") == 2
    states = browser.evaluate("[...document.querySelectorAll('#faults td:nth-child(3)')].map(cell => cell.textContent)")
    assert states[0].startswith("active for 1")
    assert states[1] == "over after 5.0 s"
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert browser.evaluate("document.title") == "Run in progress"
    assert browser.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert browser.errors == []
    assert [each for each in browser.requests if not each.startswith((live.url, "data:"))] == []


def test_what_happens_appears_and_the_end_names_the_page(live: LiveServer, browser: Chromium, tmp_path: Path) -> None:
    browser.open(live.url)
    shown(browser, TEXT.format("title"), lambda text: text == "Run in progress: Suites")
    _append(tmp_path / "evidence" / "facts.jsonl", _fact(f"Load With Faults {EVIL}", "PASS"))
    _append(tmp_path / "evidence" / "faults.jsonl", _fault(3, time.time(), None))
    shown(browser, TEXT.format("counts"), lambda text: text.startswith("3 of 5 tests: 2 passed"))
    shown(browser, "document.querySelectorAll('#faults tr').length", lambda count: count == 3)
    live.__exit__()
    shown(browser, TEXT.format("title"), lambda text: text == "The run has ended")
    assert str(tmp_path / "resilience.html") in browser.evaluate(TEXT.format("over"))
