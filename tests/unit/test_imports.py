"""Every module can be imported with warnings as errors: deprecations are noticed before the removal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
    for base in (ROOT, ROOT / "libraries")
    for folder in ([base / "server"] if base == ROOT else sorted(base.iterdir()))
    for path in folder.rglob("*.py")
)
AT_ONCE = """\
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
LOCUST = "ocpp_resilience.load.locustfile"
"""Locust patches the standard library when it is imported, so that this one is imported alone."""


@pytest.mark.parametrize("modules", [[name for name in MODULES if name != LOCUST], [LOCUST]], ids=["all", "locust"])
def test_modules_are_imported_without_a_warning(modules: list[str]) -> None:
    assert set(modules) <= set(MODULES)
    command = [sys.executable, "-W", "error", "-c", AT_ONCE, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    # Of what is written at the end of the process, gevent's complaints about it are none of ours.
    assert (done.returncode, "Warning" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize(
    ("program", "left_out"),
    [
        ("server.__main__", ["rich", "robot", "ocpp_resilience"]),
        ("ocpp_resilience.faults.proxy.__main__", ["robot", "redis"]),
        ("ocpp_resilience.load.__main__", ["robot", "redis"]),
    ],
)
def test_a_program_that_a_run_starts_often_imports_no_more_than_it_needs(program: str, left_out: list[str]) -> None:
    code = f"import {program}, sys; print([name for name in {left_out} if sys.modules.get(name)])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_the_server_hides_from_its_log_can_be_imported_behind_it() -> None:
    pytest.importorskip("rich")
    code = "import server, rich.console"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
