"""The mailbox with a real Redis: its wake-ups, and the recovery of a broken subscription."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis
from harness import SOON, StartRedis, connect, soon

from server.correlation.mailbox import Mailbox
from server.redis.link import RedisLink
from server.store.keys import Keys

pytestmark = pytest.mark.anyio

CHANNEL = "ocpp:wake:one"


class Woken:
    """The calls of a mailbox."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.answers = 0
        self.subscribed = 0
        self.changed: list[str] = []

    def wake(self, ids: list[str]) -> None:
        self.ids += ids

    def answer(self) -> None:
        self.answers += 1

    def change(self, charge_point_id: str) -> None:
        self.changed.append(charge_point_id)

    def subscribe(self) -> None:
        self.subscribed += 1


@asynccontextmanager
async def listening(url: str, woken: Woken, *, reply_timeout: float = SOON) -> AsyncIterator[RedisLink]:
    link = RedisLink(url, reply_timeout=reply_timeout)
    mailbox = Mailbox(
        link,
        Keys(),
        server_id="one",
        on_wake=woken.wake,
        on_answers=woken.answer,
        on_subscribed=woken.subscribe,
        on_session=woken.change,
    )
    task = asyncio.create_task(mailbox.run())
    try:
        await soon(lambda: woken.subscribed, "no subscription")
        yield link
    finally:
        mailbox.stop()
        await asyncio.wait_for(task, SOON)
        await link.close()


async def test_charge_points_and_answers_are_told_apart(client: redis.Redis, redis_url: str) -> None:
    woken = Woken()
    async with listening(redis_url, woken) as link:
        assert link.healthy
        # What was published before nobody has heard.
        assert woken.answers == 1
        client.publish(CHANNEL, '["CP-1","CPä"]')
        client.publish(CHANNEL, "[]")
        client.publish("ocpp:wake:two", '["CP-2"]')
        client.publish("ocpp:control:connect", '{"event":"connect","charge_point_id":"CP-4"}')
        client.publish("ocpp:control:disconnect", '{"event":"disconnect","charge_point_id":"CP-5"}')
        client.publish(CHANNEL, '["CP-3"]')
        await soon(lambda: len(woken.ids) == 3, lambda: f"woken: {woken.ids}")
        assert woken.ids == ["CP-1", "CPä", "CP-3"]
        assert woken.answers == 2
        assert woken.changed == ["CP-4", "CP-5"]
    await soon(lambda: client.pubsub_numsub(CHANNEL) == [(CHANNEL.encode(), 0)], "it still listens")


async def test_rubbish_costs_itself_only(client: redis.Redis, redis_url: str) -> None:
    woken = Woken()
    async with listening(redis_url, woken):
        for rubbish in ("", "no JSON", "{}", "[5]", b"\xff"):
            client.publish(CHANNEL, rubbish)
            client.publish("ocpp:control:connect", rubbish)
        client.publish(CHANNEL, '["CP-1"]')
        await soon(lambda: woken.ids == ["CP-1"], lambda: f"woken: {woken.ids}")


async def test_a_broken_subscription_is_made_again(client: redis.Redis, redis_url: str) -> None:
    woken = Woken()
    async with listening(redis_url, woken) as link:
        client.client_kill_filter(_type="pubsub")
        await soon(lambda: woken.subscribed == 2, "no new subscription")
        assert woken.answers == 2
        assert link.healthy
        client.publish(CHANNEL, '["CP-1"]')
        await soon(lambda: woken.ids == ["CP-1"], lambda: f"woken: {woken.ids}")


async def test_silence_is_no_failure(client: redis.Redis, redis_url: str) -> None:
    """It asks for a sign of life, gets it, and asks again."""
    woken = Woken()

    def asked() -> int:
        return client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]

    before = asked()
    async with listening(redis_url, woken) as link:
        await soon(lambda: asked() >= before + 2, "it does not ask for a sign of life")
        assert link.healthy
        assert woken.subscribed == 1


async def test_a_redis_that_stands_still_is_noticed_without_traffic(start_redis: StartRedis) -> None:
    service, woken = start_redis(), Woken()
    async with listening(service.url(), woken, reply_timeout=2) as link:
        service.pause()
        await soon(lambda: not link.healthy, "healthy without a sign of life")
        service.resume(SOON)
        await soon(lambda: link.healthy, "not healthy again")
        with connect(service.url()) as client:
            # Again until it is heard: who stands still for two seconds here would lose the subscription once more.
            await soon(lambda: client.publish(CHANNEL, '["CP-1"]') and woken.ids, "not woken")
