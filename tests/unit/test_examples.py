"""Every example is run dry: its keywords exist, and take these arguments. So are the calls in the guide's tables."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import prepared
import pytest
from test_documentation import KEYWORDS, LIBRARIES

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide"
SETTINGS = "*** Settings ***\n" + "".join(
    f"Library    {each}\n" for each in (*LIBRARIES, "Collections", "OperatingSystem")
)
CODE = re.compile(r"```robotframework\n(.*?)```", re.DOTALL)
NAMES = {keyword.name for _, keyword in KEYWORDS}


def dry_run(folder: Path, tests: dict[str, str]) -> list[str]:
    """What is wrong with these bodies of tests."""
    text = SETTINGS + "*** Test Cases ***\n"
    for name, body in tests.items():
        text += f"{name}\n" + "".join(f"    {line}\n" if line.strip() else "\n" for line in body.splitlines())
    (folder / "examples.robot").write_text(text)
    command = [sys.executable, "-m", "robot", "--dryrun", "--outputdir", "out", "--console", "none", "examples.robot"]
    prepared.run(command, cwd=folder, timeout=240)
    found = []
    for test in ET.parse(folder / "out" / "output.xml").iter("test"):
        status = test.find("status")
        assert status is not None
        if status.get("status") != "PASS":
            found.append(f"{test.get('name')}: {status.text}")
    return found


def test_the_examples_of_keywords(tmp_path: Path) -> None:
    tests = {}
    for library, keyword in KEYWORDS:
        code = CODE.search(keyword.doc)
        assert code, keyword.name
        if not re.search(r"^\*\*\*|^Test (Setup|Teardown)|^Suite (Setup|Teardown)", code[1], re.MULTILINE):
            tests[f"{library} {keyword.name}"] = code[1]
    assert len(tests) > 320
    assert dry_run(tmp_path, tests) == []


def test_a_keyword_that_is_not_there_would_be_found(tmp_path: Path) -> None:
    found = dry_run(
        tmp_path, {"One": "Get Slowest Health Answer", "Two": "Start Redis", "Three": "Stop Redis    a    b"}
    )
    assert len(found) == 2
    assert "No keyword with name 'Get Slowest Health Answer'" in found[0]


CALL = re.compile(r"`([A-Z][A-Za-z-]+(?: [A-Z][A-Za-z-]+)*(?:    [^`]+)?)`")


@pytest.mark.parametrize("page", ["coming-from.md", "faults.md", "own-requirements.md"])
def test_the_calls_in_the_guide(page: str, tmp_path: Path) -> None:
    text = re.sub(r"```.*?```", "", (GUIDE / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    calls = [each for each in CALL.findall(text) if re.split(r"    ", each)[0] in NAMES or "    " in each]
    with_arguments = [each for each in calls if "    " in each]
    unknown = [each for each in calls if re.split(r"    ", each)[0] not in NAMES]
    assert unknown == []
    if with_arguments:
        named = {f"{number} {' '.join(each.split())}": each for number, each in enumerate(with_arguments)}
        assert dry_run(tmp_path, named) == []


@pytest.mark.parametrize("tool", ["Toxiproxy", "k6", "Locust", "OCTT", "Jepsen"])
def test_there_are_ten_tasks_for_each_tool(tool: str) -> None:
    text = (GUIDE / "coming-from.md").read_text(encoding="utf-8")
    _, _, part = text.partition(f"\n## {tool}\n")
    rows = re.findall(r"^\| (?!task|---)", part.partition("\n## ")[0], re.MULTILINE)
    assert len(rows) == 10
