"""The suites against a server that differs in all that a profile can say, one that runs already, one of which little is
known, and one without a queue.

Here are a few tests of the suites; `make targets` has all of them. They find the faults that `tests/targets` lists, and
no others.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from ocpp_resilience.profile import PROFILES, Target

ROOT = Path(__file__).resolve().parents[2]


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


compare = _load(ROOT / "tests" / "targets" / "compare.py")

OTHER = [
    "Things That Do Not Exist Are Not Found",
    "Metrics And Health Count The Queued Messages",
    "Every Action In Every Message Format Is Answered In Time",
    "A Malformed Message Is Set Aside And The Valid Ones Around It Are Processed",
    "The Server Shuts Down Quickly While The Queue Is Empty",
    "A Running Server Survives An Outage Of Redis And Answers Everything Once",
    "Several Processors Keep The Order Of Each Charge Point",
    "Processors That Share Eight Shards Keep The Order Of Each Charge Point",
    "Two Equal Commands At One Charge Point Each Get Their Own Answer",
    "A Charge Point Is Read As It Was Written And Deleted Without A Trace",
    "A Transaction That Messages Start And Stop Is Active And Then Completed",
    "A Charge Point Cannot Change The Transactions Of Another",
    "The Server Starts Without Redis And Connects When It Appears",
    "A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice",
    "Malformed JSON Is Logged And Set Aside And Stops Nothing Behind It",
    "Oversized Messages Are Refused Before Work Is Done On Them",
    "Unanswerable Frames Are Ignored Or Close The Connection",
    "Calls Before The Boot Are Refused Where The System Asks For It",
    "Removing Test Data Leaves Nothing Behind And Touches Nothing Foreign",
]
RUNNING = [
    "Every Action In Every Message Format Is Answered In Time",
    "The Server Shuts Down Quickly While The Queue Is Empty",
    "A Transaction That Messages Start And Stop Is Active And Then Completed",
    "Every Acknowledged Write Survives A Restart Of Redis",
    "Each Failure Of Redis Has Its Own Error And Leaves No Write Half Done",
    "The Server Starts Without Redis And Connects When It Appears",
    "Messages With Missing Fields Are Refused",
    "Invalid Messages On The WebSocket Are Answered As OCPP-J Says",
    "Processors That Share Eight Shards Keep The Order Of Each Charge Point",
    "Several Processors Keep The Order Of Each Charge Point",
    "Memory Stays Bounded Under Extended Operation",
    "Commands Need The Token Of The API",
    "Calls Before The Boot Are Refused Where The System Asks For It",
    "Removing Test Data Leaves Nothing Behind And Touches Nothing Foreign",
]
BARE = [
    "Things That Do Not Exist Are Not Found",
    "Metrics And Health Count The Queued Messages",
    "Health Says Degraded While Redis Is Away And Healthy When It Is Back",
    "Every Action In Every Message Format Is Answered In Time",
    "A Running Server Survives An Outage Of Redis And Answers Everything Once",
    "Several Processors Keep The Order Of Each Charge Point",
    "Processors That Share Eight Shards Keep The Order Of Each Charge Point",
    "Two Equal Commands At One Charge Point Each Get Their Own Answer",
    "A Transaction That Messages Start And Stop Is Active And Then Completed",
    "A Charge Point Cannot Change The Transactions Of Another",
    "The Server Starts Without Redis And Connects When It Appears",
    "A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice",
    "Messages With Missing Fields Are Refused",
    "Commands Need The Token Of The API",
    "Unanswerable Frames Are Ignored Or Close The Connection",
    "Removing Test Data Leaves Nothing Behind And Touches Nothing Foreign",
]
GATEWAY = [
    "Every Action In Every Message Format Is Answered In Time",
    "Valid Messages Of Every Shape Are Answered",
    "Metrics And Health Count The Queued Messages",
    "A Malformed Message Is Set Aside And The Valid Ones Around It Are Processed",
    "The Newest Thousand Dead Letters Are Kept",
    "Processors That Share Eight Shards Keep The Order Of Each Charge Point",
    "A Processor That Dies Is Replaced And The Order Is Kept",
    "The Default Timeout Is Thirty Seconds",
    "Fifty Workers At Once Lose, Mix Up And Leave Nothing",
    "Connected Charge Points Are Reported Everywhere",
    "Fifty Concurrent Writers Of One Record Lose No Update",
    "The Server Starts Without Redis And Connects When It Appears",
    "The Server Is Killed Under Traffic And Loses Nothing",
    "A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice",
    "Nothing Is Confirmed Before A Replica Has It",
    "Everything Works Over TLS With A User Of Least Privilege",
    "Idle Charge Points Are Registered Again After Redis Has Lost Its Data",
    "Malformed JSON Is Logged And Set Aside And Stops Nothing Behind It",
    "Messages With Missing Fields Are Refused",
    "Wrong Shapes And Ids Are Refused At Every Level",
    "Oversized Messages Are Refused Before Work Is Done On Them",
    "A Thousand Generated Invalid Messages Are Each Logged Once",
    "A Processor That Is Killed Under Load Is Replaced And Nothing Is Lost",
    "Removing Test Data Leaves Nothing Behind And Touches Nothing Foreign",
    "Commands Need The Token Of The API",
]
TARGETS = {"other": OTHER, "running": RUNNING, "bare": BARE, "gateway": GATEWAY}
SOAK = "5 s"
"""Where memory is not measured, the soak must only exist."""
UNSEEN = {
    "other": {"it takes messages before it has done anything, and forgets who is connected"},
    "running": set(),
    "bare": set(),
    "gateway": {"the time of a release, in which the soak and the connections in turn have their full length"},
}
"""Faults that take a minute to find, and are left to `make targets`."""


@pytest.mark.parametrize(("target", "tests"), TARGETS.items(), ids=list(TARGETS))
def test_the_suites_find_exactly_the_faults_that_it_has(tmp_path: Path, target: str, tests: list[str]) -> None:
    selection = ["--variable", f"SOAK:{SOAK}", *(word for name in tests for word in ("--test", name))]
    outcomes = compare.run(target, tmp_path / target, selection, timeout=240)
    assert sorted(outcomes) == sorted(tests)
    assert compare.judge(outcomes, compare.expectations(compare.HERE / f"{target}.yaml")) == []


@pytest.mark.parametrize(("target", "tests"), TARGETS.items(), ids=list(TARGETS))
def test_there_is_one_for_each_fault_that_it_has_and_each_thing_that_it_lacks(target: str, tests: list[str]) -> None:
    expected = compare.expectations(compare.HERE / f"{target}.yaml")
    shown = {expected[name].because for name in tests if name in expected}
    assert {each.because for each in expected.values()} - shown - UNSEEN[target] == set()


def test_a_test_that_a_busy_machine_kept_from_showing_anything_is_no_surprise() -> None:
    busy = "Inconclusive: other programs have used 1.4 of the 2 processor cores meanwhile (allowed 0.5)."
    assert compare.judge({"A Thousand Mixed Messages": ("SKIP", busy)}, {}) == []
    assert compare.judge({"A Thousand Mixed Messages": ("FAIL", busy)}, {}) != []


@pytest.mark.parametrize(
    ("status", "message", "line"),
    [
        ("FAIL", "5 lost", r"FAIL where PASS is expected: A Thousand Mixed Messages"),
        ("SKIP", "no gateway", r"SKIP where PASS is expected: A Thousand Mixed Messages"),
        ("FAIL", "KeyError: 'id'", r"a keyword has failed itself, 'KeyError'"),
        ("FAIL", "Variable '${x}' not found.", r"a keyword has failed itself, "),
    ],
)
def test_unexpected_results_are_named(status: str, message: str, line: str) -> None:
    wrong = compare.judge({"A Thousand Mixed Messages": (status, message)}, {})
    assert any(each.startswith(line) for each in wrong), wrong


@pytest.mark.parametrize(("status", "message"), [("PASS", ""), ("SKIP", "exited"), ("FAIL", "another reason")])
def test_a_fault_that_is_not_found_is_named(status: str, message: str) -> None:
    expected = {"A Test": compare.Expectation("FAIL", "it ends", "exited with status 1")}
    assert compare.judge({"A Test": ("FAIL", "Server exited with status 1.")}, expected) == []
    [wrong] = compare.judge({"A Test": (status, message)}, expected)
    assert wrong.startswith(f"{status} where FAIL is expected (it ends): A Test")


def test_the_profile_of_a_running_server_is_that_of_the_started_one_but_for_how_it_is_run() -> None:
    reference, running = (yaml.safe_load((PROFILES / f"{name}.yaml").read_text()) for name in ("reference", "running"))
    lacking = {"several_processors", "sharded_queue", "log_records"}
    asked_at_start = {"api_token", "basic_authentication", "tls", "client_certificates", "failover", "secure_redis"}
    assert set(reference["capabilities"]) - set(running["capabilities"]) == lacking | asked_at_start
    for name in ("name", "about", "start", "ready", "running", "capabilities", "security"):
        reference.pop(name, None)
        running.pop(name, None)
    assert running == reference


def test_the_profile_that_the_tests_use_is_the_bundled_one_at_another_place(tmp_path: Path) -> None:
    file = tmp_path / "running.yaml"
    file.write_text(compare.running_profile("redis://127.0.0.1:7001", 7002, 7003, "stdout.log"))
    running = Target.load(file).running
    assert running is not None
    assert (running.redis_url, running.http_url) == ("redis://127.0.0.1:7001", "http://127.0.0.1:7002")
    assert (running.gateway_url, running.log_file) == ("ws://127.0.0.1:7003", "stdout.log")
