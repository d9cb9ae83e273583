"""Every example in the documentation of a keyword is run for real, in a test of its own; not only dry.

It takes 15 to 30 minutes, so `make unit` leaves it out: `make examples`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from compare import gateway_profile
from given import GIVEN, IN_2, NEEDS_POINT, WORLD, given
from robot.libdocpkg import LibraryDocumentation

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = sorted(path.parent.name for path in (ROOT / "libraries").glob("*Library/__init__.py"))
CODE = re.compile(r"```robotframework\n(.*?)```", re.DOTALL)
OF_A_SUITE = re.compile(r"^\*\*\*|^(Test|Suite) (Setup|Teardown)", re.MULTILINE)
NOT_HERE = {
    "Machine Should Not Have Been Busy": "it says of this machine what cannot be known before",
}
"""Examples that cannot be run here, and why; robot runs them dry (`tests/unit/test_examples.py`)."""


def examples(library: str) -> dict[str, str]:
    """The examples of a library, by keyword."""
    found = {}
    for keyword in LibraryDocumentation(library).keywords:
        code = CODE.search(keyword.doc)
        if code and not keyword.private and not OF_A_SUITE.search(code[1]) and keyword.name not in NOT_HERE:
            found[keyword.name] = code[1]
    return found


def suite(tests: dict[str, str]) -> str:
    text = f"*** Settings ***\nResource    {ROOT}/tests/examples/worlds.resource\n"
    text += "Test Teardown    Nothing Is Left\nTest Timeout    2 minutes\n*** Test Cases ***\n"
    for name, body in tests.items():
        lines = [f"[Setup]    {WORLD.get(name, 'Everything Runs')}", *given(name), *body.splitlines()]
        text += f"{name}\n" + "".join(f"    {line}\n" if line.strip() else "\n" for line in lines)
    return text


def failures(folder: Path, tests: dict[str, str], *options: str) -> list[str]:
    """Run these examples; those that did not pass, and what was said."""
    (folder / "examples.robot").write_text(suite(tests))
    (folder / "my-gateway.yaml").write_text(gateway_profile())
    command = [sys.executable, "-m", "robot", "--outputdir", "out", "--console", "none", *options, "examples.robot"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environment, timeout=1800, check=False)
    found = []
    for test in ET.parse(folder / "out" / "output.xml").iter("test"):
        status = test.find("status")
        assert status is not None
        skips = test.get("name") == "Skip As Inconclusive" and status.get("status") == "SKIP"
        if status.get("status") != "PASS" and not skips:
            found.append(f"{test.get('name')}: {status.get('status')}: {status.text}")
    return found


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_examples_of_a_library_pass(library: str, tmp_path: Path) -> None:
    tests = {name: body for name, body in examples(library).items() if name not in IN_2}
    assert not (found := failures(tmp_path, tests)), "\n".join(found)


def test_the_examples_of_ocpp_2_pass(tmp_path: Path) -> None:
    every = {name: body for library in LIBRARIES for name, body in examples(library).items()}
    tests = {name: every[name] for name in IN_2}
    found = failures(tmp_path, tests, "--variable", "PROTOCOL:ocpp2.0.1")
    assert not found, "\n".join(found)


def test_what_is_given_is_given_to_an_example() -> None:
    names = {name for library in LIBRARIES for name in examples(library)}
    assert {*GIVEN, *NEEDS_POINT, *IN_2, *WORLD} - names == set()


def test_an_example_that_fails_would_be_found(tmp_path: Path) -> None:
    [found] = failures(tmp_path, {"Get Redis Url": "${url}    Get Redis Url    alias=none"})
    assert "There is no Redis 'none'" in found
