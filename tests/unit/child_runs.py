"""Child runs of robot, rebot and pabot on small suites, for the tests of the verdict and of the page."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import msgspec
import prepared

from ocpp_resilience.report import Report
from ocpp_resilience.report.page import template

WORDS = '''
"""A library whose keywords end as the project's own do."""

import os
import signal
import subprocess
import sys

from robot.libraries.BuiltIn import BuiltIn

from ocpp_resilience import errors
from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import Component, KeywordLibrary, keyword


class Words(Component):
    @keyword()
    def lack(self, what: str) -> None:
        raise errors.LacksCapability(what)

    @keyword()
    def not_possible_here(self, what: str) -> None:
        raise errors.NotPossibleHere(what)

    @keyword()
    def use_wrongly(self, what: str) -> None:
        raise errors.UsageError(what)

    @keyword()
    def decide_nothing(self, why: str) -> None:
        raise errors.Inconclusive(why)

    @keyword()
    def expect(self, what: str) -> None:
        raise errors.ExpectationFailed(what)

    @keyword()
    def find_wrong_answers(self, *violations: str) -> None:
        text = f"Not every message was answered as it should be: {violations}"
        raise errors.WrongAnswers(text, violations=violations)

    @keyword()
    def begin_fault_without_proof(self, name: str) -> None:
        JOURNAL.begin(name, "the connection")

    @keyword()
    def doubt_the_load(self, why: str) -> None:
        RECORDER.doubt(why)

    @keyword()
    def send_signal(self, name: str) -> None:
        os.kill(os.getpid(), getattr(signal, name))

    @keyword()
    def let_the_server_crash(self) -> None:
        """A process that ends by itself, watched as `Start Server` watches its servers."""
        server = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        server.wait()
        RECORDER.watch(server, lambda: 1, lambda: f"Server 'server' exited with status {server.returncode}.")


class Said(KeywordLibrary):
    ROBOT_LIBRARY_SCOPE = "GLOBAL"

    def __init__(self) -> None:
        super().__init__([Words()])
'''


def write_suite(folder: Path, text: str, name: str = "own.robot", settings: str = "") -> Path:
    """A suite with the libraries that its tests need, in a file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "Said.py").write_text(WORDS)
    head = "*** Settings ***\nLibrary    EvidenceLibrary\nLibrary    Said\n" + dedent(settings).lstrip()
    path.write_text(head + "\n*** Test Cases ***\n" + dedent(text).lstrip("\n"))
    return path


def run(folder: Path, *arguments: str, module: str = "robot", out: str = "out") -> subprocess.CompletedProcess[str]:
    """Run robot, rebot or pabot in a folder to its end."""
    command = [sys.executable, "-m", module]
    if out:
        command += ["--outputdir", str(folder / out)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # pabot starts `robot` by its name
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    return prepared.run([*command, *arguments], cwd=folder, env=environment, timeout=200)


def report_of(folder: Path, out: str = "out") -> Report:
    """The content of `resilience.json`; decoding checks that it keeps its schema."""
    return msgspec.json.decode((folder / out / "resilience.json").read_bytes(), type=Report)


def verdicts_of(report: Report) -> dict[str, tuple[str, str]]:
    """Verdict and reason of each requirement that a test of the run carries."""
    tagged = {each for test in report.tests for each in test.requirements}
    return {each.id: (each.verdict.value, each.reason) for each in report.requirements if each.id in tagged}


def without_own_script(html: str) -> str:
    """A page without its own script, which is there once and unchanged; the policy lets that one run and no other."""
    script = template("page.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert {name: rule for name, rule in rules.items() if name.startswith("script-src")} == {
        "script-src": f"'sha256-{digest}'"
    }
    before, found, after = html.partition(f"<script>{script}</script>")
    assert found
    return before + after
