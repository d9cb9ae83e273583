"""Redis services: one interface, one implementation for each place where Redis can run."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from ocpp_resilience.errors import UsageError
from ocpp_resilience.redis.services.base import AppendOnly, Effect, Ping, RedisService, RestartHow
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.redis.services.external import ExternalRedis, of_the_system
from ocpp_resilience.redis.services.replicated import Failover, FailoverHow, ReplicatedRedis

__all__ = [
    "AppendOnly",
    "Effect",
    "EmbeddedRedis",
    "ExternalRedis",
    "Failover",
    "FailoverHow",
    "Ping",
    "RedisService",
    "ReplicatedRedis",
    "RestartHow",
    "ServiceKind",
    "create_service",
    "of_the_system",
]


class ServiceKind(enum.Enum):
    """Kinds of Redis services.

    `embedded` is a private process, `sentinel` a private primary with a replica and three sentinels, `container` a
    Docker container, `external` is elsewhere.
    """

    EMBEDDED = "embedded"
    SENTINEL = "sentinel"
    CONTAINER = "container"
    EXTERNAL = "external"


def create_service(
    kind: ServiceKind,
    name: str,
    *,
    append_only: AppendOnly = AppendOnly.ALWAYS,
    binary: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> RedisService:
    """Make a service, not started yet.

    Args:
        kind: where it runs.
        name: its name in messages.
        append_only: how it keeps its writes.
        binary: the server program of an embedded Redis, or the image of a container, the URL of an external one.
        settings: lines of its configuration, name to value.
    """
    match kind:
        case ServiceKind.EMBEDDED:
            return EmbeddedRedis(name, append_only=append_only, binary=binary, settings=settings)
        case ServiceKind.SENTINEL:
            return ReplicatedRedis(name, append_only=append_only, binary=binary, settings=settings)
        case ServiceKind.CONTAINER:
            # Docker's client is loaded only where it is needed: a run without containers starts sooner.
            try:
                from ocpp_resilience.redis.services.container import ContainerRedis  # noqa: PLC0415
            except ModuleNotFoundError as error:
                raise UsageError(
                    f"{name} in a container needs the package {error.name}: "
                    "pip install 'robotframework-ocpp-resilience[containers]'."
                ) from None

            return ContainerRedis(name, append_only=append_only, image=binary, settings=settings)
        case ServiceKind.EXTERNAL:
            return ExternalRedis(name, url=binary, settings=settings)
