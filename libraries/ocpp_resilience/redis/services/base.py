"""The interface of all Redis services: a private process, a container, or an external server."""

from __future__ import annotations

import abc
import enum
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import redis

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.ports import wait_until_refused
from ocpp_resilience.redis.connection import OWN_CLIENTS, open_client
from ocpp_resilience.waiting import in_words, seconds, wait_until

PING_LIMIT = 0.25
"""Timeout in seconds of the PING that probes a service."""
PATIENT_PING_LIMIT = 5.0
"""The same where the answer decides, and a machine that stands still for a moment must not."""


class RestartHow(enum.Enum):
    """Ways in which a service goes down."""

    GRACEFUL = "graceful"
    KILL = "kill"


class AppendOnly(enum.Enum):
    """Persistence of writes: flushed before each answer, once a second, or never."""

    ALWAYS = "always"
    EVERYSEC = "everysec"
    OFF = "off"


@dataclass(frozen=True)
class Ping:
    """The result of one PING.

    Attributes:
        answered: whether any reply came, an error too.
        seen: the reply, or why there was none.
    """

    answered: bool
    seen: str

    @property
    def pong(self) -> bool:
        """Whether the service is running and responding."""
        return self.seen == "+PONG"


@dataclass(frozen=True)
class Effect:
    """That an action on a service took effect.

    Attributes:
        action: the action, for example `killed`.
        took: seconds until the effect was seen.
        proof: the observation.
    """

    action: str
    took: float
    proof: str


class RedisService(abc.ABC):
    """A Redis that the tests can do something to.

    Each action returns when its effect was seen: after `stop` and `kill` connections are refused, after `pause` PING
    stays unanswered, after `start` and `resume` PING is answered. `close` gives everything back.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._version = ""

    @property
    @abc.abstractmethod
    def host(self) -> str:
        """The address that it listens on."""

    @property
    @abc.abstractmethod
    def port(self) -> int:
        """The port, the same for the service's whole life."""

    @property
    def user(self) -> str | None:
        """The ACL user that clients are; `None` for the default user."""
        return None

    @property
    def password(self) -> str | None:
        """The password that it was started with."""
        return None

    @property
    @abc.abstractmethod
    def pid(self) -> int:
        """The process id of the server.

        Raises:
            ServiceError: the service has none to show.
        """

    @property
    @abc.abstractmethod
    def is_there(self) -> bool:
        """Whether it was started and neither stopped nor killed; it may be paused."""

    @property
    @abc.abstractmethod
    def is_running(self) -> bool:
        """Whether it was started and neither stopped, killed nor paused."""

    @property
    @abc.abstractmethod
    def state(self) -> str:
        """In words that follow a name: `is running`, `is paused`, `was not started`, `exited with status -9`."""

    @property
    def version(self) -> str:
        """Product and version, for example `valkey 9.1.2`; known from the first start on.

        Raises:
            ServiceError: it was not started.
        """
        if not self._version:
            raise ServiceError(f"{self.name} was not started, its version is not known yet.")
        return self._version

    @property
    @abc.abstractmethod
    def data_directory(self) -> str:
        """The directory of its data."""

    def check(self) -> None:  # noqa: B027 - one that has nothing to check leaves it as it is
        """Check, before a run, what `start` would fail for; most have nothing to check.

        Raises:
            ResilienceError: it cannot be used.
        """

    @abc.abstractmethod
    def start(self, timeout: timedelta | float) -> Effect:
        """Start it, or start it again with the same port and data."""

    @abc.abstractmethod
    def stop(self, timeout: timedelta | float) -> Effect:
        """Let it end cleanly."""

    @abc.abstractmethod
    def kill(self) -> Effect:
        """End it immediately (SIGKILL)."""

    @abc.abstractmethod
    def pause(self) -> Effect:
        """Let it stand still (SIGSTOP): connections stay open and nothing is answered."""

    @abc.abstractmethod
    def resume(self, timeout: timedelta | float) -> Effect:
        """Let it run on after `pause`."""

    @abc.abstractmethod
    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log."""

    @abc.abstractmethod
    def close(self) -> None:
        """End it in any state, and remove its resources."""

    def restart(self, how: RestartHow, timeout: timedelta | float) -> Effect:
        """Stop or kill it if it runs, and start it again."""
        if not self.is_there:
            return self.start(timeout)
        down = self.stop(timeout) if how is RestartHow.GRACEFUL else self.kill()
        up = self.start(timeout)
        return Effect("restarted", down.took + up.took, f"{down.action}: {down.proof}; {up.action}: {up.proof}")

    def url(self, database: int | None = None) -> str:
        """The URL for clients; without a database it leaves the choice to them, as a target profile makes it."""
        user = f":{quote(self.password, safe='')}@" if self.password else ""
        path = "" if database is None else f"/{database}"
        return f"redis://{user}{self.host}:{self.port}{path}"

    def ping(self, limit: float = PING_LIMIT) -> Ping:
        """Send PING on a separate connection and return the result, within `limit` seconds per step."""
        login = [["AUTH", *([self.user] if self.user else []), self.password]] if self.password else []
        words = [*login, ["PING"]]
        try:
            with self.secured(socket.create_connection((self.host, self.port), limit)) as connection:
                connection.sendall(b"".join(_encode(command) for command in words))
                with connection.makefile("rb") as replies:
                    line = b""
                    for _ in words:
                        line = replies.readline() or line
        except TimeoutError:
            return Ping(False, f"no answer within {in_words(limit)}")
        except OSError as error:
            return Ping(False, error.strerror or str(error))
        if not line.endswith(b"\n"):
            return Ping(False, "the connection was closed")
        return Ping(True, line.decode("utf-8", "replace").strip())

    def secured(self, connection: socket.socket) -> socket.socket:
        """The connection as the service expects it."""
        return connection

    def command(self, *words: str, timeout: timedelta | float) -> Any:
        """Run one command and return its reply as it is (RESP2), text decoded.

        Raises:
            ServiceError: Redis could not be reached, or replied with an error.
        """
        limit = seconds(timeout)
        client = open_client(
            self.url(),
            database=0,
            socket_timeout=limit,
            connect_timeout=limit,
            text=True,
            name=f"{OWN_CLIENTS}-service",
        )
        client.response_callbacks.clear()
        try:
            return client.execute_command(*words)
        except redis.RedisError as error:
            raise ServiceError(f"{self.name} did not run '{' '.join(words)}': {str(error).rstrip('.')}.") from None
        finally:
            client.close()

    def info(self, section: str, timeout: timedelta | float = 2.0) -> dict[str, str]:
        """One section of INFO, name to value."""
        text = str(self.command("INFO", section, timeout=timeout))
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def prove_refused(self, timeout: timedelta | float = 2.0) -> str:
        """Check that connections are refused; returns the observation.

        Raises:
            WaitTimeout: something still accepts them.
        """
        return f"PING: {wait_until_refused(self.name, self.port, host=self.host, timeout=timeout)}"

    def prove_silent(self, timeout: timedelta | float = 2.0) -> str:
        """Check that PING is not answered; returns the observation.

        One that runs is given longer for its answer: the machine may hold it up for a moment.

        Raises:
            WaitTimeout: it is answered.
        """

        def silent() -> str | None:
            ping = self.ping(PATIENT_PING_LIMIT if self.is_running else PING_LIMIT)
            return None if ping.answered else f"PING: {ping.seen}"

        return wait_until(silent, timeout=timeout, failure=lambda: f"{self.name} still answers PING")


def _encode(words: list[str]) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def describe_version(info: dict[str, str]) -> str:
    """Product and version from `INFO server`."""
    if info.get("server_name") == "valkey":
        return f"valkey {info.get('valkey_version', '')}".rstrip()
    return f"redis {info.get('redis_version', '')}".rstrip()
