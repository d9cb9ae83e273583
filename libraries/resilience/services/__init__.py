"""Redis services: one interface, one implementation for each place where Redis can run."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from resilience.services.base import AppendOnly, Effect, Ping, RedisService, RestartHow
from resilience.services.embedded import EmbeddedRedis

__all__ = [
    "AppendOnly",
    "Effect",
    "EmbeddedRedis",
    "Ping",
    "RedisService",
    "RestartHow",
    "ServiceKind",
    "create_service",
]


class ServiceKind(enum.Enum):
    """Where Redis runs: `embedded` is a private server process."""

    EMBEDDED = "embedded"


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
        name: what it is called in messages.
        append_only: how it keeps its writes.
        binary: the server program, for the kinds that start one.
        settings: lines of its configuration, name to value.
    """
    match kind:
        case ServiceKind.EMBEDDED:
            return EmbeddedRedis(name, append_only=append_only, binary=binary, settings=settings)
