"""Keywords that look at Redis."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.redis.services import RedisService
from ocpp_resilience.redis.services.base import PATIENT_PING_LIMIT
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import wait_until


class Observation(Component):
    """Checks, getters and diagnosis."""

    def __init__(self, services: Registry[RedisService]) -> None:
        self._services = services

    @keyword(tags=("redis", "check"))
    def redis_should_be_running(self, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=5)) -> None:
        """Fails unless Redis answers PING.

        Raises:
            ExpectationFailed: there was no answer, or another one than PONG; the message shows it.

        Example:
        ```robotframework
        Redis Should Be Running
        Redis Should Be Running    timeout=10s
        ```
        """
        service = self._services.get(alias)
        if not service.is_running:
            raise ExpectationFailed(f"{service.name} should answer PING, but it {service.state}.")
        wait_until(
            lambda: True if service.ping().pong else None,
            timeout=timeout,
            failure=lambda: (
                f"{service.name} should answer PING at {service.host}:{service.port}; it {service.state}, "
                f"last seen: {service.ping(PATIENT_PING_LIMIT).seen}"
            ),
        )

    @keyword(tags=("redis", "check"))
    def redis_should_not_answer(self, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=2)) -> None:
        """Fails if Redis answers PING, even with an error.

        Args:
            timeout: the longest wait until it stops answering.

        Raises:
            ExpectationFailed: it answered until the end.

        Example:
        ```robotframework
        Kill Redis
        Redis Should Not Answer
        ```
        """
        service = self._services.get(alias)
        proof = service.prove_silent(timeout)
        logger.info(f"{service.name} {service.state}. {proof}.")

    @keyword(tags=("redis", "getter"))
    def get_redis_url(self, *, alias: str = "redis", database: int | None = None) -> str:
        """Returns the URL of Redis, for the server and the other libraries.

        Args:
            database: the number of the database in the URL; without one, the target profile decides.

        Returns:
            For example `redis://127.0.0.1:23456`; the same for the whole life of this Redis.

        Example:
        ```robotframework
        ${url}    Get Redis Url
        Start Server    ${url}
        ```
        """
        return self._services.get(alias).url(database)

    @keyword(tags=("redis", "getter"))
    def get_redis_version(self, *, alias: str = "redis") -> str:
        """Returns product and version of Redis.

        Returns:
            For example `valkey 9.1.2` or `redis 7.0.15`.

        Example:
        ```robotframework
        ${version}    Get Redis Version
        Set Suite Metadata    Redis    ${version}    top=True
        ```
        """
        return self._services.get(alias).version

    @keyword(tags=("redis", "getter", "diagnosis"))
    def get_redis_log(self, *, alias: str = "redis", lines: int = 50) -> str:
        """Returns the last lines of the log of Redis, over all of its starts.

        Args:
            lines: how many lines.

        Example:
        ```robotframework
        ${log}    Get Redis Log    lines=10
        Should Contain    ${log}    Ready to accept connections
        ```
        """
        return self._services.get(alias).log_tail(lines)

    @keyword(tags=("redis", "diagnosis"))
    def redis_command(
        self, command: str, *arguments: str, alias: str = "redis", timeout: timedelta = timedelta(seconds=5)
    ) -> Any:
        """Runs one command on Redis and returns its reply, for diagnosis.

        Args:
            command: the command.
            arguments: its arguments.
            timeout: the longest wait for the reply.

        Returns:
            The reply as Redis gives it: text, a number, a list or `None`.

        Raises:
            ServiceError: Redis could not be reached, or replied with an error.

        Example:
        ```robotframework
        ${reply}    Redis Command    CONFIG    GET    appendonly
        Should Be Equal    ${reply}[1]    yes
        ```
        """
        return self._services.get(alias).command(command, *arguments, timeout=timeout)

    @keyword(tags=("redis", "diagnosis"))
    def get_refused_commands(self, *, alias: str = "redis") -> list[str]:
        """Returns what Redis has refused to its users since it started, as its ACL log says (`ACL LOG`).

        Returns:
            A sentence for each kind of refusal, the latest first.

        Raises:
            ServiceError: Redis could not be reached, or replied with an error.

        Example:
        ```robotframework
        @{refused}    Get Refused Commands
        Should Be Empty    ${refused}
        ```
        """
        log = [dict(zip(each[::2], each[1::2], strict=True)) for each in self.redis_command("ACL", "LOG", alias=alias)]
        return [
            f"{each['reason']} {each['object']!r} was refused to the user {each['username']!r} "
            f"{counted(int(each['count']), 'time')}"
            for each in log
        ]
