"""Robot Framework is killed (SIGKILL) in the middle of a suite: no process, port or folder of it is left."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ocpp_resilience import guardian
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.waiting import wait_until

PATIENCE = 60
SUITE = """*** Settings ***
Library    FaultLibrary
Library    LoadLibrary
Library    OcppServerLibrary
Library    OperatingSystem
Library    RedisServiceLibrary


*** Test Cases ***
Everything Runs
    ${redis} =    Start Redis
    ${through proxy} =    Start Fault Proxy    ${redis}
    Start Server    ${through proxy}
    Wait Until Server Is Ready
    ${gateway} =    Get Gateway Url
    Set Load Target    ${gateway}    redis=${redis}
    Start Load    charge_points=3    duration=10 minutes
    Pause Redis
    Create File    %{TMPDIR}/ready
    Sleep    10 minutes
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder for the run's temporary folders, with a short name: Redis has a socket in there."""
    made = tmp_path / "tmp"
    made.mkdir()
    return made


@pytest.fixture
def run(tmp_path: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A suite in which everything has been started."""
    (tmp_path / "suite.robot").write_text(SUITE)
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path / "out"), "suite.robot"]
    with (tmp_path / "console.txt").open("wb") as console:
        robot = subprocess.Popen(
            command, cwd=tmp_path, stdout=console, stderr=console, env=os.environ | {"TMPDIR": str(folder)}
        )
    try:
        wait_until(
            lambda: (folder / "ready").exists() or (robot.poll() is not None) or None,
            timeout=PATIENCE,
            failure=(tmp_path / "console.txt").read_text,
        )
        assert robot.poll() is None, (tmp_path / "console.txt").read_text()
        yield robot
    finally:
        below = [] if robot.poll() is not None else psutil.Process(robot.pid).children(recursive=True)
        robot.kill()
        robot.wait()
        for each in below:
            each.kill()


def under(robot: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(robot.pid).children(recursive=True)


def ports_of(processes: list[psutil.Process]) -> set[int]:
    return {
        connection.laddr.port
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def is_guardian(process: psutil.Process) -> bool:
    return guardian.__file__ in process.cmdline()


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def wait_until_gone(processes: list[psutil.Process]) -> None:
    wait_until(
        lambda: None if running(processes) else True,
        timeout=PATIENCE,
        failure=lambda: f"still there: {[each.cmdline() for each in running(processes)]}",
    )


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nothing_is_left_of_a_run_that_is_killed(run: subprocess.Popen[bytes], folder: Path) -> None:
    """Redis, which is paused, proxy, server and load, their children, ports and folders."""
    processes = under(run)
    ports = ports_of(processes)
    assert len([each for each in processes if not is_guardian(each)]) >= 4
    assert len(ports) >= 3
    assert len(list(folder.glob(f"{guardian.PREFIX}*"))) >= 4
    run.kill()
    wait_until_gone(processes)
    assert not [port for port in ports if listens(port)]
    assert list(folder.glob(f"{guardian.PREFIX}*")) == []


def test_processes_of_a_killed_guardian_are_ended_by_the_next_run(run: subprocess.Popen[bytes], folder: Path) -> None:
    processes = under(run)
    for each in processes:
        if is_guardian(each):
            each.kill()
    run.kill()
    run.wait()
    assert running(processes)
    assert len(guardian.sweep(folder)) >= 4
    wait_until_gone(processes)
    assert list(folder.glob(f"{guardian.PREFIX}*")) == []


def test_a_run_that_goes_on_is_left_alone_by_the_next_one(run: subprocess.Popen[bytes], folder: Path) -> None:
    folders = sorted(folder.glob(f"{guardian.PREFIX}*"))
    assert guardian.sweep(folder) == []
    assert sorted(folder.glob(f"{guardian.PREFIX}*")) == folders
    assert run.poll() is None


def test_folders_of_another_machine_and_without_a_note_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{guardian.PREFIX}bare").mkdir()
    for name, note in {"far": '{"where": "elsewhere", "owner": [1, 0], "child": null}', "broken": "{"}.items():
        (tmp_path / f"{guardian.PREFIX}{name}").mkdir()
        (tmp_path / f"{guardian.PREFIX}{name}" / guardian.NOTE).write_text(note)
    assert guardian.sweep(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 3


CHILD = "import signal; signal.pause()"
PARENT = f"""
import os, sys, time
from ocpp_resilience.processes import ChildProcess
child = ChildProcess("Child")
child.start([sys.executable, "-c", {CHILD!r}])
print(child.pid, child.directory, flush=True)
{{then}}
"""


def parent(then: str) -> tuple[subprocess.Popen[str], psutil.Process, Path]:
    made = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert made.stdout is not None
    pid, directory = made.stdout.readline().split()
    return made, psutil.Process(int(pid)), Path(directory)


def test_a_fork_that_lives_on_does_not_hide_the_end_of_the_interpreter() -> None:
    made, child, directory = parent("fork = os.fork()\nif fork: print(fork, flush=True)\ntime.sleep(600)")
    assert made.stdout is not None
    with made:
        fork = psutil.Process(int(made.stdout.readline()))
        try:
            made.kill()
            made.wait()
            wait_until_gone([child])
            assert fork.is_running()
            wait_until(lambda: not directory.exists() or None, timeout=PATIENCE, failure=lambda: "folder is there")
        finally:
            fork.kill()


def test_a_guardian_that_is_killed_is_replaced_with_the_next_child() -> None:
    then = (
        "input()\nother = ChildProcess('Other')\nother.start([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(other.pid, flush=True)\ntime.sleep(600)"
    )
    made = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(then=then)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with made:
        assert made.stdout is not None
        assert made.stdin is not None
        first = psutil.Process(int(made.stdout.readline().split()[0]))
        (guards,) = [each for each in psutil.Process(made.pid).children() if is_guardian(each)]
        guards.kill()
        # Until then its pipe takes messages that nobody reads.
        wait_until(lambda: guards.status() == psutil.STATUS_ZOMBIE or None, timeout=60, failure=lambda: "it still runs")
        made.stdin.write("\n")
        made.stdin.flush()
        second = psutil.Process(int(made.stdout.readline()))
        made.send_signal(signal.SIGKILL)
        made.wait()
        wait_until_gone([first, second])


def test_the_guardian_ends_with_an_interpreter_that_ends_in_order() -> None:
    made, child, directory = parent("input()")
    guards = [each for each in psutil.Process(made.pid).children() if is_guardian(each)]
    assert made.stdin is not None
    with made:
        made.stdin.write("\n")
        made.stdin.flush()
        assert made.wait(PATIENCE) == 0
        wait_until_gone([child, *guards])
        assert not directory.exists()


def test_a_child_that_has_ended_is_not_guarded_any_more() -> None:
    child = ChildProcess("Child")
    try:
        child.start([sys.executable, "-c", CHILD])
        assert f"process {child.pid}" in guardian.GUARDIAN._owned
        child.kill()
        assert f"process {child.pid}" not in guardian.GUARDIAN._owned
        assert f"folder {child.directory}" in guardian.GUARDIAN._owned
    finally:
        child.close()
    assert f"folder {child.directory}" not in guardian.GUARDIAN._owned


GUARDED = """
import socket, sys, time
from ocpp_resilience.guardian import Guardian

sound = Guardian.add_process

def add_process(*arguments, **options):
    sound(*arguments, **options)
    print(flush=True)  # from now on the guardian knows

Guardian.add_process = add_process
"""
MEASURING = """
from ocpp_resilience.correlation.direct import start_measuring_memory
started = start_measuring_memory(100_000)
time.sleep(600)
"""
FLOODING = """
from ocpp_resilience.load.flood import Flood, FloodPlan
silent = socket.create_server(("127.0.0.1", 0))
Flood(FloodPlan(urls=[f"ws://127.0.0.1:{silent.getsockname()[1]}/CP"], subprotocol="ocpp1.6", frame="", seconds=1))
"""
ONE_COMMAND = f"""
from ocpp_resilience.guardian import run_guarded
run_guarded([sys.executable, "-c", {CHILD!r}])
"""


@pytest.mark.parametrize("then", [MEASURING, FLOODING, ONE_COMMAND], ids=["correlation manager", "flood", "command"])
def test_a_child_process_that_stands_still_ends_with_a_killed_interpreter(then: str) -> None:
    made = subprocess.Popen([sys.executable, "-c", GUARDED + then], stdout=subprocess.PIPE, start_new_session=True)
    started: list[psutil.Process] = []

    def guarded() -> bool | None:
        started[:] = psutil.Process(made.pid).children()
        return (any(is_guardian(each) for each in started) and len(started) > 1) or None

    with made:
        try:
            assert made.stdout is not None
            made.stdout.readline()
            wait_until(guarded, timeout=PATIENCE, failure=lambda: f"guarded: {[each.cmdline() for each in started]}")
            for each in started:
                if not is_guardian(each):
                    each.suspend()  # so that it cannot end by itself
            made.kill()
            made.wait()
            wait_until_gone(started)
        finally:
            made.kill()
            for each in running(started):
                each.kill()


RUN_SUITE = """*** Settings ***
Library    OperatingSystem
Library    RedisServiceLibrary


*** Test Cases ***
Redis Runs
    Start Redis
    Create File    %{TMPDIR}/ready
    Sleep    10 minutes
"""


def test_robot_and_what_it_started_end_with_a_killed_run(tmp_path: Path, folder: Path) -> None:
    """`ocpp-resilience run` is killed, not robot: a pipeline that is cancelled kills the process that it started."""
    (tmp_path / "suite.robot").write_text(RUN_SUITE)
    command = [sys.executable, "-m", "ocpp_resilience.run", "--outputdir", str(tmp_path / "out"), "suite.robot"]
    with (tmp_path / "console.txt").open("wb") as console:
        made = subprocess.Popen(
            command, cwd=tmp_path, stdout=console, stderr=console, env=os.environ | {"TMPDIR": str(folder)}
        )
    processes: list[psutil.Process] = []
    try:
        wait_until(
            lambda: (folder / "ready").exists() or (made.poll() is not None) or None,
            timeout=PATIENCE,
            failure=(tmp_path / "console.txt").read_text,
        )
        assert made.poll() is None, (tmp_path / "console.txt").read_text()
        processes = under(made)
        assert any("robot" in each.cmdline() for each in processes)
        made.kill()
        made.wait()
        wait_until_gone(processes)
        assert list(folder.glob(f"{guardian.PREFIX}*")) == []
    finally:
        made.kill()
        made.wait()
        for each in running(processes):
            each.kill()


LIBRARIES = Path(guardian.__file__).parents[1]


def test_processes_are_started_where_they_are_guarded() -> None:
    """`Popen` and `run` of `subprocess` occur in two modules only: what is started elsewhere is guarded, too."""
    starts = {"Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}
    starts |= {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "Process"}
    starts |= {"create_subprocess_exec", "create_subprocess_shell", "open_process", "run_process"}
    owners = {"subprocess", "os", "multiprocessing", "asyncio", "anyio"}
    found = {
        str(file.relative_to(LIBRARIES))
        for file in LIBRARIES.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in owners
        and node.func.attr in starts - ({"run"} if node.func.value.id in {"asyncio", "anyio"} else set())
    }
    assert found == {"ocpp_resilience/guardian.py", "ocpp_resilience/processes.py"}
