"""Child processes `python -m MODULE …` that begin with their imports done.

A test that needs a process of its own mostly waits for imports: half a second of a core for `robot` with a library.
Here one process for each test process imports what is common, once, and forks for each run. A run is the same as ever:
a process of its own, with its arguments, environment, working directory, outputs and exit status, and with modules in
which nothing has run yet. On other systems than Linux, and with a preloaded library, it is an ordinary process. Tests
of the start itself use `subprocess`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

SERVER = ("server.__main__",)
ROBOT = (
    "robot.run",
    "robot.rebot",
    "ocpp_resilience.cli",
    "ocpp_resilience.check.__main__",
    "ocpp_resilience.ledger.__main__",
    "ocpp_resilience.report.__main__",
    "ocpp_resilience.run",
    "ChargePointLibrary",
    "CorrelationLibrary",
    "EvidenceLibrary",
    "FaultLibrary",
    "LoadLibrary",
    "OcppServerLibrary",
    "RedisQueueLibrary",
    "RedisServiceLibrary",
    "StateStoreLibrary",
)
PREPARED = {
    "server": SERVER,
    "robot": ROBOT,
    "robot.rebot": ROBOT,
    "ocpp_resilience.cli": ROBOT,
    "ocpp_resilience.check": ROBOT,
    "ocpp_resilience.ledger": ROBOT,
    "ocpp_resilience.report": ROBOT,
    "ocpp_resilience.run": ROBOT,
}
"""What is imported before a module runs."""
PAUSE = 0.005


class Started:
    """A child that was forked; as far as tests need it, the same as `subprocess.Popen`."""

    def __init__(self, parent: Parent, pid: int, command: Sequence[str]) -> None:
        self.pid = pid
        self.args = command
        self.returncode: int | None = None
        self._parent = parent

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._parent.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(PAUSE)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Parent:
    """The process that has imported modules, seen from the test process."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._socket, other = socket.socketpair()
        with other:
            os.set_inheritable(other.fileno(), True)
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(other.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,
                cwd="/",
            )
        atexit.register(self._close)

    def ask(self, request: dict[str, Any], *files: int) -> Any:
        """Send a request and return the answer to it."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], list(files))
            answer = b""
            while not answer.endswith(b"\n"):
                part = self._socket.recv(4096)
                assert part, "The process that forks has ended."
                answer += part
        return json.loads(answer)

    def _close(self) -> None:
        self._socket.close()
        self._process.wait(30)


_parents: dict[tuple[str, ...], Parent] = {}


def start(
    command: Sequence[Any],
    *,
    stdout: IO[Any],
    stderr: IO[Any],
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> Started | subprocess.Popen[bytes]:
    """Start `[sys.executable, "-m", module, …]` in the background, without standard input."""
    words = [str(each) for each in command]
    environment = dict(os.environ if env is None else env)
    modules = PREPARED.get(words[2]) if words[:2] == [sys.executable, "-m"] else None
    if modules is None or sys.platform != "linux" or "LD_PRELOAD" in environment:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=environment,
            start_new_session=start_new_session,
        )
    parent = _parents.get(modules) or _parents.setdefault(modules, Parent(modules))
    request = {
        "module": words[2],
        "arguments": words[3:],
        "environment": environment,
        "folder": str(Path.cwd() if cwd is None else Path(cwd).resolve()),
        "session": start_new_session,
    }
    return Started(parent, parent.ask(request, stdout.fileno(), stderr.fileno()), words)


def run(
    command: Sequence[Any],
    *,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `[sys.executable, "-m", module, …]` to its end, as `subprocess.run` with its outputs as text."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = start(command, stdout=stdout, stderr=stderr, cwd=cwd, env=env)
        try:
            status = child.wait(timeout)
        except BaseException:
            child.kill()
            child.wait(30)
            raise
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
        done = subprocess.CompletedProcess(child.args, status, *texts)
        if check:
            done.check_returncode()
        return done


# --- the process that forks -------------------------------------------------------------------------------------------


def _serve(connection: socket.socket, path: list[str]) -> None:
    """Fork for each request until the test process has ended, however that happens; its children end with it."""
    children: set[int] = set()
    while True:
        data, files, _, _ = socket.recv_fds(connection, 1 << 16, 2)
        while data and not data.endswith(b"\n"):
            data += connection.recv(1 << 16)
        if not data:
            for child in children:
                os.kill(child, signal.SIGKILL)
            return
        request = json.loads(data)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
            children.discard(pid)
        else:
            answer = os.fork()
            if not answer:
                connection.close()
                _become(request, files, path)
                return
            children.add(answer)
        for file in files:
            os.close(file)
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _become(request: dict[str, Any], files: list[int], path: list[str]) -> None:
    """Do what `python -m` does with a module."""
    if request["session"]:
        os.setsid()
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    more = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [request["folder"], *more, *path]
    sys.dont_write_bytecode = True  # tests write modules again within a second, and these are read anew
    module = request["module"]
    sys.argv[:] = [module, *request["arguments"]]
    for name in (module, f"{module}.__main__"):  # what runs as `__main__` must not be there as itself
        if not hasattr(sys.modules.get(name), "__path__"):
            sys.modules.pop(name, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _read_once() -> None:
    """Our requirements and the templates of the page, which never change and take as long as a short run itself."""
    from ocpp_resilience.evidence.requirements import load_with_ours
    from ocpp_resilience.report.page import template

    load_with_ours([])
    template("page.html.j2").environment.get_template("style.css.j2")
    template("page.js.j2")


if __name__ == "__main__":
    _connection = socket.socket(fileno=int(sys.argv[1]))
    _path = sys.path[1:]
    for _name in sys.argv[2:]:
        importlib.import_module(_name)
    if "ocpp_resilience.report.__main__" in sys.argv:
        _read_once()
    _serve(_connection, _path)
