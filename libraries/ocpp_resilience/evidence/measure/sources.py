"""Sources of samples besides processes: Redis by INFO and its keys, and the system's inspection of commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import redis

from ocpp_resilience.errors import ExpectationFailed, ServiceError
from ocpp_resilience.profile import Target
from ocpp_resilience.profile.sections import QueueKind
from ocpp_resilience.redis.connection import connect, database_in
from ocpp_resilience.system.inspection import inspect_correlations

LOOK_SECONDS = 0.5
"""Maximum wait for a reply: a paused Redis is a gap in its own samples, and delays no other source."""

REDIS = "redis"
QUEUE = "queue depth"
CLIENTS = "Redis clients"
CONNECTED = "charge points"
PENDING = "pending correlations"


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory and processor time at one moment.

    Attributes:
        bytes: resident memory.
        cpu: processor time since the start, in seconds.
    """

    bytes: int
    cpu: float


Look = dict[str, float | Usage]
"""Values observed at one moment, by name."""


class Source(Protocol):
    """Something that can be looked at again and again.

    Attributes:
        what: its name in messages.
        names: the names that its looks have.
    """

    what: str
    names: tuple[str, ...]

    def look(self) -> Look:
        """Look once.

        Raises:
            ResilienceError: nothing could be seen.
        """

    def close(self) -> None:
        """Release its resources."""


class RedisSource:
    """Redis' memory, processor time and connections (INFO), the depth of queues, and the connected charge points.

    Its own word counts, since it may run in a container or on another machine.

    Args:
        url: of Redis.
        target: knows the request queue, the set of connected charge points and their database.
        queues: the lists whose lengths together are the depth; the target's request queue if not given. Where that is
            no list, the depth is left out.

    Raises:
        UsageError: the URL cannot be used.
    """

    what = "Redis"

    def __init__(self, url: str, target: Target, queues: Sequence[str] = ()) -> None:
        named = database_in(url)
        self._client = connect(
            url, database=target.redis.databases.queue if named is None else named, socket_timeout=LOOK_SECONDS
        )
        own = target.redis.keys.requests if target.queue.kind is QueueKind.LIST else None
        self._queues = list(queues) or ([own] if own is not None and "{" not in own else [])
        self._connected = target.redis.keys.connected
        self.names = (
            REDIS,
            *((QUEUE,) if self._queues else ()),
            CLIENTS,
            *((CONNECTED,) if self._connected else ()),
        )

    def look(self) -> Look:
        """One round trip.

        Raises:
            ServiceError: Redis could not be reached, or refused.
        """
        pipeline = self._client.pipeline(transaction=False)
        for section in ("memory", "cpu", "clients"):
            pipeline.info(section)
        for queue in self._queues:
            pipeline.llen(queue)
        if self._connected:
            pipeline.scard(self._connected)
        try:
            memory, cpu, clients, *sizes = pipeline.execute()
        except redis.RedisError as error:
            raise ServiceError(f"Redis: {error}") from None
        look: Look = {
            REDIS: Usage(int(memory["used_memory_rss"]), cpu["used_cpu_user"] + cpu["used_cpu_sys"]),
            CLIENTS: float(clients["connected_clients"]),
        }
        if self._connected:
            look[CONNECTED] = float(sizes.pop())
        if self._queues:
            look[QUEUE] = float(sum(sizes))
        return look

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class CorrelationSource:
    """Number of commands that wait for their answers, from the system's inspection.

    Args:
        url: the base of the system's HTTP API.
        target: knows the path.
        token: for systems that want one.

    """

    what = "the inspection of correlations"
    names: tuple[str, ...] = (PENDING,)

    def __init__(self, url: str, target: Target, token: str = "") -> None:
        self._url = url
        self._target = target
        self._token = token

    def look(self) -> Look:
        """One request.

        Raises:
            ServiceError: there was no answer, or none that can be used.
        """
        try:
            return {PENDING: float(inspect_correlations(self._url, self._target, token=self._token).pending)}
        except ExpectationFailed as error:
            raise ServiceError(str(error)) from None

    def close(self) -> None:
        """There is nothing to close: each request has a separate connection."""


def why_not_inspected(target: Target) -> str | None:
    """Why the pending correlations of a target cannot be sampled; `None` if they can."""
    if target.http.correlations is not None:
        return None
    return f"Target '{target.name}' has no inspection of correlations (http.correlations in {target.source})."
