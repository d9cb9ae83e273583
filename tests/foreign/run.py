"""The suites against servers of other people from the registries: the verdicts must equal the declared ones.

    python tests/foreign/run.py                    # all of them
    python tests/foreign/run.py --only ocpp-rpc

Each folder beside this file is a server: `install.sh` puts it into the folder `.installed`, `profile.yaml` describes
it, and `expected.yaml` has every test that does not pass, with the reason and the requirement. A failure that is not
declared fails, and so does a declared one that passes. Nothing of these servers is part of this project; each runs as a
program of its own.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "targets"))

import compare  # noqa: E402 - its folder is no package

SUITES = ("13*", "17*")
"""Messages over WebSockets, valid and invalid: what is tried unless `suites` in `expected.yaml` says more."""
INSTALL_LIMIT = 300.0
RUN_LIMIT = 720.0


def servers() -> list[str]:
    """The names of the servers."""
    return sorted(file.parent.name for file in HERE.glob("*/profile.yaml"))


def suites_of(name: str) -> list[str]:
    """The suites that a server is tried with."""
    declared = yaml.safe_load((HERE / name / "expected.yaml").read_text())
    return list(declared.get("suites", SUITES))


def install(name: str) -> None:
    """Install a server, unless it is there.

    Raises:
        SystemExit: that failed.
    """
    folder = HERE / name / ".installed"
    done = folder / "done"
    if done.exists():
        return
    try:
        subprocess.run(["sh", str(HERE / name / "install.sh"), str(folder)], check=True, timeout=INSTALL_LIMIT)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise SystemExit(f"{name} could not be installed: {error}") from None
    done.touch()


def try_server(name: str, folder: Path, suites: list[str]) -> int:
    """Run the suites against a server, and print the differences to the declared verdicts; returns their number."""
    install(name)
    began = time.monotonic()
    selection = [word for suite in suites for word in ("--suite", suite)]
    options = ["--variable", f"TARGET:{HERE / name / 'profile.yaml'}", "--variable", "SOAK:20s", *selection]
    outcomes = compare.run_suites(folder, options, {}, timeout=RUN_LIMIT)
    wrong = compare.judge(outcomes, compare.expectations(HERE / name / "expected.yaml"))
    statuses = [status for status, _ in outcomes.values()]
    counts = ", ".join(f"{statuses.count(each)} {each}" for each in ("PASS", "FAIL", "SKIP"))
    sys.stdout.write("".join(f"{name}: {line}\n" for line in wrong))
    sys.stdout.write(f"{name}: {counts} in {time.monotonic() - began:.0f} s; {len(wrong)} not as declared\n")
    return len(wrong) + (not outcomes)


def main() -> int:
    """Try them one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], choices=servers())
    parser.add_argument("--suite", action="append", default=[], help="only these suites, as for robot")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "foreign")
    options = parser.parse_args()
    # What was started is ended also when this program is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wrong = [
        try_server(name, options.output / name, options.suite or suites_of(name)) for name in options.only or servers()
    ]
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
