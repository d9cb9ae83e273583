"""Keywords that make Redis stand still, and whether that may be done to it."""

from __future__ import annotations

from datetime import timedelta

from ocpp_resilience.errors import NotPossibleHere
from ocpp_resilience.redis.services import ExternalRedis, RedisService
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from RedisServiceLibrary.reporting import report


class Interruption(Component):
    """Pausing and resuming."""

    def __init__(self, services: Registry[RedisService]) -> None:
        self._services = services

    @keyword(tags=("redis", "fault"))
    def skip_if_redis_is_external(self, *, alias: str = "redis") -> None:
        """Skips the test, with the reason, when Redis is external: it is not stopped, killed, paused or changed then.

        For the beginning of a test that does so, before it has begun anything else.

        Raises:
            LacksCapability: it is external.

        Example:
        ```robotframework
        Skip If Redis Is External
        Kill Redis
        ```
        """
        service = self._services.get(alias)
        if isinstance(service, ExternalRedis):
            raise NotPossibleHere(f"{service.name} is external: only faults of its network are possible.")

    @keyword(tags=("redis", "fault"))
    def pause_redis(self, *, alias: str = "redis") -> None:
        """Pauses Redis (SIGSTOP), and returns when PING is no longer answered.

        Connections stay open, and new ones are accepted by the operating system; nothing is answered.

        Example:
        ```robotframework
        Pause Redis
        Redis Should Not Answer
        Resume Redis
        ```
        """
        report(self._services.get(alias).name, self._services.get(alias).pause())

    @keyword(tags=("redis", "fault"))
    def resume_redis(self, *, alias: str = "redis", timeout: timedelta = timedelta(seconds=5)) -> None:
        """Resumes a paused Redis (SIGCONT), and waits until it answers PING.

        Example:
        ```robotframework
        Pause Redis
        Resume Redis
        Redis Should Be Running
        ```
        """
        report(self._services.get(alias).name, self._services.get(alias).resume(timeout))
