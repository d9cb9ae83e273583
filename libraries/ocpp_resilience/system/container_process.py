"""A system under test in a container: `docker run` in the foreground, so that its output and its end are ours to see.

The container is on the network of the host: it finds Redis and the fault proxy at 127.0.0.1, and is found there at the
ports that it was given, as a program would be.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from ocpp_resilience.errors import ServiceError, UsageError
from ocpp_resilience.guardian import run_guarded
from ocpp_resilience.processes import ChildProcess, Exit
from ocpp_resilience.waiting import wait_until

ANSWER_LIMIT = 30.0
"""Seconds that Docker may take for one command."""


class ContainerProcess(ChildProcess):
    """A container as the child that `ChildProcess` is for a program.

    Args:
        name: its name in messages.
        image: its image.
        directory: where the output is kept; a temporary directory, removed by `close`, if not given.
    """

    def __init__(self, name: str, image: str, *, directory: Path | None = None) -> None:
        super().__init__(name, directory=directory)
        self.image = image
        self.container = ""
        self._standing_still = False

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,  # noqa: ARG002 - it is the image's
    ) -> None:
        """Make and start a container; it is removed when it has ended.

        Args:
            command: the arguments that it gets.
            environment: its variables.
            working_directory: not used; it is the image's.

        Raises:
            UsageError: there is no Docker, or not the image.
            ServiceError: it runs already.
        """
        if self.alive:
            raise ServiceError(f"{self.name} is running already (container {self.container}).")
        self._docker("version", "--format", "{{.Server.Version}}")
        if self._docker("image", "inspect", self.image, check=False).returncode != 0:
            self._docker("pull", "--quiet", self.image)
        self.container = f"resilience-{uuid.uuid4().hex[:12]}"
        self._standing_still = False
        # Values are passed in the environment of `docker`: on the command line all users could read them.
        names = [word for name in environment or {} for word in ("--env", name)]
        run = ["docker", "run", "--rm", "--init", "--name", self.container, "--network", "host", *names]
        super().start([*run, self.image, *command], environment={**os.environ, **(environment or {})})
        wait_until(self._is_there, timeout=ANSWER_LIMIT, failure=lambda: f"Docker has not started {self.name}")

    def _is_there(self) -> bool | None:
        """Whether Docker knows the container, or it has ended already, which the caller's wait will notice."""
        known = self._docker("container", "inspect", self.container, check=False).returncode == 0
        return True if known or not self.alive else None

    @property
    def paused(self) -> bool:
        return self._standing_still and self.alive

    def stop(self, timeout: timedelta | float, *, by: signal.Signals = signal.SIGTERM) -> Exit:
        """Ask it to end (by a signal, which `docker run` hands on), and kill it when it does not."""
        if self.paused:
            self.resume()
        try:
            return super().stop(timeout, by=by)
        finally:
            self._remove()

    def kill(self) -> Exit:
        """End it immediately (SIGKILL), paused or not."""
        self._running("kill")
        began = time.monotonic()
        if self.paused:
            self.resume()
        self._docker("kill", self.container)
        status = wait_until(
            lambda: self.exit_status,
            timeout=ANSWER_LIMIT,
            failure=lambda: f"{self.name} still exists after docker kill",
            longest_pause=0.02,
        )
        self._standing_still = False
        return Exit(status, time.monotonic() - began)

    def pause(self) -> None:
        """Make it stand still (docker pause)."""
        self._running("pause")
        self._docker("pause", self.container)
        self._standing_still = True

    def resume(self) -> None:
        """Let it run on (docker unpause)."""
        self._running("resume")
        self._docker("unpause", self.container)
        self._standing_still = False

    def close(self) -> None:
        """Remove the container in any state."""
        try:
            self._remove()
        finally:
            super().close()

    def _remove(self) -> None:
        if self.container:
            with contextlib.suppress(ServiceError, UsageError):
                self._docker("rm", "--force", self.container, check=False)
            self._standing_still = False

    def _docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        if shutil.which("docker") is None:
            raise UsageError(
                f"{self.name} is a container (start.image '{self.image}'), and there is no `docker` here. Install "
                f"Docker, or start the system with a command."
            )
        try:
            done = run_guarded(["docker", *words], timeout=ANSWER_LIMIT)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"docker {words[0]} has not answered within {ANSWER_LIMIT:.0f} s.") from None
        if check and done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["nothing"]
            kind = UsageError if words[0] in {"version", "pull"} else ServiceError
            raise kind(f"{self.name}: docker {words[0]} failed for image '{self.image}': {said[0]}")
        return done
