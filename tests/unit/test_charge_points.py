"""Simulated charge points against a small gateway on real sockets."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.utils import accept_key

from ChargePointLibrary import ChargePointLibrary
from ocpp_resilience import background
from ocpp_resilience.charge_points.behaviour import Behaviour, How
from ocpp_resilience.charge_points.errors import CallRefused, ConnectFailed, NoAnswer, NotConnected
from ocpp_resilience.charge_points.gateway import Gateway, Spelling
from ocpp_resilience.errors import ExpectationFailed, UsageError, WaitTimeout
from ocpp_resilience.ocpp.frames import Direction, MessageType, read_frame
from ocpp_resilience.profile import Target
from ocpp_resilience.waiting import wait_until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from fake_gateway import FakeGateway, fake_gateway

SHORT = timedelta(milliseconds=200)
PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with fake_gateway() as made:
        yield made
    background.close()


@pytest.fixture
def library(gateway: FakeGateway) -> Iterator[ChargePointLibrary]:
    with ChargePointLibrary() as made:
        made.use_gateway(gateway.url)
        yield made


def accept_and_say_nothing_more(server: socket.socket, enough: threading.Event) -> None:
    """Open one WebSocket by hand, and read no frames from it."""
    connection, _ = server.accept()
    with connection:
        request = connection.recv(65536).decode()
        key = next(line.split(": ")[1] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: ocpp1.6\r\nSec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        enough.wait(30)


def until_sent(gateway: FakeGateway, point: str, count: int) -> list[Any]:
    """The frames of a charge point, once there are so many."""
    return wait_until(
        lambda: frames if len(frames := gateway.frames(point)) >= count else None,
        timeout=PATIENCE,
        failure=lambda: f"{point} sent {gateway.frames(point)}",
    )


def command(gateway: FakeGateway, point: str, action: str, payload: Any = None, message_id: str = "c1") -> Any:
    """Send a command and return the frame that answers it."""
    before = len(gateway.frames(point))
    gateway.send(point, [2, message_id, action, {} if payload is None else payload])
    return until_sent(gateway, point, before + 1)[before]


class TestConnecting:
    def test_the_id_is_new_and_the_path_and_subprotocol_are_the_targets(
        self, gateway: FakeGateway, library: ChargePointLibrary
    ) -> None:
        point = library.connect_charge_point()
        library.charge_point_should_be_connected()
        assert point in gateway.connections
        assert gateway.connections[point].subprotocol == "ocpp1.6"
        assert library.get_connected_charge_points() == [point]
        assert library.get_connection_time() > timedelta(0)

    def test_an_id_is_percent_encoded(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        library.connect_charge_point("CP/1?é%")
        library.send_heartbeat()
        assert "CP/1?é%" in gateway.connections
        assert Gateway("ws://h:1", Target.load("reference")).url_of("a/b") == "ws://h:1/ocpp/a%2Fb"

    def test_the_id_can_be_spelled_in_other_ways(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        library.connect_charge_point("CP/+1")
        for spelling, expected in ((Spelling.PLAIN, "/ocpp/CP%2F+1"), (Spelling.ALL, "/ocpp/%43%50%2f%2b%31")):
            library.abort_charge_point_connection()
            library.reconnect_charge_point(spelling=spelling)
            request = gateway.connections["CP/+1"].request
            assert request is not None
            assert request.path == expected

    def test_a_password_is_sent(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        gateway.password = "secret"
        library.connect_charge_point("CP-1", password="secret")
        with pytest.raises(ConnectFailed, match=r"^CP-2 was refused at ws://.*/ocpp/CP-2 with HTTP 401: wrong passwo"):
            library.connect_charge_point("CP-2", alias="second")
        assert library.connection_should_be_refused("CP-2", password="wrong", status=401) == 401

    def test_a_refusal_that_does_not_come_is_a_failure(self, library: ChargePointLibrary) -> None:
        with pytest.raises(ExpectationFailed, match=r"^CP-1 should have been refused with HTTP 401, but it was conn"):
            library.connection_should_be_refused("CP-1", status=401)

    def test_the_gateways_certificate_is_checked(self, tmp_path: Path) -> None:
        authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with fake_gateway(tls) as gateway, ChargePointLibrary() as library:
            library.use_gateway(gateway.url)
            library.connect_charge_point("CP-1", ca=tmp_path / "ca.pem")
            assert library.send_heartbeat()
            with pytest.raises(ConnectFailed, match="certificate verify failed"):
                library.connect_charge_point("CP-2", alias="second")
            assert library.connection_should_be_refused() is None
            library.use_gateway(gateway.url.replace("wss:", "ws:"), alias="plain")
            assert library.connection_should_be_refused(gateway="plain") is None
            with pytest.raises(UsageError, match=r"There are no certificates in .*none\.pem"):
                library.connect_charge_point("CP-3", alias="third", ca=tmp_path / "none.pem")

    def test_the_choice_of_a_subprotocol_is_judged(self, library: ChargePointLibrary) -> None:
        wrong = library.find_wrong_subprotocols()
        # The fake gateway speaks one version, and the target three.
        assert "of ocpp0.9, ocpp2.1, ocpp1.6 the gateway chose ocpp1.6, expected ocpp2.1" in wrong
        assert any(each.startswith("of ocpp0.9, ocpp2.1, ocpp2.0.1 the gateway chose none") for each in wrong)
        assert not any(each.startswith("of ocpp0.9, ocpp1.6,") for each in wrong)

    def test_a_foreign_subprotocol_is_refused(self, library: ChargePointLibrary) -> None:
        assert library.connection_should_be_refused(subprotocols=["ocpp2.0.1"]) == 400
        with pytest.raises(ExpectationFailed, match=r"^Expected a refusal with HTTP 403\. CP.* with HTTP 400"):
            library.connection_should_be_refused(subprotocols=["ocpp2.0.1"], status=403)

    def test_a_closed_port_is_a_failure_without_a_status(self, library: ChargePointLibrary) -> None:
        library.use_gateway("ws://127.0.0.1:1", alias="nobody")
        with pytest.raises(ConnectFailed, match=r"^CP-1 could not connect to ws://127\.0\.0\.1:1/ocpp/CP-1: ") as seen:
            library.connect_charge_point("CP-1", gateway="nobody")
        assert seen.value.status is None

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ws://", "127.0.0.1:1"])
    def test_an_address_that_is_none_is_refused(self, library: ChargePointLibrary, url: str) -> None:
        with pytest.raises(UsageError, match="is not a gateway address"):
            library.use_gateway(url)

    def test_a_charge_point_connects_again_with_all_that_it_saw(
        self, gateway: FakeGateway, library: ChargePointLibrary
    ) -> None:
        point = library.connect_charge_point()
        library.send_heartbeat()
        with pytest.raises(UsageError, match="is connected already under the alias 'charge point'"):
            library.connect_charge_point()
        library.disconnect_charge_point()
        library.reconnect_charge_point()
        assert len(library.get_received_frames()) == 1
        library.send_heartbeat()
        with pytest.raises(UsageError, match=rf"^{point} is connected already\.$"):
            library.reconnect_charge_point()
        library.disconnect_charge_point()
        assert library.connect_charge_point() != point, "a new one takes the alias"
        assert library.get_received_frames() == []
        library.remove_charge_points()
        with pytest.raises(UsageError, match="There is no charge point 'charge point'"):
            library.send_heartbeat()

    def test_the_close_code_is_known(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        gateway.hang_up(point, 1001, "going away")
        assert library.charge_point_should_be_disconnected(code=1001) == 1001
        with pytest.raises(
            ExpectationFailed, match=r"with code 1000, but its connection was ended by the gateway with"
        ):
            library.charge_point_should_be_disconnected(code=1000)
        with pytest.raises(ExpectationFailed, match=r"ended by the gateway with code 1001 \(going away\)\.$"):
            library.charge_point_should_be_connected()
        with pytest.raises(NotConnected, match=r"^CP-.* is not connected"):
            library.send_heartbeat()

    def test_a_cut_has_no_closing_handshake(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        library.abort_charge_point_connection()
        library.charge_point_should_be_disconnected(code=1006)
        background.run(gateway.connections[point].wait_closed)
        assert gateway.connections[point].close_code == 1006

    def test_a_charge_point_that_stays_is_a_failure(self, library: ChargePointLibrary) -> None:
        library.connect_charge_point("CP-1")
        with pytest.raises(WaitTimeout, match=r"^CP-1 should have been disconnected, but it is connected \(waited"):
            library.charge_point_should_be_disconnected(timeout=SHORT)

    def test_an_unknown_alias_is_refused(self, library: ChargePointLibrary) -> None:
        with pytest.raises(UsageError, match="There is no charge point 'x'; call `Connect Charge Point` first"):
            library.send_heartbeat(alias="x")
        library.connect_charge_point("CP-1")
        with pytest.raises(UsageError, match="There is no charge point 'x'; there is only 'charge point'"):
            library.send_heartbeat(alias="x")
        assert library.send_heartbeat(alias="CP-1")

    def test_everything_is_disconnected_at_the_end(self, gateway: FakeGateway) -> None:
        with ChargePointLibrary() as library:
            library.use_gateway(gateway.url)
            point = library.connect_charge_point()
            others = library.connect_charge_points(20)
        for name in (point, *others):
            background.run(gateway.connections[name].wait_closed)
            assert gateway.connections[name].close_code == 1000


class TestMessages:
    def test_each_keyword_sends_its_message(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        assert library.boot(firmwareVersion="1.2")["status"] == "Accepted"
        library.send_heartbeat()
        library.send_status("Faulted", connector=2, error_code="GroundFailure")
        assert library.send_authorize("TAG")["idTagInfo"]["status"] == "Accepted"
        assert library.start_transaction(meter=5)["transactionId"] == 7
        library.send_meter_values(7, meter=9)
        library.stop_transaction(7, meter=11)
        library.send_data_transfer("hello", message="m")
        frames = gateway.frames(point)
        assert [frame[2] for frame in frames] == [
            "BootNotification",
            "Heartbeat",
            "StatusNotification",
            "Authorize",
            "StartTransaction",
            "MeterValues",
            "StopTransaction",
            "DataTransfer",
        ]
        assert len({frame[1] for frame in frames}) == len(frames)
        assert frames[0][3]["firmwareVersion"] == "1.2"
        assert frames[2][3] == {"connectorId": 2, "errorCode": "GroundFailure", "status": "Faulted"}
        assert frames[5][3]["transactionId"] == 7
        assert frames[6][3]["meterStop"] == 11
        assert frames[7][3] == {"vendorId": "org.example.acceptance", "messageId": "m", "data": "hello"}

    def test_a_callerror_is_a_failure_but_for_send_call(
        self, gateway: FakeGateway, library: ChargePointLibrary
    ) -> None:
        gateway.refused.add("Heartbeat")
        library.connect_charge_point("CP-1")
        with pytest.raises(CallRefused, match=r"^Heartbeat of CP-1 .* with the CALLERROR NotSupported: not here\.$"):
            library.send_heartbeat()
        answer = library.send_call("Heartbeat")
        assert (answer.kind, answer.code, answer.description) == (MessageType.CALLERROR, "NotSupported", "not here")
        assert answer.seconds > 0

    def test_silence_is_a_failure_that_shows_other_frames(
        self, gateway: FakeGateway, library: ChargePointLibrary
    ) -> None:
        gateway.silent.add("Heartbeat")
        library.connect_charge_point("CP-1")
        expected = r"^Heartbeat of CP-1 \(message id .*\) was not answered within 200 ms\. Since then it received noth"
        with pytest.raises(NoAnswer, match=expected):
            library.send_heartbeat(timeout=SHORT)
        gateway.silent.clear()
        library.send_heartbeat()

    def test_a_lost_connection_fails_the_call_at_once(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        gateway.silent.add("Heartbeat")
        point = library.connect_charge_point()
        waiting = background.start(library.points.get(point).call, "Heartbeat", {}, limit=10 * PATIENCE)
        until_sent(gateway, point, 1)
        gateway.hang_up(point, 1011)
        with pytest.raises(NotConnected, match="ended by the gateway with code 1011"):
            waiting.result(PATIENCE)

    def test_one_call_is_outstanding_at_a_time(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        gateway.silent.add("Heartbeat")
        point = library.connect_charge_point()
        made = library.points.get(point)
        first = background.start(made.call, "Heartbeat", {}, limit=0.2)
        second = background.start(made.call, "BootNotification", {}, limit=PATIENCE)
        until_sent(gateway, point, 1)
        with pytest.raises(NoAnswer):
            first.result(PATIENCE)
        answer = second.result(PATIENCE)
        assert answer.payload["status"] == "Accepted"
        assert [frame.action for frame in made.seen(direction=Direction.SENT)] == ["Heartbeat", "BootNotification"]
        first, second = made.seen(direction=Direction.SENT)[:2]
        # Timers may be a little early.
        assert second.at - first.at >= 0.19

    def test_unencodable_values_are_refused(self, library: ChargePointLibrary) -> None:
        points = library.connect_charge_points(3)
        with pytest.raises(UsageError, match=r"^The message cannot be written as JSON: "):
            library.send_call("Heartbeat", value=object(), alias=points[0])
        with pytest.raises(UsageError, match=r"^The message cannot be written as JSON: "):
            library.send_call_from_all("Heartbeat", points, payload={"value": float("nan")})
        with pytest.raises(UsageError, match="at least one charge point"):
            library.send_call_from_all("Heartbeat", [])

    def test_a_gateway_that_does_not_read_does_not_block_the_keyword(self, library: ChargePointLibrary) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            library.use_gateway(f"ws://127.0.0.1:{server.getsockname()[1]}", alias="deaf")
            enough = threading.Event()
            serving = threading.Thread(target=accept_and_say_nothing_more, args=(server, enough))
            serving.start()
            library.connect_charge_point("CP-1", alias="deaf", gateway="deaf")
            with pytest.raises(NoAnswer, match="was not answered within 200 ms"):
                library.send_call("DataTransfer", data="x" * 20_000_000, alias="deaf", timeout=SHORT)
            began = time.monotonic()
            library.remove_charge_points()
            assert time.monotonic() - began < 5
            enough.set()
            serving.join()

    def test_a_raw_frame_is_sent_as_it_is(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        library.send_raw_frame("not json")
        sent = library.send_raw_frame(b"\xff\x00")
        library.send_raw_frame('[2,"id-1","Heartbeat",{}]')
        assert library.answer_should_be_received("id-1", since=sent).kind is MessageType.CALLRESULT
        assert gateway.received[point][:2] == ["not json", b"\xff\x00"]
        expected = r"should have received the CALLERROR NotImplemented to id-1\. It received the answer to id-1"
        with pytest.raises(WaitTimeout, match=expected):
            library.answer_should_be_received("id-1", code="NotImplemented", timeout=SHORT)

    def test_a_whole_session(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        session = library.charge_whole_session(energy=300, meter_values=2)
        assert (session.transaction_id, session.meter_stop, len(session.answers)) == (7, 1300, 9)
        frames = gateway.frames(point)
        values = [
            frame[3]["meterValue"][0]["sampledValue"][0]["value"] for frame in frames if frame[2] == "MeterValues"
        ]
        assert values == ["1100", "1200"]
        assert [frame[3]["status"] for frame in frames if frame[2] == "StatusNotification"] == [
            "Preparing",
            "Charging",
            "Available",
        ]

    def test_a_session_that_is_not_accepted_is_a_failure(
        self, gateway: FakeGateway, library: ChargePointLibrary
    ) -> None:
        gateway.answers["Authorize"] = {"idTagInfo": {"status": "Blocked"}}
        library.connect_charge_point("CP-1")
        with pytest.raises(ExpectationFailed, match=r"^The answer to Authorize of CP-1 .*: Blocked is not Accepted\.$"):
            library.charge_whole_session()


class TestMany:
    def test_many_connect_and_send_at_the_same_time(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        points = library.connect_charge_points(100, prefix="MANY")
        assert len(set(points)) == 100
        assert library.all_charge_points_should_be_connected(points) == 100
        assert library.boot_all(points).answered == 100
        made = library.send_call_from_all("Heartbeat", points, each=3)
        assert (made.sent, made.answered, made.unanswered) == (300, 300, 0)
        assert 0 < made.median <= made.p99 <= made.slowest
        assert len(library.charge_whole_sessions(points[:10])) == 10

    def test_unanswered_messages_are_counted_and_shown(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        gateway.silent.add("Heartbeat")
        gateway.refused.add("Authorize")
        points = library.connect_charge_points(3)
        made = library.send_call_from_all("Heartbeat", points, timeout=SHORT)
        with pytest.raises(ExpectationFailed, match=r"^0 of 3 messages answered, 0 refused, 3 unanswered .* The first"):
            library.all_calls_should_be_answered(made)
        made = library.send_call_from_all("Authorize", points)
        assert (made.refused, made.codes) == (3, {"NotSupported": 3})
        with pytest.raises(ExpectationFailed, match=r"3 of 3 charging sessions did not end"):
            library.charge_whole_sessions(points)
        gateway.hang_up(points[1], 1012)
        library.charge_point_should_be_disconnected(alias=points[1])
        with pytest.raises(ExpectationFailed, match=r"^1 of 3 charge points are not connected\. .* with code 1012"):
            library.all_charge_points_should_be_connected(points)

    def test_if_some_cannot_connect_none_stays(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        gateway.password = "secret"
        with pytest.raises(ExpectationFailed, match=r"^3 of 3 charge points could not connect\. The first: .*HTTP 401"):
            library.connect_charge_points(3)
        assert library.get_connected_charge_points() == []


class TestCommands:
    def test_each_is_accepted_sensibly(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        for action in ("RemoteStartTransaction", "RemoteStopTransaction", "TriggerMessage", "Reset", "ClearCache"):
            assert command(gateway, point, action) == [3, "c1", {"status": "Accepted"}]
        assert command(gateway, point, "UnlockConnector")[2] == {"status": "Unlocked"}
        assert command(gateway, point, "ChangeAvailability")[2] == {"status": "Accepted"}
        assert command(gateway, point, "MakeCoffee")[:3] == [4, "c1", "NotImplemented"]
        assert library.count_commands(expected=8) == 8

    def test_the_configuration_is_told_and_changed(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        library.set_charge_point_configuration("Serial", "S-1", readonly=True)
        told = command(gateway, point, "GetConfiguration", {"key": ["Serial", "Nothing"]})
        assert told[2] == {
            "configurationKey": [{"key": "Serial", "readonly": True, "value": "S-1"}],
            "unknownKey": ["Nothing"],
        }
        everything = command(gateway, point, "GetConfiguration")[2]
        assert "unknownKey" not in everything
        assert len(everything["configurationKey"]) > 5
        for key, status in (("HeartbeatInterval", "Accepted"), ("Serial", "Rejected"), ("Nothing", "NotSupported")):
            assert command(gateway, point, "ChangeConfiguration", {"key": key, "value": "60"})[2] == {"status": status}
        assert library.get_charge_point_configuration()["HeartbeatInterval"] == "60"

    def test_answers_follow_the_script(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        library.let_charge_points_answer("Reset", How.REJECT)
        assert command(gateway, point, "Reset")[2] == {"status": "Rejected"}
        assert command(gateway, point, "ClearCache")[2] == {"status": "Accepted"}
        library.let_charge_points_answer("Reset", How.CALLERROR, code="InternalError", description="no", times=1)
        assert command(gateway, point, "Reset") == [4, "c1", "InternalError", "no", {}]
        assert command(gateway, point, "Reset")[2] == {"status": "Rejected"}
        library.let_charge_points_answer("Reset", payload={"status": "Scheduled"})
        assert command(gateway, point, "Reset")[2] == {"status": "Scheduled"}
        library.let_charge_points_answer("Reset", How.UNKNOWN_ID)
        assert command(gateway, point, "Reset")[1].startswith("unknown-")
        library.reset_charge_point_answers()
        assert command(gateway, point, "Reset")[2] == {"status": "Accepted"}
        with pytest.raises(UsageError, match="'GetDiagnostics' has no refusing answer"):
            library.let_charge_points_answer("GetDiagnostics", How.REJECT)

    def test_answers_can_come_late_or_twice_or_never(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        library.let_charge_points_answer(delay=timedelta(milliseconds=300))
        began = time.monotonic()
        command(gateway, point, "Reset", message_id="late")
        assert time.monotonic() - began >= 0.3
        library.let_charge_points_answer(how=How.TWICE)
        gateway.send(point, [2, "twice", "Reset", {}])
        assert [frame[1] for frame in until_sent(gateway, point, 3)] == ["late", "twice", "twice"]
        library.let_charge_points_answer(how=How.SILENCE)
        gateway.send(point, [2, "never", "Reset", {}])
        library.command_should_be_received("Reset", count=3)
        library.send_heartbeat()
        assert [frame[1] for frame in gateway.frames(point)][:3] == ["late", "twice", "twice"]
        assert len(gateway.frames(point)) == 4

    def test_a_charge_point_can_hang_up_instead(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        library.let_charge_points_answer("Reset", How.DISCONNECT)
        gateway.send(point, [2, "c1", "Reset", {}])
        library.charge_point_should_be_disconnected(code=1001)
        background.run(gateway.connections[point].wait_closed)
        assert gateway.connections[point].close_code == 1001

    def test_a_charge_point_can_carry_out_accepted_commands(
        self, gateway: FakeGateway, library: ChargePointLibrary
    ) -> None:
        point = library.connect_charge_point()
        library.let_charge_points_answer(how=How.OBEY)
        for action, payload in (
            ("TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 2}),
            ("RemoteStartTransaction", {"connectorId": 3, "idTag": "TAG"}),
            ("RemoteStopTransaction", {"transactionId": 7}),
        ):
            before = len(gateway.frames(point))
            assert command(gateway, point, action, payload)[2] == {"status": "Accepted"}
            until_sent(gateway, point, before + 2)
        sent = [frame for frame in gateway.frames(point) if frame[0] == 2]
        assert [frame[2] for frame in sent] == ["StatusNotification", "StartTransaction", "StopTransaction"]
        assert sent[0][3]["connectorId"] == 2
        assert (sent[1][3]["connectorId"], sent[1][3]["idTag"]) == (3, "TAG")
        assert (sent[2][3]["transactionId"], sent[2][3]["reason"]) == (7, "Remote")
        assert command(gateway, point, "Reset")[2] == {"status": "Accepted"}
        library.charge_point_should_be_disconnected(code=1000)

    def test_received_frames_can_be_asserted_on(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point("CP-1")
        mark = library.mark_frames()
        library.no_command_should_be_received()
        gateway.send(point, [2, "c1", "ChangeConfiguration", {"key": "A", "value": "1"}])
        frame = library.command_should_be_received("ChangeConfiguration", key="A", since=mark)
        assert (frame.payload["value"], frame.message_id) == ("1", "c1")
        expected = (
            r"have received ChangeConfiguration with \{'key': 'B'\}\. Of commands it received ChangeConfiguration "
        )
        with pytest.raises(WaitTimeout, match=expected):
            library.command_should_be_received("ChangeConfiguration", key="B", timeout=SHORT)
        with pytest.raises(WaitTimeout, match=r"^CP-1 should have received Reset\. Of commands it received nothing"):
            library.command_should_be_received("Reset", since=frame, timeout=SHORT)
        with pytest.raises(WaitTimeout, match=r"^CP-1 should have received no command, but it received ChangeConfi"):
            library.no_command_should_be_received()
        wait_until(lambda: library.get_sent_frames(kind=MessageType.CALLRESULT) or None, timeout=PATIENCE, failure=str)

    def test_an_answer_without_a_caller_is_counted(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        point = library.connect_charge_point()
        for frame in ([3, "nobody", {}], "not json", b"\x00", [9, "a", "b"]):
            gateway.send(point, frame)
        library.send_heartbeat()
        assert library.points.get(point).unmatched == 4
        assert len(library.get_received_frames()) == 5


class TestAFleet:
    def test_it_is_answered_once_each_has_one_more_answer(
        self, gateway: FakeGateway, library: ChargePointLibrary
    ) -> None:
        points = library.start_charging_fleet(3, pause=timedelta(seconds=0.3))
        before = {point: len(library.get_received_frames(alias=point)) for point in points}
        library.wait_until_fleet_is_answered()
        after = {point: len(library.get_received_frames(alias=point)) for point in points}
        assert all(after[point] > before[point] for point in points), (before, after)
        assert library.stop_charging_fleet().problems == []

    def test_those_without_an_answer_are_named(self, gateway: FakeGateway, library: ChargePointLibrary) -> None:
        _, unheard = library.start_charging_fleet(2)
        gateway.unheard = {unheard}
        fleet = library.start_charging_fleet.__self__._get("fleet")
        fleet._limit = 0.3
        with pytest.raises(ExpectationFailed) as caught:
            wait_until(  # an answer may be on its way
                library.wait_until_fleet_is_answered, timeout=PATIENCE, failure=lambda: "each one was answered"
            )
        assert str(caught.value) == f"1 of 2 charge points of the fleet got no answer within 300 ms: {unheard}."
        fleet._limit, gateway.unheard = PATIENCE, set()
        library.wait_until_fleet_is_answered()
        assert library.stop_charging_fleet().answered

    def test_one_that_is_not_there_is_a_mistake_of_the_test(self, library: ChargePointLibrary) -> None:
        with pytest.raises(UsageError, match=r"^There is no fleet 'fleet'; call `Start Charging Fleet` first\.$"):
            library.wait_until_fleet_is_answered()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        "",
        "null",
        "[]",
        "{}",
        "[2]",
        '[2,"a","b"]',
        '[2,1,"b",{}]',
        '[3,"a",{},1]',
        '[true,"a",{}]',
        "[" * 9999,
    ],
)
def test_any_frame_can_be_read(data: str | bytes) -> None:
    frame = read_frame(data, direction=Direction.RECEIVED, number=1, at=0, time=0)
    assert frame.kind is None
    assert str(frame)
    assert frame.timestamp == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize("key", [None, 5, "text", {"a": 1}, [["HeartbeatInterval"], None, 7]])
def test_a_command_with_keys_of_a_wrong_shape_is_answered(key: Any) -> None:
    """The gateway broke the rules; its charge point neither fails nor stays silent."""
    behaviour = Behaviour()
    accepted = behaviour.accept("GetConfiguration", {"key": key})
    assert accepted is not None
    assert len(accepted["configurationKey"]) == len(behaviour.configuration)
    assert behaviour.reject("GetConfiguration", {"key": key}) == {"configurationKey": [], "unknownKey": []}
