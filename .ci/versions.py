"""Try the project with other versions of its packages: the newest or the lowest in the ranges of `pyproject.toml`.

    python .ci/versions.py newest            # fails when a test fails
    python .ci/versions.py newest --quick --report   # a part of the unit tests, and only reports
    python .ci/versions.py lowest
    python .ci/versions.py locked --python python3.13

Each runs in a virtual environment of its own, `.venv-newest` and so on, which is made anew. When a test fails, each
package that differs from the lock is put back to its locked version in turn, and what failed is run again: when it then
passes, that package broke it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "locks" / "dev.txt"
OWN = "robotframework-ocpp-resilience"
AT_A_TIME = ["-n", "4", "--dist", "worksteal"]
ENOUGH = 10
"""So many of the unit tests, and of the suites' tests, are run again for each package that may have broken them."""
SLOW = """
    server/test_amnesia server/test_app server/test_clocks server/test_commands server/test_connections_end
    server/test_correlation server/test_failover server/test_flow_control server/test_foreign_keys
    server/test_gateway server/test_gateway_away server/test_gateway_frames server/test_generated_invalid
    server/test_handshakes server/test_http_requests server/test_kill server/test_messages server/test_openapi
    server/test_poison server/test_processor server/test_queue server/test_redis_away server/test_redis_replies
    server/test_redis_store server/test_shards server/test_tls_and_acl server/test_unreadable_state
    server/test_unusable_answers unit/test_bench unit/test_chaos unit/test_console unit/test_correlation_engine
    unit/test_fault_proofs unit/test_fault_proxy unit/test_grade unit/test_guide unit/test_how_targets_run
    unit/test_load unit/test_load_limits unit/test_load_locust unit/test_nothing_left_behind
    unit/test_other_target unit/test_proxy_api unit/test_queue_client unit/test_report unit/test_report_parallel
    unit/test_robot_variables unit/test_suite_cleanup unit/test_target_check unit/test_transports
    unit/test_verdict_child_runs unit/test_verdict_combinations
""".split()  # noqa: SIM905
"""Unit tests of processes under load and faults: they take ten minutes, all others one.

Left out with `--quick`, as in CI: suites 13 and 17 run the same server, Redis and clients for real.
"""
WITHOUT_SLOW = [f"--ignore=tests/{name}.py" for name in SLOW]
SUITES = {"newest": ["13*", "17*"], "lowest": ["13*", "17*"], "locked": ["13*"]}


class Failures(NamedTuple):
    """Failed tests: unit tests by their node id, tests of the suites by their name."""

    unit: list[str]
    suites: list[str]


class Environment:
    """A virtual environment with some versions of the packages."""

    def __init__(self, kind: str, python: str, *, quick: bool) -> None:
        self.kind = kind
        self._quick = quick
        self._folder = ROOT / f".venv-{kind}"
        self._results = ROOT / "results" / f"versions-{kind}"
        self._uv = str(Path(sys.executable).with_name("uv"))
        self._python = python

    def install(self) -> None:
        """Make the environment anew."""
        run(self._uv, "venv", "--quiet", "--clear", "--no-python-downloads", "--python", self._python, self._folder)
        if self.kind == "locked":
            self._install("--require-hashes", "-r", LOCK)
            self._install("--no-deps", "-e", ".")
        else:
            resolution = {"newest": "highest", "lowest": "lowest-direct"}[self.kind]
            self._install("--upgrade", "--resolution", resolution, "-e", ".[dev]")

    def put(self, versions: dict[str, str]) -> None:
        """Install these versions, and nothing else."""
        self._install("--no-deps", *(f"{name}=={version}" for name, version in versions.items()))

    def installed(self) -> dict[str, str]:
        """Name and version of each package."""
        listed = run(self._uv, "pip", "list", "--quiet", "--format", "json", "--python", self._folder)
        return {each["name"]: each["version"] for each in json.loads(listed) if each["name"] != OWN}

    def check(self, only: Failures | None = None) -> Failures:
        """Run the unit tests and suites, or only these, and return the failed ones."""
        self._results.mkdir(parents=True, exist_ok=True)
        unit = self._unit(only.unit if only else []) if only is None or only.unit else []
        suites = self._suites(only.suites if only else []) if only is None or only.suites else []
        return Failures(unit, suites)

    def _unit(self, only: list[str]) -> list[str]:
        cache = self._results / "cache"
        chosen = only or (WITHOUT_SLOW if self._quick else [])
        status = self._show("pytest", "-q", *AT_A_TIME, "--cache-clear", "-o", f"cache_dir={cache}", *chosen)
        failed = cache / "v" / "cache" / "lastfailed"
        if failed.exists():
            return list(json.loads(failed.read_text(encoding="utf-8")))
        return [] if status == 0 else ["tests"]

    def _suites(self, only: list[str]) -> list[str]:
        output = self._results / "suites"
        (output / "output.xml").unlink(missing_ok=True)
        chosen = [word for name in only for word in ("--test", name)]
        suites = [path for pattern in SUITES[self.kind] for path in sorted((ROOT / "suites").glob(pattern))]
        status = self._show("robot", "--console", "dotted", "--outputdir", output, *chosen, *suites)
        if not (output / "output.xml").exists():
            return ["*"]
        tests = ElementTree.parse(output / "output.xml").iter("test")
        failed = [str(test.get("name")) for test in tests if test.find("status[@status='FAIL']") is not None]
        return failed or ([] if status == 0 else ["*"])

    def _install(self, *words: object) -> None:
        run(self._uv, "pip", "install", "--quiet", "--python", self._folder, *words)

    def _show(self, program: str, *words: object) -> int:
        """Run a program of the environment; its output is shown."""
        variables = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        variables["PATH"] = f"{self._folder / 'bin'}{os.pathsep}{variables['PATH']}"
        command = [str(self._folder / "bin" / program), *map(str, words)]
        return subprocess.run(command, cwd=ROOT, check=False, env=variables).returncode


def run(*command: object) -> str:
    """Run a command that has to succeed, and return its output."""
    done = subprocess.run([*map(str, command)], cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def locked() -> dict[str, str]:
    """Name and version of each package in the lock."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE))


def direct() -> set[str]:
    """The packages that `pyproject.toml` names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [project["dependencies"], *project["optional-dependencies"].values()]
    return {re.split(r"[\[<>=~!; ]", each)[0] for group in named for each in group}


def blame(environment: Environment, failures: Failures, changed: dict[str, str], limit: float) -> None:
    """Put each changed package back to the lock in turn, and name the one whose change breaks the tests."""
    now, until = environment.installed(), time.monotonic() + limit
    failures = Failures(failures.unit[:ENOUGH], failures.suites[:ENOUGH])
    first = direct()
    guilty = []
    for name in sorted(changed, key=lambda name: (name not in first, name)):
        if time.monotonic() > until:
            print(f"\nNot tried within {limit:.0f} seconds: {name} and what follows; --limit makes it longer.")
            break
        print(f"\n== what failed, with {name} {changed[name]} in the place of {now[name]}")
        environment.put({name: changed[name]})
        rest = environment.check(failures)
        environment.put({name: now[name]})
        mended = [each for kind, left in zip(failures, rest, strict=True) for each in kind if each not in left]
        if mended:
            guilty.append(
                f"{name} {now[name]} breaks (not {changed[name]}):" + "".join(f"\n    {each}" for each in mended)
            )
    print("\n" + ("\n".join(guilty) or "No package alone is the cause; the versions together, or no version, are."))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=sorted(SUITES))
    parser.add_argument("--python", default=sys.executable, help="the interpreter (default: this one)")
    parser.add_argument("--report", action="store_true", help="exit with 0 also when a test fails")
    parser.add_argument("--quick", action="store_true", help="without the unit tests that take the longest")
    parser.add_argument("--limit", type=float, default=300, help="seconds for finding out whose change it is")
    options = parser.parse_args()
    gone = [name for name in SLOW if not (ROOT / "tests" / f"{name}.py").is_file()]
    if gone:
        sys.exit(f"{Path(__file__).name} leaves out tests that are not there any more: {', '.join(gone)}")
    environment = Environment(options.kind, options.python, quick=options.quick)
    environment.install()
    now, lock = environment.installed(), locked()
    changed = {name: lock[name] for name, version in now.items() if lock.get(name, version) != version}
    print(f"{options.kind}: {len(changed)} of {len(now)} packages differ from the lock")
    for name, version in sorted(changed.items()):
        print(f"  {name} {now[name]} (lock: {version})")
    for name in sorted(now.keys() - lock.keys()):
        print(f"  {name} {now[name]} (not in the lock)")
    sys.stdout.flush()
    failures = environment.check()
    failed = [*failures.unit, *failures.suites]
    if failed:
        print(
            f"\n{len(failed)} tests fail with the {options.kind} versions:"
            + "".join(f"\n    {each}" for each in failed)
        )
        blame(environment, failures, changed, options.limit)
    return 1 if failed and not options.report else 0


if __name__ == "__main__":
    # So that SIGTERM ends the child process too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
