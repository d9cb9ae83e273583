"""The container service: Redis in its own Docker container, on a fixed port of 127.0.0.1."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import docker
import docker.errors
import requests.exceptions
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from ocpp_resilience.errors import ServiceError, UsageError, WaitTimeout
from ocpp_resilience.ports import HOST, free_port
from ocpp_resilience.redis.services.base import AppendOnly, Effect, RedisService, describe_version
from ocpp_resilience.waiting import seconds, wait_until

DEFAULT_IMAGE = "redis:7-alpine"
IMAGE_VARIABLE = "REDIS_IMAGE"
PORT_ATTEMPTS = 5
OLDEST_DOCKER_API = "1.35"
_INSIDE = "6379/tcp"
_RESERVED = {"port", "bind", "daemonize", "logfile", "appendonly", "appendfsync"}
_DOCKER_FAILURES = (docker.errors.DockerException, requests.exceptions.RequestException)


class ContainerRedis(RedisService):
    """Redis in a container.

    The container is stopped, killed, paused and started again as it is, so that its data outlives it; testcontainers'
    own `stop` would remove it. The port on 127.0.0.1 is chosen once, since Docker gives a published port anew at each
    start.

    Args:
        name: its name in messages.
        append_only: how writes are kept.
        image: the image; the environment variable `REDIS_IMAGE`, then `redis:7-alpine`, if not given. `redis-server`
        has to
            be in its path.
        settings: further settings of Redis, name to value; they hold at each start again.
    """

    def __init__(
        self,
        name: str,
        *,
        append_only: AppendOnly = AppendOnly.ALWAYS,
        image: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        self.append_only = append_only
        self.image = image or os.environ.get(IMAGE_VARIABLE) or DEFAULT_IMAGE
        self.settings = dict(settings or {})
        if taken := sorted(_RESERVED & self.settings.keys()):
            raise UsageError(f"{name}: {', '.join(taken)} cannot be set, the service sets it itself.")
        self._port = 0
        self._container: DockerContainer | None = None

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; the first start chooses it."""
        if not self._port:
            raise ServiceError(f"{self.name} was not started, it has no port yet.")
        return self._port

    @property
    def password(self) -> str | None:
        return self.settings.get("requirepass")

    @property
    def pid(self) -> int:
        """The process id on the machine that Docker runs on."""
        return int(self._inspected()["State"]["Pid"])

    @property
    def is_there(self) -> bool:
        return self._status() in {"running", "paused"}

    @property
    def is_running(self) -> bool:
        return self._status() == "running"

    @property
    def state(self) -> str:
        """In words that follow its name."""
        status = self._status()
        if status == "exited":
            return f"exited with status {self._inspected()['State']['ExitCode']}"
        return {"": "was not started", "running": "is running", "paused": "is paused"}.get(status, f"is {status}")

    @property
    def data_directory(self) -> str:
        return f"/data in container {self._wrapped().short_id}, image {self.image}"

    def check(self) -> None:
        """Check that Docker answers.

        Raises:
            UsageError: it does not.
        """
        with self._docker_errors("reach"):
            _ask_docker()

    def start(self, timeout: timedelta | float) -> Effect:
        """Start the container, or start it again with its port and data, and wait until PING is answered.

        Raises:
            UsageError: there is no Docker, or not the image.
            ServiceError: the container ended again; with the end of its log.
            WaitTimeout: it did not answer in time; with the end of its log.
        """
        if self.is_there:
            raise ServiceError(f"{self.name} {self.state} already.")
        began = time.monotonic()
        if self._container is None:
            self._create(timeout)
        else:
            with self._docker_errors("start"):
                self._wrapped().start()
            self._wait_for_pong(timeout)
        self._version = describe_version(self.info("server"))
        return Effect("started", time.monotonic() - began, "PING: PONG")

    def _create(self, timeout: timedelta | float) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port = free_port()
            try:
                self._run()
                self._wait_for_pong(timeout)
            except BaseException as error:  # a test timeout is one: a half-started container must not be left
                self.close()
                self._port = 0
                taken = isinstance(error, ServiceError) and "port is already allocated" in str(error)
                if not taken or attempt == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _run(self) -> None:
        # Ryuk would be one more image; the containers are removed here in any case.
        testcontainers_config.ryuk_disabled = True
        with self._docker_errors("create"):
            _ask_docker()
            container = DockerContainer(self.image).with_command(self._command())
            # testcontainers publishes on all addresses unless the Docker SDK's own form names one.
            container.ports[_INSIDE] = (HOST, self._port)  # type: ignore[assignment]
            self._container = container
            _owned.add(self)
            container.start()

    def _command(self) -> list[str]:
        kept = self.append_only is not AppendOnly.OFF
        own = {
            "appendonly": "yes" if kept else "no",
            **({"appendfsync": self.append_only.value} if kept else {}),
            "save": "",
            # Docker's port mapping is the protection: the port is published on 127.0.0.1 only.
            "protected-mode": "no",
            **self.settings,
        }
        return ["redis-server", *(word for name, value in own.items() for word in (f"--{name}", value))]

    def _wait_for_pong(self, timeout: timedelta | float) -> None:
        def answers() -> bool | None:
            if self._status() not in {"running", "created"}:
                raise ServiceError(f"{self.name} {self.state} while starting.\n{self.log_tail()}")
            return True if self.ping().pong else None

        def failure() -> str:
            return f"{self.name} did not answer PING at {HOST}:{self._port}, last seen: {self.ping().seen}"

        try:
            wait_until(answers, timeout=timeout, failure=failure)
        except WaitTimeout as late:
            message = f"{late}. Its log ends with:\n{self.log_tail()}"
            raise WaitTimeout(message, waited=late.waited, last_seen=late.last_seen) from None

    def stop(self, timeout: timedelta | float) -> Effect:
        """Let it finish its writes and end (docker stop: SIGTERM).

        Raises:
            ServiceError: it does not run.
        """
        self._should_be_there("stop")
        began = time.monotonic()
        with self._docker_errors("stop"):
            if not self.is_running:
                self._wrapped().unpause()
            self._wrapped().stop(timeout=max(1, round(seconds(timeout))))
        return Effect("stopped", time.monotonic() - began, self.prove_refused(5))

    def kill(self) -> Effect:
        """End it immediately (docker kill: SIGKILL), paused or not.

        Raises:
            ServiceError: it does not run.
        """
        self._should_be_there("kill")
        began = time.monotonic()
        with self._docker_errors("kill"):
            if not self.is_running:
                self._wrapped().unpause()
            self._wrapped().kill()
        return Effect("killed", time.monotonic() - began, self.prove_refused(5))

    def pause(self) -> Effect:
        """Let it stand still (docker pause) and see that PING stays unanswered."""
        self._should_be_there("pause")
        began = time.monotonic()
        with self._docker_errors("pause"):
            self._wrapped().pause()
        return Effect("paused", time.monotonic() - began, self.prove_silent())

    def resume(self, timeout: timedelta | float) -> Effect:
        """Let it run on (docker unpause) and wait until PING is answered.

        Raises:
            ServiceError: it is not paused.
        """
        if self._status() != "paused":
            raise ServiceError(f"{self.name} is not paused.")
        began = time.monotonic()
        with self._docker_errors("unpause"):
            self._wrapped().unpause()
        self._wait_for_pong(timeout)
        return Effect("resumed", time.monotonic() - began, "PING: PONG")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the container's log, over all of its starts."""
        if self._container is None:
            return ""
        with contextlib.suppress(*_DOCKER_FAILURES, ServiceError):
            return str(self._wrapped().logs(tail=lines).decode("utf-8", "replace")).rstrip()
        return ""

    def close(self) -> None:
        """Remove the container with its data, in any state."""
        container, self._container = self._container, None
        _owned.discard(self)
        if container is not None:
            with contextlib.suppress(docker.errors.NotFound):
                container.stop()

    def _wrapped(self) -> Any:
        if self._container is None:
            raise ServiceError(f"{self.name} was not started.")
        return self._container.get_wrapped_container()

    def _inspected(self) -> dict[str, Any]:
        with self._docker_errors("inspect"):
            self._wrapped().reload()
            return dict(self._wrapped().attrs)

    def _status(self) -> str:
        if self._container is None or self._container._container is None:  # noqa: SLF001
            return ""
        return str(self._inspected()["State"]["Status"])

    def _should_be_there(self, purpose: str) -> None:
        if not self.is_there:
            raise ServiceError(f"Cannot {purpose} {self.name}: it {self.state}.")

    @contextlib.contextmanager
    def _docker_errors(self, purpose: str) -> Iterator[None]:
        try:
            yield
        except docker.errors.ImageNotFound as error:
            raise UsageError(
                f"There is no image '{self.image}' for {self.name}, and it cannot be pulled: {error.explanation}. "
                f"{IMAGE_VARIABLE} names another one."
            ) from None
        except docker.errors.APIError as error:
            what = f"{purpose} {self.name} (image '{self.image}')"
            raise ServiceError(f"Docker could not {what}: {error.explanation or error}.") from None
        except _DOCKER_FAILURES as error:
            raise UsageError(
                f"{self.name} needs Docker, which cannot be reached: {error}. Start Docker, or do without it: "
                f"REDIS:embedded is a private Redis process."
            ) from None


def _ask_docker() -> None:
    """Check that Docker answers; otherwise testcontainers would leave connections open."""
    # With a version given, the first request is `ping`, and the client can be closed if it fails.
    client = docker.from_env(version=OLDEST_DOCKER_API, timeout=5)
    try:
        client.ping()
    finally:
        client.close()


_owned: set[ContainerRedis] = set()


@atexit.register
def _remove_owned() -> None:
    """The last net: an interpreter that ends removes its containers."""
    for service in list(_owned):
        with contextlib.suppress(Exception):
            service.close()
