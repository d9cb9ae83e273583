"""Announcing charge points on a real Redis: by a session alone, by events alone, and taken back with the data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml

from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import QueueUnavailable
from ocpp_resilience.redis.services import ServiceKind, create_service
from ocpp_resilience.transport.announcements import Announcements
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.messages import MessageFormat, SentMessages, build
from ocpp_resilience.transport.queue_keys import QueueKeys
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
SESSION = {"required": True, "session": {"name": "{charge_point_id}", "since": "{timestamp}"}}
EVENTS = {"required": True, "connect": {"up": "{charge_point_id}"}, "disconnect": {"down": "{charge_point_id}"}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    service = create_service(ServiceKind.EMBEDDED, "Redis")
    service.start(PATIENCE)
    yield service.url()
    service.close()


@pytest.fixture
def server(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        client.flushall()
        yield client


def opened(url: str, folder: Path, announcement: dict[str, object], **keys: str) -> QueueClient:
    profile = {
        "name": "mine",
        "start": {"command": ["mine", "{http_port}"]},
        "ready": {"record": None},
        "message_format": "envelope",
        "announcement": announcement,
        "redis": {"keys": {"requests": "in", "responses": "out:{charge_point_id}", **keys}},
        "capabilities": ["queue"],
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(profile))
    target = Target.load(folder / "mine.yaml")
    return QueueClient(url, QueueKeys.of(target), ids=Ids(), announcements=Announcements.of(target)).open()


def send(client: QueueClient, point: str, *, partial: bool = False) -> SentMessages:
    payload = ocpp_version().sample("Heartbeat")
    message = build("Heartbeat", payload, charge_point=point, message_id="1", message_format=MessageFormat.ENVELOPE)
    return client.send([message], partial=partial)


def test_a_session_alone_announces_and_is_removed_with_the_data(url: str, server: redis.Redis, tmp_path: Path) -> None:
    client = opened(url, tmp_path, SESSION, session="who:{charge_point_id}")
    for _ in range(2):  # announced again after the data were removed
        send(client, "CP-1")
        assert server.hgetall("who:CP-1")["name"] == "CP-1"
        client.remove_data(timeout=0)
        assert server.keys() == []
    send(client, "CP-1")
    client.close()
    assert server.keys() == ["in"]


def test_a_redis_that_refuses_the_session_leaves_the_message_unsent(
    url: str, server: redis.Redis, tmp_path: Path
) -> None:
    client = opened(url, tmp_path, SESSION, session="who:{charge_point_id}")
    server.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable, match=r"^Charge points could not be announced through Redis at "):
            send(client, "CP-1")
        assert send(client, "CP-1", partial=True).failed == 1
    finally:
        server.config_set("maxmemory", 0)
    assert server.keys() == []
    assert send(client, "CP-1").acknowledged == 1
    client.close()


def test_events_alone_announce_and_no_session_is_written(url: str, server: redis.Redis, tmp_path: Path) -> None:
    events = server.pubsub(ignore_subscribe_messages=True)
    events.subscribe("line")

    def told() -> object:
        message = wait_until(lambda: events.get_message(timeout=1), timeout=PATIENCE, failure=lambda: "no event")
        return json.loads(message["data"])

    client = opened(url, tmp_path, EVENTS, control_connect="line", control_disconnect="line")
    send(client, "CP-1")
    assert told() == {"up": "CP-1"}
    assert server.keys() == ["in"]
    client.close()
    assert told() == {"down": "CP-1"}
    events.close()
