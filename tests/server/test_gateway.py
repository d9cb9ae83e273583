"""The gateway, with clients that others wrote: the `ocpp` package's charge point and plain `websockets`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import json
import resource
import signal
import socket
import ssl
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ocpp.v16
import pytest
import redis
import trustme
from harness import NOW, SOON, ServerProcess, StartServer, app, dead_letters, soon, upgraded
from ocpp.routing import on
from ocpp.v16 import call as request
from ocpp.v16 import call_result, enums
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage, InvalidStatus

from server.config import SettingError, Settings
from server.gateway import response_delivery

pytestmark = pytest.mark.anyio

SUBPROTOCOLS = ["ocpp1.6"]
BOOT = {"chargePointVendor": "Vendor", "chargePointModel": "Model"}


def address(server: ServerProcess, charge_point_id: str) -> str:
    return f"ws://127.0.0.1:{server.ws_port}/ocpp/{charge_point_id}"


@asynccontextmanager
async def plugged(server: ServerProcess, charge_point_id: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """A plain WebSocket."""
    options.setdefault("subprotocols", SUBPROTOCOLS)
    async with dial(address(server, charge_point_id), proxy=None, **options) as socket:
        yield socket


async def send(socket: ClientConnection, *frame: Any) -> None:
    await socket.send(json.dumps(list(frame)))


async def receive(socket: ClientConnection, within: float = SOON) -> Any:
    async with asyncio.timeout(within):
        return json.loads(await socket.recv())


async def ask(socket: ClientConnection, message_id: str, action: str, payload: Any = None) -> dict[str, Any]:
    await send(socket, 2, message_id, action, {} if payload is None else payload)
    answer = await receive(socket)
    assert answer[:2] == [3, message_id], answer
    return answer[2]


def command(client: redis.Redis, charge_point_id: str, message_id: str, action: str, payload: Any, **more: Any) -> None:
    """Queue a CALL for a charge point as the back end does, without waking its gateway."""
    envelope = {
        "charge_point_id": charge_point_id,
        "message_type": 2,
        "message_id": message_id,
        "action": action,
        "payload": [2, message_id, action, payload],
        "timestamp": NOW,
        "ws_server_id": "test",
        **more,
    }
    client.lpush(f"ocpp:responses:{charge_point_id}", json.dumps(envelope))


def wake(client: redis.Redis, server_id: str, *charge_point_ids: str) -> None:
    client.publish(f"ocpp:wake:{server_id}", json.dumps(charge_point_ids))


def subscribe(events: redis.client.PubSub, *channels: str) -> None:
    """Listen from now on."""
    events.ignore_subscribe_messages = False
    events.subscribe(*channels)
    for _ in channels:
        assert events.get_message(timeout=SOON)["type"] == "subscribe"
    events.ignore_subscribe_messages = True


def heard(client: redis.Redis, events: redis.client.PubSub) -> list[tuple[str, dict[str, Any]]]:
    """Channel and content of all events so far: of those that came before the one that is published here."""
    told: list[tuple[str, dict[str, Any]]] = []
    client.publish(next(iter(events.channels)), '{"end": true}')
    while event := events.get_message(timeout=SOON):
        content = json.loads(event["data"])
        if content == {"end": True}:
            return told
        told.append((event["channel"].decode(), content))
    raise AssertionError(f"the subscription broke after {told}")


@pytest.fixture
def server(redis_url: str, start_server: StartServer) -> ServerProcess:
    server = start_server(redis_url, "gw")
    server.wait_healthy()
    return server


class Point(ocpp.v16.ChargePoint):
    """A charge point with scripted answers."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.told: list[str] = []

    @on("GetConfiguration")
    async def get_configuration(self, **_: Any) -> Any:
        self.told.append("GetConfiguration")
        return call_result.GetConfiguration(configuration_key=[], unknown_key=["Nothing"])

    @on("ChangeConfiguration")
    async def change_configuration(self, **_: Any) -> Any:
        self.told.append("ChangeConfiguration")
        return call_result.ChangeConfiguration(status=enums.ConfigurationStatus.accepted)

    @on("RemoteStartTransaction")
    async def remote_start(self, **_: Any) -> Any:
        self.told.append("RemoteStartTransaction")
        return call_result.RemoteStartTransaction(status=enums.RemoteStartStopStatus.accepted)

    @on("TriggerMessage")
    async def trigger(self, **_: Any) -> Any:
        self.told.append("TriggerMessage")
        return call_result.TriggerMessage(status=enums.TriggerMessageStatus.accepted)

    @on("Reset")
    async def reset(self, **_: Any) -> Any:
        self.told.append("Reset")
        return call_result.Reset(status=enums.ResetStatus.accepted)


COMMANDS = [
    ("GetConfiguration", {}),
    ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}),
    ("RemoteStartTransaction", {"idTag": "TAG"}),
    ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
    ("Reset", {"type": "Soft"}),
]


async def test_the_ocpp_packages_charge_point_charges_and_obeys(server: ServerProcess, client: redis.Redis) -> None:
    async with plugged(server, "CP-1") as socket:
        point = Point("CP-1", socket)
        reading = asyncio.create_task(point.start())
        try:
            boot = await point.call(request.BootNotification("Model", "Vendor"))
            assert boot.status == "Accepted"
            assert (await point.call(request.Heartbeat())).current_time
            assert (await point.call(request.Authorize("TAG"))).id_tag_info["status"] == "Accepted"
            started = await point.call(request.StartTransaction(1, "TAG", 0, NOW))
            sample = {"timestamp": NOW, "sampled_value": [{"value": "10"}]}
            await point.call(request.MeterValues(1, [sample], transaction_id=started.transaction_id))
            await point.call(request.StopTransaction(20, NOW, started.transaction_id))
            for number, (action, payload) in enumerate(COMMANDS):
                command(client, "CP-1", f"c{number}", action, payload)
            wake(client, "gw", "CP-1")
            await soon(lambda: len(point.told) == len(COMMANDS), lambda: f"told: {point.told}")
            assert point.told == [action for action, _ in COMMANDS]
            await soon(lambda: server.inspect()["processed"] == 6 + len(COMMANDS), lambda: f"{server.inspect()}")
        finally:
            reading.cancel()
            await asyncio.wait([reading])
    assert json.loads(client.get(f"ocpp:transaction:{started.transaction_id}"))["status"] == "completed"
    assert not client.llen("ocpp:dead-letters")


async def test_plain_frames_charge_and_obey(server: ServerProcess, client: redis.Redis) -> None:
    async with plugged(server, "CP%C3%A4-2") as socket:
        assert (await ask(socket, "1", "BootNotification", BOOT))["status"] == "Accepted"
        assert "currentTime" in await ask(socket, "2", "Heartbeat")
        assert (await ask(socket, "3", "Authorize", {"idTag": "TAG"}))["idTagInfo"]["status"] == "Accepted"
        start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": NOW}
        transaction = (await ask(socket, "4", "StartTransaction", start))["transactionId"]
        values = {
            "connectorId": 1,
            "transactionId": transaction,
            "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": "10"}]}],
        }
        assert await ask(socket, "5", "MeterValues", values) == {}
        stop = {"transactionId": transaction, "meterStop": 20, "timestamp": NOW}
        await ask(socket, "6", "StopTransaction", stop)
        for number, (action, payload) in enumerate(COMMANDS):
            command(client, "CPä-2", f"c{number}", action, payload)
            wake(client, "gw", "CPä-2")
            assert await receive(socket) == [2, f"c{number}", action, payload]
            await send(socket, 3, f"c{number}", {"status": "Accepted"})
    assert json.loads(client.get(f"ocpp:transaction:{transaction}"))["status"] == "completed"


async def test_a_message_in_fragments_keeps_its_place_among_whole_ones(server: ServerProcess) -> None:
    """RFC 6455 section 5.4; all of them in one piece of data, so that none is handled before the next has come."""
    async with plugged(server, "CP-PIECES") as socket:
        protocol = socket.protocol
        protocol.send_text(b'[2,"whole-1","Heartbeat",{}]')
        protocol.send_text(b'[2,"pieces","Heart', fin=False)
        protocol.send_continuation(b'beat",{}]', fin=True)
        for number in (2, 3):
            protocol.send_text(b'[2,"whole-%d","Heartbeat",{}]' % number)
        socket.transport.write(b"".join(protocol.data_to_send()))
        answered = [(await receive(socket))[1] for _ in range(4)]
        assert answered == ["whole-1", "pieces", "whole-2", "whole-3"]
        await ask(socket, "whole-4", "Heartbeat")


async def test_a_connection_that_is_over_is_freed_at_once(redis_url: str) -> None:
    """Without the garbage collector, which may come by late: until then each connection would cost 12 KB."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with app(redis_url) as made:
        assert made.gateway is not None
        port = made.gateway.bind(listener)
        serving = asyncio.create_task(made.gateway.run())
        seen: list[weakref.ref[Any]] = []
        gc.disable()
        try:
            for number in range(3):
                async with dial(f"ws://127.0.0.1:{port}/ocpp/CP-{number}", subprotocols=SUBPROTOCOLS, proxy=None):
                    await soon(lambda: len(made.gateway._sessions), "not connected")
                    seen += [weakref.ref(each.connection) for each in made.gateway._sessions.live()]
                await soon(lambda: not len(made.gateway._sessions), "still connected")
            await soon(lambda: not any(each() for each in seen), "the connection is still in memory")
        finally:
            gc.enable()
            made.gateway.stop()
            await asyncio.wait_for(serving, SOON)


async def test_text_that_is_not_utf8_costs_the_connection(server: ServerProcess) -> None:
    async with plugged(server, "CP-utf8") as socket:
        await socket.send(b'["\xff"]', text=True)
        with pytest.raises(ConnectionClosedError):
            await receive(socket)
        assert (socket.close_code, socket.close_reason) == (1007, "the text is not UTF-8")
    assert [each["charge_point_id"] for each in server.records("invalid_message")] == ["CP-utf8"]
    async with plugged(server, "CP-utf8") as socket:
        await ask(socket, "h1", "Heartbeat")


# --- connecting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "offered", "status"),
    [
        ("/ocpp/CP-1", None, 400),
        ("/ocpp/CP-1", ["ocpp2.0"], 400),
        ("/ocpp/", SUBPROTOCOLS, 400),
        ("/ocpp/A%3AB", SUBPROTOCOLS, 400),
        ("/ocpp/A%20B", SUBPROTOCOLS, 400),
        ("/ocpp/%FF", SUBPROTOCOLS, 400),
        ("/ocpp/" + 49 * "x", SUBPROTOCOLS, 400),
        ("/ocpp/A/B", SUBPROTOCOLS, 404),
        ("/other/CP-1", SUBPROTOCOLS, 404),
        ("/", SUBPROTOCOLS, 404),
    ],
)
async def test_connections_refused_at_the_handshake(
    server: ServerProcess, client: redis.Redis, path: str, offered: Any, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with dial(f"ws://127.0.0.1:{server.ws_port}{path}", subprotocols=offered, proxy=None):
            pass
    assert refused.value.response.status_code == status
    assert not client.exists("ocpp:active")


async def test_the_subprotocol_is_chosen_among_several(server: ServerProcess) -> None:
    async with plugged(server, 48 * "x", subprotocols=["ocpp2.0", "ocpp1.6"]) as socket:
        assert socket.subprotocol == "ocpp1.6"


async def test_a_session_and_its_events(server: ServerProcess, client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as events:
        subscribe(events, "ocpp:control:connect", "ocpp:control:disconnect")
        async with plugged(server, "CP-1") as socket:
            await soon(lambda: client.hgetall("ocpp:session:CP-1"), "no session")
            session = {name.decode(): value.decode() for name, value in client.hgetall("ocpp:session:CP-1").items()}
            own = "{}:{}".format(*socket.local_address[:2])
            assert session["charge_point_id"] == "CP-1"
            assert session["remote_addr"] == own
            assert session["ws_server_id"] == "gw"
            assert session["connected_at"].endswith("Z")
            assert session["last_activity"] >= session["connected_at"]
            assert 0 < client.ttl("ocpp:session:CP-1") <= 30
            assert client.smembers("ocpp:active") == {b"CP-1"}
        await soon(lambda: not client.exists("ocpp:session:CP-1"), "the session stays")
        assert not client.exists("ocpp:active")
        told = heard(client, events)
    assert [channel for channel, _ in told] == ["ocpp:control:connect", "ocpp:control:disconnect"]
    for (channel, event), name in zip(told, ["connect", "disconnect"], strict=True):
        assert event.pop("timestamp").endswith("Z")
        assert event == {"event": name, "charge_point_id": "CP-1", "ws_server_id": "gw", "remote_addr": own}, channel


async def test_a_second_connection_replaces_the_first(server: ServerProcess, client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as events:
        subscribe(events, "ocpp:control:disconnect")
        async with plugged(server, "CP-1") as first:
            await ask(first, "1", "Heartbeat")
            before = client.hget("ocpp:session:CP-1", "connection")
            async with plugged(server, "CP-1") as second:
                with pytest.raises(ConnectionClosed) as closed:
                    await receive(first)
                assert closed.value.rcvd.code == 1008
                assert "replaced" in closed.value.rcvd.reason
                assert await ask(second, "1", "Heartbeat")
                command(client, "CP-1", "c", "ClearCache", {})
                wake(client, "gw", "CP-1")
                assert (await receive(second))[1] == "c"
                await soon(lambda: len(server.records("disconnected")) == 1, "the first one stays")
                assert client.hget("ocpp:session:CP-1", "connection") not in {before, None}
                assert client.smembers("ocpp:active") == {b"CP-1"}
                assert heard(client, events) == []


async def test_the_record_says_whether_the_charge_point_is_online(
    server: ServerProcess, client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    """Connected, disconnected, taken over, lost with its gateway; only the version changes besides."""

    def record() -> dict[str, Any]:
        return dict(json.loads(client.get("ocpp:chargepoint:CP-1") or b"{}"))

    async with plugged(server, "CP-1"):
        await soon(lambda: client.exists("ocpp:session:CP-1"), "not connected")
    assert not record(), "a charge point that has said nothing has no record"
    vendor = 'V","is_online":true,"version":7,"'
    async with plugged(server, "CP-1") as first:
        await ask(first, "1", "BootNotification", BOOT | {"chargePointVendor": vendor[:20]})
        before = record()
        assert before["is_online"]
        async with plugged(server, "CP-1"):
            await soon(lambda: len(server.records("connection_replaced")) == 1, "not taken over")
            with pytest.raises(ConnectionClosed):
                await receive(first)
            assert record() == before
    await soon(lambda: not record()["is_online"], "still online")
    assert record() == before | {"is_online": False, "version": before["version"] + 1}
    other = start_server(redis_url, "other", ROLE="gateway")
    async with plugged(other, "CP-1"):
        await soon(lambda: record()["is_online"], "still offline")
        other.process.kill()
        client.pexpire("ocpp:session:CP-1", 50)
        await soon(lambda: not record()["is_online"], "still online", within=2 * SOON)
    assert record() == before | {"is_online": False, "version": before["version"] + 3}


async def test_the_newest_of_connections_in_quick_succession_stays_open(server: ServerProcess) -> None:
    """Redis gets them one after the other: the record of an older one proves nothing about the newest."""

    # Connections of different charge points at once are not the subject: their handshakes take long on a busy machine.
    few = asyncio.Semaphore(10)

    async def connect_again_and_again(charge_point_id: str) -> None:
        async with few, contextlib.AsyncExitStack() as stack:
            newest = await stack.enter_async_context(plugged(server, charge_point_id))
            for number in range(10):
                await send(newest, 2, f"left-{number}", "Heartbeat", {})
                newest = await stack.enter_async_context(plugged(server, charge_point_id))
                await ask(newest, f"h{number}", "Heartbeat")

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(connect_again_and_again(f"CP-AGAIN-{number}"))


async def test_a_connection_to_another_gateway_replaces_the_first(
    server: ServerProcess, client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    other = start_server(redis_url, "other", ROLE="gateway")
    async with plugged(server, "CP-1") as first:
        await ask(first, "1", "Heartbeat")
        await soon(lambda: not client.llen("ocpp:responses:CP-1"), "the answer is not taken out")
        async with plugged(other, "CP-1") as second:
            with pytest.raises(ConnectionClosed) as closed:
                await receive(first)
            assert closed.value.rcvd.code == 1008
            assert await ask(second, "2", "Heartbeat")
            assert client.hget("ocpp:session:CP-1", "ws_server_id") == b"other"
            assert client.smembers("ocpp:active") == {b"CP-1"}
            await soon(lambda: not client.llen("ocpp:responses:CP-1"), "something is left")
    await soon(lambda: not client.exists("ocpp:active"), "the second one stays")


async def test_waiting_commands_end_with_their_connection(server: ServerProcess, client: redis.Redis) -> None:
    """Their sender is told that the charge point disconnected: carried out later, they would be a surprise."""
    async with plugged(server, "CP-1") as first:
        await ask(first, "1", "Heartbeat")
        for number in range(3):
            command(client, "CP-1", f"c{number}", "ClearCache", {})
        wake(client, "gw", "CP-1")
        assert (await receive(first))[1] == "c0"
        await soon(lambda: not client.llen("ocpp:responses:CP-1"), "not taken")
        async with plugged(server, "CP-1") as second:
            command(client, "CP-1", "new", "ClearCache", {})
            assert (await receive(second))[1] == "new"
    (dropped,) = server.records("commands_dropped")
    assert dropped["count"] == 2


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ("no JSON", None),
        ("{}", None),
        ("[]", None),
        ("null", None),
        ('[5,"m","Heartbeat",{}]', None),
        ('["2","m","Heartbeat",{}]', None),
        ('[2,"m","Heartbeat"]', [4, "m", "FormationViolation"]),
        ('[2,"m","Heartbeat",{},1]', [4, "m", "FormationViolation"]),
        ('[2,5,"Heartbeat",{}]', [4, "-1", "FormationViolation"]),
        ('[2,"","Heartbeat",{}]', [4, "-1", "FormationViolation"]),
        (json.dumps([2, 37 * "m", "Heartbeat", {}]), [4, 36 * "m", "FormationViolation"]),
        ('[2,"m",7,{}]', [4, "m", "TypeConstraintViolation"]),
        ('[2,"m","Heartbeat",{"a":1,"a":2}]', None),
        ('[2,"m","Nonsense",{}]', [4, "m", "NotImplemented"]),
        ('[2,"m","Reset",{}]', [4, "m", "NotSupported"]),
        ('[2,"m","Authorize",{}]', [4, "m", "OccurenceConstraintViolation"]),
        ('[2,"m","Authorize",{"idTag":1}]', [4, "m", "TypeConstraintViolation"]),
        ('[2,"m","Heartbeat",{"x":1}]', [4, "m", "FormationViolation"]),
        ('[2,"m","Heartbeat",[]]', [4, "m", "TypeConstraintViolation"]),
        ('[3,"m"]', None),
        ('[3,"m",5]', None),
        ('[4,"m","GenericError","",{},1]', None),
        ('[4,"m",1,"",{}]', None),
        (200 * "[" + 200 * "]", None),
    ],
)
async def test_a_bad_frame_is_answered_logged_and_kept_and_the_next_is_served(
    server: ServerProcess, client: redis.Redis, frame: str, answer: list[Any] | None
) -> None:
    async with plugged(server, "CP-1") as socket:
        await socket.send(frame)
        if answer is not None:
            got = await receive(socket)
            assert got[:3] == answer
            assert len(got) == 5
        assert await ask(socket, "next", "Heartbeat")
    (letter,) = dead_letters(client)
    assert letter["charge_point_id"] == "CP-1"
    raw = letter["raw"]
    # The processor's letters show the envelope.
    assert frame in raw
    (record,) = server.records("invalid_message")
    assert record["code"] == letter["code"]
    assert record["charge_point_id"] == "CP-1"


async def test_a_message_id_in_use_is_refused_and_the_first_call_is_answered(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw", ROLE="gateway")
    server.wait_healthy()
    async with plugged(server, "CP-1") as socket:
        await send(socket, 2, "m", "Heartbeat", {})
        await send(socket, 2, "m", "Authorize", {"idTag": "TAG"})
        refused = await receive(socket)
        assert refused[:3] == [4, "-1", "FormationViolation"]
        await soon(lambda: client.llen("ocpp:requests") == 1, "not queued")
        start_server(redis_url, "processor", ROLE="processor")
        assert (await receive(socket))[:2] == [3, "m"]
    assert not client.llen("ocpp:requests")


async def test_a_second_call_waits_for_the_answer_to_the_first_and_too_many_are_refused(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw", ROLE="gateway")
    server.wait_healthy()
    async with plugged(server, "CP-1") as socket:
        for number in range(11):
            await send(socket, 2, f"m{number}", "Heartbeat", {})
        for number in (9, 10):
            assert (await receive(socket))[:3] == [4, f"m{number}", "InternalError"]
        await soon(lambda: client.llen("ocpp:requests") == 1, "not one is queued")
        start_server(redis_url, "processor", ROLE="processor")
        for number in range(9):
            assert (await receive(socket))[:2] == [3, f"m{number}"]


async def test_a_frame_that_is_too_long_closes_the_connection(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url, "gw", MAX_MESSAGE_BYTES="2KiB")
    async with plugged(server, "CP-1") as socket:
        await socket.send(3000 * "x")
        with pytest.raises(ConnectionClosed) as closed:
            await receive(socket)
        assert closed.value.rcvd.code == 1009
    async with plugged(server, "CP-1") as socket:
        # Short enough for the WebSocket, too long for the queue once it is in its envelope.
        await send(socket, 2, "m", "DataTransfer", {"vendorId": "V", "data": 1950 * "x"})
        assert (await receive(socket))[:3] == [4, "m", "FormationViolation"]
        assert await ask(socket, "next", "Heartbeat")


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_responses_queued_before_the_connection_are_delivered(server: ServerProcess, client: redis.Redis) -> None:
    command(client, "CP-1", "c1", "ClearCache", {})
    async with plugged(server, "CP-1") as socket:
        assert (await receive(socket))[1] == "c1"


async def test_a_lost_wake_up_does_not_cost_the_command(server: ServerProcess, client: redis.Redis) -> None:
    """The list is looked at all the same, each second."""
    assert response_delivery.SWEEP_EVERY == 1
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "Heartbeat")
        # Not before the look that takes the answer out: that would find the command too.
        await soon(lambda: not client.llen("ocpp:responses:CP-1"), "the answer stays")
        command(client, "CP-1", "c1", "ClearCache", {})
        assert (await receive(socket))[1] == "c1"


async def test_one_command_is_outstanding_and_answers_overtake(server: ServerProcess, client: redis.Redis) -> None:
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "Heartbeat")
        for number in range(40):
            command(client, "CP-1", f"c{number}", "ClearCache", {})
        wake(client, "gw", "CP-1")
        assert (await receive(socket))[1] == "c0"
        # CALLs of both sides may cross; nothing but this answer comes before c0 is answered.
        assert await ask(socket, "2", "Heartbeat")
        for number in range(40):
            if number:
                assert (await receive(socket))[1] == f"c{number}"
            if number % 2:
                await send(socket, 4, f"c{number}", "GenericError", "", {})
            else:
                await send(socket, 3, f"c{number}", {"status": "Accepted"})
        await soon(lambda: server.inspect()["processed"] == 42, lambda: f"{server.inspect()}")


async def test_too_many_commands_are_refused_towards_their_sender(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw", ROLE="gateway")
    server.wait_healthy()
    async with plugged(server, "CP-1") as socket:
        await soon(lambda: client.exists("ocpp:session:CP-1"), "no session")
        for number in range(103):
            command(client, "CP-1", f"c{number}", "ClearCache", {})
        wake(client, "gw", "CP-1")
        assert (await receive(socket))[1] == "c0"
        await soon(lambda: client.llen("ocpp:requests") == 2, "not two are refused")
        refusals = [json.loads(raw) for raw in client.lrange("ocpp:requests", 0, -1)]
        assert {entry["message_id"] for entry in refusals} == {"c101", "c102"}
        assert all(entry["payload"][0] == 4 and entry["payload"][2] == "InternalError" for entry in refusals)


@pytest.mark.parametrize("expired", ["2020-01-01T00:00:00Z", 1_600_000_000_000], ids=["text", "number"])
async def test_an_expired_command_is_not_delivered(server: ServerProcess, client: redis.Redis, expired: Any) -> None:
    command(client, "CP-1", "old", "ClearCache", {}, expires_at=expired)
    command(client, "CP-1", "new", "ClearCache", {}, expires_at=int(time.time() * 1000) + 300_000)
    async with plugged(server, "CP-1") as socket:
        assert (await receive(socket))[1] == "new"
    await soon(lambda: not client.llen("ocpp:responses:CP-1"), "something is left")


async def test_a_command_that_is_never_answered_holds_up_the_next_until_it_expires(
    server: ServerProcess, client: redis.Redis
) -> None:
    async with plugged(server, "CP-1") as socket:
        # Time enough for the first one to arrive, on a machine that stands still for a moment too.
        soon_over = int(time.time() * 1000) + 6000
        command(client, "CP-1", "silent", "ClearCache", {}, expires_at=soon_over)
        command(client, "CP-1", "late", "ClearCache", {}, expires_at=soon_over)
        command(client, "CP-1", "next", "ClearCache", {})
        assert (await receive(socket))[1] == "silent"
        assert (await receive(socket))[1] == "next"
        assert time.time() * 1000 >= soon_over


async def test_rubbish_in_a_list_of_responses_costs_itself_only(server: ServerProcess, client: redis.Redis) -> None:
    for rubbish in (
        "no JSON",
        "{}",
        "[]",
        '{"payload":5}',
        '{"payload":[]}',
        '{"payload":[2,3]}',
        '{"payload":[3]}',
        '{"payload":"ab"}',
    ):
        client.lpush("ocpp:responses:CP-1", rubbish)
    command(client, "CP-1", "c1", "ClearCache", {}, expires_at="never")
    command(client, "CP-1", "c0", "ClearCache", {}, expires_at=10**400)
    command(client, "CP-1", "c2", "ClearCache", {})
    client.set("ocpp:responses:CP-2", "no list")
    async with plugged(server, "CP-2"), plugged(server, "CP-1") as socket:
        assert (await receive(socket))[1] == "c2"
        await soon(lambda: not client.llen("ocpp:responses:CP-1"), "something is left")
    assert len(server.records("invalid_response")) == 10


# --- peers ------------------------------------------------------------------------------------------------------------


async def test_a_silent_peer_is_pinged_and_closed(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    # The other one, in this process, must have time to answer its pings.
    server = start_server(redis_url, "gw", PING_INTERVAL="4s")
    async with plugged(server, "CP-ALIVE") as alive:
        reader, writer = await upgraded(server.ws_port, "CP-DEAD")
        await soon(lambda: client.scard("ocpp:active") == 2, "not both are connected")
        async with asyncio.timeout(2 * SOON):
            assert (await reader.readexactly(2)) == b"\x89\x00"  # a ping
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
        await soon(lambda: client.smembers("ocpp:active") == {b"CP-ALIVE"}, "the dead one stays")
        assert await ask(alive, "1", "Heartbeat")
        assert [record["charge_point_id"] for record in server.records("silent_peer")] == ["CP-DEAD"]
    writer.close()


async def test_a_slow_reader_is_closed(server: ServerProcess, client: redis.Redis) -> None:
    _, writer = await upgraded(server.ws_port, "CP-SLOW", limit=1024)
    await soon(lambda: client.exists("ocpp:session:CP-SLOW"), "not connected")
    answer = json.dumps({"payload": [3, "m", {"data": 100_000 * "x"}]})
    for _ in range(30):
        client.lpush("ocpp:responses:CP-SLOW", *(10 * [answer]))
    wake(client, "gw", "CP-SLOW")
    await soon(lambda: server.records("slow_reader"), "it is still served")
    await soon(lambda: not client.exists("ocpp:session:CP-SLOW"), "the session stays")
    assert client.llen("ocpp:responses:CP-SLOW") > 0
    writer.close()


async def test_a_flooder_that_never_reads_is_disconnected_and_logged_once(
    redis_url: str, start_server: StartServer, client: redis.Redis
) -> None:
    """Pings are answered by the WebSocket itself; their memory is bounded all the same."""
    server = start_server(redis_url, WS_MESSAGE_RATE="0")
    server.wait_healthy()
    _, writer = await upgraded(server.ws_port, "CP-FLOOD", limit=1024)
    await soon(lambda: server.records("connected"), "not connected")
    ping = b"\x89\xfd\0\0\0\0" + 125 * b"p"
    with contextlib.suppress(ConnectionError):
        # Far more than what the system holds back of the answers.
        for _ in range(300):
            writer.write(1000 * ping)
            await writer.drain()
    await soon(lambda: server.records("disconnected"), "it is still served")
    assert [record["charge_point_id"] for record in server.records("slow_reader")] == ["CP-FLOOD"]
    await soon(lambda: not client.exists("ocpp:session:CP-FLOOD"), "the session stays")
    writer.close()


async def test_active_is_mended_after_a_gateway_was_killed(
    server: ServerProcess, client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    other = start_server(redis_url, "other", ROLE="gateway")
    async with plugged(other, "CP-1"):
        await soon(lambda: client.exists("ocpp:session:CP-1"), "not connected")
        other.process.kill()
    client.pexpire("ocpp:session:CP-1", 50)
    await soon(lambda: not client.exists("ocpp:active"), "it is still in the set", within=2 * SOON)


def test_the_gateway_may_open_as_many_connections_as_the_system_lets_it(
    redis_url: str, make_server: StartServer
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = make_server(redis_url)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.wait_healthy()
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0] == hard


async def test_stopping_closes_with_1001_and_takes_the_sessions_away(
    server: ServerProcess, client: redis.Redis
) -> None:
    async with plugged(server, "CP-1") as socket, plugged(server, "CP-2") as other:
        await ask(socket, "1", "Heartbeat")
        await ask(other, "1", "Heartbeat")
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            await receive(socket)
        assert closed.value.rcvd.code == 1001
        assert await asyncio.to_thread(server.process.wait_for_exit, SOON) == 0
    assert not server.records("shutdown_late")
    assert not client.keys("ocpp:session:*")
    assert not client.exists("ocpp:active")
    assert not client.keys("ocpp:gateway:*")


# --- security profiles 1 and 2 ----------------------------------------------------------------------------------------


@pytest.fixture
def credentials(tmp_path: Path) -> str:
    digest = hashlib.sha256("sesám".encode()).hexdigest()
    path = tmp_path / "credentials"
    path.write_text(
        f"# who may connect\n\nCP-1:{digest}\nCP-2:{digest.upper()}\nCP-3:{hashlib.sha256(b'').hexdigest()}\n"
    )
    return str(path)


def basic(user: str, password: str, scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def test_a_charge_point_with_the_right_password_is_accepted(
    redis_url: str, start_server: StartServer, credentials: str
) -> None:
    server = start_server(redis_url, "gw", WS_CREDENTIALS=credentials)
    for charge_point_id in ("CP-1", "CP-2"):
        async with plugged(server, charge_point_id, additional_headers=basic(charge_point_id, "sesám")) as socket:
            assert await ask(socket, "1", "Heartbeat")
    for headers in (
        {},
        basic("CP-1", "wrong"),
        basic("CP-1", ""),
        basic("CP-2", "sesám"),
        basic("", "sesám"),
        basic("CP-1", "sesám", "Bearer"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic ???"},
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with plugged(server, "CP-1", additional_headers=headers):
                pass
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["WWW-Authenticate"].startswith("Basic ")
    with pytest.raises(InvalidStatus):
        async with plugged(server, "CP-UNKNOWN", additional_headers=basic("CP-UNKNOWN", "")):
            pass
    with pytest.raises(InvalidStatus):
        async with plugged(server, "CP-UNKNOWN", additional_headers=basic("CP-1", "sesám")):
            pass
    # Nothing of it stands in a log.
    assert "ses" not in json.dumps(server.records(), ensure_ascii=False)


@pytest.mark.parametrize("line", ["CP-1", "CP-1:5", ":" + 64 * "0", "A B:" + 64 * "0", "CP-1:" + 65 * "0"])
def test_credentials_that_cannot_be_used_stop_the_start(
    redis_url: str, make_server: StartServer, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "credentials"
    path.write_text(line)
    with pytest.raises(SettingError, match=r"WS_CREDENTIALS: line 1 of .* allowed are lines"):
        Settings(ws_credentials=str(path)).credentials()


async def test_tls_is_spoken_and_nothing_else(redis_url: str, start_server: StartServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    server = start_server(redis_url, "gw", TLS_CERTIFICATE=str(certificate), TLS_KEY=str(key))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    secure = f"wss://localhost:{server.ws_port}/ocpp/CP-1"
    async with dial(secure, ssl=trusting, subprotocols=SUBPROTOCOLS, proxy=None, host="127.0.0.1") as socket:
        assert (await ask(socket, "1", "BootNotification", BOOT))["status"] == "Accepted"
    with pytest.raises((InvalidMessage, OSError)):
        async with plugged(server, "CP-2"):
            pass
    with pytest.raises(ssl.SSLCertVerificationError):
        async with dial(secure, subprotocols=SUBPROTOCOLS, proxy=None, host="127.0.0.1"):
            pass
    async with dial(secure, ssl=trusting, subprotocols=SUBPROTOCOLS, proxy=None, host="127.0.0.1") as socket:
        assert await ask(socket, "2", "Heartbeat")


def test_tls_needs_both_files_and_they_must_fit(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.write_text("no certificate")
    with pytest.raises(SettingError, match="TLS_KEY: '' cannot be used"):
        Settings.from_environment({"TLS_CERTIFICATE": str(file)})
    with pytest.raises(SettingError, match="TLS_CERTIFICATE: '' cannot be used"):
        Settings.from_environment({"TLS_KEY": str(file)})
    with pytest.raises(SettingError, match="WS_CREDENTIALS"):
        Settings.from_environment({"WS_CREDENTIALS": str(tmp_path / "nothing")})
    settings = Settings.from_environment({"TLS_CERTIFICATE": str(file), "TLS_KEY": str(file)})
    with pytest.raises(SettingError, match="TLS_CERTIFICATE"):
        settings.tls()
