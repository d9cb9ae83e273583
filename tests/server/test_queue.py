"""The reliable queue against a real Redis: nothing lost and nothing done twice, with failures at every point."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from harness import LEASE, QUEUE, SOON, Cut, Relay, StartRedis, app, connect, is_commit, push, soon
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError

from server.processor.request_queue import (
    BATCH_BYTES,
    BATCH_MESSAGES,
    Batch,
    Committed,
    Conflict,
    Refused,
    RequestQueue,
)
from server.redis.tail import HEAD_BYTES, MARK, Oversized

pytestmark = pytest.mark.anyio

NO_CONDITIONS: list[tuple[str, str | bool]] = []
OWNER = "ocpp:requests:owner"


def mark(batch: Batch) -> list[list[Any]]:
    """Operations that show which messages a commit took, in order."""
    return [["RPUSH", "taken", *(message.decode() for message in batch.messages)]]


def snapshot(client: redis.Redis) -> dict[bytes, Any]:
    """Everything in the database but lifetimes."""
    readers = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key: readers[client.type(key)](key) for key in client.keys("*")}


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


async def owned(queue: RequestQueue) -> RequestQueue:
    assert (await queue.claim()).owned
    return queue


def patient(queue: RequestQueue) -> RequestQueue:
    """A processor that waits until the test ends its wait, rather than a second."""
    queue._wait = SOON
    return queue


async def primed(client: redis.Redis, queue: RequestQueue) -> RequestQueue:
    """The owner, and every script known to Redis, so that one request is one attempt."""
    await owned(queue)
    push(client, [b"first"])
    assert isinstance(await queue.commit(await queue.peek(), NO_CONDITIONS, []), Committed)
    return queue


class TestPeek:
    async def test_an_empty_queue(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as one:
            batch = await one.processor.queue.peek()
            assert batch.messages == []
            assert one.processor.queue.depth == 0

    @pytest.mark.parametrize("count", [1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1000])
    async def test_the_oldest_first_up_to_a_batch_and_they_stay(
        self, client: redis.Redis, redis_url: str, count: int
    ) -> None:
        push(client, numbers(count))
        before = snapshot(client)
        async with app(redis_url) as one:
            batch = await one.processor.queue.peek()
            assert batch.messages == numbers(min(count, BATCH_MESSAGES))
            assert one.processor.queue.depth == count
        assert snapshot(client) == before

    async def test_a_batch_ends_with_the_message_that_reaches_the_size(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        size = 200_000
        messages = [b"%d" % number + b"x" * size for number in range(12)]
        push(client, messages)
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            batch = await queue.peek()
            assert batch.messages == messages[:6]
            assert sum(map(len, batch.messages)) >= BATCH_BYTES
            assert sum(map(len, batch.messages[:-1])) < BATCH_BYTES
            result = await queue.commit(batch, NO_CONDITIONS, [])
            assert isinstance(result, Committed)
            assert result.next.messages == messages[6:]
            assert client.llen(QUEUE) == 6

    async def test_an_oversized_entry_is_read_as_a_stub_and_committed_whole(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        push(client, [b"a" * 1024, b"b" * 1025, b"c" * 1026, b"d" * 3_000_000, b"e"])
        async with app(redis_url, max_message_bytes=1024) as one:
            queue = await owned(one.processor.queue)
            batch = await queue.peek()
            assert batch.messages == [
                b"a" * 1024,
                Oversized(1025, b"b" * 1025),
                Oversized(1026, b"c" * 1026),
                Oversized(3_000_000, b"d" * HEAD_BYTES),
            ]
            result = await queue.commit(batch, NO_CONDITIONS, [])
            assert isinstance(result, Committed)
            assert result.next.messages == [b"e"]
            assert client.lrange(QUEUE, 0, -1) == [b"e"]

    async def test_any_bytes(self, client: redis.Redis, redis_url: str) -> None:
        messages = [b"", b"\x00", bytes(range(256)), b"\n", b"", b"\r\n", b"\xff\xfe"]
        push(client, messages)
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            batch = await queue.peek()
            assert batch.messages == messages
            assert isinstance(await queue.commit(batch, NO_CONDITIONS, []), Committed)
        assert client.llen(QUEUE) == 0


class TestCommit:
    async def test_writes_and_removes_at_once(self, client: redis.Redis, redis_url: str) -> None:
        push(client, numbers(3))
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            batch = await queue.peek()
            push(client, numbers(2, start=3))
            operations = [
                *mark(batch),
                ["SET", "ünïcode", "Wärt 💡\x00"],
                ["SET", "number", 7],
                ["ZADD", "z", 1.5, "m"],
            ]
            result = await queue.commit(batch, NO_CONDITIONS, operations)
            assert isinstance(result, Committed)
            assert result.failed == []
            assert result.next.messages == numbers(2, start=3)
            assert queue.depth == 2
        assert client.lrange("taken", 0, -1) == numbers(3)
        assert client.get("ünïcode") == "Wärt 💡\x00".encode()
        assert client.get("number") == b"7"
        assert client.zscore("z", "m") == 1.5

    async def test_a_time_keeps_its_milliseconds_as_a_score(self, client: redis.Redis, redis_url: str) -> None:
        push(client, [b"a"])
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            await queue.commit(await queue.peek(), NO_CONDITIONS, [["ZADD", "z", 1768473000.123, "m"]])
        assert client.zscore("z", "m") == 1768473000.123

    async def test_conditions_that_hold(self, client: redis.Redis, redis_url: str) -> None:
        push(client, [b"a"])
        client.set("k", "Wärt")
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            result = await queue.commit(await queue.peek(), [("k", "Wärt"), ("none", False)], [["SET", "k", "new"]])
            assert isinstance(result, Committed)
        assert client.get("k") == b"new"

    async def test_a_conflict_writes_nothing_and_names_the_keys(self, client: redis.Redis, redis_url: str) -> None:
        push(client, [b"a"])
        client.set("same", "1")
        client.set("changed", "2")
        client.set("appeared", "")
        client.lpush("list", "x")
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            batch = await queue.peek()
            before = snapshot(client)
            result = await queue.commit(
                batch,
                [("same", "1"), ("changed", "1"), ("appeared", False), ("gone", "1"), ("list", False)],
                [["SET", "same", "3"]],
            )
            assert result == Conflict(["changed", "appeared", "gone"], ["list"])
            assert snapshot(client) == before
            result = await queue.commit(batch, [("same", "1")], mark(batch))
            assert isinstance(result, Committed)

    @pytest.mark.parametrize(
        "change",
        [
            lambda client: client.rpop(QUEUE),
            lambda client: client.rpop(QUEUE, 2),
            lambda client: client.delete(QUEUE),
            lambda client: client.rpush(QUEUE, b"first"),
            lambda client: client.lset(QUEUE, -2, b"other"),
            lambda client: client.ltrim(QUEUE, 1, -1),
        ],
        ids=["popped", "popped two", "deleted", "pushed in front", "changed", "trimmed"],
    )
    async def test_a_batch_that_no_longer_stands_there_is_refused(
        self, client: redis.Redis, redis_url: str, change: Callable[[redis.Redis], Any]
    ) -> None:
        push(client, numbers(3))
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            batch = await queue.peek()
            change(client)
            before = snapshot(client)
            assert await queue.commit(batch, NO_CONDITIONS, mark(batch)) == Refused("moved")
            assert snapshot(client) == before

    async def test_the_same_commit_again_is_refused(self, client: redis.Redis, redis_url: str) -> None:
        push(client, [b"same"] * 4)
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            first = await queue.peek()
            batch = Batch(first.messages[:2], _text(first.messages[:2]))
            assert isinstance(await queue.commit(batch, NO_CONDITIONS, mark(batch)), Committed)
            assert isinstance(await queue.commit(batch, NO_CONDITIONS, mark(batch)), Committed)
        assert client.lrange("taken", 0, -1) == [b"same"] * 4

    async def test_scripts_that_redis_forgot_are_sent_again(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            for number in range(3):
                push(client, [b"%d" % number])
                client.script_flush()
                batch = await queue.peek()
                client.script_flush()
                assert isinstance(await queue.commit(batch, NO_CONDITIONS, mark(batch)), Committed)
                client.script_flush()
                assert (await queue.claim()).owned
            client.script_flush()
            await queue.release()
        assert client.lrange("taken", 0, -1) == numbers(3)


class TestRefusedByRedis:
    OPERATIONS = (["LPUSH", "list", "x"], ["EXPIRE", "list", 3600], ["SET", "k", "new"], ["SADD", "set", 1])

    async def test_a_key_of_the_wrong_type_is_reported_and_the_rest_written(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        push(client, [b"a"])
        client.set("list", "foreign")
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            result = await queue.commit(await queue.peek(), NO_CONDITIONS, list(self.OPERATIONS))
            assert isinstance(result, Committed)
            assert len(result.failed) == 1
            assert result.failed[0].startswith("LPUSH list: WRONGTYPE")
        assert client.get("k") == b"new"
        assert client.smembers("set") == {b"1"}
        assert client.llen(QUEUE) == 0

    async def test_a_foreign_value_under_an_answers_key_is_left_as_it_was(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        """R0.4: foreign keys are never touched. A lifetime would delete it within the hour."""
        push(client, [b"a"])
        client.set("list", "foreign")
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            await queue.commit(await queue.peek(), NO_CONDITIONS, list(self.OPERATIONS))
        assert client.get("list") == b"foreign"
        assert client.ttl("list") == -1

    @pytest.mark.parametrize("first", [False, True], ids=["lists free", "first key of the wrong type"])
    async def test_out_of_memory_leaves_everything_unwritten(
        self, client: redis.Redis, redis_url: str, first: bool
    ) -> None:
        push(client, [b"a", b"b"])
        if first:
            client.set("list", "foreign")
        async with app(redis_url) as one:
            queue = await owned(one.processor.queue)
            batch = await queue.peek()
            before = snapshot(client)
            client.config_set("maxmemory", 1)
            with pytest.raises(OutOfMemoryError):
                await queue.commit(batch, NO_CONDITIONS, list(self.OPERATIONS))
            with pytest.raises(OutOfMemoryError):
                await queue.claim()
            client.config_set("maxmemory", 0)
            assert snapshot(client) == before
            attempt = queue.attempt
            claim = await queue.claim()
            assert claim.owned
            assert claim.commit != attempt
            assert isinstance(await queue.commit(await queue.peek(), NO_CONDITIONS, mark(batch)), Committed)

    async def test_read_only_leaves_everything_unwritten(self, start_redis: StartRedis) -> None:
        service = start_redis()
        with connect(service.url()) as client:
            push(client, [b"a", b"b"])
            async with app(service.url()) as one:
                queue = await owned(one.processor.queue)
                batch = await queue.peek()
                before = snapshot(client)
                client.replicaof("127.0.0.1", 1)
                with pytest.raises(ReadOnlyError):
                    await queue.commit(batch, NO_CONDITIONS, list(self.OPERATIONS))
                with pytest.raises(RedisError):
                    await queue.claim()
                client.replicaof("NO", "ONE")
                assert {key: value for key, value in snapshot(client).items() if b"consumer" not in key} == {
                    key: value for key, value in before.items() if b"consumer" not in key
                }
                assert (await queue.claim()).owned
                assert isinstance(await queue.commit(await queue.peek(), NO_CONDITIONS, mark(batch)), Committed)
                assert client.lrange("taken", 0, -1) == [b"a", b"b"]


class TestOwnership:
    async def test_one_owns_and_the_others_stand_by(self, client: redis.Redis, redis_url: str) -> None:
        push(client, numbers(3))
        async with app(redis_url, "one") as one, app(redis_url, "two") as two:
            first, second = one.processor.queue, two.processor.queue
            assert (await first.claim()).owned
            assert not (await second.claim()).owned
            assert second.depth == 3
            assert (await first.claim()).owned
            assert client.hget(OWNER, "consumer") == first.consumer.encode()
            batch = await second.peek()
            assert await second.commit(batch, NO_CONDITIONS, mark(batch)) == Refused("fenced")
            for queue in (first, second):
                assert (LEASE - SOON) * 1000 < client.pttl(f"ocpp:consumer:{queue.consumer}") <= LEASE * 1000
            await first.release()
            assert (await second.claim()).owned
            assert not client.exists(f"ocpp:consumer:{first.consumer}")

    async def test_an_owner_that_is_dead_is_replaced_and_its_late_commit_refused(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        push(client, numbers(2))
        async with app(redis_url, "one") as one, app(redis_url, "two") as two:
            first, second = one.processor.queue, two.processor.queue
            await first.claim()
            batch = await first.peek()
            client.delete(f"ocpp:consumer:{first.consumer}")  # as when its lifetime has passed
            assert (await second.claim()).owned
            assert await first.commit(batch, NO_CONDITIONS, mark(batch)) == Refused("fenced")
            assert not (await first.claim()).owned
            batch = await second.peek()
            assert isinstance(await second.commit(batch, NO_CONDITIONS, mark(batch)), Committed)
            # The one that stood still may even become the owner again; what it held is refused all the same.
            await second.release()
            assert (await first.claim()).owned
        assert client.lrange("taken", 0, -1) == numbers(2)

    async def test_release_by_one_that_does_not_own_changes_nothing(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url, "one") as one, app(redis_url, "two") as two:
            await one.processor.queue.claim()
            await two.processor.queue.release()
            assert client.hget(OWNER, "consumer") == one.processor.queue.consumer.encode()

    async def test_the_lifetime_is_the_setting(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url, lease_seconds=90.0) as one:
            queue = await owned(one.processor.queue)
            push(client, [b"a"])
            await queue.commit(await queue.peek(), NO_CONDITIONS, [])
            assert 60_000 < client.pttl(f"ocpp:consumer:{queue.consumer}") <= 90_000

    @pytest.mark.parametrize(("lease", "longest"), [(1.0, 0.4), (60.0, 1.0)])
    async def test_an_idle_owner_waits_for_a_part_of_its_lease(
        self, shared_redis: Any, client: redis.Redis, start_relay: Callable[[int], Relay], lease: float, longest: float
    ) -> None:
        """Its sign of life must be renewed before it is gone, or ownership goes to and fro between idle processors.

        What is left of the lease is for the way to Redis, and for a busy machine.
        """
        relay = start_relay(shared_redis.port)
        asked: list[list[bytes]] = []
        relay.plan(Cut(asked.append))  # type: ignore[arg-type, return-value]
        async with app(relay.url, lease_seconds=lease) as one:
            await one.processor.queue.claim()
            assert (await one.processor.queue.wait()).messages == []
        (wait,) = [words for words in asked if words[0] == b"BLMOVE"]
        assert 0 < float(wait[-1]) <= longest


class TestLostReplies:
    """A commit of unknown fate: the connection is cut on either side of Redis running it."""

    @pytest.mark.parametrize("after", [True, False], ids=["after it ran", "before it got there"])
    async def test_the_next_claim_tells(
        self, client: redis.Redis, shared_redis: Any, start_relay: Callable[[int], Relay], after: bool
    ) -> None:
        relay = start_relay(shared_redis.port)
        async with app(relay.url) as one:
            queue = await primed(client, one.processor.queue)
            push(client, numbers(2))
            batch = await queue.peek()
            cut = relay.plan(Cut(is_commit, after=after))
            with pytest.raises(RedisError):
                await queue.commit(batch, NO_CONDITIONS, mark(batch))
            await soon(cut.done.is_set, "not cut")
            attempt = queue.attempt
            claim = await queue.claim()
            assert claim.owned
            assert (claim.commit == attempt) is after
            batch = await queue.peek()
            assert batch.messages == ([] if after else numbers(2))
        assert client.lrange("taken", 0, -1) == (numbers(2) if after else [])

    async def test_a_claim_whose_own_reply_is_lost_does_not_hide_the_commit_before(
        self, client: redis.Redis, shared_redis: Any, start_relay: Callable[[int], Relay]
    ) -> None:
        relay = start_relay(shared_redis.port)
        async with app(relay.url) as one:
            queue = await primed(client, one.processor.queue)
            push(client, numbers(2))
            batch = await queue.peek()
            relay.plan(Cut(is_commit))
            with pytest.raises(RedisError):
                await queue.commit(batch, NO_CONDITIONS, mark(batch))
            attempt = queue.attempt
            relay.plan(Cut(lambda words: words[0].startswith(b"EVAL")))
            with pytest.raises(RedisError):
                await queue.claim()
            claim = await queue.claim()
            assert claim.owned
            assert claim.commit == attempt

    async def test_a_commit_that_arrives_after_a_takeover_is_refused(
        self, client: redis.Redis, redis_url: str, shared_redis: Any, start_relay: Callable[[int], Relay]
    ) -> None:
        relay = start_relay(shared_redis.port)
        async with app(relay.url, "one") as one, app(redis_url, "two") as two:
            first, second = await primed(client, one.processor.queue), two.processor.queue
            push(client, [b"same"] * 4)
            whole = await first.peek()
            batch = Batch(whole.messages[:2], _text(whole.messages[:2]))
            cut = relay.plan(Cut(is_commit, after=False, hold=True))
            with pytest.raises(RedisError):
                await first.commit(batch, NO_CONDITIONS, mark(batch))
            client.delete(f"ocpp:consumer:{first.consumer}")
            assert (await second.claim()).owned
            assert isinstance(await second.commit(batch, NO_CONDITIONS, mark(batch)), Committed)
            cut.release.set()
            await soon(cut.delivered.is_set, "the late commit was not sent")
            # The digest fits, since the messages are the same, byte for byte: only the number keeps it out.
            assert b"fenced" in cut.reply
        assert client.lrange("taken", 0, -1) == [b"same", b"same"]
        assert client.llen(QUEUE) == 2

    async def test_a_commit_that_arrives_after_the_owner_itself_came_back_is_refused(
        self, client: redis.Redis, shared_redis: Any, start_relay: Callable[[int], Relay]
    ) -> None:
        """`claim` says that it did not happen. From then on it must not, or its log records are lost."""
        relay = start_relay(shared_redis.port)
        async with app(relay.url) as one:
            queue = await primed(client, one.processor.queue)
            push(client, numbers(2))
            batch = await queue.peek()
            cut = relay.plan(Cut(is_commit, after=False, hold=True))
            with pytest.raises(RedisError):
                await queue.commit(batch, NO_CONDITIONS, mark(batch))
            attempt = queue.attempt
            assert (await queue.claim()).commit != attempt
            cut.release.set()
            await soon(cut.delivered.is_set, "the late commit was not sent")
            assert b"fenced" in cut.reply
            batch = await queue.peek()
            assert isinstance(await queue.commit(batch, NO_CONDITIONS, mark(batch)), Committed)
        assert client.lrange("taken", 0, -1) == numbers(2)

    async def test_a_late_commit_before_the_claim_counts(
        self, client: redis.Redis, shared_redis: Any, start_relay: Callable[[int], Relay]
    ) -> None:
        relay = start_relay(shared_redis.port)
        async with app(relay.url) as one:
            queue = await primed(client, one.processor.queue)
            push(client, numbers(2))
            cut = relay.plan(Cut(is_commit, after=False, hold=True))
            batch = await queue.peek()
            with pytest.raises(RedisError):
                await queue.commit(batch, NO_CONDITIONS, mark(batch))
            attempt = queue.attempt
            cut.release.set()
            await soon(cut.delivered.is_set, "the late commit was not sent")
            assert (await queue.claim()).commit == attempt
        assert client.lrange("taken", 0, -1) == numbers(2)


class TestForeignConsumer:
    @pytest.mark.parametrize("same", [False, True], ids=["all different", "the same, byte for byte"])
    async def test_each_message_goes_to_exactly_one(self, client: redis.Redis, redis_url: str, same: bool) -> None:
        """A foreign client pops from the same list: that is not supported, and must not lead to a loss or a double."""
        total = 3000
        push(client, [b"same"] * total if same else numbers(total))
        stop, theirs = threading.Event(), []

        def pop() -> None:
            with connect(redis_url) as other:
                while not stop.is_set() and len(theirs) < 300:
                    if (message := other.rpop(QUEUE)) is not None:
                        theirs.append(message)
                    stop.wait(0.0005)

        popping = threading.Thread(target=pop)
        popping.start()
        try:
            refused = 0
            async with app(redis_url) as one:
                queue = await owned(one.processor.queue)
                batch = await queue.peek()
                while batch.messages:
                    few = Batch(batch.messages[:7], _text(batch.messages[:7]))
                    result = await queue.commit(few, NO_CONDITIONS, mark(few))
                    assert not isinstance(result, Conflict)
                    if isinstance(result, Refused):
                        assert result.why == "moved"
                        refused += 1
                    batch = await queue.peek()
        finally:
            stop.set()
            popping.join()
        ours = client.lrange("taken", 0, -1)
        assert len(ours) + len(theirs) == total
        assert theirs
        if not same:
            assert refused
            assert sorted(ours + theirs) == sorted(numbers(total))
            assert ours == sorted(ours, key=int)


class TestWait:
    async def test_wakes_with_the_oldest_message_which_stays(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url, max_message_bytes=1024) as one:
            queue = patient(await owned(one.processor.queue))
            waiting = asyncio.create_task(queue.wait())
            await soon(lambda: client.info("clients")["blocked_clients"] == 1, "nobody waits")
            push(client, [b"a" * 2000, b"b"])
            batch = await asyncio.wait_for(waiting, SOON)
            assert batch.messages[0] == Oversized(2000, b"a" * 2000)
            left, stub = client.lrange(QUEUE, 0, -1)
            assert left == b"b"
            assert stub == MARK + b"2000 " + b"a" * 2000
            result = await queue.commit(batch, NO_CONDITIONS, [])
            assert isinstance(result, Committed)
            assert result.next.messages in ([b"b"], [])

    async def test_ends_after_a_second_with_nothing(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as one:
            batch = await asyncio.wait_for(one.processor.queue.wait(), SOON)
            assert batch.messages == []
            assert one.processor.queue.depth == 0

    async def test_no_message_is_lost_when_its_connection_is_killed(self, client: redis.Redis, redis_url: str) -> None:
        """200 rounds: a message comes in while the waiting connection is being killed."""
        chance, killed = random.Random(13), 0
        async with app(redis_url) as one:
            queue = patient(await owned(one.processor.queue))
            for number in range(200):
                waiting = asyncio.create_task(queue.wait())
                await soon(lambda: client.info("clients")["blocked_clients"] == 1, "nobody waits")
                blocked = next(entry["id"] for entry in client.client_list() if "b" in entry["flags"])
                if chance.random() < 0.5:
                    with client.pipeline(transaction=chance.random() < 0.5) as pipeline:
                        pipeline.lpush(QUEUE, b"%d" % number)
                        pipeline.client_kill_filter(_id=blocked)
                        pipeline.execute(raise_on_error=False)
                else:
                    client.client_kill_filter(_id=blocked)
                    push(client, [b"%d" % number])
                try:
                    await asyncio.wait_for(waiting, SOON)
                except RedisError:
                    killed += 1
                batch = await queue.peek()
                assert batch.messages == [b"%d" % number]
                assert isinstance(await queue.commit(batch, NO_CONDITIONS, mark(batch)), Committed)
        assert killed > 50
        assert client.lrange("taken", 0, -1) == numbers(200)

    async def test_no_message_is_lost_when_the_wait_is_given_up(self, client: redis.Redis, redis_url: str) -> None:
        """As at a stop: the command may run at Redis after its caller has gone.

        On Python 3.11, `asyncio.wait_for` in the client library does not hear of a cancellation at the very moment in
        which the command has been sent; then the message is returned.
        """
        given_up = 0
        async with app(redis_url) as one:
            queue = patient(one.processor.queue)
            for number in range(50):
                waiting = asyncio.create_task(queue.wait())
                await soon(lambda: client.info("clients")["blocked_clients"] == 1, "nobody waits")
                push(client, [b"%d" % number, b"next"])
                waiting.cancel()
                await asyncio.wait([waiting])
                given_up += waiting.cancelled()
                assert waiting.cancelled() or waiting.result().messages[0] == b"%d" % number
                await soon(lambda: client.info("clients")["blocked_clients"] == 0, "still blocked")
                assert client.lrange(QUEUE, 0, -1) == [b"next", b"%d" % number]
                client.delete(QUEUE)
        assert given_up


def _text(messages: list[bytes]) -> bytes:
    return b"\n".join(messages)
