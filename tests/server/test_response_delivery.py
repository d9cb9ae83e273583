"""Responses that come with the wake-up: delivered where they certainly are the next ones, and read everywhere else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
import redis
from harness import QUEUE, app, call, push, session_of
from redis.exceptions import ConnectionError as RedisConnectionError

from server.gateway.response_delivery import ResponseDelivery
from server.gateway.session import Session
from server.processor.request_queue import Committed, Delivery
from server.redis.link import RedisLink
from server.store.keys import Keys

pytestmark = pytest.mark.anyio

LIST = "ocpp:responses:CP-1"
LATER = 2**52
"""A time in us that lies after every read of these tests."""


class Delivered(ResponseDelivery):
    """A delivery to one charge point that is connected, and what reached it."""

    def __init__(self, link: RedisLink) -> None:
        self.session = session_of("CP-1")
        self.session.announced = True
        self.reached: list[str] = []
        super().__init__(
            link,
            Keys(),
            live=lambda: [self.session],
            deliver=self._send,
            on_missing=lambda _: None,
            on_lost=lambda _: None,
        )

    def _send(self, session: Session, entries: Sequence[bytes | str]) -> bool:
        self.reached += [entry if isinstance(entry, str) else entry.decode() for entry in entries]
        return True

    def get(self, *responses: str, length: int, published: int = LATER) -> None:
        self.offer(self.session, list(responses), length=length, published=published)

    @property
    def will_read(self) -> bool:
        return self.session in self._dirty


@pytest.fixture
async def delivery(redis_url: str, client: redis.Redis) -> AsyncIterator[Delivered]:
    link = RedisLink(redis_url)
    made = Delivered(link)
    client.hset("ocpp:session:CP-1", "connection", made.session.connection_id)
    yield made
    await link.close()


async def test_what_stands_alone_in_its_list_is_delivered_at_once(delivery: Delivered, client: redis.Redis) -> None:
    client.lpush(LIST, "a", "b")
    delivery.get("a", "b", length=2)
    assert (delivery.reached, delivery.will_read) == (["a", "b"], False)
    await delivery._tidy()
    assert client.llen(LIST) == 0
    assert delivery.session.sent is None


async def test_what_stands_behind_sent_responses_is_delivered_and_all_leave_together(
    delivery: Delivered, client: redis.Redis
) -> None:
    client.lpush(LIST, "a", "b", "a command")
    delivery.get("a", length=1)
    delivery.get("b", length=2)
    assert (delivery.reached, delivery.will_read) == (["a", "b"], False)
    await delivery._tidy()
    assert client.lrange(LIST, 0, -1) == [b"a command"]


async def test_nothing_overtakes_a_message_that_waits(delivery: Delivered, client: redis.Redis) -> None:
    client.lpush(LIST, "a command", "a")
    delivery.get("a", length=2)
    assert (delivery.reached, delivery.will_read) == ([], True)
    await delivery._round()
    assert delivery.reached == ["a command", "a"]


async def test_what_a_read_may_have_found_is_not_delivered_again(delivery: Delivered, client: redis.Redis) -> None:
    """Also where it has left the list since, so that the next one stands alone there."""
    client.lpush(LIST, "a")
    delivery.wake(delivery.session)
    await delivery._round()
    await delivery._tidy()
    delivery.get("a", length=1, published=delivery._read_at - 1)
    assert (delivery.reached, delivery.will_read) == (["a"], True)
    await delivery._round()
    assert delivery.reached == ["a"]


@pytest.mark.parametrize(("others", "delivered"), [(0, True), (1, False)])
async def test_while_sent_responses_are_removed_only_an_empty_list_is_certain(
    delivery: Delivered, others: int, delivered: bool
) -> None:
    delivery.get("a", length=1)
    delivery._removing.add(delivery.session)
    delivery.get("b", length=1 + others)
    assert (delivery.reached == ["a", "b"], delivery.will_read) == (delivered, not delivered)


async def test_while_a_list_is_read_its_responses_wait(delivery: Delivered) -> None:
    delivery._reading.add(delivery.session)
    delivery.get("a", length=1)
    assert (delivery.reached, delivery.will_read) == ([], True)


async def test_a_removal_whose_reply_is_lost_is_settled_by_a_read(delivery: Delivered, client: redis.Redis) -> None:
    """It has happened, and a command has come: the next response has as many before it as were sent."""
    delivery.get("a", length=1)
    wire = delivery._wire

    class Broken:
        async def execute(self, *_: Any) -> Any:
            raise RedisConnectionError("the reply is lost")

    delivery._wire = Broken()  # type: ignore[assignment]
    with pytest.raises(RedisConnectionError):
        await delivery._tidy()
    delivery._wire = wire
    client.lpush(LIST, "a command", "b")
    delivery.get("b", length=2)
    assert delivery.reached == ["a"]
    await delivery._round()
    assert delivery.reached == ["a", "a command", "b"]
    assert delivery.session not in delivery._removing
    await delivery._tidy()
    assert client.llen(LIST) == 0


async def test_with_replicas_and_at_the_end_nothing_is_delivered_unread(delivery: Delivered) -> None:
    delivery._link.wait_replicas = 1
    delivery.get("a", length=1)
    assert (delivery.reached, delivery.will_read) == ([], True)
    delivery._link.wait_replicas = 0
    delivery.stop()
    delivery.get("b", length=1)
    assert delivery.reached == []


@pytest.mark.parametrize(
    ("sent", "there", "left"),
    [
        (["a"], ["another", "a"], ["another", "a"]),
        (["a"], ["a", "another"], ["another"]),
        (["a", "b"], ["a", "b", "a"], ["a"]),
        # Another gateway, which had sent the first ones and was held up, has taken them out meanwhile.
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),
        (["a", "b"], ["b"], []),
        (["a", "b"], [], []),
    ],
)
async def test_only_what_was_sent_is_removed(
    delivery: Delivered, client: redis.Redis, sent: list[str], there: list[str], left: list[str]
) -> None:
    for by_a_read in (False, True):
        client.delete(LIST)
        delivery.reached.clear()
        delivery.get(*sent, length=len(sent))
        if there:
            client.lpush(LIST, *there)
        if by_a_read:
            delivery.wake(delivery.session)
            await delivery._round()
            assert delivery.reached == [*sent, *left]
        else:
            await delivery._tidy()
        assert client.lrange(LIST, 0, -1) == [entry.encode() for entry in reversed(left)]


async def test_under_load_too_what_was_sent_waits_for_more_of_its_kind(delivery: Delivered) -> None:
    """Else a script would run for each of them."""
    delivery.get("a", length=1)
    assert delivery._tidy_at > time.monotonic()
    removing = asyncio.create_task(delivery._tidy())
    await asyncio.sleep(0)
    delivery.get("b", length=1)
    before = time.monotonic()
    await removing
    assert delivery.session.sent == ["b"]
    assert delivery._tidy_at > before


async def test_who_hears_deliveries_gets_them_and_who_does_not_is_woken(redis_url: str, client: redis.Redis) -> None:
    async with app(redis_url) as one:
        queue = one.processor.queue
        assert (await queue.claim()).owned
        operations = [["LPUSH", LIST, "a", "b"], ["LPUSH", "ocpp:responses:CP-2", "c"]]
        client.hset("ocpp:session:CP-1", "connection", "x")
        # Its answer is read, so that the gateway finds out that it has lost the session.
        client.hset("ocpp:session:CP-2", "connection", "y")
        for heard in (False, True):
            with client.pubsub(ignore_subscribe_messages=True) as listener:
                listener.subscribe("wake", *(["delivery"] if heard else []))
                listener.get_message(timeout=1)
                push(client, [b"m"])
                delivery = Delivery("delivery", "wake", ["CP-1", "CP-2", "CP-3"], [1, 2, 0], ["x", "x", ""])
                result = await queue.commit(await queue.peek(), [], operations, [delivery])
                assert isinstance(result, Committed)
                message = None
                while message is None:
                    message = listener.get_message(timeout=5)
                assert listener.get_message(timeout=0.1) is None
            if heard:
                time, lists = msgspec.msgpack.decode(message["data"])
                # The list has had two from the first commit.
                assert lists == [["CP-1", 4, ["a", "b"]], ["CP-2", 0, []], ["CP-3", 0, []]]
                seconds, microseconds = client.time()
                assert 0 <= seconds * 1_000_000 + microseconds - time < 60_000_000
            else:
                assert json.loads(message["data"]) == ["CP-1", "CP-2", "CP-3"]


async def test_only_answers_for_one_connection_are_sent(redis_url: str, client: redis.Redis) -> None:
    def from_connection(charge_point_id: str, connection: str, gateway: str = "gw") -> bytes:
        envelope = json.loads(call(charge_point_id, f"{charge_point_id} {connection}"))
        return json.dumps(envelope | {"ws_server_id": gateway, "connection": connection}).encode()

    async with app(redis_url) as one:
        processor = one.processor
        push(
            client,
            [
                from_connection("CP-1", "x"),
                from_connection("CP-2", "x"),
                from_connection("CP-2", "y"),
                from_connection("CP-3", ""),
                from_connection("CP-4", "x", "another"),
            ],
            QUEUE,
        )
        work = await processor._handle(await processor.queue.peek())
        told = {each.channel: each for each in work.deliveries}
        assert set(told) == {"ocpp:delivery:gw", "ocpp:delivery:another"}
        numbers = dict(zip(told["ocpp:delivery:gw"].charge_points, told["ocpp:delivery:gw"].operations, strict=True))
        assert numbers.keys() == {"CP-1", "CP-2", "CP-3"}
        assert work.operations[numbers["CP-1"] - 1][:2] == ["LPUSH", LIST]
        assert (numbers["CP-2"], numbers["CP-3"]) == (0, 0)
        # Replicas have to have them first.
        one.link.wait_replicas = 1
        work = await processor._handle(await processor.queue.peek())
        assert [each.operations for each in work.deliveries] == [[0, 0, 0], [0]]
