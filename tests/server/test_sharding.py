"""The shard of a message, the distribution of shards, and the scripts that move messages to them."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis
from harness import QUEUE, app, call, flat, push, session_of, soon
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from ocpp_resilience.ids import Ids
from ocpp_resilience.profile import PROFILES
from ocpp_resilience.transport.invalid_cases import load_cases
from server.app import App
from server.errors import InvalidMessage
from server.gateway.request_publisher import RequestPublisher
from server.gateway.session import Entry
from server.ocpp.envelope import parse
from server.processor.request_queue import BATCH_MESSAGES, Committed, Kind, Refused, RequestQueue
from server.processor.router import UnshardedQueue
from server.processor.sharding import address, shard_of
from server.processor.shards import ShardOwnership
from server.redis.tail import HEAD_BYTES, MARK
from server.store.keys import Keys

KEYS = Keys()
LAYOUT, PROCESSORS = "ocpp:requests:shards", "ocpp:requests:processors"


def named(raw: bytes) -> str | None:
    """The charge point that the processor takes a message to be from."""
    try:
        return parse(raw, longest=256 * 1024).charge_point_id
    except InvalidMessage as invalid:
        return invalid.charge_point_id


class TestAddress:
    def test_both_formats(self) -> None:
        assert address(call("CP-1", "m")) == "CP-1"
        assert address(flat("CP-2", "Heartbeat")) == "CP-2"
        assert address(b'{"payload": [], "chargePointId": "CP-3"}') == ""
        assert address(b'{"payload": [], "charge_point_id": "CP-4", "chargePointId": "CP-3"}') == "CP-4"

    @pytest.mark.parametrize("raw", [b"", b"null", b"[]", b'"CP"', b"{", b'{"chargePointId": 7}', b"\xff", b"[" * 9000])
    def test_nobody(self, raw: bytes) -> None:
        assert address(raw) == ""

    def test_the_same_as_the_processor_reads_in_all_known_invalid_messages(self) -> None:
        cases = list(load_cases(PROFILES.parent / "invalid_messages.json", ids=Ids()))
        assert len(cases) > 50
        known = 0
        for case in cases:
            if (wanted := named(case.raw)) is not None:
                known += 1
                assert address(case.raw) == wanted, case.id
        assert known > 10

    @given(
        st.dictionaries(
            st.sampled_from(["payload", "charge_point_id", "chargePointId", "action", "messageId", "message_id", "x"]),
            st.sampled_from(["CP-1", "CP-2", "Heartbeat", None, 7, [], [2, "m", "Heartbeat", {}], {"x": 1}, "a:b"]),
        )
    )
    def test_the_same_as_the_processor_reads(self, value: dict[str, object]) -> None:
        raw = json.dumps(value).encode()
        if (wanted := named(raw)) is not None:
            assert address(raw) == wanted

    def test_a_shard_is_the_same_for_ever(self) -> None:
        assert [shard_of(f"CP-{number:03d}", 8) for number in range(6)] == [
            zlib.crc32(b"CP-%03d" % number) % 8 for number in range(6)
        ]
        assert shard_of("", 8) == 0
        assert {shard_of("Säule", 1), shard_of("\ud800", 1)} == {0}

    @pytest.mark.parametrize("pattern", ["LOAD-CP-{:03d}", "CP-{:03d}", "{:06d}"])
    def test_charge_points_are_spread(self, pattern: str) -> None:
        counts = Counter(shard_of(pattern.format(number), 8) for number in range(400))
        assert len(counts) == 8
        assert max(counts.values()) < 2 * 50


# --- who gets which shards --------------------------------------------------------------------------------------------


class Crowd:
    """Processors that look at the shards, without processing anything."""

    def __init__(self, made: App, client: redis.Redis, shards: int) -> None:
        self._made = made
        self._client = client
        self._shards = shards
        self._members: dict[str, ShardOwnership] = {}

    def join(self, name: str, shards: int | None = None) -> ShardOwnership:
        share = ShardOwnership(self._made.link.wire(), KEYS, consumer=name, shards=shards or self._shards, lease=30)
        self._members[name] = share
        return share

    def die(self, name: str) -> None:
        """As if its liveness key had ended."""
        del self._members[name]
        self._client.delete(f"ocpp:consumer:{name}")

    async def settle(self) -> dict[str, list[int]]:
        """The owned shards after all processors have checked and given often enough."""
        held: dict[str, list[int]] = {}
        for _ in range(4):
            for share in self._members.values():
                look = await share.look()
                for number in look.mine[len(look.mine) - look.give :]:
                    self._client.delete(f"ocpp:requests:shard:{number}:owner")
        for name, share in self._members.items():
            held[name] = (await share.look()).mine
        return held


@asynccontextmanager
async def crowd(client: redis.Redis, url: str, shards: int = 8) -> AsyncIterator[Crowd]:
    async with app(url) as made:
        yield Crowd(made, client, shards)


pytestmark = pytest.mark.anyio


class TestShares:
    @pytest.mark.parametrize("shards", [2, 3, 8, 64])
    @pytest.mark.parametrize("processors", [1, 2, 3, 5])
    async def test_even_however_many_join_and_die(
        self, client: redis.Redis, redis_url: str, shards: int, processors: int
    ) -> None:
        async with crowd(client, redis_url, shards) as everybody:
            for number in range(processors):
                everybody.join(f"p{number}")
                self.check(await everybody.settle(), shards)
            for number in range(processors - 1):
                everybody.die(f"p{number}")
                self.check(await everybody.settle(), shards)

    @staticmethod
    def check(held: dict[str, list[int]], shards: int) -> None:
        assert sorted(number for numbers in held.values() for number in numbers) == list(range(shards))
        sizes = [len(numbers) for numbers in held.values()]
        assert max(sizes) - min(sizes) <= 1

    async def test_one_that_dies_does_not_move_the_shards_of_the_others(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        async with crowd(client, redis_url) as everybody:
            for name in ("a", "b", "c", "d"):
                everybody.join(name)
            before = await everybody.settle()
            everybody.die("b")
            after = await everybody.settle()
            assert all(set(before[name]) <= set(after[name]) for name in after)

    async def test_stored_state_in_redis(self, client: redis.Redis, redis_url: str) -> None:
        async with crowd(client, redis_url) as everybody:
            share = everybody.join("a")
            await share.look()
            assert client.get(LAYOUT) == b"8"
            assert client.ttl(LAYOUT) == -1
            assert client.hgetall(PROCESSORS) == {b"a": b"8"}
            assert 0 < client.pttl(PROCESSORS) <= 30_000
            assert 0 < client.pttl("ocpp:consumer:a") <= 30_000
            assert client.hgetall("ocpp:requests:shard:7:owner") == {
                b"consumer": b"a",
                b"commit": b"0",
                b"fence": b"given",
            }
            await share.leave()
            assert not client.exists(PROCESSORS, "ocpp:consumer:a")


# --- fencing ----------------------------------------------------------------------------------------------------------


def shard_queue(made: App, number: int, consumer: str) -> RequestQueue:
    return RequestQueue(
        made.link.wire(),
        made.link.wire(),
        KEYS,
        consumer=consumer,
        lease=30,
        longest_message=LONGEST,
        name=KEYS.shard(number),
        kind=Kind.SHARD,
    )


LONGEST = 1024
"""Bytes of a message that is handed out whole."""


def stubbed(raw: bytes) -> bytes:
    """The entry in Redis for a message that was read: itself, or the stub of one that is too long."""
    return raw if len(raw) <= LONGEST else MARK + b"%d " % len(raw) + raw[:HEAD_BYTES]


def router_queue(made: App, consumer: str, shards: int = 8) -> UnshardedQueue:
    return UnshardedQueue(
        made.link.wire(), made.link.wire(), KEYS, consumer=consumer, lease=30, longest_message=LONGEST, shards=shards
    )


class TestFencing:
    async def test_a_former_owner_of_a_shard_commits_nothing_to_it(self, client: redis.Redis, redis_url: str) -> None:
        async with crowd(client, redis_url) as everybody, app(redis_url) as made:
            await everybody.join("old").look()
            old = shard_queue(made, 3, "old")
            assert (await old.claim()).owned
            push(client, [b"1", b"2"], KEYS.shard(3))
            batch = await old.peek()
            everybody.die("old")
            await everybody.join("new").look()
            new = shard_queue(made, 3, "new")
            assert (await new.claim()).owned
            assert await old.commit(batch, [], [["SET", "written", "1"]]) == Refused("fenced")
            assert not client.exists("written")
            assert client.llen(KEYS.shard(3)) == 2
            assert not (await old.claim()).owned
            result = await new.commit(await new.peek(), [], [["SET", "written", "2"]])
            assert isinstance(result, Committed)

    async def test_not_even_when_it_was_given_the_shard_again(self, client: redis.Redis, redis_url: str) -> None:
        """A commit from before, held up on its way, while the shard went to another and came back."""
        async with crowd(client, redis_url) as everybody, app(redis_url) as made:
            share = everybody.join("one")
            await share.look()
            queue = shard_queue(made, 0, "one")
            await queue.claim()
            push(client, [b"1"], KEYS.shard(0))
            batch = await queue.peek()
            await queue.release()
            assert (await share.look()).mine == list(range(8))
            assert await queue.commit(batch, [], [["SET", "written", "1"]]) == Refused("fenced")
            assert not client.exists("written")

    async def test_a_shard_is_claimed_only_when_it_was_given(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as made:
            assert not (await shard_queue(made, 0, "one").claim()).owned

    async def test_a_former_owner_of_the_request_queue_moves_nothing(self, client: redis.Redis, redis_url: str) -> None:
        async with crowd(client, redis_url) as everybody, app(redis_url) as made:
            await everybody.join("old").look()
            old, new = router_queue(made, "old"), router_queue(made, "new")
            assert (await old.claim()).owned
            push(client, [call("CP-1", "m")])
            batch = await old.peek()
            everybody.die("old")
            assert (await new.claim()).owned
            assert await old.route(batch) == Refused("fenced")
            assert client.llen(QUEUE) == 1
            assert isinstance(await new.route(await new.peek()), Committed)
            assert client.llen(QUEUE) == 0
            assert client.llen(KEYS.shard(shard_of("CP-1", 8))) == 1


# --- moving -----------------------------------------------------------------------------------------------------------


class TestRouting:
    async def test_whole_messages_in_order(self, client: redis.Redis, redis_url: str) -> None:
        """Also those that the router sees cut, and any bytes."""
        messages = [b"\xff\x00", b"x" * 5000, *(call(f"CP-{number % 5}", f"m{number}") for number in range(50))]
        async with crowd(client, redis_url) as everybody, app(redis_url) as made:
            await everybody.join("one").look()
            queue = router_queue(made, "one")
            await queue.claim()
            push(client, messages)
            result = await queue.route(await queue.peek())
            assert isinstance(result, Committed)
            assert result.next.messages == []
        assert client.llen(QUEUE) == 0
        for number in range(8):
            wanted = [stubbed(raw) for raw in messages if shard_of(address(raw), 8) == number]
            assert client.lrange(KEYS.shard(number), 0, -1) == wanted[::-1]

    async def test_a_whole_batch_for_one_shard(self, client: redis.Redis, redis_url: str) -> None:
        most = UnshardedQueue.largest_batch
        assert most > BATCH_MESSAGES
        messages = [call("CP-1", f"m{number}") for number in range(most + 10)]
        async with app(redis_url) as made:
            client.set(LAYOUT, 8)
            queue = router_queue(made, "one")
            await queue.claim()
            push(client, messages)
            batch = await queue.peek()
            assert batch.messages == messages[:most]
            result = await queue.route(batch)
            assert isinstance(result, Committed)
            assert result.next.messages == messages[most:]
            assert client.lrange(KEYS.shard(shard_of("CP-1", 8)), 0, -1) == messages[:most][::-1]

    async def test_all_or_nothing(self, client: redis.Redis, redis_url: str) -> None:
        """A key of another type in the place of one shard."""
        client.set(KEYS.shard(shard_of("CP-1", 8)), "something else")
        async with app(redis_url) as made:
            queue = router_queue(made, "one")
            client.set(LAYOUT, 8)
            await queue.claim()
            push(client, [call("CP-0", "m"), call("CP-1", "m"), call("CP-2", "m")])
            with pytest.raises(ResponseError, match="is a string, not a list"):
                await queue.route(await queue.peek())
            assert client.llen(QUEUE) == 3
            assert not client.exists(KEYS.shard(shard_of("CP-0", 8)), KEYS.shard(shard_of("CP-2", 8)))

    async def test_not_where_there_are_other_shards(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as made:
            client.set(LAYOUT, 8)
            queue = router_queue(made, "one")
            assert (await queue.claim()).owned
            push(client, [call("CP-1", "m")])
            batch = await queue.peek()
            client.set(LAYOUT, "8>")
            assert await queue.route(batch) == Refused("layout")
            assert not (await queue.claim()).owned
            assert not client.exists("ocpp:requests:owner")
            assert client.llen(QUEUE) == 1


class TestPushing:
    """The writes of gateways."""

    @asynccontextmanager
    async def outbox(self, url: str, shards: int = 8) -> AsyncIterator[RequestPublisher]:
        async with app(url) as made:
            yield RequestPublisher(
                made.link, KEYS, instance="g.1", shards=shards, on_refused=lambda _: None, patience=10
            )

    @staticmethod
    async def push(outbox: RequestPublisher, *messages: bytes) -> None:
        for raw in messages:
            outbox.put(Entry(raw, session_of(address(raw)), "m"))
        await outbox._push()

    async def test_to_the_shards(self, client: redis.Redis, redis_url: str) -> None:
        client.set(LAYOUT, 8)
        messages = [call(f"CP-{number % 20}", f"m{number}") for number in range(100)]
        async with self.outbox(redis_url) as outbox:
            await self.push(outbox, *messages)
        assert client.llen(QUEUE) == 0
        for number in range(8):
            wanted = [raw for raw in messages if shard_of(address(raw), 8) == number]
            assert client.lrange(KEYS.shard(number), 0, -1) == wanted[::-1]

    async def test_behind_the_backlog_of_the_request_queue(self, client: redis.Redis, redis_url: str) -> None:
        client.set(LAYOUT, 8)
        push(client, [b"before"])
        async with self.outbox(redis_url) as outbox:
            await self.push(outbox, call("CP-1", "m"))
        assert client.lrange(QUEUE, 0, -1) == [call("CP-1", "m"), b"before"]
        assert not client.keys("ocpp:requests:shard:*")

    @pytest.mark.parametrize("layout", [None, "4", "8>"])
    async def test_to_the_request_queue_where_the_shards_are_others(
        self, client: redis.Redis, redis_url: str, layout: str | None
    ) -> None:
        if layout:
            client.set(LAYOUT, layout)
        async with self.outbox(redis_url) as outbox:
            await self.push(outbox, call("CP-1", "m"))
        assert client.llen(QUEUE) == 1
        assert not client.keys("ocpp:requests:shard:*")

    async def test_all_or_nothing(self, client: redis.Redis, redis_url: str) -> None:
        client.set(LAYOUT, 8)
        client.set(KEYS.shard(shard_of("CP-1", 8)), "something else")
        async with self.outbox(redis_url) as outbox:
            with pytest.raises(ResponseError, match="is a string, not a list"):
                await self.push(outbox, call("CP-0", "m"), call("CP-1", "m"))
            assert not client.exists(KEYS.shard(shard_of("CP-0", 8)), "ocpp:gateway:g.1")
            assert len(outbox) == 2


# --- another number of shards -----------------------------------------------------------------------------------------


class TestLayout:
    async def test_the_number_of_shards_changes_once_all_processors_agree_and_the_shards_are_empty(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        async with crowd(client, redis_url) as everybody:
            everybody.join("old")
            await everybody.settle()
            push(client, [b"1"], KEYS.shard(7))
            new = everybody.join("new", shards=4)
            held = await everybody.settle()
            assert client.get(LAYOUT) == b"8"
            assert len(held["new"]) == 4, "it serves the old shards meanwhile"
            everybody.die("old")
            assert len((await new.look()).mine) == 8
            assert client.get(LAYOUT) == b"8>", "nothing new goes into the shards"
            client.delete(KEYS.shard(7))
            assert (await new.look()).mine == [0, 1, 2, 3]
            assert client.get(LAYOUT) == b"4"
            assert not client.exists("ocpp:requests:shard:7:owner")

    async def test_the_old_number_stays_if_one_that_wants_it_comes_back(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        async with crowd(client, redis_url) as everybody:
            client.set(LAYOUT, "8>")
            push(client, [b"1"], KEYS.shard(7))
            await everybody.join("one", shards=8).look()
            assert client.get(LAYOUT) == b"8"

    async def test_a_processor_without_shards_lets_go_when_shards_come(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        async with crowd(client, redis_url) as everybody, app(redis_url) as made:
            whole = made.processor.queue
            assert (await whole.claim()).owned
            push(client, [b"1"])
            batch = await whole.peek()
            await everybody.join("one").look()
            assert await whole.commit(batch, [], []) == Refused("fenced")
            claim = await whole.claim()
            assert (claim.owned, claim.layout) == (False, "8")

    async def test_a_processor_without_shards_comes_when_the_shards_are_done(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        async with crowd(client, redis_url) as everybody, app(redis_url) as made:
            whole = made.processor.queue
            await everybody.join("one").look()
            push(client, [b"1"], KEYS.shard(7))
            everybody.die("one")
            assert (await whole.claim()).layout == "8", "a message waits in a shard"
            client.delete(KEYS.shard(7))
            everybody.join("two")
            await everybody.settle()
            assert (await whole.claim()).layout == "8", "a processor of shards lives"
            everybody.die("two")
            assert (await whole.claim()).owned
            assert not client.keys("ocpp:requests:*shard*")
            assert not client.exists(PROCESSORS)

    async def test_without_shards_there_are_no_keys_of_shards(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as made:
            push(client, [call("CP-1", "m")])
            queue = made.processor.queue
            await queue.claim()
            assert isinstance(await queue.commit(await queue.peek(), [], []), Committed)
            await soon(lambda: client.llen(QUEUE) == 0, "not done")
            assert {key.decode() for key in client.keys("ocpp:requests*")} == {"ocpp:requests:owner"}
