"""Variables of a run: their values, and the messages about mistakes, before anything is started."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import prepared
import pytest

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.client import ProxyApi
from ocpp_resilience.robot.variables import as_choice, as_duration, as_number

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("value", ["abc", "", "1.5", "nan", "0", "11", "1e400"])
def test_a_number_that_cannot_be_used_is_named_with_its_limits(value: str) -> None:
    shown = repr(value) if value else "empty"
    with pytest.raises(UsageError) as caught:
        as_number("RUNS", value, at_least=1, at_most=10, whole=True)
    assert str(caught.value) == (f"The variable RUNS is {shown}, allowed is a whole number at least 1 and at most 10.")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_is_finite(value: str) -> None:
    with pytest.raises(UsageError, match=f"^The variable RATE is '{value}', allowed is a number.$"):
        as_number("RATE", value)


@pytest.mark.parametrize("value", ["abc", "", "0", "-5 s", "10 parsecs", "inf", "nan"])
def test_an_unusable_time_is_named_with_the_allowed_ones(value: str) -> None:
    with pytest.raises(UsageError, match=r"^The variable SOAK is .+, allowed is a time above 0, such as '90 seconds'"):
        as_duration("SOAK", value)


def test_valid_values_are_read() -> None:
    assert as_number("RUNS", "10", at_least=10, at_most=10, whole=True) == 10
    assert as_number("RATE", "0.5") == 0.5
    assert as_number("SEED", "1" * 400, whole=True) == int("1" * 400)
    assert as_duration("SOAK", "10 min") == 600
    assert as_choice("BESIDE", "yes", ["yes", "no"]) == "yes"


@pytest.mark.parametrize(
    ("variable", "value", "file"),
    [
        ("SOAK", "abc", "suites/18_system_load.robot"),
        ("SOAK", "-1 s", "suites"),
        ("REDIS", "none", "suites"),
        ("SOAK BESIDE", "perhaps", "suites/18_system_load.robot"),
        ("OUTAGES", "0", "benchmarks/recovery.robot"),
        ("FAULTS", "many", "benchmarks/chaos.robot"),
        ("SEED", "x", "benchmarks/chaos.robot"),
        ("RUNS", "-1", "benchmarks/memory_verdict.robot"),
        ("LENGTH", "long", "benchmarks/memory_verdict.robot"),
        ("RATE", "fast", "benchmarks/memory_verdict.robot"),
    ],
)
def test_a_mistake_is_known_before_anything_is_started(variable: str, value: str, file: str, tmp_path: Path) -> None:
    run = prepared.run(
        [sys.executable, "-m", "robot", "--outputdir", tmp_path, "--variable", f"{variable}:{value}", ROOT / file],
        timeout=100,
    )
    assert f"The variable {variable} is {value!r}, allowed is " in run.stdout
    assert " 0 passed" in run.stdout
    steps = ElementTree.parse(tmp_path / "output.xml").iter("kw")
    started = {step.get("name") for step in steps if step.find("status[@status!='NOT RUN']") is not None}
    assert started
    assert all(name == "Fail" or (name or "").startswith("Variable") for name in started) or file != "suites"
    assert not {"Start Redis", "Start Server", "Start Fault Proxy"} & started


@pytest.mark.parametrize(
    ("variable", "value"),
    [("REGRESSION TOLERANCE", "much"), ("REGRESSION TOLERANCE", "-1"), ("FAIL ON REGRESSION", "x")],
)
def test_a_mistake_about_regressions_is_no_pass(variable: str, value: str, tmp_path: Path) -> None:
    suite = tmp_path / "one.robot"
    suite.write_text("*** Settings ***\nLibrary    EvidenceLibrary\n*** Test Cases ***\nOne\n    No Operation\n")
    run = prepared.run(
        [sys.executable, "-m", "robot", "--outputdir", tmp_path, "--variable", f"{variable}:{value}", suite],
        timeout=100,
    )
    message = f"The variable {variable} is {value!r}, allowed is "
    assert run.stdout.count(message) == 1
    assert run.returncode == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:port", "127.0.0.1:99999", "http://[::1", "http://127.0.0.1:0"])
def test_an_address_of_a_fault_proxy_that_is_none_is_shown(address: str) -> None:
    with pytest.raises(UsageError, match=f"^'{re.escape(address)}' is not the address of a fault proxy; expected "):
        ProxyApi(address)


@pytest.mark.parametrize(
    "command",
    [
        "benchmarks/gateway.py --rounds 0",
        "benchmarks/load_generator.py --connections -2",
        "benchmarks/scale.py --rate -1",
        "benchmarks/bench.py --longer nan",
        "tests/defects/grade.py --limit -1",
        "libraries/ocpp_resilience/report/__main__.py --tolerance -1",
    ],
)
def test_an_option_beyond_its_limits_is_named_with_them(command: str) -> None:
    file, option, value = command.split()
    run = subprocess.run(
        [sys.executable, ROOT / file, option, value], capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 2
    assert f"error: {option} {value} cannot be used, allowed is a number " in run.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "option"),
    [
        ("ocpp_resilience.correlation.direct", ["memory"], "--pending -1"),
        ("ocpp_resilience.correlation.direct", ["workers"], "--workers 0"),
        ("ocpp_resilience.correlation.direct", ["workers"], "--operations 0"),
        ("ocpp_resilience.faults.proxy", [], "--port 99999"),
    ],
)
def test_an_option_of_a_module_beyond_its_limits_is_named(module: str, arguments: list[str], option: str) -> None:
    run = prepared.run([sys.executable, "-m", module, *arguments, *option.split()], timeout=100)
    assert run.returncode == 2
    assert f"error: {option} cannot be used, allowed is a number " in run.stderr
