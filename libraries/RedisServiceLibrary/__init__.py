"""A private Redis of the test, and faults of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.redis.services import RedisService
from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry
from RedisServiceLibrary.failovers import Failovers
from RedisServiceLibrary.interruption import Interruption
from RedisServiceLibrary.lifecycle import Lifecycle
from RedisServiceLibrary.observation import Observation

__all__ = ["RedisServiceLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, Failovers, Interruption, Lifecycle, Observation):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class RedisServiceLibrary(_Keywords):
    """Starts a Redis for the tests, takes it away and brings it back.

    `Start Redis` starts a private server: a free port on 127.0.0.1, a temporary data directory, and an append-only file
    that is flushed before each answer, so that not even `Kill Redis` loses a write that was acknowledged. Nothing has
    to be installed; the environment variable `REDIS_SERVER` names another server program than the bundled one.

    Port and data are kept while Redis is stopped and started again. Everything is removed when the suite ends that
    started it, also after a failure, and also when Redis is paused.

    Every action is proven before its keyword returns: after `Stop Redis` and `Kill Redis` connections are refused,
    after `Pause Redis` PING stays unanswered, after `Start Redis` and `Resume Redis` PING is answered.

    With `service=sentinel` it is a primary with a replica and three sentinels, which its URL names. Faults of
    FaultLibrary, such as `kill primary`, bring failovers about; `Get Last Failover` tells of them.

    Several servers have an `alias` each; the keywords use `redis` by default.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Suite Setup     Start Redis

    *** Test Cases ***
    An Acknowledged Write Survives Kill -9
        Redis Command    SET    greeting    hello
        Restart Redis    kill
        ${greeting}    Redis Command    GET    greeting
        Should Be Equal    ${greeting}    hello
    ```
    """

    def __init__(self) -> None:
        services: Registry[RedisService] = Registry("Redis", starter="Start Redis", close=_close)
        self.services = services
        super().__init__([Lifecycle(services), Interruption(services), Failovers(services), Observation(services)])


def _close(service: RedisService) -> None:
    """Close a Redis; its faults end with it."""
    try:
        service.close()
    finally:
        JOURNAL.end_of(service.name, "this Redis was removed")
