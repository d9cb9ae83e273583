"""The gateway, with clients that others wrote: the `ocpp` package's charge point and plain `websockets`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ocpp.v16
import pytest
import redis
from conftest import StartServer
from harness import NOW, ServerProcess, soon
from ocpp.routing import on
from ocpp.v16 import call as request
from ocpp.v16 import call_result, enums
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosedError

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


async def receive(socket: ClientConnection, within: float = 5.0) -> Any:
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


@pytest.fixture
def server(redis_url: str, start_server: StartServer) -> ServerProcess:
    return start_server(redis_url, "gw")


class Point(ocpp.v16.ChargePoint):
    """A charge point that does what it is told."""

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


async def test_text_that_is_not_utf8_costs_the_connection(server: ServerProcess) -> None:
    async with plugged(server, "CP-utf8") as socket:
        await socket.send(b'["\xff"]', text=True)
        with pytest.raises(ConnectionClosedError):
            await receive(socket)
        assert (socket.close_code, socket.close_reason) == (1007, "the text is not UTF-8")
    assert [each["charge_point_id"] for each in server.records("invalid_message")] == ["CP-utf8"]
    async with plugged(server, "CP-utf8") as socket:
        await ask(socket, "h1", "Heartbeat")
