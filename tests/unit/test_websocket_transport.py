"""Messages over charge points' WebSockets: refusals without an id, repeated messages, the last connection."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp.model import Exchange, Outcome
from ocpp_resilience.ocpp.model.v16 import Model16
from ocpp_resilience.profile import Target
from ocpp_resilience.transport.invalid_cases import load_cases
from ocpp_resilience.transport.messages import MessageFormat, SentMessage
from ocpp_resilience.transport.websocket import WebSocketTransport
from ocpp_resilience.waiting import wait_until

PROFILE = """
name: small
start: {command: [small]}
queue: {kind: none}
gateway: {path: "/{charge_point_id}"}
timeouts: {answer: 2}
"""


class Gateway:
    """Answers as its rules say: a refusal without an id to unknown types, later than anybody waits to slow ones."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.received: list[Any] = []
        self.port = 0
        self._server: Server | None = None

    def start(self) -> None:
        self._server = serve(self._talk, "127.0.0.1", self.port, subprotocols=["ocpp1.6"])  # type: ignore[list-item]
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _talk(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            for text in connection:
                frame = json.loads(text)
                self.received.append(frame)
                if frame[0] != 2:
                    time.sleep(1.2 if frame[0] == 9 else 0)
                    connection.send('[4,"-1","MessageTypeNotSupported","",{}]')
                elif frame[2] != "Authorize":
                    connection.send(json.dumps([3, frame[1], {"currentTime": "2026-01-01T00:00:00Z"}]))
        except ConnectionClosed:
            pass

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            for connection in self.connections:
                connection.close()
            self._server = None


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    made.start()
    yield made
    made.stop()


def transport(folder: Path, gateway: Gateway, more: str = "") -> WebSocketTransport:
    file = folder / "small.yaml"
    file.write_text(PROFILE + more)
    made = WebSocketTransport(Target.load(file))
    made.connect_to(f"ws://127.0.0.1:{gateway.port}")
    made.begin(["CP"])
    return made


def message(frame: list[Any], *, valid: bool) -> SentMessage:
    data = json.dumps(frame).encode()
    return SentMessage(charge_point="CP", message_id="a", answer_message_id="a", action=None, data=data, valid=valid)


def seen(made: WebSocketTransport) -> list[str | None]:
    """The ids of the answers that came within two seconds; at least one."""

    def look() -> list[str | None] | None:
        made.refresh(["CP"])
        return [each.message_id for each in made.of("CP")] or None

    return wait_until(look, timeout=4, failure=lambda: "no answer came")


@pytest.mark.parametrize("kind", [6, 9], ids=["at once", "late"])
@pytest.mark.parametrize(("oracle", "expected"), [("tolerant", "a"), ("strict", "-1")])
def test_a_refusal_that_names_no_message_is_that_of_the_invalid_one(
    tmp_path: Path, gateway: Gateway, kind: int, oracle: str, expected: str
) -> None:
    """There is one message at a time. ocpp-rpc was accused of answers that belong to no message."""
    made = transport(tmp_path, gateway, f"oracle: {oracle}\n")
    made.push([message([kind, "a", "Heartbeat", {}], valid=False)])
    assert seen(made) == [expected]
    made.close()


def test_a_late_refusal_may_be_that_of_the_newest_invalid_message(tmp_path: Path, gateway: Gateway) -> None:
    made = transport(tmp_path, gateway)
    newest = SentMessage(
        charge_point="CP", message_id=None, answerable=None, action=None, data=b'[8,"b","Heartbeat",{}]', valid=False
    )
    made.push([message([2, "a", "Authorize", {}], valid=False), newest])
    assert seen(made) == ["-1"]
    made.close()


@pytest.mark.parametrize("data", [b" " * 2**21, b'"\xff"'], ids=["too large", "not UTF-8"])
def test_a_frame_that_costs_the_connection_takes_no_other_with_it(
    tmp_path: Path, gateway: Gateway, data: bytes
) -> None:
    """The one behind it was sent to a connection that was about to end, and was counted as sent."""
    made = transport(tmp_path, gateway)
    first = SentMessage(charge_point="CP", message_id=None, answerable=None, action=None, data=data, valid=False)
    made.push([first, message([7, "a", "Heartbeat", {}], valid=False)])
    assert seen(made) == ["a"]
    assert (len(gateway.connections), len(gateway.received)) == (2, 1)
    made.close()


def test_what_was_sent_again_over_another_connection_is_counted(tmp_path: Path, gateway: Gateway) -> None:
    made = transport(tmp_path, gateway)
    first, second = message([2, "a", "Heartbeat", {}], valid=True), message([2, "a", "Authorize", {}], valid=True)
    made.push([first, second])
    wait_until(lambda: len(gateway.received) == 2 or None, timeout=4, failure=str)
    gateway.stop()
    gateway.start()
    wait_until(lambda: len(gateway.received) == 3 or None, timeout=4, failure=str)
    assert (first.repeats, first.point_writes) == (0, 0)
    assert (second.repeats, second.point_writes) == (1, 2)
    made.close()


def test_charge_points_that_were_cut_off_come_back_before_they_leave(tmp_path: Path, gateway: Gateway) -> None:
    """What a gateway that is gone has noted of them would stay where it was."""
    made = transport(tmp_path, gateway)
    made.push([message([2, "a", "Heartbeat", {}], valid=True)])
    assert seen(made) == ["a"]
    gateway.stop()
    gateway.start()
    made.remove(["CP"], lambda _: True)
    # The gateway notes a connection only after the handshake, which is all that the charge point waits for.
    wait_until(lambda: len(gateway.connections) == 2 or None, timeout=4, failure=lambda: "it has not come back")
    wait_until(lambda: gateway.connections[1].close_code, timeout=4, failure=lambda: "it is still connected")
    assert gateway.connections[1].close_code == 1000


def test_nobody_waits_for_a_gateway_that_is_gone_when_charge_points_leave(tmp_path: Path, gateway: Gateway) -> None:
    made = transport(tmp_path, gateway)
    made.push([message([2, "a", "Heartbeat", {}], valid=True)])
    assert seen(made) == ["a"]
    gateway.stop()
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 2


def test_a_record_may_have_been_written_by_each_copy_and_each_connection() -> None:
    def versions(**more: int) -> tuple[str, str]:
        model = Model16()
        model.take(
            Exchange(
                charge_point="CP",
                message_id="a",
                action="StatusNotification",
                payload={"connectorId": 1, "errorCode": "NoError", "status": "Available"},
                outcome=Outcome.ANSWERED,
                answer={},
                began=1.0,
                ended=2.0,
                **more,
            )
        )
        [world] = model._worlds["CP"]
        return str(world.point["version"]), str(world.connectors[1]["version"])

    assert versions() == ("1", "1")
    assert versions(repeats=1) == ("1 to 2", "1 to 2")
    assert versions(point_writes=2) == ("1 to 3", "1")


def test_what_is_wrong_around_a_frame_is_not_sent_where_nothing_is_around_it(tmp_path: Path) -> None:
    case = {"title": "t", "requirement": "R17.4", "kind": "k", "code": "FormationViolation", "reason": "r"}
    cases = [
        case
        | {"id": name, "answer": {"message_id": "{message_id}"}}
        | {"json": {"charge_point_id": "{charge_point_id}", "payload": [2, "{message_id}", action, {}], **version}}
        for name, action, version in (
            ("bad-version", "Heartbeat", {"protocol": "ocpp9"}),
            ("no-version", "Heartbeat", {"protocol": None}),
            ("bad-action", "Nonsense", {"protocol": "ocpp1.6"}),
        )
    ]
    cases.append(case | {"id": "array", "answer": None, "raw": "[]"})
    (tmp_path / "cases.json").write_text(json.dumps({"description": "d", "cases": cases}))
    made = {each.id: each.message([MessageFormat.FRAME]) for each in load_cases(tmp_path / "cases.json", ids=Ids())}
    assert (made["bad-version"], made["no-version"], made["array"]) == (None, None, None)
    assert made["bad-action"] is not None
