"""The command `ocpp-resilience`: everything that is done outside of a test, each a subcommand."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from ocpp_resilience.text import did_you_mean

PROGRAM = "ocpp-resilience"
DISTRIBUTION = "robotframework-ocpp-resilience"
PROFILE = "my-system.yaml"
WRONG_USE = 2


class Subcommand(NamedTuple):
    """One of the subcommands.

    Attributes:
        about: its help text.
        module: the module whose `main` takes the arguments behind its name.
    """

    about: str
    module: str


SUBCOMMANDS = {
    "init": Subcommand("copy suites, resources, a profile and a CI recipe into a new folder", "ocpp_resilience.init"),
    "run": Subcommand("run suites, against the bundled server or your own system", "ocpp_resilience.run"),
    "check": Subcommand(
        "try a profile against its system, or print the schema of profiles", "ocpp_resilience.check.__main__"
    ),
    "report": Subcommand(
        "write the page of a run again, or accept a run as the baseline", "ocpp_resilience.report.__main__"
    ),
    "ledger": Subcommand(
        "judge saved message histories: lost, duplicated, out of order", "ocpp_resilience.ledger.__main__"
    ),
    "load": Subcommand("send the load that a plan describes", "ocpp_resilience.load.__main__"),
    "requirements": Subcommand(
        "compare the tags of suites with the requirements", "ocpp_resilience.evidence.requirements"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Hand the arguments to the subcommand that they begin with; returns its exit status."""
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if name in {"-h", "--help"}:
        sys.stdout.write(_help())
        return 0
    if name == "--version":
        sys.stdout.write(f"{PROGRAM} {version(DISTRIBUTION)}\n")
        return 0
    if name not in SUBCOMMANDS:
        sys.stderr.write(f"{PROGRAM}: there is no subcommand {name!r} (allowed: {', '.join(SUBCOMMANDS)})")
        sys.stderr.write(f"{did_you_mean(name, SUBCOMMANDS)}\n")
        return WRONG_USE
    # Each subcommand imports its own modules: the help must appear at once.
    return int(importlib.import_module(SUBCOMMANDS[name].module).main(rest))


def _help() -> str:
    subcommands = "\n".join(f"  {name:14}{each.about}" for name, each in SUBCOMMANDS.items())
    return f"""\
usage: {PROGRAM} SUBCOMMAND ...

Acceptance tests for charging back ends that speak OCPP: does a system keep its promises while its connections, its
Redis and its processes fail?

{subcommands}

To begin with:
  {PROGRAM} init my-tests                             a folder with tests that run
  {PROGRAM} run my-tests                              run them against the bundled server
  {PROGRAM} run my-tests --target my-tests/{PROFILE}    run them against your own system

`{PROGRAM} SUBCOMMAND --help` explains a subcommand, `{PROGRAM} --version` tells the version.
"""


if __name__ == "__main__":
    sys.exit(main())
