"""The external service: a Redis that is not ours and runs elsewhere."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote, unquote, urlsplit

from ocpp_resilience.errors import NotPossibleHere, UsageError
from ocpp_resilience.redis.connection import CA_VARIABLE, shown_url
from ocpp_resilience.redis.services.base import Effect, RedisService, describe_version
from ocpp_resilience.robot.variables import chosen_for_the_run
from ocpp_resilience.waiting import wait_until

URL_VARIABLE = "REDIS_URL"
LOGIN_VARIABLE = "SYSTEM_REDIS_LOGIN"
"""User and password of the system under test, `user:password`, where the tests have a user of their own."""


def of_the_system(url: str) -> str:
    """The URL for the system under test: with its own login, where the run's Redis has one for it."""
    login, ours = chosen_for_the_run(LOGIN_VARIABLE), chosen_for_the_run(URL_VARIABLE)
    if not login or not ours:
        return url
    parts = urlsplit(url)
    tests, _, place = parts.netloc.rpartition("@")
    if tests != urlsplit(ours).netloc.rpartition("@")[0]:
        return url  # another Redis, which knows no such user
    user, _, password = login.partition(":")
    return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{place}").geturl()


CHECK_LIMIT = 10.0
"""Seconds in which it has to answer before a run."""


class ExternalRedis(RedisService):
    """An existing Redis, which is only used.

    It is never stopped, killed, paused or emptied: tests that need that are skipped. Faults of its network are
        possible.

    Args:
        name: its name in messages.
        url: its address, `redis[s]://[user:password@]host:port/db`; by default the run's `REDIS_URL` (`robot --variable
            REDIS_URL:…`, or the environment).
        settings: none are possible.

    Raises:
        UsageError: no URL, or one that cannot be used, or settings.
    """

    def __init__(self, name: str, *, url: str | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(name)
        self._url = url or chosen_for_the_run(URL_VARIABLE) or ""
        try:
            parts = urlsplit(self._url)
            usable = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none, half an IPv6 address
            usable = False
        if not usable:
            given = f"'{shown_url(self._url)}' is none" if self._url else "none is given"
            raise UsageError(
                f"{name} is external and needs a URL, but {given}: "
                f"`server=redis://[user:password@]host:port/db` (`rediss:` with TLS), or {URL_VARIABLE} as a variable "
                "of the run or of the environment."
            )
        if settings:
            raise UsageError(f"{name} is external, and its settings cannot be changed; leave them out.")
        self._parts = parts
        self._started = False

    @property
    def host(self) -> str:
        return self._parts.hostname or ""

    @property
    def port(self) -> int:
        return self._parts.port or 6379

    @property
    def user(self) -> str | None:
        return unquote(self._parts.username) if self._parts.username else None

    @property
    def password(self) -> str | None:
        return unquote(self._parts.password) if self._parts.password else None

    def secured(self, connection: socket.socket) -> socket.socket:
        """With TLS where the URL begins with `rediss:`."""
        if self._parts.scheme == "redis":
            return connection
        context = ssl.create_default_context(cafile=chosen_for_the_run(CA_VARIABLE))
        try:
            return context.wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise

    @property
    def pid(self) -> int:
        """The process id on its own machine."""
        return int(self.info("server")["process_id"])

    @property
    def is_there(self) -> bool:
        return self._started

    @property
    def is_running(self) -> bool:
        return self._started

    @property
    def state(self) -> str:
        """In words that follow its name."""
        return "is external and in use" if self._started else "was not started"

    @property
    def data_directory(self) -> str:
        return f"its own, on {self.host}"

    def url(self, database: int | None = None) -> str:
        """The URL for clients; the database is that of the URL that was given, if none is asked for."""
        parts = self._parts if not database else self._parts._replace(path=f"/{database}")
        return parts.geturl()

    def check(self) -> None:
        """Check that it answers PING."""
        self.start(CHECK_LIMIT)
        self.close()

    def start(self, timeout: timedelta | float) -> Effect:
        """Wait until it answers PING.

        Raises:
            WaitTimeout: it does not.
        """
        began = time.monotonic()
        wait_until(
            lambda: True if self.ping().pong else None,
            timeout=timeout,
            failure=lambda: f"{self.name} does not answer PING at {self.host}:{self.port}: {self.ping().seen}",
        )
        self._version = describe_version(self.info("server"))
        self._started = True
        return Effect("started", time.monotonic() - began, "PING: PONG")

    def stop(self, timeout: timedelta | float) -> Effect:  # noqa: ARG002 - never done
        """Not possible."""
        raise self._not_ours("stopped")

    def kill(self) -> Effect:
        """Not possible."""
        raise self._not_ours("killed")

    def pause(self) -> Effect:
        """Not possible."""
        raise self._not_ours("paused")

    def resume(self, timeout: timedelta | float) -> Effect:  # noqa: ARG002 - never done
        """Not possible."""
        raise self._not_ours("resumed")

    def restart(self, how: object, timeout: timedelta | float) -> Effect:  # noqa: ARG002 - never done
        """Not possible."""
        raise self._not_ours("restarted")

    def log_tail(self, lines: int = 20) -> str:  # noqa: ARG002 - there are none
        """It keeps its log to itself."""
        return f"({self.name} is external: its log is where it runs)"

    def close(self) -> None:
        """Let it be."""
        self._started = False

    def _not_ours(self, what: str) -> NotPossibleHere:
        return NotPossibleHere(f"{self.name} is external: it cannot be {what}, only the way to it can be disturbed.")
