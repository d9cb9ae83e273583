"""Requests made from the OpenAPI description against a running server: responses match the description."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import redis
import requests
import schemathesis
from harness import NOW, QUEUE, SOON, ServerProcess, StartServer, connect
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from server.api.control import _routes
from server.api.http import _whole
from server.ocpp import schemas
from server.ocpp.versions import VERSIONS

EXAMPLES = 12
"""Requests for each operation and kind of data."""
POINTS = {"ocpp1.6": "CP-1", "ocpp2.0.1": "CP-2", "ocpp2.1": "CP-3"}
"""A charge point of each version."""
_VARIABLE = {"component": {"name": "C"}, "variable": {"name": "V"}}
ANSWERS: dict[str, dict[str, Any]] = {
    "ClosePeriodicEventStream": {},
    "GetConfiguration": {"unknownKey": []},
    "GetTransactionStatus": {"messagesInQueue": False},
    "GetVariables": {"getVariableResult": [_VARIABLE | {"attributeStatus": "Accepted"}]},
    "SetVariables": {"setVariableResult": [_VARIABLE | {"attributeStatus": "Accepted"}]},
    "UnlockConnector": {"status": "Unlocked"},
}


def _fill(client: redis.Redis) -> None:
    """A charge point that is connected, with one of everything."""
    client.set("ocpp:chargepoint:CP-1", json.dumps({"id": "CP-1"}))
    client.sadd("ocpp:chargepoints", "CP-1")
    client.set("ocpp:connector:CP-1:1", json.dumps({"status": "Charging", "transaction_id": 1}))
    client.sadd("ocpp:connectors:CP-1", 1)
    transaction = {"id": 1, "charge_point_id": "CP-1", "connector_id": 1, "id_tag": "T", "start_time": NOW}
    client.set("ocpp:transaction:1", json.dumps(transaction | {"meter_start": 0, "meter_current": 5}))
    client.zadd("ocpp:transactions:CP-1", {"1": 1.0})
    client.sadd("ocpp:transactions:CP-1:active", 1)
    client.hset("ocpp:config:CP-1", "A", json.dumps({"value": "1", "readonly": False}))
    client.sadd("ocpp:active", "CP-1")
    client.hset("ocpp:session:CP-1", mapping={"charge_point_id": "CP-1", "ws_server_id": "nobody"})
    client.hset("ocpp:variables:CP-2", "C////V//Actual", json.dumps({"value": "1", "mutability": "ReadOnly"}))
    for protocol, charge_point in list(POINTS.items())[1:]:
        client.set(f"ocpp:chargepoint:{charge_point}", json.dumps({"id": charge_point, "protocol": protocol}))
        client.hset(f"ocpp:session:{charge_point}", mapping={"ws_server_id": "nobody", "protocol": protocol})


@contextmanager
def _charge_point(url: str) -> Iterator[Counter[str]]:
    """A stand-in for the charge points that accepts every command; counts them."""
    stop, seen = threading.Event(), Counter[str]()

    def serve() -> None:
        with connect(url) as client:
            while not stop.is_set():
                entry = client.brpop([f"ocpp:responses:{each}" for each in POINTS.values()], timeout=0.2)
                if entry is not None:
                    _, message_id, action, _ = json.loads(entry[1])["payload"]
                    seen[action] += 1
                    frame = [3, message_id, ANSWERS.get(action, {"status": "Accepted"})]
                    charge_point = entry[0].decode().rpartition(":")[2]
                    client.lpush(QUEUE, json.dumps({"charge_point_id": charge_point, "payload": frame}))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(SOON)


def _speaker_of(case: schemathesis.Case) -> str:
    """The charge point in whose version the command is valid, CP-1 if there is none."""
    routes = {(method, path): actions for (method, path, _), actions in _routes().items()}
    actions = routes.get((case.operation.method.upper(), case.operation.path), {})
    payload = case.body
    if isinstance(payload, dict):
        payload = _whole({name: value for name, value in payload.items() if name not in {"timeout", "chargePointId"}})
    for protocol, action in actions.items():
        if case.operation.method.upper() == "GET":
            return POINTS[protocol]
        if schemas.complaint(schemas.validator(VERSIONS[protocol], action, flat=False), payload) is None:
            return POINTS[protocol]
    return "CP-2" if case.operation.path.endswith("/variables") else "CP-1"


def _direct(case: schemathesis.Case, *, known: bool) -> None:
    """Let a valid request name things that are there, where told to, and give an answer time to come."""
    for given_fields in (case.body, case.query):
        if isinstance(given_fields, dict) and "timeout" in given_fields:
            given_fields["timeout"] = SOON
    if not known:
        return
    speaker = _speaker_of(case)
    for name, value in {"id": speaker, "n": 1, "tx": 1}.items():
        if name in case.path_parameters:
            case.path_parameters[name] = value
    if isinstance(case.body, dict) and "chargePointId" in case.body:
        case.body["chargePointId"] = speaker
    if isinstance(case.query, dict) and "/transactions/" in case.operation.path:
        case.query.pop("chargePointId", None)


def test_every_operation_does_as_it_is_described(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    _fill(client)
    server = start_server(redis_url, "openapi")
    server.wait_healthy()
    statuses: Counter[tuple[str, int]] = Counter()
    with requests.Session() as session, _charge_point(redis_url) as seen:
        session.trust_env = False
        schema = schemathesis.openapi.from_dict(_description(server))
        base = f"http://127.0.0.1:{server.http_port}"
        operations = [found.ok() for found in schema.get_all_operations()]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for operation in operations:
                if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                    continue  # a path that cannot be is not there: 404, as with a valid one
                _exercise(operation, mode, base, session, statuses)
    # Each operation also worked, and each command reached the charge point.
    assert {label for label, status in statuses if status == 200} == {each.label for each in operations}, statuses
    assert set(seen) == {action for version in VERSIONS.values() for action in version.commands}, seen
    assert not [entry for entry in statuses if entry[1] == 500]
    assert server.health()["status"] == "healthy"
    assert server.get("/inspect/correlations")[1]["data"]["pending"]["count"] == 0


def _description(server: ServerProcess) -> Any:
    status, body, _ = server.get("/openapi.json")
    assert status == 200
    return body


def _exercise(
    operation: Any, mode: GenerationMode, base: str, session: requests.Session, statuses: Counter[tuple[str, int]]
) -> None:
    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    checks.append(positive_data_acceptance if mode is GenerationMode.POSITIVE else negative_data_rejection)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            _direct(case, known=statuses.total() % 2 == 0)
        response = case.call(base_url=base, session=session, timeout=2 * SOON)
        statuses[operation.label, response.status_code] += 1
        if response.status_code != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:  # a schema does not say how long a body may be
            case.validate_response(response, checks=checks)

    ask()


def test_the_description_names_every_path_of_the_contract(redis_url: str, start_server: StartServer) -> None:
    described = _description(start_server(redis_url))
    point = "/api/v1/chargepoints/{id}"
    assert {(method, path) for path, methods in described["paths"].items() for method in methods} == {
        ("get", "/health"),
        ("get", "/health/ready"),
        ("get", "/metrics"),
        ("get", "/clients"),
        ("get", "/inspect/correlations"),
        ("get", "/inspect/processor"),
        ("get", "/api/v1/chargepoints"),
        ("get", point),
        ("get", f"{point}/connectors"),
        ("get", f"{point}/connectors/{{n}}"),
        ("get", f"{point}/configuration"),
        ("put", f"{point}/configuration"),
        ("get", f"{point}/configuration/live"),
        ("put", f"{point}/configuration/live"),
        ("post", f"{point}/trigger"),
        ("post", f"{point}/availability"),
        ("post", f"{point}/reset"),
        ("post", f"{point}/unlock"),
        ("post", f"{point}/clear-cache"),
        ("get", f"{point}/variables"),
        *(("post", f"{point}/{name}") for name in ("variables/get", "variables/set", "base-report", "log")),
        *(("post", f"{point}/{name}") for name in ("transaction-status", "certificate-signed", "data-transfer")),
        *(("post", f"{point}/{name}") for name in ("charging-profile", "event-streams/open", "event-streams/close")),
        ("post", "/api/v1/transactions/request-start"),
        ("post", "/api/v1/transactions/request-stop"),
        ("get", "/api/v1/transactions"),
        ("get", "/api/v1/transactions/{tx}"),
        ("post", "/api/v1/transactions/remote-start"),
        ("post", "/api/v1/transactions/remote-stop"),
    }


STORED: list[tuple[str, Any]] = [
    ("/clients", ["CP-1"]),
    ("/api/v1/chargepoints", ["CP-1"]),
    ("/api/v1/chargepoints/CP-2/variables", {"C////V//Actual": {"value": "1", "mutability": "ReadOnly"}}),
    ("/api/v1/chargepoints/CP-1/variables", {}),
    ("/api/v1/chargepoints/CP-1", "CP-1"),
    ("/api/v1/chargepoints/CP-1/connectors", [1]),
    ("/api/v1/chargepoints/CP-1/connectors/1", 1),
    ("/api/v1/chargepoints/CP-1/configuration", {"A": {"value": "1", "readonly": False}}),
    ("/api/v1/transactions", [1]),
    ("/api/v1/transactions?chargePointId=CP-1&status=active", [1]),
    ("/api/v1/transactions?status=completed", []),
    ("/api/v1/transactions?chargePointId=CP-2", []),
    ("/api/v1/transactions/1", 1),
    ("/api/v1/chargepoints/CP-9", None),
    ("/api/v1/chargepoints/CP-9/connectors", None),
    ("/api/v1/chargepoints/CP-9/configuration", None),
    ("/api/v1/chargepoints/CP-9/variables", None),
    ("/api/v1/chargepoints/CP-1/connectors/1:1", None),
    ("/api/v1/chargepoints/CP-1/connectors/2", None),
    ("/api/v1/chargepoints/CP-1/connectors/x", None),
    ("/api/v1/chargepoints/C%20P", None),
    ("/api/v1/chargepoints/CP%FF", None),
    ("/api/v1/transactions/2", None),
]


def test_stored_state_is_read(client: redis.Redis, redis_url: str, start_server: StartServer) -> None:
    _fill(client)
    server = start_server(redis_url)
    server.wait_healthy()

    def id_of(record: Any) -> Any:
        return record.get("id", record.get("charge_point_id", record)) if isinstance(record, dict) else record

    for path, expected in STORED:
        status, body, _ = server.get(path)
        data = body["data"]
        if expected is None:
            assert (path, status, body["success"], data) == (path, 404, False, None)
            assert body["message"].startswith("there is no ")
        else:
            assert (path, status) == (path, 200)
            assert ([id_of(each) for each in data] if isinstance(data, list) else id_of(data)) == expected, path


def test_configuration_is_stored_and_unusable_values_are_named(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    _fill(client)
    server = start_server(redis_url)
    server.wait_healthy()
    base, path = f"http://127.0.0.1:{server.http_port}", "/api/v1/chargepoints/CP-1/configuration"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Content-Type"] = "application/json"

        def put(body: Any, path: str = path) -> tuple[int, Any]:
            data = body if isinstance(body, bytes) else json.dumps(body)
            reply = session.put(base + path, data=data, timeout=SOON)
            return reply.status_code, reply.json()

        assert put({"key": "B", "value": "2", "readonly": True})[0] == 200
        # What is not given stays.
        assert put({"key": "B", "value": "3"})[1]["data"] == {"key": "B", "value": "3", "readonly": True}
        assert json.loads(client.hget("ocpp:config:CP-1", "B")) == {"value": "3", "readonly": True}
        assert put({"key": "B", "value": "3"}, "/api/v1/chargepoints/CP-9/configuration")[0] == 404
        for body, field in [
            ({"value": "3"}, "key"),
            ({"key": "x" * 51, "value": "3"}, "key"),
            ({"key": "B", "value": 3}, "value"),
            ({"key": "B", "value": "3", "readonly": "yes"}, "readonly"),
            (b"{", "JSON"),
            (b"[" * 60_000, "nested deeper"),
            (b'{"key":"B","value":"\xff"}', "JSON"),
        ]:
            status, reply = put(body)
            assert (field, status) == (field, 400)
            assert field in reply["message"]
        status, reply = put(b'{"key":"B","value":"' + b"x" * 70_000 + b'"}')
        assert status == 413
        assert "65536 bytes" in reply["message"]
    client.set("ocpp:chargepoint:CP-1", "{")
    status, reply, _ = server.get("/api/v1/chargepoints/CP-1")
    assert status == 500
    assert "ocpp:chargepoint:CP-1" in reply["message"]
