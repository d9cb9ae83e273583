"""Reading the configuration that a system stores of charge points, from everywhere that its profile names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from ocpp_resilience import http_client
from ocpp_resilience.errors import LacksCapability, ServiceError
from ocpp_resilience.http_client import Reply
from ocpp_resilience.ocpp.model import ConfigurationModel
from ocpp_resilience.profile import Capability, Target
from ocpp_resilience.profile.kept import StateConfiguration
from ocpp_resilience.profile.templates import fill
from ocpp_resilience.redis.connection import AWAY, connect, shown_url


def configuration_of(target: Target) -> StateConfiguration:
    """How configuration is stored and read.

    Raises:
        LacksCapability: the profile does not say.
    """
    if target.state.configuration is None:
        raise LacksCapability(
            f"Target '{target.name}' does not describe how configuration is stored "
            f"(state.configuration in {target.source})."
        )
    return target.state.configuration


def configuration_problems(
    model: ConfigurationModel,
    points: Iterable[str],
    target: Target,
    *,
    redis_url: str,
    get: Callable[[str], Reply],
) -> list[str]:
    """In which keys the configuration of charge points is not as it was stored.

    Args:
        model: has taken all requests.
        points: the charge points; those of which nothing was stored through the model are passed over.
        target: says where configuration is.
        redis_url: where the system's Redis is.
        get: asks the system's HTTP API for a path.

    Raises:
        ServiceError: Redis or the system cannot be reached.
    """
    described = target.state.configuration
    chosen = [point for point in points if point in model]
    if described is None or not chosen:
        return []
    problems: list[str] = []
    for point in chosen:
        if target.redis.keys.configuration is not None and Capability.STATE_KEYS in target.capabilities:
            problems += model.problems(point, _in_redis(target, point, redis_url))
        if described.path is not None:
            reply = get(fill(described.path, {"charge_point_id": quote(point, safe="")}))
            document = reply.json() if reply.status == 200 else None
            kept = document if described.data is None else http_client.pick(document, described.data)
            if not isinstance(kept, dict):
                body = http_client.shorten(reply.body)
                problems.append(f"GET {reply.url} answered {reply.status} without configuration: {body}")
            else:
                problems += [f"over HTTP, {each}" for each in model.problems(point, kept)]
    return problems


def _in_redis(target: Target, point: str, redis_url: str) -> dict[str, Any]:
    client = connect(redis_url, database=target.redis.databases.state)
    try:
        found: Any = client.hgetall(target.key("configuration", charge_point_id=point).encode())
    except AWAY as error:
        raise ServiceError(f"Cannot read from Redis at {shown_url(redis_url)}: {error}") from None
    finally:
        client.close()
    kept = {}
    for name, value in found.items():
        try:
            kept[name.decode()] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            kept[name.decode()] = value.decode("utf-8", "replace")
    return kept
