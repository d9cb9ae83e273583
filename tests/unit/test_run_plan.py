"""The plan of the run in the setup of a folder: the requirements that a later file proves."""

from __future__ import annotations

import sys
from pathlib import Path

import prepared
import pytest
from robot.api import TestSuite as Data

from EvidenceLibrary.plan import Plan
from ocpp_resilience.errors import UsageError

FIRST = "*** Test Cases ***\nFirst\n    [Tags]    R13.1    load\n    No Operation\n"
SECOND = "*** Test Cases ***\nSecond\n    [Tags]    r14.2\n    No Operation\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    suites = tmp_path / "suites"
    (suites / "inner").mkdir(parents=True)
    (suites / "1_first.robot").write_text(FIRST)
    (suites / "inner" / "2_second.robot").write_text(SECOND)
    return suites


def planned(*paths: Path) -> Plan:
    plan = Plan()
    plan.start_suite(Data.from_file_system(*paths))
    return plan


def test_a_requirement_of_a_later_file_is_proven_later_and_one_of_the_first_file_is_not(folder: Path) -> None:
    plan = planned(folder)
    assert plan.requirement_is_proven_later("R14.2")
    assert not plan.requirement_is_proven_later("R13.1")
    assert not plan.requirement_is_proven_later("R18.4")


def test_a_run_of_the_file_alone_proves_nothing_later(folder: Path) -> None:
    assert not planned(folder / "inner").requirement_is_proven_later("R14.2")
    assert not Plan().requirement_is_proven_later("R14.2")


def test_a_suite_below_does_not_change_the_plan(folder: Path) -> None:
    data = Data.from_file_system(folder)
    plan = Plan()
    plan.start_suite(data)
    plan.start_suite(data.suites[1])
    assert plan.requirement_is_proven_later("R14.2")


def test_within_a_file_only_the_tests_behind_the_running_one_are_later(tmp_path: Path) -> None:
    file = tmp_path / "one.robot"
    file.write_text(FIRST + SECOND.partition("\n")[2])
    data = Data.from_file_system(file)
    plan = Plan()
    plan.start_suite(data)
    assert plan.requirement_is_proven_later("R13.1", in_suite=True)
    plan.start_test(data.tests[0])
    assert plan.requirement_is_proven_later("R14.2", in_suite=True)
    assert not plan.requirement_is_proven_later("R13.1", in_suite=True)
    plan.start_test(data.tests[1])
    assert not plan.requirement_is_proven_later("R14.2", in_suite=True)


def test_an_invalid_requirement_id_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'14\.2' is not the id of a requirement, such as 'R14\.2'\."):
        Plan().requirement_is_proven_later("14.2")


@pytest.mark.parametrize(("chosen", "later"), [([], "True"), (["--include", "R14.2"], "False")])
def test_the_setup_of_a_folder_can_ask(folder: Path, chosen: list[str], later: str) -> None:
    (folder / "__init__.robot").write_text(
        "*** Settings ***\nLibrary    EvidenceLibrary\nSuite Setup    Ask\n\n*** Keywords ***\nAsk\n"
        "    ${later}    Requirement Is Proven Later    R14.2\n    Log    later: ${later}    console=True\n"
    )
    command = [sys.executable, "-m", "robot", "--output", "NONE", "--log", "NONE", "--report", "NONE"]
    ran = prepared.run([*command, *chosen, str(folder)], cwd=folder.parent, timeout=60, check=True)
    assert f"later: {later}" in ran.stdout
