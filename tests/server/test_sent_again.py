"""A frame, or an event, that a charge point sends again counts once; it changes nothing that is not its own."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from harness import NOW, answers, app, call, drained, push, running
from test_processor import process, start_transaction, state, stop_transaction

pytestmark = pytest.mark.anyio

LATER = "2026-01-15T10:31:00Z"


def meter(message_id: str, transaction: int, value: str, taken: str = NOW, **sample: Any) -> bytes:
    sampled = [{"timestamp": taken, "sampledValue": [{"value": value} | sample]}]
    return call(
        "CP", message_id, "MeterValues", {"connectorId": 1, "transactionId": transaction, "meterValue": sampled}
    )


def payloads(client: redis.Redis) -> list[Any]:
    return [answer["payload"][2] for answer in answers(client, "CP")]


def state_without_last_seen(client: redis.Redis) -> dict[bytes, Any]:
    """Transactions, their indexes and the connector: all but when the charge point was heard of, and given ids."""
    found: dict[bytes, Any] = {}
    for key in set(client.keys("ocpp:transaction*")) - {b"ocpp:transaction-id"}:
        kind = client.type(key)
        found[key] = (
            client.get(key)
            if kind == b"string"
            else client.smembers(key)
            if kind == b"set"
            else client.zrange(key, 0, -1, withscores=True)
        )
    found[b"connector"] = client.get("ocpp:connector:CP:1")
    return found


@pytest.mark.parametrize("restart", [False, True], ids=["at once", "after a restart"])
async def test_the_same_frame_again_gets_the_same_answer_and_changes_nothing(
    client: redis.Redis, redis_url: str, *, restart: bool
) -> None:
    frames = [start_transaction("CP", "1", meter=100), meter("2", 1, "150"), stop_transaction("CP", "3", 1, meter=900)]
    for sent, frame in enumerate(frames, start=1):
        if restart:
            await process(client, redis_url, [frame])
            before = state_without_last_seen(client)
            await process(client, redis_url, [frame, frame])
        else:
            async with app(redis_url) as made, running(made):
                push(client, [frame])
                await drained(client)
                before = state_without_last_seen(client)
                push(client, [frame, frame])
                await drained(client)
        assert state_without_last_seen(client) == before
        first, *again = payloads(client)[-3:]
        assert again == [first, first]
        assert len(payloads(client)) == 3 * sent


async def test_the_same_frames_in_one_batch_count_once(client: redis.Redis, redis_url: str) -> None:
    start = start_transaction("CP", "1", meter=100)
    await process(client, redis_url, [start, start, start_transaction("CP", "other", meter=100)])
    assert [each["transactionId"] for each in payloads(client)] == [1, 1, 1]
    assert client.zcard("ocpp:transactions:CP") == 1


async def test_an_id_that_is_used_again_for_another_message_is_another_message(
    client: redis.Redis, redis_url: str
) -> None:
    await process(client, redis_url, [start_transaction("CP", "1", meter=100), start_transaction("CP", "1", meter=200)])
    first, second = (each["transactionId"] for each in payloads(client))
    assert first != second


async def test_a_start_is_recognised_after_its_stop_and_after_others(client: redis.Redis, redis_url: str) -> None:
    await process(client, redis_url, [start_transaction("CP", "1", meter=100)])
    await process(
        client,
        redis_url,
        [stop_transaction("CP", "2", 1, meter=900), start_transaction("CP", "3", meter=900, timestamp=LATER)],
    )
    before = state_without_last_seen(client)
    await process(client, redis_url, [start_transaction("CP", "4", meter=100)])
    assert payloads(client)[-1]["transactionId"] == 1
    assert state_without_last_seen(client) == before


@pytest.mark.parametrize("same", ["2026-01-15T11:30:00+01:00", "2026-01-15T10:30:00.000Z"])
async def test_a_start_is_recognised_by_its_instant(client: redis.Redis, redis_url: str, same: str) -> None:
    await process(client, redis_url, [start_transaction("CP", "1", meter=100)])
    await process(client, redis_url, [start_transaction("CP", "2", meter=100, timestamp=same)])
    assert [each["transactionId"] for each in payloads(client)] == [1, 1]


@pytest.mark.parametrize("change", [{"meterStart": 101}, {"idTag": "OTHER"}, {"connectorId": 2}, {"timestamp": LATER}])
async def test_a_start_that_differs_is_another_transaction(
    client: redis.Redis, redis_url: str, change: dict[str, Any]
) -> None:
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 100, "timestamp": NOW}
    await process(
        client,
        redis_url,
        [call("CP", "1", "StartTransaction", start), call("CP", "2", "StartTransaction", start | change)],
    )
    first, second = (each["transactionId"] for each in payloads(client))
    assert first != second


async def test_a_second_stop_with_another_reading_changes_nothing(client: redis.Redis, redis_url: str) -> None:
    await process(
        client, redis_url, [start_transaction("CP", "1", meter=100), stop_transaction("CP", "2", 1, meter=900)]
    )
    before = state_without_last_seen(client)
    await process(client, redis_url, [stop_transaction("CP", "3", 1, meter=5000)])
    assert state_without_last_seen(client) == before
    assert payloads(client)[-1] == payloads(client)[-2]


async def test_a_reading_under_a_new_message_id_counts_once(client: redis.Redis, redis_url: str) -> None:
    await process(client, redis_url, [start_transaction("CP", "1", meter=100), meter("2", 1, "150")])
    before = state_without_last_seen(client)
    await process(client, redis_url, [meter("3", 1, "150"), meter("4", 1, "170")])
    assert state_without_last_seen(client) == before
    await process(client, redis_url, [meter("5", 1, "160", context="Trigger")])
    assert state(client, "transaction:1")["meter_current"] == 160
    await process(client, redis_url, [meter("6", 1, "200", LATER), meter("7", 1, "150")])
    assert state(client, "transaction:1")["meter_current"] == 200


async def test_another_charge_point_cannot_change_a_transaction(client: redis.Redis, redis_url: str) -> None:
    await process(client, redis_url, [start_transaction("CP", "1", meter=100)])
    before = state_without_last_seen(client)
    reading = [{"timestamp": LATER, "sampledValue": [{"value": "7"}]}]
    await process(
        client,
        redis_url,
        [
            stop_transaction("OTHER", "1", 1, meter=900),
            call("OTHER", "2", "MeterValues", {"connectorId": 1, "transactionId": 1, "meterValue": reading}),
            stop_transaction("OTHER", "3", 99, meter=900),
        ],
    )
    assert len(answers(client, "OTHER")) == 3
    assert state_without_last_seen(client) == before


async def test_an_index_of_another_type_is_reported(client: redis.Redis, redis_url: str) -> None:
    client.set("ocpp:transactions:CP", "no index")
    await process(client, redis_url, [start_transaction("CP", "1"), call("CP", "2")])
    assert [answer["payload"][0] for answer in answers(client, "CP")] == [4, 3]
    assert "ocpp:transactions:CP" in answers(client, "CP")[0]["payload"][3]
