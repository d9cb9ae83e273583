"""The suites against a target with known faults: they must find exactly these, and crash nowhere.

    python tests/targets/compare.py other              # all suites against the second server (tests/other_server)
    python tests/targets/compare.py running --suite 15*  # one suite against the bundled server, which runs already
    python tests/targets/compare.py bare               # against the bundled server, of which little is known
    python tests/targets/compare.py gateway            # against the bundled server, whose queue is nobody's business

What has to come of each test is in `tests/targets/TARGET.yaml`; a test that is not named there has to pass. The exit
status is 0 when all of it came true.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from robot.api import ExecutionResult, TestSuite

from ocpp_resilience.ports import free_port
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.profile import PROFILES
from ocpp_resilience.redis.services import EmbeddedRedis

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OTHER = ROOT / "tests" / "other_server" / "profile.yaml"
PLUMBING = re.compile(
    r"Traceback|(Key|Type|Attribute|Index|Name|Unbound\w+|Import|Recursion|Assertion)Error\b|has no attribute"
    r"|Variable '.*' not found|No keyword with name|object is not|Test timeout|codec can't"
)
"""The form of a message when a keyword itself has failed, and not the system under test."""
BUSY = re.compile(
    r"^Inconclusive: (other programs have used [\d.]+ of the \d+ processor cores|the generator was late"
    r"|only \d+ of \d+ messages)"
)
"""What a test says that other programs have kept from showing anything: neither as expected nor a surprise."""
LIMITS = {"other": 1500.0, "running": 480.0, "bare": 480.0, "gateway": 900.0}
"""Seconds for all suites. The second server takes long: most of its faults are that something never comes."""
END_LIMIT = 60.0
"""Seconds for Robot to end in order, with the teardowns of its suites, once it was told to."""


@dataclass(frozen=True)
class Expectation:
    """The expected outcome of a test.

    Attributes:
        status: FAIL or SKIP.
        because: the fault that is found, or what the system lacks.
        message: a regular expression that is found in the message.
    """

    status: str
    because: str
    message: str


def expectations(file: Path) -> dict[str, Expectation]:
    """The tests that do not have to pass; `suites` are all tests of a suite that are not named elsewhere."""
    listed = yaml.safe_load(file.read_text())
    suites = tests_of_suites()
    named: dict[str, Expectation] = {}
    whole: dict[str, Expectation] = {}
    for status, key, section in (("FAIL", "fault", "faults"), ("SKIP", "lacks", "lacking")):
        for part in listed[section]:
            expected = Expectation(status, part[key], part["message"])
            named |= dict.fromkeys(part.get("tests", []), expected)
            for number in part.get("suites", []):
                whole |= dict.fromkeys(suites[number], expected)
    known = {test for tests in suites.values() for test in tests}
    if unknown := sorted((named.keys() | set(listed.get("passing", []))) - known):
        raise SystemExit(f"{file} names tests that do not exist: {', '.join(unknown)}")
    for test in listed.get("passing", []):
        del whole[test]
    return whole | named


def tests_of_suites() -> dict[str, list[str]]:
    """The number of each suite, with the names of its tests."""
    root = TestSuite.from_file_system(str(ROOT / "suites"))
    return {suite.source.name[:2]: [test.name for test in suite.tests] for suite in root.suites}


def judge(outcomes: dict[str, tuple[str, str]], expected: dict[str, Expectation]) -> list[str]:
    """Unexpected outcomes, a line each.

    Args:
        outcomes: test to status and message.
        expected: the tests that do not have to pass.
    """
    wrong = []
    for name, (status, message) in outcomes.items():
        wanted = expected.get(name)
        if status == "SKIP" and BUSY.search(message):
            continue
        text = message[:500]
        if wanted is None and status != "PASS":
            wrong.append(f"{status} where PASS is expected: {name}: {text}")
        elif wanted is not None and (status != wanted.status or not re.search(wanted.message, message)):
            wrong.append(f"{status} where {wanted.status} is expected ({wanted.because}): {name}: {text}")
        if (crash := PLUMBING.search(message)) is not None:
            wrong.append(f"a keyword has failed itself, '{crash[0]}': {name}: {text}")
    return wrong


@contextlib.contextmanager
def prepared(target: str, folder: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Robot's options and environment for a target; its running system is started, and ended at the end."""
    if target == "other":
        yield ["--variable", f"TARGET:{OTHER}"], {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    if target in DERIVED:
        profile = folder / f"{target}.yaml"
        profile.write_text(DERIVED[target]())
        yield ["--variable", f"TARGET:{profile}"], {}
        return
    with contextlib.ExitStack() as open_things:
        service = EmbeddedRedis("Redis of the running server")
        open_things.callback(service.close)
        service.start(15)
        server = ChildProcess("the running server", directory=folder)
        open_things.callback(server.close)
        ports = free_port(), free_port()
        settings = {"REDIS_URL": service.url(), "HTTP_PORT": str(ports[0]), "WS_PORT": str(ports[1])}
        server.start([sys.executable, "-m", "server"], environment={**os.environ, **settings}, working_directory=ROOT)
        profile = folder / "running.yaml"
        profile.write_text(running_profile(service.url(), *ports, server.stdout.name))
        options = ["--variable", f"TARGET:{profile}", "--variable", "REDIS:external"]
        yield options, {"REDIS_URL": service.url()}


def running_profile(redis_url: str, http_port: int, ws_port: int, log_file: str) -> str:
    """The bundled profile of a server that runs already, at other addresses and with a log that can be read."""
    text = (PROFILES / "running.yaml").read_text()
    changes = {
        "$schema=": f"$schema={PROFILES}/",
        "redis_url: redis://127.0.0.1:6379/0": f"redis_url: {redis_url}",
        "http://127.0.0.1:8081": f"http://127.0.0.1:{http_port}",
        "ws://127.0.0.1:8080": f"ws://127.0.0.1:{ws_port}",
        "log_file: null": f"log_file: {log_file}",
        "capabilities:\n": "capabilities:\n  - log_records\n",
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def bare_profile() -> str:
    """The bundled profile without all that a back end need not have: no HTTP, no gateway, no state that can be read."""
    profile = yaml.safe_load((PROFILES / "reference.yaml").read_text())
    for name in ("http", "commands", "gateway", "state"):
        del profile[name]
    del profile["ready"]["ws_port"]
    return str(yaml.safe_dump(profile | {"name": "bare", "capabilities": ["queue", "dead_letters", "log_records"]}))


def gateway_profile() -> str:
    """The bundled profile without its queue: charge points' WebSockets carry everything, and Redis is behind."""
    profile = yaml.safe_load((PROFILES / "reference.yaml").read_text())
    keys = profile["redis"]["keys"]
    for name in ("requests", "responses", "dead_letters"):
        del keys[name]
    del profile["redis"]["commit"]
    profile["redis"]["other"] = [
        {"database": 0, "keys": ["ocpp:requests", "ocpp:responses:{charge_point_id}", "ocpp:dead-letters"]}
    ]
    del profile["message_format"]
    kept = (
        *("health", "log_records", "metrics", "state", "state_api", "configuration"),
        *("gateway", "commands", "several_processors"),
    )
    return str(yaml.safe_dump(profile | {"name": "gateway", "queue": {"kind": "none"}, "capabilities": list(kept)}))


DERIVED = {"bare": bare_profile, "gateway": gateway_profile}
"""Targets that are the bundled server with a profile of their own."""


def run(target: str, folder: Path, selection: list[str], *, timeout: float) -> dict[str, tuple[str, str]]:
    """Run suites against a target; returns for each test its status and message.

    Args:
        target: `other`, `running`, `bare` or `gateway`.
        folder: where results go.
        selection: further options of Robot.
        timeout: seconds; what has not run then has failed with the reason that the suites were told to end.
    """
    with prepared(target, folder) as (options, environment):
        return run_suites(folder, [*options, *selection], environment, timeout=timeout)


def run_suites(
    folder: Path, options: list[str], environment: dict[str, str], *, timeout: float
) -> dict[str, tuple[str, str]]:
    """Run suites; returns for each test its status and message.

    Args:
        folder: where results go.
        options: of Robot.
        environment: variables on top of those of this process.
        timeout: seconds; what has not run then has failed with the reason that the suites were told to end.
    """
    robot = subprocess.Popen(
        [sys.executable, "-m", "robot", "--outputdir", folder, "--console", "dotted", *options, ROOT / "suites"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=sys.stderr,
    )
    try:
        robot.wait(timeout)
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"The suites were still running after {timeout:g} s, and were told to end.\n")
    finally:
        end(robot)
    result = ExecutionResult(str(folder / "output.xml"))
    return {test.name: (test.status, test.message) for test in result.suite.all_tests}


def end(robot: subprocess.Popen[bytes]) -> None:
    """End Robot with its children, if it still runs: its suites clean up when it is interrupted."""
    if robot.poll() is None:
        robot.send_signal(signal.SIGINT)
        try:
            robot.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            robot.kill()
            robot.wait()


def main() -> int:
    """Run, compare, and print the differences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=list(LIMITS))
    parser.add_argument("--output", type=Path, help="where results go; results/TARGET if not given")
    parser.add_argument("--suite", action="append", default=[], help="only these suites, as for robot")
    options = parser.parse_args()
    selection = [word for name in options.suite for word in ("--suite", name)]
    began = time.monotonic()
    folder = options.output or ROOT / "results" / options.target
    outcomes = run(options.target, folder, selection, timeout=LIMITS[options.target])
    expected = expectations(HERE / f"{options.target}.yaml")
    wrong = judge(outcomes, expected)
    if not options.suite:
        every = [test for tests in tests_of_suites().values() for test in tests]
        wrong += [f"not run: {name}" for name in every if name not in outcomes]
    statuses = [status for status, _ in outcomes.values()]
    faults = sorted(
        {expected[name].because for name, (status, _) in outcomes.items() if status == "FAIL" and name in expected}
    )
    busy = [name for name, (status, message) in outcomes.items() if status == "SKIP" and BUSY.search(message)]
    sys.stdout.write("".join(f"found: {fault}\n" for fault in faults))
    sys.stdout.write("".join(f"inconclusive on this busy machine: {name}\n" for name in busy))
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    counts = ", ".join(f"{statuses.count(each)} {each}" for each in ("PASS", "FAIL", "SKIP"))
    sys.stdout.write(f"{counts} in {time.monotonic() - began:.0f} s; {len(wrong)} not as expected\n")
    return int(bool(wrong) or not outcomes)


if __name__ == "__main__":
    sys.exit(main())
