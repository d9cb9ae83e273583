"""The keywords and suite 16 with a real Toxiproxy in the place of our proxy; `TOXIPROXY_SERVER` names its program."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import prepared
import pytest
from robot.api import ExecutionResult

from ocpp_resilience.errors import LacksCapability, ServiceError
from ocpp_resilience.faults.client import ProxyApi
from ocpp_resilience.ports import free_port
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = os.environ.get("TOXIPROXY_SERVER")

pytestmark = pytest.mark.skipif(not PROGRAM, reason="there is no real Toxiproxy; TOXIPROXY_SERVER names its program")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    real = ChildProcess("Toxiproxy")
    port = free_port()
    made = f"http://127.0.0.1:{port}"

    def listens() -> bool | None:
        try:
            return bool(ProxyApi(made).ask("GET", "/version"))
        except ServiceError:
            return None

    try:
        real.start([str(PROGRAM), "-host", "127.0.0.1", "-port", str(port)])
        wait_until(listens, timeout=30, failure=real.output_tail)
        yield made
    finally:
        real.close()


def run(url: str, folder: Path, *arguments: str) -> dict[str, tuple[str, str]]:
    """Status and message of each test of a child run."""
    command = [sys.executable, "-m", "robot", "--outputdir", str(folder), "--console", "none"]
    prepared.run([*command, "--variable", f"FAULT_PROXY:{url}", *arguments], cwd=ROOT, timeout=300)
    tests = ExecutionResult(str(folder / "output.xml")).suite.all_tests
    return {test.name: (test.status, test.message) for test in tests}


def test_it_is_told_from_our_own(url: str) -> None:
    api = ProxyApi(url)
    assert not api.is_own
    with pytest.raises(
        LacksCapability, match=f"only the proxy of this project can do, not the Toxiproxy at {api.host}"
    ):
        api.act("any", "reset")


def test_the_keywords_work_with_it_and_what_only_ours_can_do_is_skipped(url: str, tmp_path: Path) -> None:
    ProxyApi(url).create("somebody-elses", "127.0.0.1:1")
    other = ProxyApi(url).ask("GET", "/proxies/somebody-elses")
    found = run(url, tmp_path, "--exclude", "own-proxy", "tests/keywords/faults.robot")
    assert {status for status, _ in found.values()} == {"PASS", "SKIP"}, found
    skipped = [message for status, message in found.values() if status == "SKIP"]
    assert len(skipped) == 2
    assert all("only the proxy of this project" in message for message in skipped)
    assert ProxyApi(url).ask("GET", "/proxies") == {"somebody-elses": other}, "nothing of ours is left"


def test_suite_16_passes_with_it_and_r16_9_is_skipped(url: str, tmp_path: Path) -> None:
    tags = [part for tag in ("R16.4", "R16.7", "R16.9") for part in ("--include", tag)]
    found = run(url, tmp_path, *tags, "suites/16_connection_failures.robot")
    assert sorted(status for status, _ in found.values()) == ["PASS", "PASS", "SKIP"], found
    assert (
        "only the proxy of this project" in found["A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice"][1]
    )
