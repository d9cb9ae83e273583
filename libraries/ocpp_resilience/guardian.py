"""Nothing is left behind by an interpreter that is killed: neither its child processes nor their folders.

An interpreter that gets SIGKILL cannot end its children. So a small process, the guardian, outlives it: the end of a
pipe tells it that the interpreter is gone, on Linux as on macOS. (PR_SET_PDEATHSIG is sent when the *thread* ends that
started the child, which a fault schedule has, and only Linux has it.) Should the guardian be killed too, the next run
finds the folders, each with a note of its owner and of the process that runs in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, AnyStr, TypeVar

import psutil

PREFIX = "resilience-"
"""Prefix of the folders that are checked for a living owner."""
NOTE = ".owner.json"
END_LIMIT = 5.0
S = TypeVar("S", int, int | None)

Owned = dict[str, Any]
"""`{"process": id, "created": moment, "alone": whether it leads no group}` or `{"folder": path}`."""


class Guardian:
    """This interpreter's side: starts the guardian with the first thing to guard, and tells it of the others."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owned: dict[str, Owned] = {}
        self._starter = os.getpid()

    def add_process(self, pid: int, *, alone: bool = False) -> None:
        """Guard a child, and its process group, which it leads.

        Args:
            pid: its id.
            alone: whether it is in the group of this interpreter, and ends its own children.
        """
        with contextlib.suppress(psutil.Error):
            created = psutil.Process(pid).create_time()
            self._tell(f"process {pid}", {"process": pid, "created": created, "alone": alone})

    def add_folder(self, folder: Path) -> None:
        """Guard a folder."""
        self._tell(f"folder {folder}", {"folder": str(folder)})

    def remove_process(self, pid: int) -> None:
        """The child has ended, and its group with it."""
        self._tell(f"process {pid}", None)

    def remove_folder(self, folder: Path) -> None:
        """The folder is gone."""
        self._tell(f"folder {folder}", None)

    def close(self) -> None:
        """End the guardian, which first cleans up."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None and process.stdin is not None and os.getpid() == self._starter:
                with contextlib.suppress(OSError):
                    process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_LIMIT)

    def forget(self) -> None:
        """In a forked interpreter: the guardian is the parent's, and must see the end of the parent alone."""
        self._lock = threading.RLock()
        if self._process is not None and self._process.stdin is not None:
            self._process.returncode = 0  # it is not this one's to wait for
            self._process.stdin.close()
        self._process, self._owned, self._starter = None, {}, os.getpid()

    def _tell(self, key: str, owned: Owned | None) -> None:
        with self._lock:
            if owned is None:
                self._owned.pop(key, None)
            else:
                self._owned[key] = owned
            if self._process is not None:
                with contextlib.suppress(OSError):  # it was killed: another one has to know all there is
                    self._write({"key": key, "owned": owned})
                    return
                self._process.wait()
                self._process = None
            if self._owned:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                )
                for known, each in self._owned.items():
                    self._write({"key": known, "owned": each})

    def _write(self, message: dict[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            os.write(self._process.stdin.fileno(), json.dumps(message).encode() + b"\n")


def make_folder() -> Path:
    """A temporary folder with a note of its owner. Folders of owners that were killed are removed first, once."""
    _sweep_once()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    note(folder)
    return folder


def note(folder: Path, child: int | None = None) -> None:
    """Record the owner of a folder, and the process that runs in it."""
    found = {"where": _where(), "owner": _identity(os.getpid()), "child": child and _identity(child)}
    unfinished = folder / f"{NOTE}.new"
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    unfinished.replace(folder / NOTE)


def sweep(parent: Path) -> list[Path]:
    """Remove the folders in `parent` without a living owner, and kill their processes; returns the folders."""
    stale = []
    for found in sorted(parent.glob(f"{PREFIX}*/{NOTE}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            read = json.loads(found.read_text(encoding="utf-8"))
            if read["where"] != _where() or found.stat().st_uid != os.getuid() or _lives(read["owner"]):
                continue
            if read["child"]:
                _end_group(*read["child"])
            shutil.rmtree(found.parent, ignore_errors=True)
            stale.append(found.parent)
    return stale


def _sweep_once() -> None:
    if not _swept:
        _swept.append(True)
        sweep(Path(tempfile.gettempdir()))


_swept: list[bool] = []


def _identity(pid: int) -> tuple[int, float]:
    with contextlib.suppress(psutil.Error):
        return pid, psutil.Process(pid).create_time()
    return pid, 0.0


def _lives(identity: tuple[int, float]) -> bool:
    pid, created = identity
    with contextlib.suppress(psutil.Error):
        return abs(psutil.Process(pid).create_time() - created) < 1
    return False


def _where() -> str:
    """Identifies the scope of process ids: this machine, and on Linux this namespace."""
    name = os.uname().nodename
    with contextlib.suppress(OSError):
        return f"{name} {Path('/proc/self/ns/pid').readlink()}"
    return name


def _end_group(pid: int, created: float, *, alone: bool = False) -> None:
    """Kill a process, those below it, and its group, unless the id means another process by now."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) >= 1:
            return
        if alone:
            process.kill()
            return
        below = process.children(recursive=True)
    except psutil.Error:  # the leader has ended; the id of a group is not given away while it has members
        below = []
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for child in below:
        with contextlib.suppress(psutil.Error):
            child.kill()


def watch(lines: Iterable[bytes]) -> None:
    """Main loop of the guardian process: read until the interpreter has ended, then clean up after it."""
    owned: dict[str, Owned] = {}
    for line in lines:
        message = json.loads(line)
        if message["owned"] is None:
            owned.pop(message["key"], None)
        else:
            owned[message["key"]] = message["owned"]
    for each in owned.values():
        if "process" in each:
            _end_group(each["process"], each["created"], alone=each["alone"])
    for each in owned.values():
        if "folder" in each:
            shutil.rmtree(each["folder"], ignore_errors=True)


GUARDIAN = Guardian()
"""The guardian of this interpreter."""

os.register_at_fork(after_in_child=GUARDIAN.forget)


class GuardedProcess(subprocess.Popen[AnyStr]):
    """A process that ends with this interpreter, also when that is killed.

    Args:
        command: program and arguments.
        alone: whether it stays in the group of this interpreter, so that Ctrl-C in the terminal reaches it; its own
            children are not ended then.
        options: those of `subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str], *, alone: bool = False, **options: Any) -> None:
        super().__init__(command, start_new_session=not alone, **options)
        self._guarded = True
        GUARDIAN.add_process(self.pid, alone=alone)

    def poll(self) -> int | None:
        """Its exit status; `None` while it runs."""
        return self._forget(super().poll())

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit status."""
        return self._forget(super().wait(timeout))

    def _forget(self, status: S) -> S:
        if status is not None and self._guarded:
            self._guarded = False
            GUARDIAN.remove_process(self.pid)
        return status


def run_guarded(
    command: Sequence[str], *, timeout: float | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `subprocess.run` does; it ends with this interpreter, also when that is killed.

    Args:
        command: program and arguments.
        timeout: the longest that it may take, in seconds; it is killed then.
        env: its variables; those of this process if not given.

    Raises:
        OSError: it could not be started.
        TimeoutExpired: it took too long.
    """
    with GuardedProcess[str](
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch(sys.stdin.buffer)
