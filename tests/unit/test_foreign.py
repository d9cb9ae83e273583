"""Third-party servers: each has a profile, an installer, and its deviations with reason and requirement."""

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
run = load(FOREIGN / "run.py")
TRIALS = run.trials()
SUITES = "".join(file.read_text() for file in (ROOT / "suites").glob("*.robot"))
TAGS = dict(re.findall(r"^(\S.*)\n(?:    .*\n)*?    \[Tags\](.*)$", SUITES, re.MULTILINE))


def test_there_are_three_of_them_and_one_speaks_another_version() -> None:
    assert len(SERVERS) >= 3
    assert {each.server for each in TRIALS} == {folder.name for folder in SERVERS}
    assert {each.protocol for each in TRIALS} >= {"ocpp1.6", "ocpp2.0.1"}


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_each_is_described(trial: Any) -> None:
    folder = FOREIGN / trial.server
    target = Target.load(folder / "profile.yaml", protocol=trial.protocol)
    assert target.name == trial.server
    assert re.search(r"\(.*(npm|PyPI), [A-Z]+", (folder / "install.sh").read_text()), "the installer notes the licence"
    document: dict[str, Any] = yaml.safe_load(trial.file.read_text())
    compare.expectations(trial.file)
    for fault in document["faults"]:
        assert fault["fault"].strip()
        for test in fault["tests"]:
            assert fault["requirement"] in TAGS[test].split(), test


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_ci_tries_tests_that_pass_and_each_fault_that_shows_soon(trial: Any) -> None:
    chosen = trial.selection(quick=True)[1::2]
    assert set(run.QUICK) <= set(chosen) <= set(TAGS)
    faults = yaml.safe_load(trial.file.read_text())["faults"]
    assert {test for each in faults if not each.get("slow") for test in each["tests"]} <= set(chosen)
    assert not {test for each in faults if each.get("slow") for test in each["tests"]} & set(chosen)


@pytest.fixture
def new_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installer of a server."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(run, "HERE", tmp_path)
    return tmp_path / "mine" / "install.sh"


def test_a_server_is_installed_once_and_again_when_its_installer_has_changed(new_server: Path) -> None:
    installed = new_server.parent / ".installed"
    for version in ("1", "2"):
        new_server.write_text(f'mkdir "$1"\necho {version} > "$1/version"\n')
        run.install("mine")
        assert (installed / "version").read_text() == f"{version}\n"
        (installed / "version").unlink()
        run.install("mine")
        assert not (installed / "version").exists()


@pytest.mark.parametrize(
    ("script", "path", "message"),
    [
        ("echo No Route >&2; exit 3", None, r"ended with status 3; is the registry \(PyPI\) reachable.*: No Route$"),
        ("printf 'npm error no route\nsee the log' >&2; exit 3", None, r"status 3; .* It wrote: npm error no route$"),
        ("exit 1 # npm install", None, r"is the registry \(npm\) reachable.*: nothing$"),
        ("npm install", "", r"^it needs Node\.js with npm; on Debian: apt-get install nodejs npm$"),
        ("sleep 60", None, r"^its installer was not done after 0\.2 s; is the registry \(PyPI\) reachable"),
    ],
    ids=["fails", "says more", "fails silently", "no Node.js", "hangs"],
)
def test_a_server_that_cannot_be_installed_is_one_clear_line(
    new_server: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    script: str,
    path: str | None,
    message: str,
) -> None:
    new_server.write_text(script)
    monkeypatch.setattr(run, "INSTALL_LIMIT", 0.2 if script.startswith("sleep") else 20)
    monkeypatch.setattr(run.shutil, "which", lambda name: None if path == "" else f"/usr/bin/{name}")
    with pytest.raises(run.NotInstalled, match=message):
        run.install("mine")
    assert run.try_server(run.Trial("mine", "ocpp1.6"), new_server.parent, [], timeout=1) == 1
    assert capsys.readouterr().out.startswith("mine: not installed: i")


def test_an_unexpected_failure_and_an_unexpected_pass_are_both_wrong() -> None:
    expected = {"declared": compare.Expectation("FAIL", "a fault", "lost")}
    assert compare.judge({"declared": ("FAIL", "3 lost"), "other": ("PASS", "")}, expected) == []
    assert len(compare.judge({"declared": ("PASS", ""), "other": ("PASS", "")}, expected)) == 1
    assert len(compare.judge({"declared": ("FAIL", "3 lost"), "other": ("FAIL", "x")}, expected)) == 1
    assert len(compare.judge({"declared": ("FAIL", "something else")}, expected)) == 1
