"""A child process: start, stop, kill, pause, its output and its resource use.

A `ChildProcess` touches only its own processes: the one that it started, which leads a session of its own, and the
children of that one. The guardian ends both when this interpreter is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

import psutil

from ocpp_resilience.errors import NotPossibleHere, ProgramNotStarted, ServiceError, WaitTimeout
from ocpp_resilience.guardian import GUARDIAN, make_folder, note
from ocpp_resilience.waiting import in_words, seconds, wait_until

TAIL_BYTES = 64 * 1024
_LAST_WORDS = re.compile(r"(panic|fatal)\b|Exception in thread|Uncaught\b", re.IGNORECASE)
"""How the line begins in which some programs say why they end, before the stack."""
KILL_LIMIT = 10.0
"""Maximum time in seconds for the kernel to end a process after SIGKILL, or to stop it after SIGSTOP."""


@dataclass(frozen=True)
class Exit:
    """The end of a process: its exit code or signal.

    Attributes:
        status: its exit status, negative for the signal that ended it (-9 for SIGKILL).
        took: seconds from the signal until the process had ended.
    """

    status: int
    took: float


@dataclass(frozen=True)
class Memory:
    """Memory of a process and of the processes under it.

    Attributes:
        resident_bytes: the sum of their resident set sizes, in bytes.
        processes: how many they are.
    """

    resident_bytes: int
    processes: int

    @property
    def mib(self) -> float:
        """The same in MiB."""
        return self.resident_bytes / 1024**2


class ChildProcess:
    """A program that runs as a child, with its output in files; it can be started again after it ended.

    Args:
        name: its name in messages, for example `Server 'server'`.
        directory: where the output is kept; a temporary directory, removed by `close`, if not given.

    Attributes:
        pass_fds: descriptors that the program inherits beside its outputs, at its next start.
    """

    def __init__(self, name: str, *, directory: Path | None = None) -> None:
        self.name = name
        self.pass_fds: Sequence[int] = ()
        self._own_directory = directory is None
        self.directory = make_folder() if directory is None else directory
        self.stdout = self.directory / "stdout.log"
        self.stderr = self.directory / "stderr.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._children: list[psutil.Process] = []
        self._paused = False
        self._cleared = True
        self._output_start: dict[Path, int] = {}
        self._starter = os.getpid()
        if self._own_directory:
            GUARDIAN.add_folder(self.directory)
        _owned.add(self)

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,
    ) -> None:
        """Start the program; its output is appended to that of earlier starts.

        Args:
            command: program and arguments.
            environment: all of its variables; those of this process if not given.
            working_directory: where it runs; the directory of its output if not given.

        Raises:
            ServiceError: it runs already, or there is no such program.
        """
        if self.alive:
            raise ServiceError(f"{self.name} is running already (process {self.pid}).")
        if self._process is not None:
            self._kill_rest()
        self._end_last_line()
        self._output_start = {file: file.stat().st_size for file in (self.stdout, self.stderr) if file.exists()}
        try:
            with self.stdout.open("ab") as stdout, self.stderr.open("ab") as stderr:
                self._process = self._open(command, environment, working_directory or self.directory, stdout, stderr)
                self._cleared = False
        except OSError as error:
            raise ProgramNotStarted(f"{self.name} cannot be started: {command[0]}: {error.strerror}.") from None
        GUARDIAN.add_process(self.pid)
        if self._own_directory:
            note(self.directory, self.pid)

    def _open(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None,
        folder: Path,
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,
            pass_fds=self.pass_fds,
        )

    def _end_last_line(self) -> None:
        """A process that was killed may have left half a line; the next one's first line must not be glued to it."""
        for file in (self.stdout, self.stderr):
            if file.exists() and tail(file, size=1)[-1:] not in {"", "\n"}:
                with file.open("ab") as output:
                    output.write(b"\n")

    @property
    def started(self) -> bool:
        """Whether it was ever started."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process id, also after the end.

        Raises:
            ServiceError: it was never started.
        """
        return self._started().pid

    @property
    def alive(self) -> bool:
        """Whether it runs, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def paused(self) -> bool:
        """Whether it is stopped by `pause`."""
        return self._paused and self.alive

    @property
    def exit_status(self) -> int | None:
        """Its exit status, negative for a signal; `None` while it runs."""
        return None if self._process is None else self._process.poll()

    def wait_for_exit(self, timeout: timedelta | float) -> int:
        """Wait until it has ended by itself, and return its exit status.

        Raises:
            WaitTimeout: it still runs.
        """
        process = self._started()
        return wait_until(
            process.poll,
            timeout=timeout,
            failure=lambda: f"{self.name} (process {process.pid}) is still running",
            longest_pause=0.01,
        )

    def stop(self, timeout: timedelta | float, *, by: signal.Signals = signal.SIGTERM) -> Exit:
        """Ask it to end, and kill it when it does not.

        A paused process is resumed, since it could not react otherwise. Its remaining children are killed.

        Args:
            timeout: the longest wait.
            by: the signal that asks it.

        Raises:
            ServiceError: it does not run.
            WaitTimeout: it did not end in time; it was killed then.
        """
        process = self._running("stop")
        self._children = self._descendants()
        began = time.monotonic()
        process.send_signal(by)
        if self._paused:
            self._signal_group(signal.SIGCONT)
            self._paused = False
        try:
            status = wait_until(process.poll, timeout=timeout, failure=lambda: "", longest_pause=0.01)
        except WaitTimeout:
            self._kill_now()
            limit = seconds(timeout)
            raise WaitTimeout(
                f"{self.name} (process {process.pid}) had not ended {in_words(limit)} after {by.name} and was killed.",
                waited=limit,
                last_seen="running",
            ) from None
        took = time.monotonic() - began
        self._kill_rest()
        return Exit(status, took)

    def kill(self) -> Exit:
        """Kill it and its child processes (SIGKILL), paused or not.

        Raises:
            ServiceError: it does not run.
        """
        self._running("kill")
        began = time.monotonic()
        status = self._kill_now()
        return Exit(status, time.monotonic() - began)

    def pause(self) -> None:
        """Stop its execution (SIGSTOP), and return when it stands still.

        Raises:
            ServiceError: it does not run.
        """
        process = psutil.Process(self._running("pause").pid)
        self._signal_group(signal.SIGSTOP)
        self._paused = True
        wait_until(
            lambda: True if process.status() == psutil.STATUS_STOPPED else None,
            timeout=KILL_LIMIT,
            failure=lambda: f"{self.name} (process {process.pid}) is {process.status()} after SIGSTOP, not stopped",
        )

    def resume(self) -> None:
        """Let it run on (SIGCONT).

        Raises:
            ServiceError: it does not run.
        """
        self._running("resume")
        self._signal_group(signal.SIGCONT)
        self._paused = False

    def close(self) -> None:
        """Kill it if it runs, and remove its directory if that is its own. Can be called again."""
        try:
            if self.alive:
                self._kill_now()
            elif self._process is not None:
                self._kill_rest()
        finally:
            if self._own_directory:
                shutil.rmtree(self.directory, ignore_errors=True)
                GUARDIAN.remove_folder(self.directory)
            _owned.discard(self)

    def memory(self) -> Memory:
        """The memory of the process and of those under it.

        Raises:
            ServiceError: it does not run.
        """
        self._running("measure")
        sizes = [size for process in self._tree() if (size := _resident_bytes(process)) is not None]
        return Memory(resident_bytes=sum(sizes), processes=len(sizes))

    def descriptors(self) -> int:
        """The file descriptors that the process and those under it have open.

        Raises:
            ServiceError: it does not run.
        """
        self._running("measure")
        return sum(_descriptors(process) for process in self._tree())

    def limit_descriptors(self, count: int) -> None:
        """Let the process open no more file descriptors than this.

        Raises:
            ServiceError: it does not run.
            NotPossibleHere: the system cannot limit another process.
        """
        process = psutil.Process(self._running("limit").pid)
        if not hasattr(process, "rlimit"):
            raise NotPossibleHere("File descriptors of another process can be limited on Linux only.")
        process.rlimit(psutil.RLIMIT_NOFILE, (count, count))

    def cpu_seconds(self) -> float:
        """The processor time used since the start, user and system, of the process and of those under it, in seconds.

        Raises:
            ServiceError: it does not run.
        """
        self._running("measure")
        return sum(_cpu_seconds(process) for process in self._tree())

    def cpu_share(self, period: timedelta | float) -> float:
        """The processor time used in the next `period`, as a share of one core (1.0 is one core, fully).

        Raises:
            ServiceError: it does not run, or ended meanwhile.
        """
        before, began = self.cpu_seconds(), time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started().wait(seconds(period))
        length = time.monotonic() - began
        return max(0.0, self.cpu_seconds() - before) / length

    def output_tail(self, lines: int = 20) -> str:
        """The last lines of both outputs since the last start, for messages."""
        parts = [
            (name, tail(file, lines=lines, start=self._output_start.get(file, 0)))
            for name, file in (("standard output", self.stdout), ("standard error", self.stderr))
        ]
        return "\n".join(f"Its {name} ends with:\n{text}" for name, text in parts if text) or "It wrote nothing."

    def wrote(self, pattern: str, *, stream: Path | None = None) -> bool:
        """Whether a regular expression is found in its output since the last start.

        Args:
            pattern: the expression.
            stream: `stdout` or `stderr`; both if not given.
        """
        files = (self.stdout, self.stderr) if stream is None else (stream,)
        return any(re.search(pattern, tail(file, start=self._output_start.get(file, 0))) for file in files)

    def last_words(self, room: int = 200) -> str:
        """The line of its output since the last start that says most about its end; empty if it wrote nothing."""
        for file in (self.stderr, self.stdout):
            text = tail(file, start=self._output_start.get(file, 0))
            if lines := [line.strip() for line in text.splitlines() if line.strip()]:
                # What a stack trace is about stands above it in some languages, below it in others.
                found = next((line for line in reversed(lines) if _LAST_WORDS.match(line)), lines[-1]).rstrip(".")
                return found if len(found) <= room else f"{found[: room - 1]}…"
        return ""

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServiceError(f"{self.name} was not started.")
        return self._process

    def _running(self, purpose: str) -> subprocess.Popen[bytes]:
        process = self._started()
        if process.poll() is not None:
            raise ServiceError(f"Cannot {purpose} {self.name}: it exited with status {process.returncode}.")
        return process

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            raise ServiceError(f"{self.name} exited with status {self.exit_status}.") from None

    def _signal_group(self, number: signal.Signals) -> None:
        """Signal the process and its group. Its id cannot be reused until `poll` has reaped the leader."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _kill_now(self) -> int:
        process = self._started()
        self._children += self._descendants()
        self._signal_group(signal.SIGKILL)
        try:
            status = process.wait(KILL_LIMIT)
        except subprocess.TimeoutExpired:
            raise ServiceError(
                f"{self.name} (process {process.pid}) still exists {in_words(KILL_LIMIT)} after SIGKILL."
            ) from None
        self._kill_rest()
        return status

    def _kill_rest(self) -> None:
        """Kill the remaining processes of an ended process: its group, and known children in other groups."""
        if self._cleared:
            return
        self._cleared = True
        self._paused = False
        if not psutil.pid_exists(self.pid):
            # The id of a group is not given to a new process while the group has members: they are ours.
            self._signal_group(signal.SIGKILL)
        children, self._children = self._children, []
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()  # psutil makes sure that the id still means the same process
        with contextlib.suppress(WaitTimeout):  # they are not ours to reap, and have to be gone all the same
            wait_until(
                lambda: None if any(_runs(child) for child in children) else True,
                timeout=KILL_LIMIT,
                failure=lambda: "",
                longest_pause=0.02,
            )
        GUARDIAN.remove_process(self.pid)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _resident_bytes(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return None


def _descriptors(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.num_fds())
    return 0


def _cpu_seconds(process: psutil.Process) -> float:
    """With the time of its children that have ended, which is no longer seen in the tree."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return float(times.user + times.system + ended)
    return 0.0


def tail(file: Path, *, lines: int | None = None, size: int = TAIL_BYTES, start: int = 0) -> str:
    """The end of a text file: its last `lines` lines, within its last `size` bytes and not before byte `start`."""
    try:
        with file.open("rb") as source:
            source.seek(0, os.SEEK_END)
            source.seek(max(start, source.tell() - size))
            text = source.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text if lines is None else "\n".join(text.splitlines()[-lines:])


_owned: set[ChildProcess] = set()


@atexit.register
def _close_owned() -> None:
    """The last net: an interpreter that ends takes the processes that it started with it."""
    for child in list(_owned):
        if child._starter == os.getpid():  # noqa: SLF001 - a forked interpreter must not end its parent's processes
            with contextlib.suppress(Exception):
                child.close()
    GUARDIAN.close()
