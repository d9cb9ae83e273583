"""Look-ups of the version that a charge point speaks."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from server.correlation.protocols import Protocols
from server.ocpp.versions import VERSIONS
from server.redis.link import RedisLink
from server.store.keys import Keys

pytestmark = pytest.mark.anyio

V16, V201, V21 = (VERSIONS[name] for name in ("ocpp1.6", "ocpp2.0.1", "ocpp2.1"))


async def test_the_session_decides_then_the_record(redis_url: str, client: redis.Redis) -> None:
    client.hset("ocpp:session:both", "protocol", "ocpp2.1")
    client.set("ocpp:chargepoint:both", json.dumps({"id": "both", "protocol": "ocpp1.6"}))
    client.set("ocpp:chargepoint:away", json.dumps({"id": "away", "protocol": "ocpp2.0.1"}))
    client.set("ocpp:chargepoint:old", json.dumps({"id": "old"}))
    client.set("ocpp:chargepoint:spoilt", "{")
    client.lpush("ocpp:chargepoint:list", "x")
    client.set("ocpp:session:text", "x")
    client.hset("ocpp:session:foreign", "connected_at", "today")
    link = RedisLink(redis_url)
    try:
        protocols = Protocols(link.client, Keys())
        expected = {"both": V21, "away": V201, "old": V16, "spoilt": V16, "list": V16, "foreign": V16, "text": None}
        found = dict(zip(expected, await asyncio.gather(*map(protocols.of, expected)), strict=True))
        assert found == expected
        assert await protocols.of("nobody") is None
    finally:
        await link.close()


async def test_a_thousand_at_once_take_few_round_trips(redis_url: str, client: redis.Redis) -> None:
    client.set("ocpp:chargepoint:CP-7", json.dumps({"id": "CP-7", "protocol": "ocpp2.1"}))
    link = RedisLink(redis_url)
    try:
        protocols = Protocols(link.client, Keys())
        before = client.info("stats")["total_reads_processed"]
        names = [f"CP-{number}" for number in range(1000)] * 2
        found = await asyncio.gather(*map(protocols.of, names))
        assert [name for name, version in zip(names, found, strict=True) if version is V21] == ["CP-7", "CP-7"]
        assert client.info("stats")["total_reads_processed"] - before < 100
    finally:
        await link.close()


async def test_callers_hear_of_an_outage_and_of_the_end() -> None:
    nowhere = Redis.from_url("redis://127.0.0.1:1")
    protocols = Protocols(nowhere, Keys())
    results = await asyncio.gather(*(protocols.of(f"CP-{number}") for number in range(3)), return_exceptions=True)
    assert {type(each) for each in results} == {RedisConnectionError}
    asking = asyncio.create_task(protocols.of("CP"))
    await asyncio.sleep(0)
    await protocols.close()
    with pytest.raises(RedisConnectionError):
        await asking
    await nowhere.aclose()


async def test_a_disconnected_caller_does_not_affect_the_others(redis_url: str, client: redis.Redis) -> None:
    client.set("ocpp:chargepoint:CP", json.dumps({"id": "CP", "protocol": "ocpp2.1"}))
    link = RedisLink(redis_url)
    try:
        protocols = Protocols(link.client, Keys())
        first, second = (asyncio.create_task(protocols.of("CP")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second is V21
    finally:
        await link.close()
