"""The servers of other people: each has a profile, an installer, and its deviations with reason and requirement."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from ocpp_resilience.profile import Target

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = ROOT / "tests" / "foreign"
SERVERS = sorted(file.parent for file in FOREIGN.glob("*/profile.yaml"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


compare = load(ROOT / "tests" / "targets" / "compare.py")


def test_there_are_three_of_them() -> None:
    assert len(SERVERS) >= 3


@pytest.mark.parametrize("folder", SERVERS, ids=lambda folder: folder.name)
def test_each_is_described(folder: Path) -> None:
    target = Target.load(folder / "profile.yaml")
    assert target.name == folder.name
    assert re.search(r"\(.*(npm|PyPI), [A-Z]+", (folder / "install.sh").read_text()), "the installer notes the licence"
    document: dict[str, Any] = yaml.safe_load((folder / "expected.yaml").read_text())
    compare.expectations(folder / "expected.yaml")
    text = "".join(file.read_text() for file in (ROOT / "suites").glob("*.robot"))
    tags = dict(re.findall(r"^(\S.*)\n(?:    .*\n)*?    \[Tags\](.*)$", text, re.MULTILINE))
    for fault in document["faults"]:
        assert fault["fault"].strip()
        for test in fault["tests"]:
            assert fault["requirement"] in tags[test].split(), test


def test_an_unexpected_failure_and_an_unexpected_pass_are_both_wrong() -> None:
    expected = {"declared": compare.Expectation("FAIL", "a fault", "lost")}
    assert compare.judge({"declared": ("FAIL", "3 lost"), "other": ("PASS", "")}, expected) == []
    assert len(compare.judge({"declared": ("PASS", ""), "other": ("PASS", "")}, expected)) == 1
    assert len(compare.judge({"declared": ("FAIL", "3 lost"), "other": ("FAIL", "x")}, expected)) == 1
    assert len(compare.judge({"declared": ("FAIL", "something else")}, expected)) == 1
