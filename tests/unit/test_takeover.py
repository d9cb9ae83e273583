"""Charge points that send again, connect twice, and send while a command waits, against a small gateway."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ChargePointLibrary import ChargePointLibrary
from ocpp_resilience import background
from ocpp_resilience.charge_points.crossing import CrossingReport, Order
from ocpp_resilience.errors import ExpectationFailed, UsageError, WaitTimeout
from ocpp_resilience.ocpp.frames import Direction, Frame, read_frame
from ocpp_resilience.waiting import wait_until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from fake_gateway import FakeGateway, fake_gateway

SHORT = timedelta(milliseconds=300)


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


def sent(gateway: FakeGateway, point: str) -> list[Any]:
    return [frame for frame in gateway.frames(point) if frame[0] == 2]


@pytest.mark.parametrize("reconnect", [True, False])
def test_the_same_frame_is_sent_again(gateway: FakeGateway, library: ChargePointLibrary, reconnect: bool) -> None:
    point = library.connect_charge_point()
    library.send_call("StartTransaction", meterStart=77)
    answer = library.repeat_last_call(reconnect=reconnect)
    first, again = sent(gateway, point)
    assert first == again
    assert (answer.action, answer.payload["transactionId"]) == ("StartTransaction", 7)
    assert library.points.get(point).connections == 1 + reconnect


def test_the_same_event_is_sent_under_a_new_message_id(gateway: FakeGateway, library: ChargePointLibrary) -> None:
    point = library.connect_charge_point()
    library.send_call("StartTransaction", meterStart=77)
    library.repeat_last_call(reconnect=False, new_message_id=True)
    first, again = sent(gateway, point)
    assert first[1] != again[1]
    assert first[2:] == again[2:]


def test_without_a_call_there_is_nothing_to_send_again(library: ChargePointLibrary) -> None:
    library.connect_charge_point()
    with pytest.raises(UsageError, match="has not sent a CALL"):
        library.repeat_last_call(reconnect=False)


def test_a_ghost_is_left_open_until_the_gateway_ends_it(gateway: FakeGateway, library: ChargePointLibrary) -> None:
    point = library.connect_charge_point()
    older = gateway.connections[point]
    ghost = library.reconnect_as_ghost()
    assert ghost.end is None
    with pytest.raises(WaitTimeout, match="should have been ended, but it is open"):
        library.ghost_should_end(ghost, timeout=SHORT)
    background.run(older.close, 1008, "replaced")
    assert library.ghost_should_end(ghost) >= 0
    assert ghost.end is not None
    assert ghost.end.code == 1008
    assert library.send_heartbeat(), "the newer connection is the one in use"
    library.charge_point_should_be_connected()


def test_a_command_over_the_older_connection_is_seen_and_not_answered(
    gateway: FakeGateway, library: ChargePointLibrary
) -> None:
    point = library.connect_charge_point()
    older = gateway.connections[point]
    ghost = library.reconnect_as_ghost()
    background.run(older.send, '[2,"c","Reset",{"type":"Soft"}]')
    wait_until(lambda: ghost.commands or None, timeout=10, failure=lambda: "nothing came")
    background.run(older.close, 1008)
    assert library.count_commands_to_older_connections() == 1
    with pytest.raises(ExpectationFailed, match=r"got Reset .* over its older connection"):
        library.ghost_should_end(ghost)
    assert gateway.frames(point) == []


def test_every_connection_ends_with_its_charge_point(gateway: FakeGateway, library: ChargePointLibrary) -> None:
    library.connect_charge_point()
    ghost = library.reconnect_as_ghost()
    library.remove_charge_points()
    assert ghost.end is not None
    assert library.get_connected_charge_points() == []


def test_takeovers_are_counted(gateway: FakeGateway, library: ChargePointLibrary) -> None:
    gateway.newest_wins = True
    ids = library.connect_charge_points(10)
    report = library.take_over_connections(ids, rounds=3)
    assert (report.takeovers, report.answered, report.answered_twice, report.left, report.cut) == (30, 30, 0, 0, 0)
    assert report.problems == []
    frames = sent(gateway, ids[0])
    assert [frame[1] for frame in frames[::2]] == [frame[1] for frame in frames[1::2]]


def test_problems_of_a_takeover_are_reported(gateway: FakeGateway, library: ChargePointLibrary) -> None:
    ids = library.connect_charge_points(2)
    report = library.take_over_connections(ids, timeout=SHORT)
    assert report.left == 2
    assert "is still open after 0.3 s" in report.summary
    gateway.newest_wins, gateway.answer_twice = True, True
    assert library.take_over_connections(ids, timeout=SHORT).answered_twice == 2
    gateway.silent.add("Heartbeat")
    report = library.take_over_connections(ids, timeout=SHORT)
    assert (report.takeovers, report.answered) == (2, 0)
    assert "was not answered within" in report.summary


@pytest.mark.parametrize("order", list(Order))
def test_calls_cross_commands(gateway: FakeGateway, library: ChargePointLibrary, order: Order) -> None:
    ids = library.connect_charge_points(3)
    library.cross_calls(order, ids)
    with pytest.raises(UsageError, match="Crossing calls are running already"):
        library.cross_calls(order, ids)
    if order is Order.CALL_FIRST:
        wait_until(lambda: len(sent(gateway, ids[2])) > 5 or None, timeout=10, failure=lambda: "no CALLs")
    for point in ids:
        gateway.send(point, [2, f"c-{point}", "Reset", {"type": "Soft"}])
    library.count_commands("Reset", expected=3)
    report = library.stop_crossing_calls()
    assert report.commands == 3
    assert report.unanswered_commands == report.unanswered == report.answered_twice == report.repeated == 0
    if order is Order.COMMAND_FIRST:
        assert (report.crossed, report.calls, report.answered) == (3, 3, 3)
        kinds = [frame[0] for frame in gateway.frames(ids[0])]
        assert kinds == [2, 3], "the CALL goes before the answer"
    with pytest.raises(UsageError, match="No crossing calls are running"):
        library.stop_crossing_calls()


CALL, RESULT = [2, "a", "Heartbeat", {}], [3, "a", {}]
COMMAND, REPLY = [2, "c", "Reset", {}], [3, "c", {}]


def crossing(*frames: tuple[str, Any]) -> CrossingReport:
    """`>` before frames of the charge point."""
    read: list[Frame] = []
    for number, (arrow, frame) in enumerate(frames):
        direction = Direction.SENT if arrow == ">" else Direction.RECEIVED
        read.append(read_frame(_json(frame), direction=direction, number=number, at=number, time=0))
    report = CrossingReport()
    report.add("CP", read)
    return report


def _json(frame: Any) -> str:
    return str(frame).replace("'", '"')


@pytest.mark.parametrize(
    ("frames", "crossed"),
    [
        ([("<", COMMAND), (">", CALL), ("<", RESULT), (">", REPLY)], 1),
        ([("<", COMMAND), (">", CALL), (">", REPLY), ("<", RESULT)], 1),
        ([(">", CALL), ("<", COMMAND), ("<", RESULT), (">", REPLY)], 1),
        ([(">", CALL), ("<", COMMAND), (">", REPLY), ("<", RESULT)], 1),
        ([(">", CALL), ("<", RESULT), ("<", COMMAND), (">", REPLY)], 0),
        ([("<", COMMAND), (">", REPLY), (">", CALL), ("<", RESULT)], 0),
    ],
)
def test_crossing_calls_are_told_from_others(frames: list[Any], crossed: int) -> None:
    report = crossing(*frames)
    assert (report.commands, report.crossed, report.calls, report.answered) == (1, crossed, 1, 1)
    assert report.problems == []


def test_problems_of_crossing_calls_are_reported() -> None:
    twice = crossing(("<", COMMAND), (">", CALL), ("<", RESULT), ("<", RESULT), (">", REPLY))
    assert (twice.answered, twice.answered_twice) == (0, 1)
    assert "a of CP was answered 2 times." in twice.summary
    never = crossing(("<", COMMAND), (">", CALL), (">", REPLY))
    assert (never.answered, never.unanswered) == (0, 1)
    again = crossing(("<", COMMAND), (">", REPLY), ("<", COMMAND))
    assert (again.repeated, again.unanswered_commands) == (1, 1)
