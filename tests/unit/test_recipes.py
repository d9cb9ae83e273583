"""The recipes for pipelines: what they run works as it stands, without root where that can be tried, with HOME=/."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from ocpp_resilience.shipped import shipped

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guide" / "pipelines.md").read_text(encoding="utf-8")
NOBODY = 65534

SUITE = """\
*** Settings ***
Library    EvidenceLibrary
Library    RedisServiceLibrary
*** Test Cases ***
Redis Runs
    [Tags]    R13.5
    Start Redis
    Requirement Should Be Met    R13.5    messages    20000
    Requirement Should Be Met    R13.5    drain_rate    {rate}
"""


def block(heading: str, language: str) -> str:
    found = re.search(rf"^## {heading}\n\n```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def commands() -> dict[str, str]:
    """What each recipe runs, as one text for a shell."""
    github: dict[str, Any] = yaml.safe_load(block("GitHub Actions", "yaml"))
    [job] = github["jobs"].values()
    shipped_one: dict[str, Any] = yaml.safe_load(shipped("templates", "acceptance.yml").read_text())
    [shipped_job] = shipped_one["jobs"].values()
    gitlab: dict[str, Any] = yaml.safe_load(block("GitLab", "yaml"))
    jenkins = re.search(r'sh """\n(.*?)"""', block("Jenkins", "groovy"), re.DOTALL)
    assert jenkins
    return {
        "github": "\n".join(each["run"] for each in job["steps"] if "run" in each),
        "init": "\n".join(each["run"] for each in shipped_job["steps"] if "run" in each),
        "gitlab": "\n".join(gitlab["resilience"]["script"]),
        "jenkins": jenkins[1],
    }


def can_be_nobody() -> bool:
    if os.geteuid() != 0:
        return False
    command = [sys.executable, "-c", "import EvidenceLibrary"]
    try:
        return subprocess.run(command, user=NOBODY, capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


@pytest.mark.parametrize("recipe", ["github", "init", "gitlab", "jenkins"])
def test_a_recipe_gates_and_keeps_the_history(recipe: str, tmp_path: Path) -> None:
    script = commands()[recipe]
    assert "pip install 'robotframework-ocpp-resilience[server]'" in script
    # Everything is installed already, and the environment of the test is the one that is active.
    lines = [line for line in script.splitlines() if not re.match(r"\s*(pip install|python -m venv)", line)]
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "one.robot").write_text(SUITE.format(rate=500))
    tmp_path.chmod(0o777)
    environment = {
        "HOME": "/",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md"),
    }
    user: dict[str, Any] = {"user": NOBODY} if can_be_nobody() else {}
    for expected, rate in ((0, 500), (1, 5), (0, 500)):
        (suites / "one.robot").write_text(SUITE.format(rate=rate))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **user,
        )
        assert done.returncode == expected, done.stdout + done.stderr
    assert len((tmp_path / "history" / "history.jsonl").read_text().splitlines()) == 3
    assert ET.parse(tmp_path / "results" / "junit.xml").getroot().tag == "testsuites"
    assert (tmp_path / "results" / "resilience.html").is_file()
    if "GITHUB_STEP_SUMMARY" in script:
        text = (tmp_path / "step.md").read_text()
        assert text.count("## Ready: the one requirement is met.") + text.count("## Not ready") >= 1
    assert {each.name for each in tmp_path.iterdir()} <= {"suites", "history", "results", "step.md"}


def test_what_the_recipes_keep_is_what_is_written() -> None:
    github = yaml.safe_load(block("GitHub Actions", "yaml"))["jobs"]["acceptance"]["steps"]
    assert next(each for each in github if "cache" in each.get("uses", ""))["with"]["path"] == "history"
    gitlab = yaml.safe_load(block("GitLab", "yaml"))["resilience"]
    assert gitlab["cache"]["paths"] == ["history"]
    assert gitlab["artifacts"]["reports"]["junit"] == "results/junit.xml"
    assert "junit 'results/junit.xml'" in block("Jenkins", "groovy")
    for script in commands().values():
        words = shlex.split(script.replace("\\\n", " "))
        assert words[words.index("--history") + 1] == "history/history.jsonl"
        assert words[words.index("--junit") + 1] == "results/junit.xml"
