"""One generating process, as its starter sees it: the only way in which a load's processes are started."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

import msgspec

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.load.channel import Begin, Finished, Progress, StartSending, Stop, line, read_report
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.result import Part
from ocpp_resilience.processes import ChildProcess

ENDING_SECONDS = 10.0
"""Time limit in seconds from the last message of a process to its end."""


class Generator:
    """A generating process.

    Args:
        name: its name in messages.

    Attributes:
        process: the process.
        progress: the latest progress.
        part: its result; `None` before its end.
    """

    def __init__(self, name: str) -> None:
        self.process = ChildProcess(name)
        self.progress = Progress()
        self.part: Part | None = None
        self._socket: socket.socket | None = None
        self._reader: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.alive

    @property
    def connected(self) -> bool:
        """Whether the time for connecting is over, so that it waits for `go` or has begun.

        Raises:
            ServiceError: it has ended before.
        """
        if not self.process.alive:
            raise ServiceError(
                f"{self.process.name} ended with status {self.process.exit_status} while connecting. "
                f"{self.process.output_tail()}"
            )
        return self.progress.phase not in {"starting", "connecting"}

    def start(self, plan: Plan) -> None:
        """Start it; it connects its charge points and waits for `go`.

        Args:
            plan: its share of the load.
        """
        ours, theirs = socket.socketpair()
        self._socket = ours
        with theirs:
            command = [sys.executable, "-m", "ocpp_resilience.load", "--channel", str(theirs.fileno())]
            self.process.pass_fds = [theirs.fileno()]
            self.process.start(command, environment=os.environ)
        self._reader = threading.Thread(target=self._read, args=(ours,), name=self.process.name, daemon=True)
        self._reader.start()
        self._say(Begin(plan))

    def go(self, at: float) -> None:
        """Have it begin to send at this time of the monotonic clock."""
        self._say(StartSending(at))

    def stop(self) -> None:
        """Ask it to end cleanly."""
        self._say(Stop())

    def ended(self) -> Part:
        """The result of a process that has ended.

        Raises:
            ServiceError: it was aborted; the message has the reason.
        """
        if self._reader is not None:
            self._reader.join(ENDING_SECONDS)
        if self.part is None or self.part.error:
            raise ServiceError(
                f"{self.process.name} was aborted with status {self.process.exit_status}. {self.process.output_tail()}"
            )
        return self.part

    def kill(self) -> None:
        """End it immediately."""
        if self.process.alive:
            self.process.kill()

    def close(self) -> None:
        """End it immediately and leave nothing behind. Can be called again."""
        self.process.close()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            if self._reader is not None:
                self._reader.join(ENDING_SECONDS)
            self._socket.close()
            self._socket = None

    def _say(self, message: Begin | StartSending | Stop) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended, which is seen by its status
                self._socket.sendall(line(message))

    def _read(self, source: socket.socket) -> None:
        """Read all its messages until it has ended, so that it never waits for its reader."""
        with contextlib.suppress(OSError, msgspec.MsgspecError), source.makefile("rb") as lines:
            for each in lines:
                message = read_report(each)
                if isinstance(message, Finished):
                    self.part = message.part
                else:
                    self.progress = message
