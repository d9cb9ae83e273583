"""Runs the suites against third-party servers from the registries: the verdicts must equal the declared ones.

    python tests/foreign/run.py                    # all of them, in each OCPP version that is declared
    python tests/foreign/run.py --only ocpp-rpc --protocol ocpp2.0.1
    python tests/foreign/run.py --quick            # the tests that `quick` in `expected.yaml` names, for CI

Each folder beside this file is a server: `install.sh` puts it into the folder `.installed`, `profile.yaml` describes
it, and `expected.yaml` has every test that does not pass, with the reason and the requirement;
`expected-ocpp2.0.1.yaml` has those of another version. A failure that is not declared fails, and so does a declared
one that passes. Nothing of these servers is part of this project; each runs as a program of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "targets"))

import compare  # noqa: E402 - its folder is no package

SUITES = ("13*", "17*")
"""Messages over WebSockets, valid and invalid: what is tried unless `suites` in `expected.yaml` says more."""
QUICK = (
    "Every Action In Every Message Format Is Answered In Time",
    "A Thousand Mixed Messages Are All Answered In Time",
    "Valid Messages Of Every Shape Are Answered",
)
"""What `--quick` tries beside the declared faults."""
DEFAULT_PROTOCOL = "ocpp1.6"
INSTALL_LIMIT = 180.0
RUN_LIMIT = 720.0
QUICK_LIMIT = 150.0


@dataclass(frozen=True)
class Trial:
    """A server in one OCPP version.

    Attributes:
        server: the name of its folder.
        protocol: the subprotocol.
    """

    server: str
    protocol: str

    def __str__(self) -> str:
        return self.server if self.protocol == DEFAULT_PROTOCOL else f"{self.server}-{self.protocol}"

    @property
    def file(self) -> Path:
        """Where its verdicts are declared."""
        version = "" if self.protocol == DEFAULT_PROTOCOL else f"-{self.protocol}"
        return HERE / self.server / f"expected{version}.yaml"

    def selection(self, *, quick: bool) -> list[str]:
        """The options of Robot that choose the tests."""
        declared: dict[str, Any] = yaml.safe_load(self.file.read_text())
        if not quick:
            return [word for suite in declared.get("suites", SUITES) for word in ("--suite", suite)]
        found = [test for fault in declared["faults"] if not fault.get("slow") for test in fault["tests"]]
        tests = dict.fromkeys([*QUICK, *declared.get("quick", ()), *found])
        return [word for test in tests for word in ("--test", test)]


def trials() -> list[Trial]:
    """Each server in each version that is declared."""
    files = sorted(HERE.glob("*/expected*.yaml"))
    versions = [(file.parent.name, file.stem.removeprefix("expected").removeprefix("-")) for file in files]
    return [Trial(name, version or DEFAULT_PROTOCOL) for name, version in versions]


class NotInstalled(Exception):
    """A server could not be installed."""


def install(name: str) -> None:
    """Install a server, unless it is there as its installer says.

    Raises:
        NotInstalled: that failed; the message says why.
    """
    folder = HERE / name / ".installed"
    script = HERE / name / "install.sh"
    done = folder / "done"
    if done.exists() and done.read_text() == script.read_text():
        return
    shutil.rmtree(folder, ignore_errors=True)
    uses_npm = "npm install" in script.read_text()
    if uses_npm and not (shutil.which("npm") and shutil.which("node")):
        raise NotInstalled("it needs Node.js with npm; on Debian: apt-get install nodejs npm")
    registry = "npm" if uses_npm else "PyPI"
    asked = f"is the registry ({registry}) reachable from here?"
    command = ["sh", str(script), str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as installer:
        try:
            _, said = installer.communicate(timeout=INSTALL_LIMIT)
        except subprocess.TimeoutExpired:
            # With what it has started.
            os.killpg(installer.pid, signal.SIGKILL)
            raise NotInstalled(f"its installer was not done after {INSTALL_LIMIT:g} s; {asked}") from None
    sys.stderr.write(said)
    if installer.returncode:
        lines = said.strip().splitlines() or ["nothing"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise NotInstalled(f"its installer ended with status {installer.returncode}; {asked} It wrote: {reason}")
    done.write_text(script.read_text())


def try_server(trial: Trial, folder: Path, selection: list[str], *, timeout: float) -> int:
    """Run the suites against a server, and print the differences to the declared verdicts; returns their number."""
    try:
        install(trial.server)
    except NotInstalled as error:
        sys.stdout.write(f"{trial}: not installed: {error}\n")
        return 1
    began = time.monotonic()
    variables = (f"TARGET:{HERE / trial.server / 'profile.yaml'}", f"PROTOCOL:{trial.protocol}", "SOAK:20s")
    options = [word for each in variables for word in ("--variable", each)]
    outcomes = compare.run_suites(folder, [*options, *selection], {}, timeout=timeout)
    wrong = compare.judge(outcomes, compare.expectations(trial.file))
    statuses = [status for status, _ in outcomes.values()]
    counts = ", ".join(f"{statuses.count(each)} {each}" for each in ("PASS", "FAIL", "SKIP"))
    sys.stdout.write("".join(f"{trial}: {line}\n" for line in wrong))
    sys.stdout.write(f"{trial}: {counts} in {time.monotonic() - began:.0f} s; {len(wrong)} not as declared\n")
    sys.stdout.flush()
    return len(wrong) + (not outcomes)


def main() -> int:
    """Try them one after the other."""
    every = trials()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], choices=sorted({each.server for each in every}))
    parser.add_argument("--protocol", choices=sorted({each.protocol for each in every}), help="only in this version")
    parser.add_argument("--suite", action="append", default=[], help="only these suites, as for robot")
    parser.add_argument("--quick", action="store_true", help="the declared faults, and a few tests that pass")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "foreign")
    options = parser.parse_args()
    # What was started is ended also when this program is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen = [
        each
        for each in every
        if each.server in (options.only or [each.server]) and each.protocol == (options.protocol or each.protocol)
    ]
    named = [word for suite in options.suite for word in ("--suite", suite)]
    wrong = [
        try_server(
            each,
            options.output / str(each),
            named or each.selection(quick=options.quick),
            timeout=QUICK_LIMIT if options.quick else RUN_LIMIT,
        )
        for each in chosen
    ]
    return int(any(wrong) or not wrong)


if __name__ == "__main__":
    sys.exit(main())
