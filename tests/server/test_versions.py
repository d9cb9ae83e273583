"""Charge points of all versions of OCPP on one server: negotiation, state, commands, frames and codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import ocpp.v21
import ocpp.v201
import pytest
import redis
from harness import NOW, QUEUE, SOON, ServerProcess, StartServer, answers, app, drained, push, running, soon
from ocpp.routing import on
from ocpp.v21 import call as call_of_v21
from ocpp.v21 import call_result as result_of_v21
from ocpp.v201 import call as call_of_v201
from ocpp.v201 import call_result as result_of_v201
from test_commands import http
from test_gateway import ask, receive, send
from test_gateway import plugged as plugged_in
from test_transaction_events import STARTED, event
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from server.ocpp import schemas
from server.ocpp.frames import Call, Codes, Dialect, parse_frame
from server.ocpp.version import Actions, Command, Outcome, Version
from server.ocpp.versions import VERSIONS

pytestmark = pytest.mark.anyio

BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V", "serialNumber": "S"}}
TOKEN = {"id_token": "T", "type": "ISO14443"}
VARIABLE = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Available", "instance": "a/b"}}


@pytest.fixture
def server(redis_url: str, start_server: StartServer) -> ServerProcess:
    started = start_server(redis_url, "all")
    started.wait_healthy()
    return started


@asynccontextmanager
async def plugged(server: ServerProcess, *offered: str, charge_point_id: str = "CP") -> AsyncIterator[ClientConnection]:
    async with plugged_in(server, charge_point_id, subprotocols=list(offered)) as socket:
        with redis.Redis.from_url(server.redis_url) as client:
            await soon(lambda: client.exists(f"ocpp:session:{charge_point_id}"), "no session")
        yield socket


def kept(client: redis.Redis, key: str) -> Any:
    value = client.get(f"ocpp:{key}")
    assert value is not None, key
    return json.loads(value)


# --- negotiation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["ocpp1.6"], "ocpp1.6"),
        (["ocpp2.0.1"], "ocpp2.0.1"),
        (["ocpp2.1"], "ocpp2.1"),
        (["ocpp1.6", "ocpp2.1"], "ocpp1.6"),
        (["ocpp2.0.1", "ocpp2.1", "ocpp1.6"], "ocpp2.0.1"),
        (["ocpp2.0", "ocpp2.2", "ocpp2.1", "ocpp1.6"], "ocpp2.1"),
    ],
    ids=str,
)
async def test_the_first_that_the_client_offers_and_the_server_knows_is_chosen(
    server: ServerProcess, client: redis.Redis, offered: list[str], chosen: str
) -> None:
    async with plugged(server, *offered) as socket:
        assert socket.subprotocol == chosen
        assert client.hget("ocpp:session:CP", "protocol") == chosen.encode()


@pytest.mark.parametrize("offered", [[], ["ocpp2.0"], ["OCPP1.6"], ["mqtt"]], ids=str)
async def test_a_client_that_offers_none_is_refused(server: ServerProcess, offered: list[str]) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with plugged_in(server, "CP", subprotocols=offered or None):
            pass
    assert caught.value.response.status_code == 400


# --- the clients of the `ocpp` package --------------------------------------------------------------------------------


class Point201(ocpp.v201.ChargePoint):
    @on("RequestStartTransaction")
    def request_start(self, **_: Any) -> Any:
        return result_of_v201.RequestStartTransaction(status="Accepted", transaction_id="by-request")

    @on("GetVariables")
    def variables(self, get_variable_data: Any, **_: Any) -> Any:
        return result_of_v201.GetVariables(
            get_variable_result=[{**each, "attribute_status": "Accepted"} for each in get_variable_data]
        )


class Point21(ocpp.v21.ChargePoint):
    @on("OpenPeriodicEventStream")
    def open_stream(self, **_: Any) -> Any:
        return result_of_v21.OpenPeriodicEventStream(status="Accepted")


@asynccontextmanager
async def listening(point: Any) -> AsyncIterator[Any]:
    task = asyncio.create_task(point.start())
    try:
        yield point
    finally:
        task.cancel()


@pytest.mark.parametrize(
    ("protocol", "kind", "call"),
    [("ocpp2.0.1", Point201, call_of_v201), ("ocpp2.1", Point21, call_of_v21)],
    ids=["2.0.1", "2.1"],
)
async def test_a_session_of_another_implementation(
    server: ServerProcess, client: redis.Redis, protocol: str, kind: Any, call: Any
) -> None:
    async with plugged(server, protocol) as socket, listening(kind("CP", socket, response_timeout=SOON)) as point:
        station = {"model": "M", "vendor_name": "V", "firmware_version": "F"}
        booted = await point.call(call.BootNotification(charging_station=station, reason="PowerUp"))
        assert booted.status == "Accepted"
        await point.call(
            call.StatusNotification(timestamp=NOW, connector_status="Available", evse_id=2, connector_id=1)
        )
        assert (await point.call(call.Authorize(id_token=TOKEN))).id_token_info["status"] == "Accepted"
        common = {"trigger_reason": "Trigger", "transaction_info": {"transaction_id": "tx:1"}}
        reading = [{"timestamp": NOW, "sampled_value": [{"value": 1500}]}]
        started = await point.call(
            call.TransactionEvent(
                event_type="Started",
                timestamp=NOW,
                seq_no=0,
                evse={"id": 2, "connector_id": 1},
                id_token=TOKEN,
                meter_value=reading,
                **common,
            )
        )
        assert started.id_token_info["status"] == "Accepted"
        assert kept(client, "connector:CP:2:1")["transaction_id"] == "tx:1"
        await point.call(call.TransactionEvent(event_type="Ended", timestamp=NOW, seq_no=2, **common))
        report = {
            "component": VARIABLE["component"],
            "variable": VARIABLE["variable"],
            "variable_attribute": [{"value": "true", "mutability": "ReadOnly"}, {"type": "Target"}],
        }
        await point.call(call.NotifyReport(request_id=1, generated_at=NOW, seq_no=0, report_data=[report]))
    record = kept(client, "chargepoint:CP")
    assert (record["protocol"], record["vendor"], record["firmware"]) == (protocol, "V", "F")
    transaction = kept(client, "transaction:CP:tx:1")
    assert (transaction["status"], transaction["missing"], transaction["meter_start"]) == ("completed", [1], 1500)
    assert (transaction["evse"], transaction["connector_id"]) == (2, 1)
    connector = kept(client, "connector:CP:2:1")
    assert (connector["status"], connector["transaction_id"]) == ("Available", None)
    assert client.smembers("ocpp:connectors:CP") == {b"2:1"}
    assert client.hgetall("ocpp:variables:CP") == {
        b"EVSE//1//Available/a%2Fb/Actual": b'{"value":"true","mutability":"ReadOnly"}',
        b"EVSE//1//Available/a%2Fb/Target": b'{"value":null,"mutability":"ReadWrite"}',
    }
    async with http(server) as api:
        assert (await api("GET", "/api/v1/transactions/tx:1", chargePointId="CP"))[1]["data"]["id"] == "tx:1"
        assert [each["id"] for each in (await api("GET", "/api/v1/transactions"))[1]["data"]] == ["tx:1"]
        assert (await api("GET", "/api/v1/chargepoints/CP/connectors/2:1"))[1]["data"]["id"] == "2:1"
        assert len((await api("GET", "/api/v1/chargepoints/CP/variables"))[1]["data"]) == 2


async def test_commands_in_the_words_of_the_version(server: ServerProcess, client: redis.Redis) -> None:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(http(server))
        socket = await stack.enter_async_context(plugged(server, "ocpp2.0.1"))
        await stack.enter_async_context(listening(Point201("CP", socket, response_timeout=SOON)))
        start = {"idToken": {"idToken": "T", "type": "Central"}, "remoteStartId": 1, "chargePointId": "CP"}
        status, body = await api("POST", "/api/v1/transactions/request-start", start)
        assert (status, body["data"]) == (200, {"status": "Accepted", "transactionId": "by-request"})
        wanted = {"getVariableData": [VARIABLE]}
        status, body = await api("POST", "/api/v1/chargepoints/CP/variables/get", wanted)
        assert status == 200
        assert body["data"]["getVariableResult"][0]["attributeStatus"] == "Accepted"
        # A field that the other version has, and one of this version that is missing.
        status, body = await api("POST", "/api/v1/chargepoints/CP/availability", {"connectorId": 1})
        assert (status, "operationalStatus" in body["message"]) == (400, True)


@pytest.mark.parametrize(
    ("protocol", "path", "body"),
    [
        ("ocpp2.0.1", "/api/v1/transactions/remote-start", {"idTag": "T", "chargePointId": "CP"}),
        ("ocpp2.0.1", "/api/v1/chargepoints/CP/event-streams/close", {"id": 1}),
        ("ocpp1.6", "/api/v1/transactions/request-stop", {"transactionId": "x", "chargePointId": "CP"}),
        ("ocpp1.6", "/api/v1/chargepoints/CP/base-report", {"requestId": 1, "reportBase": "FullInventory"}),
    ],
)
async def test_a_command_that_the_version_lacks_is_a_conflict(
    server: ServerProcess, client: redis.Redis, protocol: str, path: str, body: dict[str, Any]
) -> None:
    async with http(server) as api, plugged(server, protocol):
        status, answer = await api("POST", path, body)
        assert status == 409
        assert "has no command" in answer["message"]
        assert VERSIONS[protocol].name in answer["message"]


# --- frames -----------------------------------------------------------------------------------------------------------


async def test_a_send_is_never_answered(server: ServerProcess) -> None:
    stream = {"id": 1, "pending": 0, "basetime": NOW, "data": [{"t": 0, "v": "1"}]}
    async with plugged(server, "ocpp2.1") as socket:
        await send(socket, 6, "s1", "NotifyPeriodicEventStream", stream)
        await send(socket, 6, "s2", "NotifyPeriodicEventStream", {"id": "wrong"})
        await send(socket, 6, "s3", "Heartbeat", {})
        await send(socket, 6, "s4", "Nonsense", {})
        await send(socket, 6, "s5")
        await ask(socket, "h", "Heartbeat")
        await soon(lambda: server.get("/inspect/processor")[1]["data"]["processed"] == 2, "not processed")
    invalid = server.get("/inspect/processor")[1]["data"]["invalid"]
    assert sum(invalid.values()) == 3, invalid


async def test_a_callresult_that_cannot_be_read_gets_a_callresulterror(server: ServerProcess) -> None:
    async with http(server) as api, plugged(server, "ocpp2.1") as socket:
        asking = asyncio.create_task(api("POST", "/api/v1/chargepoints/CP/clear-cache", {}))
        _, message_id, action, _ = await receive(socket)
        assert action == "ClearCache"
        await send(socket, 3, message_id, "no object")
        kind, echoed, code, _, _ = await receive(socket)
        assert (kind, echoed, code) == (5, message_id, "TypeConstraintViolation")
        assert (await asking)[0] == 502
        # An answer that breaks the schema.
        asking = asyncio.create_task(api("POST", "/api/v1/chargepoints/CP/clear-cache", {}))
        _, message_id, _, _ = await receive(socket)
        await send(socket, 3, message_id, {"status": "Perhaps"})
        kind, echoed, code, _, _ = await receive(socket)
        assert (kind, echoed, code) == (5, message_id, "PropertyConstraintViolation")
        assert (await asking)[0] == 502


async def test_a_callresulterror_is_not_a_call_and_gets_no_answer(server: ServerProcess) -> None:
    async with plugged(server, "ocpp2.1") as socket:
        await ask(socket, "h1", "Heartbeat")
        await send(socket, 5, "h1", "FormatViolation", "cannot be read", {})
        await ask(socket, "h2", "Heartbeat")
        await soon(lambda: server.get("/inspect/processor")[1]["data"]["processed"] == 3, "not processed")


@pytest.mark.parametrize("kind", [5, 6])
@pytest.mark.parametrize("protocol", ["ocpp1.6", "ocpp2.0.1"])
async def test_the_frames_of_2_1_are_unknown_types_before_it(server: ServerProcess, protocol: str, kind: int) -> None:
    async with plugged(server, protocol) as socket:
        await send(socket, kind, "x", "Heartbeat", {})
        if protocol != "ocpp1.6":
            assert (await receive(socket))[:3] == [4, "x", "MessageTypeNotSupported"]
        await ask(socket, "h", "Heartbeat")


FRAMES: list[tuple[str, str | None, str, str | None]] = [
    # text, code and id in 2.0.1 and 2.1, id in 1.6 (FormationViolation), None for no answer
    ("{", "RpcFrameworkError", "-1", None),
    ("{}", "RpcFrameworkError", "-1", None),
    ("[]", "RpcFrameworkError", "-1", None),
    ('[2,7,"Heartbeat",{}]', "RpcFrameworkError", "-1", "-1"),
    (f'[2,"{"x" * 37}","Heartbeat",{{}}]', "RpcFrameworkError", "-1", "x" * 36),
    ('[2,"a","Heartbeat"]', "FormatViolation", "a", "a"),
    ('[2,"a","Heartbeat",{"extra":1}]', "FormatViolation", "a", "a"),
]


@pytest.mark.parametrize("protocol", list(VERSIONS))
async def test_the_codes_of_frames(server: ServerProcess, protocol: str) -> None:
    async with plugged(server, protocol) as socket:
        for text, code, own_id, id_of_1_6 in FRAMES:
            await socket.send(text)
            expected = [4, own_id, code]
            if protocol == "ocpp1.6":
                if id_of_1_6 is None:
                    continue
                expected = [4, id_of_1_6, "FormationViolation"]
            assert (await receive(socket))[:3] == expected, text
        for action, code in (("Nonsense", "NotImplemented"), ("Reset", "NotSupported")):
            await send(socket, 2, "n", action, {})
            assert (await receive(socket))[:3] == [4, "n", code]
        missing = "OccurenceConstraintViolation" if protocol == "ocpp1.6" else "OccurrenceConstraintViolation"
        await send(socket, 2, "m", "BootNotification", {})
        assert (await receive(socket))[:3] == [4, "m", missing]


# --- the queue --------------------------------------------------------------------------------------------------------


def queued(charge_point_id: str, message_id: str, action: str, payload: Any, protocol: Any) -> bytes:
    envelope = {"charge_point_id": charge_point_id, "payload": [2, message_id, action, payload], "protocol": protocol}
    return json.dumps(envelope).encode()


async def test_all_versions_on_one_queue(client: redis.Redis, redis_url: str) -> None:
    boot16 = {"chargePointVendor": "V", "chargePointModel": "M"}
    messages = [
        queued("A", "1", "BootNotification", boot16, "ocpp1.6"),
        queued("B", "1", "BootNotification", BOOT, "ocpp2.0.1"),
        queued("C", "1", "BootNotification", BOOT, "ocpp2.1"),
        queued("B", "2", "BootNotification", boot16, "ocpp2.0.1"),
        queued("D", "1", "BootNotification", BOOT, "ocpp9"),
        queued("E", "1", "BootNotification", BOOT, None),
    ]
    async with app(redis_url) as made, running(made):
        push(client, messages)
        await drained(client)
    assert [each["payload"][0] for each in answers(client, "B")] == [3, 4]
    assert [each.get("protocol") for each in answers(client, "B")] == ["ocpp2.0.1", "ocpp2.0.1"]
    assert answers(client, "C")[0]["protocol"] == "ocpp2.1"
    assert "protocol" not in answers(client, "A")[0]
    assert kept(client, "chargepoint:A")["protocol"] == "ocpp1.6"
    for charge_point_id in ("D", "E"):
        (refused,) = answers(client, charge_point_id)
        assert refused["payload"][2] == "PropertyConstraintViolation"
        assert "ocpp2.0.1" in refused["payload"][3]
    assert not client.llen(QUEUE)


async def test_an_event_that_is_sent_again_gets_the_same_answer(client: redis.Redis, redis_url: str) -> None:
    async with app(redis_url) as made, running(made):
        push(client, [queued("CP", "1", "TransactionEvent", STARTED, "ocpp2.0.1")])
        await drained(client)
    before = client.get("ocpp:transaction:CP:tx")
    async with app(redis_url) as made, running(made):
        push(client, [queued("CP", each, "TransactionEvent", STARTED, "ocpp2.0.1") for each in ("1", "2")])
        push(client, [queued("OTHER", "1", "TransactionEvent", event(5), "ocpp2.0.1")])
        await drained(client)
    assert client.get("ocpp:transaction:CP:tx") == before
    assert {json.dumps(each["payload"][2]) for each in answers(client, "CP")} == {
        json.dumps({"idTokenInfo": {"status": "Accepted"}})
    }
    assert kept(client, "transaction:OTHER:tx")["missing"] == [0, 1, 2, 3, 4]


# --- a made-up version ------------------------------------------------------------------------------------------------


async def test_a_version_is_one_object(monkeypatch: pytest.MonkeyPatch, client: redis.Redis, redis_url: str) -> None:
    """Nothing but `versions.py` has to be touched for a version that is not there yet."""
    actions = Actions(VERSIONS["ocpp2.0.1"].actions)

    @actions.handles("Heartbeat")
    def heartbeat(_call: Call, _view: Any) -> Outcome:
        return Outcome({"currentTime": "never"})

    v201 = VERSIONS["ocpp2.0.1"]
    test = Version(
        dialect=Dialect(protocol="test", codes=Codes(unreadable=v201.codes.missing, **_codes(v201))),
        name="OCPP test",
        schemas="v201",
        actions=actions,
        commands={"ClearCache": Command("POST", "/chargepoints/{id}/clear-cache", "Clear its authorization cache")},
        correct=lambda _action, _schema: None,
    )
    monkeypatch.setitem(VERSIONS, "test", test)
    message = parse_frame(b'[2,"m","Heartbeat",{}]', "CP", test.dialect)
    assert isinstance(message, Call)
    schemas.check(message, test)
    async with app(redis_url) as made, running(made):
        push(client, [queued("CP", "m", "Heartbeat", {}, "test")])
        await drained(client)
    (answer,) = answers(client, "CP")
    assert (answer["payload"], answer["protocol"]) == ([3, "m", {"currentTime": "never"}], "test")


def _codes(version: Version) -> dict[str, Any]:
    return {name: getattr(version.codes, name) for name in ("wrong_shape", "missing")}
