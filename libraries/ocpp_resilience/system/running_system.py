"""A system under test that is already running; it is neither started nor stopped."""

from __future__ import annotations

import signal
import socket
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from ocpp_resilience.errors import NotPossibleHere
from ocpp_resilience.processes import Exit, tail
from ocpp_resilience.profile.sections import Running


class RunningSystem:
    """Replaces the child process for a system that we did not start.

    Actions that would change the system raise `NotPossibleHere`: the test is skipped, and its requirement inconclusive.

    Args:
        name: its name in messages.
        running: where it is.
        directory: the profile's; a relative log file starts there.
    """

    def __init__(self, name: str, running: Running, directory: Path) -> None:
        self.name = name
        self.http = urlsplit(running.http_url or "")
        self.gateway_url = running.gateway_url
        log = running.log_file
        # Without a log there are no records; a profile that says so has not got the capability `log_records` either.
        self.stdout = self.stderr = directory / log if log else directory / "no log file"
        self.directory = self.stdout.parent
        self.started = False
        self.paused = False
        self.exit_status: int | None = None

    @property
    def alive(self) -> bool:
        """Whether its HTTP port takes connections; without one, whether it was found once."""
        if not self.started or not self.http.hostname:
            return self.started
        try:
            with socket.create_connection((self.http.hostname, self.http_port), timeout=2):
                return True
        except OSError:
            return False

    @property
    def http_port(self) -> int:
        """The address of its HTTP API."""
        return self.http.port or 80

    @property
    def pid(self) -> NoReturn:
        """Not known here."""
        self._refuse("has no process that the suite started")

    def stop(self, timeout: timedelta | float, *, by: signal.Signals = signal.SIGTERM) -> Exit:  # noqa: ARG002 - the same
        """It is not ours to end."""
        self._refuse("cannot be stopped")

    def kill(self) -> Exit:
        """It is not ours to end."""
        self._refuse("cannot be killed")

    def pause(self) -> None:
        """It is not ours to hold."""
        self._refuse("cannot be paused")

    def resume(self) -> None:
        """It was not held."""
        self._refuse("cannot be paused")

    def wait_for_exit(self, timeout: timedelta | float) -> int:  # noqa: ARG002 - as a child process has it
        """It is not ours to end."""
        self._refuse("is not expected to end")

    def close(self) -> None:
        """Leave it as it is."""
        self.started = False

    def output_tail(self, lines: int = 20) -> str:
        """The last lines of its log, for messages."""
        text = tail(self.stdout, lines=lines)
        return f"Its log ends with:\n{text}" if text else "It has no log that can be read here."

    def wrote(self, pattern: str, *, stream: Path | None = None) -> bool:  # noqa: ARG002 - as a child process has it
        """Not asked of a program that runs already."""
        return True

    def last_words(self) -> str:
        """Not known of a program that nobody started here."""
        return ""

    def _refuse(self, what: str) -> NoReturn:
        raise NotPossibleHere(f"{self.name} {what}: it was already running and was not started by the suite.")
