"""Simulated charge points against a central system that we did not write: that of the `ocpp` package.

It checks every message and every answer against the official schemas.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import ocpp.v16
import pytest
from ocpp.routing import on
from ocpp.v16 import call as request
from ocpp.v16 import call_result
from ocpp.v16.enums import Action
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from ChargePointLibrary import ChargePointLibrary
from ocpp_resilience import background
from ocpp_resilience.charge_points.behaviour import How
from ocpp_resilience.clock import rfc3339

ACCEPTED = {"status": "Accepted"}


class Central(ocpp.v16.ChargePoint):
    """The central system's end of one connection."""

    @on(Action.boot_notification)
    def on_boot(self, **_: Any) -> Any:
        return call_result.BootNotification(current_time=rfc3339(), interval=300, status="Accepted")

    @on(Action.heartbeat)
    def on_heartbeat(self) -> Any:
        return call_result.Heartbeat(current_time=rfc3339())

    @on(Action.status_notification)
    def on_status(self, **_: Any) -> Any:
        return call_result.StatusNotification()

    @on(Action.authorize)
    def on_authorize(self, **_: Any) -> Any:
        return call_result.Authorize(id_tag_info=ACCEPTED)

    @on(Action.start_transaction)
    def on_start(self, **_: Any) -> Any:
        return call_result.StartTransaction(transaction_id=42, id_tag_info=ACCEPTED)

    @on(Action.meter_values)
    def on_values(self, **_: Any) -> Any:
        return call_result.MeterValues()

    @on(Action.stop_transaction)
    def on_stop(self, **_: Any) -> Any:
        return call_result.StopTransaction(id_tag_info=ACCEPTED)

    @on(Action.data_transfer)
    def on_data(self, **_: Any) -> Any:
        return call_result.DataTransfer(status="UnknownVendorId")


class CentralSystem:
    """Serves charge points on a free port."""

    def __init__(self) -> None:
        self.points: dict[str, Central] = {}
        self._server: Server | None = None

    async def open(self) -> None:
        self._server = await serve(self._serve, "127.0.0.1", 0, subprotocols=[Subprotocol("ocpp1.6")])

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        point = connection.request.path.rpartition("/")[2]
        self.points[point] = Central(point, connection, response_timeout=30)
        # `start` ends with the exception of the closed connection.
        await asyncio.gather(self.points[point].start(), return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def ask(self, point: str, command: Any) -> Any:
        """Send a command; its answer is checked against the schema."""
        return background.run(self.points[point].call, command, suppress=False, timeout=60)


@pytest.fixture
def central() -> Iterator[CentralSystem]:
    system = CentralSystem()
    background.run(system.open)
    yield system
    background.run(system.close)
    background.close()


@pytest.fixture
def library(central: CentralSystem) -> Iterator[ChargePointLibrary]:
    with ChargePointLibrary() as made:
        made.use_gateway(central.url)
        yield made


def test_every_message_is_as_the_schemas_say(library: ChargePointLibrary) -> None:
    library.connect_charge_point()
    assert library.charge_whole_session().transaction_id == 42
    assert library.send_data_transfer("hello", message="m") == {"status": "UnknownVendorId"}
    library.send_heartbeat()
    assert library.protocol_should_have_been_kept() == 12
    wrong = library.send_call("StatusNotification", connectorId="one")
    assert wrong.code in {"TypeConstraintViolation", "FormationViolation"}


@pytest.mark.parametrize("how", [How.ACCEPT, How.REJECT])
def test_every_answer_is_as_the_schemas_say(central: CentralSystem, library: ChargePointLibrary, how: How) -> None:
    point = library.connect_charge_point()
    library.let_charge_points_answer(how=how)
    for command, reply in (
        (request.ChangeAvailability(connector_id=1, type="Operative"), "Rejected"),
        (request.ClearCache(), "Rejected"),
        (request.RemoteStartTransaction(id_tag="TAG"), "Rejected"),
        (request.RemoteStopTransaction(transaction_id=42), "Rejected"),
        (request.Reset(type="Soft"), "Rejected"),
        (request.TriggerMessage(requested_message="Heartbeat"), "Rejected"),
        (request.UnlockConnector(connector_id=1), "UnlockFailed"),
        (request.ChangeConfiguration(key="HeartbeatInterval", value="60"), "Rejected"),
        (request.DataTransfer(vendor_id="V"), "Rejected"),
        (request.SendLocalList(list_version=1, update_type="Full"), "Failed"),
        (request.CancelReservation(reservation_id=1), "Rejected"),
        (request.GetCompositeSchedule(connector_id=1, duration=60), "Rejected"),
        (request.ClearChargingProfile(), "Unknown"),
    ):
        accepted = "Unlocked" if isinstance(command, request.UnlockConnector) else "Accepted"
        assert central.ask(point, command).status == (accepted if how is How.ACCEPT else reply), command


def test_the_configuration_is_as_the_schemas_say(central: CentralSystem, library: ChargePointLibrary) -> None:
    point = library.connect_charge_point()
    assert len(central.ask(point, request.GetConfiguration()).configuration_key) > 5
    some = central.ask(point, request.GetConfiguration(key=["HeartbeatInterval", "Nothing"]))
    assert [each["key"] for each in some.configuration_key] == ["HeartbeatInterval"]
    assert some.unknown_key == ["Nothing"]
    assert central.ask(point, request.GetLocalListVersion()).list_version == 0
    library.let_charge_points_answer(how=How.REJECT)
    assert central.ask(point, request.GetConfiguration(key=["HeartbeatInterval"])).unknown_key == ["HeartbeatInterval"]


def test_a_callerror_reaches_its_caller(central: CentralSystem, library: ChargePointLibrary) -> None:
    point = library.connect_charge_point()
    library.let_charge_points_answer(how=How.CALLERROR, code="InternalError", description="broken")
    with pytest.raises(ocpp.exceptions.InternalError, match="broken"):
        central.ask(point, request.ClearCache())


def test_commands_are_obeyed(central: CentralSystem, library: ChargePointLibrary) -> None:
    point = library.connect_charge_point()
    library.let_charge_points_answer(how=How.OBEY)
    messages = ("BootNotification", "Heartbeat", "MeterValues", "StatusNotification")
    for message in messages:
        mark = library.mark_frames()
        central.ask(point, request.TriggerMessage(requested_message=message))
        sent = library.frame_should_be_sent(message, since=mark)
        assert library.answer_should_be_received(sent.message_id, since=mark).code is None
    library.protocol_should_have_been_kept()
