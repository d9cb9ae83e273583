"""A mix of messages in a fixed order, and whether everything came of it that had to."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict

import redis
from harness import (
    QUEUE,
    SOON,
    ServerProcess,
    answered_ids,
    answers,
    call,
    dead_letters,
    push,
    start_transaction,
    until,
)

from server.ocpp.envelope import DEAD_LETTERS
from server.processor.request_queue import BATCH_MESSAGES

CATCHES = 100
"""Maximum number of attempts to catch the server at work."""
CHARGE_POINTS = [f"CP-{number:03d}" for number in range(50)]


class Workload:
    """Messages in a fixed order, their expected outcomes, and the number queued; more are made as they are fed."""

    def __init__(self, total: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self.messages: list[bytes] = []
        self.expected: dict[str, list[str]] = defaultdict(list)
        self.invalid: list[str] = []
        self.starts = 0
        self.fed = 0
        self._make(total)

    def _make(self, count: int) -> None:
        chance = self._chance
        for number in range(len(self.messages), len(self.messages) + count):
            charge_point_id, message_id = chance.choice(CHARGE_POINTS), f"m{number}"
            kind = chance.random()
            if kind < 0.005:
                raw = f'{{"broken": {number}'.encode()
                self.invalid.append(raw.decode())
            elif kind < 0.01:
                raw = call(charge_point_id, message_id, "Nonsense")
                self.invalid.append(raw.decode())
                self.expected[charge_point_id].append(message_id)
            else:
                if kind < 0.05:
                    raw = start_transaction(charge_point_id, message_id, meter=number)
                    self.starts += 1
                elif kind < 0.08:
                    # One that may be running, stopped or not there at all: it is answered in any case.
                    payload = {"transactionId": number // 40, "meterStop": number, "timestamp": "2026-01-15T11:00:00Z"}
                    raw = call(charge_point_id, message_id, "StopTransaction", payload)
                else:
                    raw = call(charge_point_id, message_id)
                self.expected[charge_point_id].append(message_id)
            self.messages.append(raw)

    def feed(self, client: redis.Redis, count: int) -> None:
        """Queue the next messages."""
        self._make(max(0, self.fed + count - len(self.messages)))
        push(client, self.messages[self.fed : self.fed + count])
        self.fed += count

    def catch(self, client: redis.Redis, server: ServerProcess, *, first: int, left: int, moment: float = 0.0) -> None:
        """Have `server` stand still (SIGSTOP) in the middle of its work, however quick it is and however slow we are.

        Args:
            client: where the queue is.
            server: the one that drains it.
            first: so many messages are queued, and as many again where it was done with them before it stood still.
            left: so many are left of the queue, or fewer; more than a batch, which leaves the queue at once.
            moment: seconds more that it works on.
        """
        assert left > BATCH_MESSAGES
        for _ in range(CATCHES):
            self.feed(client, first)
            until(lambda: client.llen(QUEUE) <= left, "nothing drains", timeout=2 * SOON)
            moment_is_over = time.monotonic() + moment
            while time.monotonic() < moment_is_over:
                pass
            server.process.pause()
            if client.llen(QUEUE):
                return
            server.process.resume()
        raise AssertionError(f"all was done {CATCHES} times before it stood still")

    def answered(self, client: redis.Redis) -> int:
        """Number of answers, of all charge points."""
        pipeline = client.pipeline(transaction=False)
        for name in self.expected:
            pipeline.llen(f"ocpp:responses:{name}")
        return sum(pipeline.execute())

    @property
    def due(self) -> int:
        """Number of expected answers of all messages."""
        return sum(map(len, self.expected.values()))

    def wait_answered(self, client: redis.Redis, count: int | None = None, *, timeout: float = 60.0) -> None:
        """Wait for so many answers (all, where nothing is said)."""
        wanted = self.due if count is None else count
        until(
            lambda: self.answered(client) >= wanted,
            lambda: f"{self.answered(client)} of {wanted} answers",
            timeout=timeout,
        )

    def check(self, client: redis.Redis, *, sharded: bool = False) -> None:
        """Every message answered exactly once and in order, dead letters exact, transactions distinct and all there.

        With shards, the order of dead letters is that of each charge point.
        """
        assert self.fed == len(self.messages)
        assert client.llen(QUEUE) == 0
        seen = {name: answered_ids(client, name) for name in self.expected}
        for name, ids in self.expected.items():
            assert Counter(seen[name]) == Counter(ids), name
            assert seen[name] == ids, name
        letters = [letter["raw"] for letter in dead_letters(client)]
        if not sharded:
            assert letters == self.invalid[-DEAD_LETTERS:]  # a machine that is slow to stop the server has it do more
        elif len(self.invalid) <= DEAD_LETTERS:
            assert sorted(letters) == sorted(self.invalid)
        else:
            assert (len(letters), set(letters) <= set(self.invalid)) == (DEAD_LETTERS, True)
        started = [
            (answer["payload"][2]["transactionId"], name)
            for name in self.expected
            for answer in answers(client, name)
            if answer["message_type"] == 3 and "transactionId" in answer["payload"][2]
        ]
        assert len(started) == self.starts
        assert len({number for number, _ in started}) == self.starts
        for number, name in started:
            assert json.loads(client.get(f"ocpp:transaction:{number}"))["charge_point_id"] == name
        for name in self.expected:
            listed = {int(member) for member in client.zrange(f"ocpp:transactions:{name}", 0, -1)}
            assert listed == {number for number, owner in started if owner == name}
            active = {int(member) for member in client.smembers(f"ocpp:transactions:{name}:active")}
            stored = {number: json.loads(client.get(f"ocpp:transaction:{number}"))["status"] for number in listed}
            assert active == {number for number, status in stored.items() if status == "active"}
