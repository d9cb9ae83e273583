"""The events of connects and disconnects: what they have to say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services import EmbeddedRedis
from ocpp_resilience.state.connection_events import ConnectionEvents

NOW = time.time()
PORT = {"CP-1": "127.0.0.1:5001", "CP-2": "127.0.0.1:5002"}


class Channel:
    """Publishes events, and judges them.

    Attributes:
        url: of the Redis.
    """

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url)
        self._events = ConnectionEvents(Target.load("reference"), url)

    def publish(self, kind: str, point: str, *, after: float = 0.0, **changes: Any) -> None:
        """Publish the event of a connect or disconnect, so many seconds after the beginning."""
        event = {
            "event": kind,
            "charge_point_id": point,
            "ws_server_id": "gateway-1",
            "remote_addr": PORT[point],
            "timestamp": rfc3339(NOW + after),
        }
        self._client.publish(f"ocpp:control:{kind}", json.dumps(event | changes))

    def problems(self, connected: list[str], gone: list[str]) -> str:
        """All of them in one text."""
        return "; ".join(self._events.problems(connected, gone, NOW))

    def close(self) -> None:
        """Close both connections."""
        self._events.close()
        self._client.close()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    service = EmbeddedRedis("Redis 'events'")
    try:
        service.start(15)
        yield service.url()
    finally:
        service.close()


@pytest.fixture
def channel(redis_url: str) -> Iterator[Channel]:
    made = Channel(redis_url)
    yield made
    made.close()


def test_who_connected_and_left_is_announced(channel: Channel) -> None:
    for point in PORT:
        channel.publish("connect", point)
    channel.publish("disconnect", "CP-2", after=0.5)
    assert not channel.problems(["CP-1"], ["CP-2"])


def test_a_newer_connection_takes_over(channel: Channel) -> None:
    channel.publish("connect", "CP-1")
    channel.publish("connect", "CP-1", remote_addr="127.0.0.1:6001")
    assert not channel.problems(["CP-1"], [])
    channel.publish("disconnect", "CP-1", after=0.5)
    assert "the last event of CP-1 says that it has disconnected" in channel.problems(["CP-1"], [])


def test_missing_events(channel: Channel) -> None:
    channel.publish("connect", "CP-2")
    found = channel.problems(["CP-1"], ["CP-2"])
    assert "no event says that CP-1 has connected" in found
    assert "no event says that CP-2 has disconnected" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timestamp": rfc3339(NOW)}, "disconnect event of CP-1 has the time at which it connected, or an earlier one"),
        ({"timestamp": "2026-01-01T00:00:00"}, "disconnect event of CP-1 has the time 2026-01-01T00:00:00, expected"),
        ({"timestamp": None}, "has no field timestamp like '{timestamp}'"),
        ({"ws_server_id": "gateway-2"}, "disconnect event of CP-1 ends a connection that no event has begun"),
        ({"event": "connect"}, "on ocpp:control:disconnect has no field event like 'disconnect'"),
    ],
)
def test_wrong_disconnects(channel: Channel, changes: dict[str, Any], said: str) -> None:
    channel.publish("connect", "CP-1")
    channel.publish("disconnect", "CP-1", after=0.5, **changes)
    assert said in channel.problems([], ["CP-1"])


def test_an_event_that_is_told_twice(channel: Channel) -> None:
    channel.publish("connect", "CP-1")
    channel.publish("connect", "CP-1")
    assert "the connect event of CP-1 was told twice" in channel.problems(["CP-1"], [])


def test_others_do_not_matter(channel: Channel) -> None:
    """A gateway that was killed cannot say where its charge points were connected."""
    channel.publish("connect", "CP-1")
    channel.publish("disconnect", "CP-2", ws_server_id="", remote_addr="")
    assert not channel.problems(["CP-1"], [])
    assert channel.problems(["CP-1"], ["CP-2"])
