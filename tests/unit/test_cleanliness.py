"""Content that must never be committed, found by reading the tree: paths of one machine, registries, details of one
target.

The patterns are put together from pieces, so that this file does not match itself.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Rule(NamedTuple):
    """Something that must not be in some files."""

    what: str
    pattern: str
    files: tuple[str, ...] = ("*",)
    except_in: tuple[str, ...] = ()


def one_of(*pairs: tuple[str, str]) -> str:
    return "|".join(re.escape(first + second) for first, second in pairs)


ROBOT = ("suites/*.robot", "resources/*.resource")
SETUP = (".gitignore", "Makefile", ".ci/*", "README.md", "docs/*.md", "pyproject.toml", ".pre-commit-config.yaml")
"""The files that make the virtual environment, or say how to."""

RULES = (
    Rule(
        "a path of one machine",
        r"(?<![\w.:/$}])/(?:" + one_of(("ho", "me/"), ("Us", "ers/"), ("wo", "rk/"), ("ro", "ot/")) + ")",
    ),
    Rule("a path into a virtual environment", one_of((".ve", "nv/"), ("site-pack", "ages/")), except_in=SETUP),
    Rule(
        "a package registry's host",
        one_of(
            ("py", "pi.org"),
            ("pythonho", "sted.org"),
            ("deb.de", "bian.org"),
            ("security.de", "bian.org"),
            ("archive.ub", "untu.com"),
            ("registry.n", "pmjs.org"),
            ("n", "pmjs.com"),
            ("proxy.go", "lang.org"),
            ("sum.go", "lang.org"),
        ),
    ),
    Rule("a key name, which belongs in a target profile", r"\b" + "oc" + r"pp:", ROBOT),
    Rule("a port number, which belongs in a target profile", r":\d{4,5}\b|\bport=\d|\b(?:6379|8080|8081)\b", ROBOT),
    Rule(
        "an HTTP path, which belongs in a target profile", r"(?<![\w.])/(?:health|metrics|inspect|clients|api)\b", ROBOT
    ),
)


def tracked_files() -> list[Path]:
    """Files that git tracks or would track: all but the ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if listed.returncode:
        pytest.skip(f"not a git work tree: {listed.stderr.strip()}")
    paths = {ROOT / name for name in listed.stdout.split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def applies(rule: Rule, name: str) -> bool:
    return any(fnmatch(name, glob) for glob in rule.files) and not any(fnmatch(name, glob) for glob in rule.except_in)


def findings(name: str, text: str) -> Iterator[str]:
    """One line for each thing in a file that must not be there."""
    for rule in RULES:
        if not applies(rule, name):
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if found := re.search(rule.pattern, line):
                yield f"{name}:{number}: {rule.what}: {found[0]}"


def test_nothing_is_committed_that_must_not_be() -> None:
    found: list[str] = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += findings(str(path.relative_to(ROOT)), text)
    assert found == [], "\n".join(["", *found])


@pytest.mark.parametrize(
    ("name", "line", "what"),
    [
        ("server/app.py", 'PATH = "/ho' + 'me/me/project"', "a path of one machine"),
        ("docs/a.md", "see /wo" + "rk/main", "a path of one machine"),
        ("server/app.py", '".ve' + 'nv/bin/python"', "a path into a virtual environment"),
        ("docs/a.md", "https://py" + "pi.org/simple", "a package registry's host"),
        ("suites/13.robot", "Queue    oc" + "pp:requests", "a key name, which belongs in a target profile"),
        ("suites/13.robot", "Open    redis://127.0.0.1:6380", "a port number, which belongs in a target profile"),
        ("resources/a.resource", "Start    port=0", "a port number, which belongs in a target profile"),
        ("resources/a.resource", "Get    /health", "an HTTP path, which belongs in a target profile"),
    ],
)
def test_each_rule_finds_its_violation(name: str, line: str, what: str) -> None:
    [found] = findings(name, f"first line\n{line}\n")
    assert found.startswith(f"{name}:2: {what}: ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Makefile", "\t.ve" + "nv/bin/robot suites/"),
        ("README.md", "git clone https://example.org/wo" + "rk/project"),
        ("suites/13.robot", "At 2026-01-15T10:30:00Z    5000 messages, 20,000 in all"),
        ("server/app.py", "prefix = 'oc" + "pp:requests'"),
    ],
)
def test_and_leaves_correct_schemas_unchanged(name: str, line: str) -> None:
    assert list(findings(name, line)) == []
