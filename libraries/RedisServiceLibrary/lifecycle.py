"""Keywords that start and end Redis."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.redis.services import AppendOnly, RedisService, RestartHow, ServiceKind, create_service
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from RedisServiceLibrary.reporting import report


class Lifecycle(Component):
    """Starting and ending."""

    def __init__(self, services: Registry[RedisService]) -> None:
        self._services = services

    @keyword(tags=("redis", "lifecycle"))
    def start_redis(
        self,
        *,
        alias: str = "redis",
        service: ServiceKind = ServiceKind.EMBEDDED,
        append_only: AppendOnly = AppendOnly.ALWAYS,
        server: str | None = None,
        timeout: timedelta = timedelta(seconds=10),
        **settings: str | int | float,
    ) -> str:
        """Starts a Redis and waits until it answers PING.

        A Redis that was stopped or killed before is started again, with the same port and data; the other arguments
        cannot change then.

        Args:
            alias: the name of this Redis in the other keywords.
            service: where it runs: `embedded` is a private process, `sentinel` a private primary with a replica and
                three sentinels, `container` a Docker container, `external` is elsewhere: it is used as it is, and
                keywords that would stop, kill or pause it skip the test.
            append_only: when writes reach the disk: `always` before each answer, `everysec` once a second (kill -9 can
                lose acknowledged writes then), `off` never.
            server: the program to run; the environment variable `REDIS_SERVER`, then the bundled one, if not given. For
                a container the image; the environment variable `REDIS_IMAGE`, then `redis:7-alpine`, if not given. For
                an external one its URL, `redis://` or `rediss://`; by default the run's `REDIS_URL` (`--variable` or
                environment). The authorities of a Redis with TLS are in the file of the run's `REDIS_CA`.
            timeout: the longest wait for its first answer.
            settings: lines of its configuration, for example `maxmemory=10mb`. With sentinels,
                `down-after-milliseconds` is theirs: the silence after which they replace the primary (2000).

        Returns:
            Its URL.

        Raises:
            UsageError: it runs already, or there is no such program, image or no Docker.
            ServiceError: it ended while starting; the end of its log is shown.

        Example:
        ```robotframework
        ${url}    Start Redis
        ${url}    Start Redis    alias=small    append_only=off    maxmemory=10mb
        ```
        """
        words = {name: str(value) for name, value in settings.items()}
        found = self._services.find(alias)
        if found is None:
            found = create_service(
                service, self._services.title(alias), append_only=append_only, binary=server, settings=words
            )
            self._services.add(alias, found, self.cleanup)
            try:
                effect = found.start(timeout)
            except BaseException:
                self._services.remove(alias, self.cleanup)
                raise
        else:
            if found.is_there:
                raise UsageError(
                    f"{found.name} {found.state} already, at {found.url()}. Use another alias for a second one."
                )
            if words or server or append_only is not AppendOnly.ALWAYS:
                raise UsageError(
                    f"{found.name} cannot be started with other settings; leave them out, or call `Remove Redis` first."
                )
            effect = found.start(timeout)
        JOURNAL.end_of(found.name, effect.proof)
        logger.info(
            f"{found.name} is {found.version}, process {found.pid}, port {found.port}, "
            f"data directory {found.data_directory}, PING answered after {effect.took * 1000:.0f} ms."
        )
        return found.url()

    @keyword(tags=("redis", "lifecycle"))
    def ensure_redis_is_running(self, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=10)) -> bool:
        """Starts Redis if it was stopped or killed, resumes it if it was paused, and otherwise does nothing.

        Meant for setups: the next test finds Redis at work, whatever the state after the last one.

        Args:
            alias: which Redis; it was started once by `Start Redis`.
            timeout: the longest wait for its first answer.

        Returns:
            Whether there was something to do.

        Raises:
            UsageError: there is no such Redis.
            ServiceError: it cannot be started.

        Example:
        ```robotframework
        Test Setup    Ensure Redis Is Running
        ```
        """
        service = self._services.get(alias)
        if service.is_running:
            return False
        effect = service.resume(timeout) if service.is_there else service.start(timeout)
        logger.warn(f"{service.name} was not at work; it was {effect.action}.")
        return True

    @keyword(tags=("redis", "lifecycle"))
    def stop_redis(self, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=10)) -> None:
        """Stops Redis cleanly (SIGTERM), and returns when connections are refused.

        `Start Redis` with the same alias starts it again with its port and data.

        Args:
            timeout: the longest wait for its end; after that it is killed, and the keyword fails.

        Example:
        ```robotframework
        Stop Redis
        Redis Should Not Answer
        Start Redis
        ```
        """
        report(self._services.get(alias).name, self._services.get(alias).stop(timeout))

    @keyword(tags=("redis", "lifecycle", "fault"))
    def kill_redis(self, *, alias: str = "redis") -> None:
        """Ends Redis at once (kill -9), paused or not, and returns when connections are refused.

        `Start Redis` with the same alias starts it again with its port and data.

        Example:
        ```robotframework
        Kill Redis
        Redis Should Not Answer
        ```
        """
        report(self._services.get(alias).name, self._services.get(alias).kill())

    @keyword(tags=("redis", "lifecycle", "fault"))
    def restart_redis(
        self,
        how: RestartHow = RestartHow.GRACEFUL,
        *,
        alias: str = "redis",
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        """Stops Redis if it runs, verifies that it is gone, starts it again and waits until it answers PING.

        Port and data stay the same; settings changed with `CONFIG SET` are as at the first start again.

        Args:
            how: `graceful` (SIGTERM) or `kill` (kill -9).
            timeout: the longest wait for its end, and for its first answer.

        Example:
        ```robotframework
        Restart Redis
        Restart Redis    kill
        ```
        """
        report(self._services.get(alias).name, self._services.get(alias).restart(how, timeout))

    @keyword(tags=("redis", "lifecycle"))
    def remove_redis(self, *, alias: str = "redis", missing_ok: bool = False) -> None:
        """Ends Redis in any state, and removes its data; the alias is free then.

        Not needed at the end of a suite, where this happens by itself.

        Args:
            missing_ok: accept that there is none, as in the teardown of a skipped test.

        Raises:
            UsageError: there is none.

        Example:
        ```robotframework
        Remove Redis
        Start Redis    append_only=off
        ```
        """
        if missing_ok and self._services.find(alias) is None:
            return
        self._services.remove(alias, self.cleanup)
