"""Resources of a suite end with it in every case: real runs of Robot Framework in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from robot.api import ExecutionResult
from robot.result import TestSuite as SuiteResult

from ocpp_resilience.robot.library import Cleanup
from ocpp_resilience.waiting import wait_until

FAKE = Path(__file__).resolve().parents[1] / "fakes" / "fake.yaml"
START_FAMILY = "Start Server    redis://x    target=${FAKE}    CHILDREN=2"
IMPORTS = """\
*** Settings ***
Library    Collections
Library    RedisServiceLibrary
Library    OcppServerLibrary
"""


class Run:
    """A run of Robot Framework whose processes and temporary files can be told from all others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suites = folder / "suites"
        self.suites.mkdir()
        self.temporary = folder.resolve() / "tmp"
        self.temporary.mkdir()
        self.console = ""

    def add(self, name: str, text: str) -> None:
        (self.suites / name).write_text(IMPORTS + textwrap.dedent(text))

    def start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        command = [sys.executable, "-m", "robot", "--outputdir", str(self.folder), "--variable", f"FAKE:{FAKE}"]
        return subprocess.Popen(
            [*command, str(self.suites)],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> SuiteResult:
        with self.start() as process:
            self.console, _ = process.communicate(timeout=240)
        return ExecutionResult(str(self.folder / "output.xml")).suite

    def processes(self) -> list[str]:
        """The command lines of this run's processes: it works in the run's temporary directory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(str(self.temporary)):
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found

    def leftovers(self) -> list[str]:
        """Processes and files; the empty file in which all runs claim their ports stays, because others may hold it."""
        claims = f"ocpp-resilience-ports-{os.getuid()}"
        left = [path for path in self.temporary.iterdir() if path.name != claims or path.stat().st_size]
        return self.processes() + [str(path) for path in left]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    assert run.leftovers() == []


def verdicts(suite: SuiteResult) -> dict[str, str]:
    return {test.name: test.status for test in suite.all_tests}


def test_servers_of_the_root_suite_outlive_its_child_suites_and_those_of_a_child_do_not(run: Run) -> None:
    run.add(
        "__init__.robot",
        """
        Suite Setup       Start Everything
        Suite Teardown    Redis Should Be Running

        *** Keywords ***
        Start Everything
            ${url}    Start Redis
            Start Server    ${url}    target=${FAKE}
            ${pid}    Get Server Process Id
            VAR    ${ROOT_PID}    ${pid}    scope=SUITES
        """,
    )
    run.add(
        "1_first.robot",
        """
        *** Test Cases ***
        Child Ends Its Servers And No Others
            Start Server    redis://x    target=${FAKE}    alias=another
            Remove All Servers
            Run Keyword And Expect Error    There is no Server 'another'; *    Get Server Process Id    alias=another
            Server Should Be Running

        Child Has Things Of Its Own
            ${url}    Start Redis    alias=child
            Start Server    ${url}    target=${FAKE}    alias=child
            ${pid}    Get Server Process Id    alias=child
            VAR    ${CHILD_PID}    ${pid}    scope=GLOBAL

        Child Restarts What Is Not Its Own
            Restart Redis    kill
            Pause Redis    alias=child
            Pause Server    alias=child

        Child Fails
            Fail    on purpose
        """,
    )
    run.add(
        "2_second.robot",
        """
        *** Test Cases ***
        Things Of The Root Are There
            Redis Should Be Running
            Health Should Be    healthy
            ${pid}    Get Server Process Id
            Should Be Equal    ${pid}    ${ROOT_PID}

        Things Of The First Child Are Gone
            Run Keyword And Expect Error    EQUALS:There is no Redis 'child'; there is only 'redis'.
            ...    Get Redis Url    alias=child
            Run Keyword And Expect Error    EQUALS:There is no Server 'child'; there is only 'server'.
            ...    Get Health    alias=child
            ${there}    Evaluate    psutil.pid_exists(${CHILD_PID})    modules=psutil
            Should Not Be True    ${there}
            ${url}    Start Redis    alias=child
        """,
    )
    suite = run.finish()
    assert verdicts(suite) == {
        "Child Ends Its Servers And No Others": "PASS",
        "Child Has Things Of Its Own": "PASS",
        "Child Restarts What Is Not Its Own": "PASS",
        "Child Fails": "FAIL",
        "Things Of The Root Are There": "PASS",
        "Things Of The First Child Are Gone": "PASS",
    }
    assert suite.message == ""
    assert "WARN" not in run.console
    assert "ERROR" not in run.console


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ("Suite Setup    Run Keywords    Start Redis    AND    Fail    on purpose", "No Operation"),
        ("Suite Teardown    Fail    on purpose", "Start Redis"),
        ("Test Timeout    1 second", "Start Redis    server=${CURDIR}/../never    timeout=1 minute"),
        ("Test Timeout    1 second", "Start Server    redis://x    target=${FAKE}    timeout=1 minute    MODE=silent"),
        ("Test Timeout    3 seconds", f"{START_FAMILY}\n    Wait For Log Record    event=stopped    timeout=1 minute"),
        ("", "Start Redis\n    Redis Command    DEBUG    NO-SUCH-THING"),
        ("", "Start Redis    maxmemory=none"),
    ],
    ids=["setup", "teardown", "redis timeout", "server timeout", "wait timeout", "keyword", "start"],
)
def test_nothing_stays_behind_after_a_failure(run: Run, settings: str, body: str) -> None:
    never = run.folder / "never"
    never.write_text("#!/bin/sh\nexec sleep 600\n")
    never.chmod(0o755)
    run.add("failing.robot", f"{settings}\n\n*** Test Cases ***\nIt Fails\n    {body}\n")
    assert verdicts(run.finish()) == {"It Fails": "FAIL"}
    assert "WARN" not in run.console


def test_nothing_stays_behind_when_the_run_is_broken_off(run: Run) -> None:
    run.add(
        "long.robot",
        """
        *** Test Cases ***
        It Takes Long
            Start Redis
            Start Server    redis://x    target=${FAKE}    CHILDREN=1
            Pause Redis
            Wait For Log Record    event=stopped    timeout=1 minute
        """,
    )
    with run.start() as process:
        wait_until(
            lambda: True if len(run.processes()) == 3 else None, timeout=90, failure=lambda: f"{run.processes()}"
        )
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=240)
    assert process.returncode != 0


def test_missing_capabilities_are_skipped_with_the_reason(run: Run) -> None:
    run.add(
        "skipped.robot", "\n*** Test Cases ***\nSkipped\n    Skip Unless Target Supports    gateway    target=${FAKE}\n"
    )
    (test,) = run.finish().all_tests
    assert test.status == "SKIP"
    assert test.message == f"Target 'fake' does not support gateway (capabilities in {FAKE})."


def test_libraries_close_their_resources_outside_robot_framework() -> None:
    from RedisServiceLibrary import RedisServiceLibrary

    with RedisServiceLibrary() as library:
        library.start_redis()
        pid = library.get_redis_url() and library.redis_command("INFO", "server").split("process_id:")[1].split()[0]
        assert psutil.pid_exists(int(pid))
    assert not psutil.pid_exists(int(pid))


def test_cleanup_goes_on_after_a_failure_and_closes_the_newest_first() -> None:
    closed = []

    def broken() -> None:
        closed.append("broken")
        raise OSError("no")

    cleanup = Cleanup()
    cleanup.add("first", lambda: closed.append("first"))
    cleanup.add("broken", broken)
    cleanup.add("last", lambda: closed.append("last"))
    cleanup.close()
    cleanup.close()
    assert closed == ["last", "broken", "first"]


def test_resources_left_open_by_an_aborted_close_are_closed_later() -> None:
    closed = []
    attempts = iter([KeyboardInterrupt(), None])

    def interrupted() -> None:
        if error := next(attempts):
            raise error
        closed.append("interrupted")

    cleanup = Cleanup()
    cleanup.add("first", lambda: closed.append("first"))
    cleanup.add("interrupted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cleanup.close()
    cleanup.close()
    assert closed == ["interrupted", "first"]
