"""Owning a child process, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.processes import ChildProcess, tail
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
WAITS = "import signal; print('up', flush=True); signal.pause()"
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session={session})
print(child.pid, flush=True)
{then}
"""


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    child = ChildProcess("Helper")
    yield child
    child.close()


def run(child: ChildProcess, code: str, *, until: str = "up") -> None:
    """Start Python code and wait until it printed something."""
    child.start([sys.executable, "-c", textwrap.dedent(code)])
    wait_until(
        lambda: True if until in tail(child.stdout) else None,
        timeout=PATIENCE,
        failure=lambda: f"not up: {child.output_tail()}",
    )


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: True if gone(pid) else None, timeout=PATIENCE, failure=lambda: f"process {pid} is still there")


def test_output_goes_to_files(child: ChildProcess) -> None:
    child.start([sys.executable, "-c", "import sys; print('one'); print('two', file=sys.stderr)"])
    assert child.wait_for_exit(PATIENCE) == 0
    assert tail(child.stdout) == "one\n"
    assert tail(child.stderr) == "two\n"
    assert child.output_tail() == "Its standard output ends with:\none\nIts standard error ends with:\ntwo"


def test_leads_a_session_of_its_own(child: ChildProcess) -> None:
    run(child, WAITS)
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


def test_stop_ends_it_and_says_how(child: ChildProcess) -> None:
    run(child, WAITS)
    ended = child.stop(PATIENCE)
    assert ended.status == -signal.SIGTERM
    assert 0 < ended.took < PATIENCE
    assert not child.alive
    assert child.exit_status == -signal.SIGTERM
    assert not psutil.pid_exists(child.pid)


def test_stop_kills_a_process_that_ignores_sigterm(child: ChildProcess) -> None:
    run(child, DEAF)
    message = rf"^Helper \(process {child.pid}\) had not ended 200 ms after SIGTERM and was killed\.$"
    with pytest.raises(WaitTimeout, match=message):
        child.stop(0.2)
    assert child.exit_status == -signal.SIGKILL


def test_stop_works_on_a_paused_process(child: ChildProcess) -> None:
    run(child, WAITS)
    child.pause()
    assert child.stop(PATIENCE).status == -signal.SIGTERM
    assert not child.paused


def test_kill_ends_it_at_once_even_when_paused(child: ChildProcess) -> None:
    run(child, DEAF)
    child.pause()
    assert child.kill().status == -signal.SIGKILL
    assert not child.alive
    assert not psutil.pid_exists(child.pid)


def test_pause_and_resume(child: ChildProcess) -> None:
    run(child, WAITS)
    child.pause()
    assert child.paused
    assert child.alive
    assert psutil.Process(child.pid).status() == psutil.STATUS_STOPPED
    child.resume()
    assert not child.paused
    assert psutil.Process(child.pid).status() != psutil.STATUS_STOPPED


@pytest.mark.parametrize("session", [False, True], ids=["same group", "own group"])
@pytest.mark.parametrize("how", ["stop", "kill", "close"])
def test_its_children_end_with_it(child: ChildProcess, how: str, session: bool) -> None:
    run(child, PARENT.format(session=session, then="signal.pause()"), until="\n")
    grandchild = int(tail(child.stdout))
    child.stop(PATIENCE) if how == "stop" else getattr(child, how)()
    wait_until_gone(grandchild)


def test_children_of_a_crashed_process_are_ended_by_close(child: ChildProcess) -> None:
    run(child, PARENT.format(session=False, then="import os; os._exit(7)"), until="\n")
    grandchild = int(tail(child.stdout))
    assert child.wait_for_exit(PATIENCE) == 7
    assert not gone(grandchild)
    child.close()
    wait_until_gone(grandchild)


def test_can_be_started_again_and_its_output_goes_on(child: ChildProcess) -> None:
    run(child, "print('first, half a line', end='', flush=True); import signal; signal.pause()", until="half")
    first = child.pid
    child.kill()
    run(child, "print('second', flush=True); import signal; signal.pause()", until="second")
    assert child.pid != first
    assert tail(child.stdout) == "first, half a line\nsecond\n"
    assert child.output_tail() == "Its standard output ends with:\nsecond"


def test_runs_in_the_given_folder_with_the_given_environment(child: ChildProcess, tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ.get('COLOUR'), os.environ.get('HOME'))"
    child.start([sys.executable, "-c", code], environment={"COLOUR": "green"}, working_directory=tmp_path)
    child.wait_for_exit(PATIENCE)
    assert tail(child.stdout).split() == [str(tmp_path.resolve()), "green", "None"]


def test_a_given_directory_is_kept(tmp_path: Path) -> None:
    child = ChildProcess("Helper", directory=tmp_path)
    child.start([sys.executable, "-c", "print('kept')"])
    child.wait_for_exit(PATIENCE)
    child.close()
    assert (tmp_path / "stdout.log").read_text() == "kept\n"


def test_close_removes_process_and_directory_and_can_be_repeated() -> None:
    child = ChildProcess("Helper")
    run(child, DEAF)
    child.pause()
    child.close()
    child.close()
    assert not psutil.pid_exists(child.pid)
    assert not child.directory.exists()


def test_impossible_actions_are_reported(child: ChildProcess) -> None:
    with pytest.raises(ServiceError, match=r"^Helper was not started\.$"):
        child.kill()
    with pytest.raises(
        ServiceError, match=r"^Helper cannot be started: /no/such/program: No such file or directory\.$"
    ):
        child.start(["/no/such/program"])
    run(child, WAITS)
    with pytest.raises(ServiceError, match=rf"^Helper is running already \(process {child.pid}\)\.$"):
        child.start([sys.executable, "-c", WAITS])
    with pytest.raises(WaitTimeout, match=rf"^Helper \(process {child.pid}\) is still running \(waited 50 ms\)$"):
        child.wait_for_exit(0.05)
    child.kill()
    for action in (lambda: child.stop(1), child.kill, child.pause, child.resume, child.memory, child.cpu_seconds):
        with pytest.raises(ServiceError, match=r"^Cannot \w+ Helper: it exited with status -9\.$"):
            action()


def test_memory_is_that_of_the_whole_tree(child: ChildProcess) -> None:
    run(child, WAITS)
    alone = child.memory()
    assert alone.processes == 1
    assert 1 < alone.mib < 200
    child.kill()
    held = "block = b'x' * 64 * 1024 * 1024; " + WAITS
    run(child, PARENT.format(session=False, then=held), until="up\n")
    wait_until(
        lambda: True if child.memory().resident_bytes > alone.resident_bytes + 64 * 1024**2 else None,
        timeout=PATIENCE,
        failure=lambda: f"{child.memory()}",
    )
    assert child.memory().processes == 2


def test_cpu_share_of_an_idle_and_of_a_busy_process(child: ChildProcess) -> None:
    run(child, WAITS)
    assert child.cpu_share(0.5) < 0.1
    child.kill()
    run(child, "print('up again', flush=True)\nwhile True: pass", until="up again")
    before = child.cpu_seconds()
    # A machine that gives it no processor time for a while gives it some later.
    wait_until(lambda: child.cpu_share(0.5) > 0.1 or None, timeout=PATIENCE, failure=lambda: "it is not busy")
    assert child.cpu_seconds() > before


def test_cpu_share_of_a_process_that_ends_meanwhile_fails_at_once(child: ChildProcess) -> None:
    child.start([sys.executable, "-c", ""])
    began = time.monotonic()
    with pytest.raises(ServiceError, match="it exited with status 0"):
        child.cpu_share(60)
    assert time.monotonic() - began < 30


def test_tail_of_a_long_file(tmp_path: Path) -> None:
    file = tmp_path / "long"
    file.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(file, lines=2) == "line 99998\nline 99999"
    assert len(tail(file, size=1000)) == 1000
    assert tail(tmp_path / "missing") == ""


def test_an_interpreter_that_ends_takes_its_processes_along() -> None:
    code = f"""
        import sys
        from ocpp_resilience.processes import ChildProcess
        child = ChildProcess("Helper")
        child.start([sys.executable, "-c", {DEAF!r}])
        child.pause()
        print(child.pid, child.directory)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    pid, directory = done.stdout.split()
    assert not psutil.pid_exists(int(pid))
    assert not Path(directory).exists()
