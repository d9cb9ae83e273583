"""A commit whose reply is lost, with a real server process: a relay cuts its connection to Redis at that very point."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

import pytest
import redis
from harness import (
    QUEUE,
    Cut,
    Relay,
    StartServer,
    answered_ids,
    answers,
    call,
    connect,
    dead_letters,
    is_commit,
    push,
    start_transaction,
    until,
    wait_drained,
)

from ocpp_resilience.redis.services import EmbeddedRedis

CUTS = 20
CHARGE_POINTS = 8
MOST_INVALID = 900
"""Fewer than dead letters are kept."""
MOST_WAITING = 500
"""Messages that wait in the queue: traffic goes as fast as it is drained."""


class Traffic:
    """Queues messages of several charge points from a thread of its own, a few at a time, and remembers them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered: dict[str, list[str]] = defaultdict(list)
        self.invalid: list[str] = []
        self.starts = 0

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        with connect(self._url) as client:
            while not self._stop.wait(0.004):
                if client.llen(QUEUE) > MOST_WAITING:
                    continue
                batch = []
                for _ in range(10):
                    number += 1
                    charge_point_id, message_id = f"CP-{number % CHARGE_POINTS}", f"m{number}"
                    few = len(self.invalid) < MOST_INVALID
                    if few and number % 23 == 0:
                        self.invalid.append(f'{{"broken": "{number}"')
                        batch.append(self.invalid[-1].encode())
                    if few and number % 19 == 0:
                        self.invalid.append(call(charge_point_id, message_id, "Nonsense").decode())
                        batch.append(self.invalid[-1].encode())
                    elif number % 29 == 0:
                        self.starts += 1
                        batch.append(start_transaction(charge_point_id, message_id, meter=number))
                    else:
                        batch.append(call(charge_point_id, message_id))
                    self.answered[charge_point_id].append(message_id)
                push(client, batch)


@pytest.mark.parametrize("after", [True, False], ids=["after Redis ran it", "before Redis got it"])
def test_a_commit_whose_reply_is_lost_is_neither_lost_nor_done_twice(
    client: redis.Redis,
    shared_redis: EmbeddedRedis,
    start_relay: Callable[[int], Relay],
    start_server: StartServer,
    after: bool,
) -> None:
    """R16.9, and the same with the request cut off before Redis got it."""
    relay = start_relay(shared_redis.port)
    server = start_server(relay.url, LEASE_SECONDS="60")
    server.wait_healthy()
    executed = 0
    with Traffic(shared_redis.url()) as traffic:
        until(lambda: len(traffic.answered) == CHARGE_POINTS, "no traffic")
        for _ in range(CUTS):
            before = relay.commits
            until(lambda: relay.commits > before, "nothing is committed")  # noqa: B023 - called at once
            cut = relay.plan(Cut(is_commit, after=after))
            until(cut.done.is_set, "no commit to cut")
            executed += b"committed" in cut.reply
    wait_drained(client)

    assert executed == (CUTS if after else 0), "the cut was not where it was meant to be"
    assert {name: answered_ids(client, name) for name in traffic.answered} == traffic.answered
    assert [letter["raw"] for letter in dead_letters(client)] == traffic.invalid
    until(
        lambda: len(server.records("invalid_message")) >= len(traffic.invalid),
        lambda: f"{len(server.records('invalid_message'))} records of {len(traffic.invalid)}",
    )
    answered = sum(map(len, traffic.answered.values()))
    # The last commit counts once the server has reconnected and knows that it took effect.
    until(
        lambda: (seen := server.inspect())["processed"] + seen["invalid"]["NotImplemented"] >= answered,
        lambda: f"of {answered} answered messages these were counted: {server.inspect()}",
    )
    data = server.inspect()
    assert sum(data["invalid"].values()) == len(traffic.invalid)
    assert data["processed"] == answered - data["invalid"]["NotImplemented"]
    assert data["reconnects"] >= 1
    records = [record["reason"] for record in server.records("invalid_message")]
    assert records == [letter["reason"] for letter in dead_letters(client)]
    started = [
        answer["payload"][2]["transactionId"]
        for name in traffic.answered
        for answer in answers(client, name)
        if answer["message_type"] == 3 and "transactionId" in answer["payload"][2]
    ]
    assert len(started) == traffic.starts
    assert len(set(started)) == traffic.starts
    stored = sum(client.zcard(f"ocpp:transactions:{name}") for name in traffic.answered)
    assert stored == traffic.starts
    assert client.llen(QUEUE) == 0
