"""The further processes of a system, such as a gateway beside the processors."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Mapping

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.ports import HOST
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.profile import Target
from ocpp_resilience.profile.sections import Companion
from ocpp_resilience.profile.templates import fill
from ocpp_resilience.waiting import wait_until

CONNECT_SECONDS = 1.0


class Companions:
    """Starts the companions of a system in their order, and ends them in the reverse one.

    Args:
        name: the system, for messages.
        target: says which there are.
    """

    def __init__(self, name: str, target: Target) -> None:
        self._target = target
        described = [] if target.start is None else target.start.companions
        self._processes = [(each, ChildProcess(f"{each.name} of {name}")) for each in described]

    def start(self, values: Mapping[str, str | int], environment: Mapping[str, str], limit: float) -> None:
        """Start those that do not run, each when the one before it is ready.

        Args:
            values: the placeholders' values.
            environment: that of the program.
            limit: the longest wait for each, in seconds.

        Raises:
            ServiceError: one cannot be started, or ended while starting.
            WaitTimeout: one was not ready in time.
        """
        for companion, process in self._processes:
            if process.alive:
                continue
            command, own, directory = self._target.companion_start(companion, values, environment)
            process.start(command, environment=own, working_directory=directory)
            try:
                wait_until(
                    lambda companion=companion, process=process: _ready(companion, process, values),  # type: ignore[misc]
                    timeout=limit,
                    failure=lambda process=process: f"{process.name} was not ready",  # type: ignore[misc]
                    longest_pause=0.02,
                )
            except WaitTimeout as late:
                message = f"{late}.\n{process.output_tail()}"
                raise WaitTimeout(message, waited=late.waited, last_seen=late.last_seen) from None

    @property
    def ended(self) -> ChildProcess | None:
        """One that was started and runs no more."""
        return next((process for _, process in self._processes if process.started and not process.alive), None)

    def close(self) -> None:
        """End all, the last one first, and remove their logs."""
        limit = self._target.timeouts.stop
        for companion, process in reversed(self._processes):
            if process.alive:
                with contextlib.suppress(WaitTimeout, ServiceError):
                    process.stop(limit, by=signal.Signals[companion.stop_signal])
            process.close()


def _ready(companion: Companion, process: ChildProcess, values: Mapping[str, str | int]) -> bool | None:
    if not process.alive:
        raise ServiceError(
            f"{process.name} exited with status {process.exit_status} while starting.\n{process.output_tail()}"
        )
    if companion.log is not None and not process.wrote(companion.log):
        return None
    if companion.port is not None:
        try:
            socket.create_connection((HOST, int(fill(companion.port, values))), timeout=CONNECT_SECONDS).close()
        except OSError:
            return None
    return True
