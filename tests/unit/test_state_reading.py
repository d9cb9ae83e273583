"""Reading records in our names: JSON texts and hashes in Redis, documents over HTTP, each mapped by its profile."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocpp_resilience.errors import ExpectationFailed, LacksCapability, ServiceError, UsageError
from ocpp_resilience.http_client import Reply
from ocpp_resilience.ocpp.model import VariableName
from ocpp_resilience.ports import free_port
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import RedisClient, connect
from ocpp_resilience.redis.services import EmbeddedRedis
from ocpp_resilience.state.reading import device_models, read, read_from_redis, read_over_http
from OcppServerLibrary import OcppServerLibrary
from RedisQueueLibrary import RedisQueueLibrary

PROFILE = Path(__file__).resolve().parents[1] / "other_server" / "profile.yaml"
SESSION = {
    "no": 7,
    "where": {"station": "CP-1", "plug": 2},
    "card": "TAG",
    "begin": "2026-01-15T10:30:00Z",
    "end": None,
    "meter": {"from": 100, "to": None},
    "phase": "running",
}
TRANSACTION = {
    "id": 7,
    "charge_point_id": "CP-1",
    "connector_id": 2,
    "id_tag": "TAG",
    "start_time": "2026-01-15T10:30:00Z",
    "meter_start": 100,
    "status": "active",
}


@pytest.fixture(scope="module")
def service() -> Iterator[EmbeddedRedis]:
    service = EmbeddedRedis("Redis 'state'")
    try:
        service.start(15)
        yield service
    finally:
        service.close()


@pytest.fixture
def client(service: EmbeddedRedis) -> Iterator[RedisClient]:
    client = connect(service.url(), database=2)
    try:
        yield client
    finally:
        client.flushdb()
        client.close()


@pytest.fixture
def target() -> Target:
    return Target.load(PROFILE)


def over_http(folder: Path, **fields: Any) -> Target:
    """The second server's profile, with its sessions read over HTTP."""
    profile = yaml.safe_load(PROFILE.read_text().replace("{profile_directory}", str(PROFILE.parent)))
    profile["state"]["transaction"] |= {"path": "/sessions/{transaction_id}", "data": "found", **fields}
    (folder / "http.yaml").write_text(yaml.safe_dump(profile))
    return Target.load(folder / "http.yaml")


def reply(status: int, document: object) -> Reply:
    return Reply("http://127.0.0.1:1/sessions/7", status, json.dumps(document).encode(), 0.0)


def test_a_json_text_is_read_in_our_names_and_values(client: RedisClient, target: Target) -> None:
    client.set("session/7", json.dumps(SESSION))
    assert read_from_redis(client, target, "transaction", [{"transaction_id": 7}]) == [TRANSACTION]


def test_a_hash_is_read_like_a_text_and_its_numbers_are_numbers(client: RedisClient, target: Target) -> None:
    client.hset("station/CP-1", mapping={"name": "CP-1", "maker": "V", "kind": "M", "seen": "12"})
    client.set("session/7", json.dumps(SESSION | {"phase": "over"}))
    found = read_from_redis(client, target, "charge_point", [{"charge_point_id": "CP-1"}])
    assert found == [{"id": "CP-1", "vendor": "V", "model": "M"}]
    client.hset("session/8", mapping={"no": "8", "phase": "over", "begin": "[1]"})
    both = read_from_redis(client, target, "transaction", [{"transaction_id": 7}, {"transaction_id": 8}])
    assert both == [TRANSACTION | {"status": "completed"}, {"id": 8, "status": "completed", "start_time": "[1]"}]


def test_missing_records_are_none_in_their_place(client: RedisClient, target: Target) -> None:
    client.set("session/7", json.dumps(SESSION))
    found = read_from_redis(client, target, "transaction", [{"transaction_id": each} for each in (6, 7, 8)])
    assert found == [None, TRANSACTION, None]


def test_many_are_read_in_their_order(client: RedisClient, target: Target) -> None:
    client.mset({f"session/{number}": json.dumps(SESSION | {"no": number}) for number in range(2500)})
    found = read_from_redis(client, target, "transaction", [{"transaction_id": each} for each in range(2500)])
    assert [record["id"] for record in found if record] == list(range(2500))


@pytest.mark.parametrize("value", ["[1]", "words", "7"])
def test_a_value_that_is_no_record_is_named(client: RedisClient, target: Target, value: str) -> None:
    client.set("session/7", value)
    with pytest.raises(ExpectationFailed, match=r"^Key session/7 holds no JSON object: "):
        read_from_redis(client, target, "transaction", [{"transaction_id": 7}])


def test_another_type_is_named(client: RedisClient, target: Target) -> None:
    client.rpush("session/7", "a")
    with pytest.raises(ExpectationFailed, match=r"^A record is neither a JSON text nor a hash: WRONGTYPE"):
        read_from_redis(client, target, "transaction", [{"transaction_id": 7}])


def test_a_document_is_read_in_our_names_and_values(tmp_path: Path) -> None:
    target = over_http(tmp_path)
    assert read_over_http(reply(200, {"found": SESSION}), target, "transaction") == TRANSACTION
    assert read_over_http(reply(404, {}), target, "transaction") is None


@pytest.mark.parametrize(("status", "document"), [(200, {"lost": 1}), (200, {"found": []}), (500, {"found": SESSION})])
def test_an_answer_without_a_record_is_named(tmp_path: Path, status: int, document: object) -> None:
    with pytest.raises(
        ExpectationFailed, match=rf"answered {status} with no object in 'found' \(state\.transaction\): "
    ):
        read_over_http(reply(status, document), over_http(tmp_path), "transaction")


def test_a_document_can_be_the_record_itself(tmp_path: Path) -> None:
    assert read_over_http(reply(200, SESSION), over_http(tmp_path, data=None), "transaction") == TRANSACTION


def test_without_a_list_of_fields_all_names_are_ours(client: RedisClient) -> None:
    ours = {"id": 7, "status": "active", "version": 3}
    client.set("ocpp:transaction:7", json.dumps(ours | {"price": 12}))
    found = read_from_redis(client, Target.load("reference"), "transaction", [{"transaction_id": 7}])
    assert found == [ours]


def test_state_that_the_profile_does_not_describe_skips_the_test(
    client: RedisClient, target: Target, tmp_path: Path
) -> None:
    with pytest.raises(
        LacksCapability, match=r"^Target 'other' does not describe where a connector is read \(state in "
    ):
        read_from_redis(client, target, "connector", [{"charge_point_id": "CP-1", "connector_id": 1}])
    with pytest.raises(LacksCapability, match=r"a transaction is read over HTTP, not from Redis\.$"):
        read_from_redis(client, over_http(tmp_path), "transaction", [{"transaction_id": 7}])


def test_redis_that_is_away_is_named(target: Target) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    with pytest.raises(ServiceError, match=rf"^Cannot read from Redis at {url}: "):
        read(target, "transaction", [{"transaction_id": 7}], redis_url=url, get=lambda path: reply(404, path))


def test_redis_that_does_not_answer_is_named(target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServiceError, match=rf"^Cannot read from Redis at {url}: "):
            read(target, "transaction", [{"transaction_id": 7}], redis_url=url, get=lambda path: reply(404, path))


def test_keywords_read_the_state_of_the_second_server_from_redis_and_over_http(
    service: EmbeddedRedis, tmp_path: Path
) -> None:
    profile = over_http(tmp_path).source
    with OcppServerLibrary() as server, RedisQueueLibrary() as queue:
        server.start_server(service.url(), target=profile)
        queue.open_queue(service.url(), target=profile)
        boot = queue.queue_message("BootNotification", chargePointVendor="V", chargePointModel="M")
        queue.message_should_be_answered(boot)
        start = queue.queue_message("StartTransaction", charge_point=boot.charge_point, meterStart=100)
        number = queue.message_should_be_answered(start).payload["transactionId"]
        assert server.get_charge_point_record(boot.charge_point)["model"] == "M"
        assert server.get_transaction_record(number)["meter_start"] == 100
        assert server.get_transactions_with_other_status("active", [number, number + 1]) == [number + 1]
        stop = queue.queue_message(
            "StopTransaction", charge_point=boot.charge_point, transactionId=number, meterStop=900
        )
        queue.message_should_be_answered(stop)
        assert server.get_transaction_record(number)["status"] == "completed"
        assert server.get_transactions_with_other_status("active", [number]) == [number]
        with pytest.raises(ExpectationFailed, match=r"^Server 'server' has no record of transaction 99\.$"):
            server.get_transaction_record(99)


# ------------------------------------------------------------------ OCPP 2.0.1 and 2.1


def of_2_x(folder: Path, keys: dict[str, str], **state: Any) -> Target:
    """The second server's profile with keys, and parts of the state, of OCPP 2.x."""
    profile = yaml.safe_load(PROFILE.read_text().replace("{profile_directory}", str(PROFILE.parent)))
    profile["redis"]["keys"] |= keys
    profile["state"] |= state
    (folder / "2x.yaml").write_text(yaml.safe_dump(profile))
    return Target.load(folder / "2x.yaml")


def test_an_id_that_a_charge_point_chose_may_need_both_in_its_key(tmp_path: Path, client: RedisClient) -> None:
    target = of_2_x(tmp_path, {"own_transaction": "session/{charge_point_id}/{transaction_id}"})
    client.set("session/CP-1/7", json.dumps(SESSION))
    ids = [{"charge_point_id": "CP-1", "transaction_id": each} for each in ("7", 7)]
    assert read_from_redis(client, target, "transaction", ids) == [TRANSACTION, None]


def test_a_path_of_transactions_may_name_the_charge_point(tmp_path: Path) -> None:
    path = "/stations/{charge_point_id}/sessions/{transaction_id}"
    target = over_http(tmp_path, path=path)
    asked: list[str] = []

    def get(where: str) -> Reply:
        asked.append(where)
        return reply(200, {"found": SESSION})

    ids = {"charge_point_id": "CP 1", "transaction_id": "a/b"}
    assert read(target, "transaction", [ids], redis_url="redis://127.0.0.1:1/0", get=get) == [TRANSACTION]
    assert asked == ["/stations/CP%201/sessions/a%2Fb"]


def test_a_device_model_is_read_as_its_profile_says(
    tmp_path: Path, service: EmbeddedRedis, client: RedisClient
) -> None:
    field = "{attribute} of {component}({component_instance})/{variable}({variable_instance}) at {evse}-{connector}"
    variables = {"field": field, "value": "is", "mutability": "may"}
    target = of_2_x(tmp_path, {"variables": "model/{charge_point_id}"}, variables=variables)
    client.hset("model/CP-1", "Actual of EVSE(a)/Power%2Fx() at 1-", '{"is": "7", "may": "ReadOnly"}')
    found = device_models(target, ["CP-1", "CP-2"], redis_url=service.url())
    name = VariableName("EVSE", "a", "1", "", "Power/x", "", "Actual")
    assert found == [{name: {"value": "7", "mutability": "ReadOnly"}}, {}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"EVSE": "{}"}, "^Field 'EVSE' of model/CP-1 does not match state.variables.field"),
        ({"a/b/c/d/e/f/g": "7"}, "^Key model/CP-1, field 'a/b/c/d/e/f/g', holds no JSON object: 7"),
    ],
)
def test_what_is_no_attribute_is_named(
    tmp_path: Path, service: EmbeddedRedis, client: RedisClient, fields: dict[str, str], message: str
) -> None:
    target = of_2_x(tmp_path, {"variables": "model/{charge_point_id}"}, variables={})
    client.hset("model/CP-1", mapping=fields)
    with pytest.raises(ExpectationFailed, match=message):
        device_models(target, ["CP-1"], redis_url=service.url())


def test_a_profile_without_device_models_lacks_them(target: Target) -> None:
    with pytest.raises(LacksCapability, match=r"does not describe where a device model is read \(state.variables in "):
        device_models(target, ["CP-1"], redis_url="redis://127.0.0.1:1/0")


@pytest.mark.parametrize(
    ("keys", "state", "message"),
    [
        ({}, {"variables": {}}, r"'state.variables' has no place in Redis \(allowed: a key redis.keys.variables\)"),
        (
            {"variables": "model/{charge_point_id}"},
            {"variables": {"field": "{component}"}},
            r"'state.variables.field' is '\{component\}' \(allowed: a name with \{component\}, ",
        ),
        ({"own_transaction": "session/{transaction_id}"}, {}, "'redis.keys.own_transaction'"),
    ],
)
def test_a_mistake_in_the_state_of_2_x_is_named(
    tmp_path: Path, keys: dict[str, str], state: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        of_2_x(tmp_path, keys, **state)
