"""The messages of charge points on their WebSockets and their outcomes, as input for a model of the protocol."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp import Version, ocpp_version
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType
from ocpp_resilience.ocpp.model import Behaviour, Exchange, Outcome, model_of
from ocpp_resilience.ocpp.validation import validate_request

UNNOTICED = 1006
"""The code of a connection that ended without a closing handshake (RFC 6455 section 7.4.1)."""

_OUTCOMES = {MessageType.CALLRESULT: Outcome.ANSWERED, MessageType.CALLERROR: Outcome.REFUSED}


class PointHistory:
    """Gives a model the CALLs of charge points, in the order in which each sent them.

    A charge point of which frames are missing, or that was answered to an invalid CALL, is judged by its answers alone.

    Args:
        points: the charge points, all of the same OCPP version.
        behaviour: the system's choices where the specification leaves one.

    Raises:
        UsageError: the charge points speak different versions.
    """

    def __init__(self, points: Sequence[ChargePoint], behaviour: Behaviour | None = None) -> None:
        if len(versions := sorted({str(point.version) for point in points})) > 1:
            raise UsageError(f"The charge points use {' and '.join(versions)}; all of them have to use one version.")
        self._points = points
        self._behaviour = behaviour
        self._version = points[0].version if points else ocpp_version()
        self.model = model_of(self._version, behaviour)

    def settle(self) -> list[str]:
        """Feed the model with all frames up to now; returns the wrong answers."""
        self.model = model_of(self._version, self._behaviour)
        problems: list[str] = []
        ids = [point.id for point in self._points]
        for point in self._points:
            frames = list(point.frames.copy())
            if ids.count(point.id) > 1:
                self.model.leave_out(point.id, "several connections used this id")
            if frames and frames[0].number > 1:
                self.model.leave_out(point.id, "its oldest frames were not kept")
            for exchange in exchanges(point.id, frames):
                if exchange.outcome is not Outcome.ANSWERED and not _is_valid(exchange, self._version):
                    continue
                if not _is_valid(exchange, self._version):
                    self.model.leave_out(point.id, f"{exchange} is invalid, and was accepted")
                problems += [f"{exchange}: {each}" for each in self.model.take(exchange)]
            self.model.connections(point.id, point.connections, online=online(point))
        return problems


def online(point: ChargePoint) -> bool | None:
    """Whether the system has to know of a connection of the charge point; `None` if it may not have noticed yet."""
    if point.connected:
        return True
    noticed = point.ends and (point.ends[-1].by_us or point.ends[-1].code != UNNOTICED)
    return False if noticed and all(ghost.end is not None for ghost in point.ghosts) else None


def exchanges(charge_point: str, frames: Iterable[Frame]) -> Iterator[Exchange]:
    """The CALLs of a charge point, each with its answer: the first later one with the same message id."""
    calls: list[tuple[Frame, Frame | None]] = []
    waiting: dict[str | None, deque[int]] = {}
    for frame in frames:
        if frame.direction is Direction.SENT:
            if frame.kind is MessageType.CALL:
                waiting.setdefault(frame.message_id, deque()).append(len(calls))
                calls.append((frame, None))
        elif frame.kind in _OUTCOMES and (places := waiting.get(frame.message_id)):
            # A CALL that was sent again after a reconnect: its answer came on the newer connection.
            place = places.pop()
            calls[place] = calls[place][0], frame
    for call, answer in calls:
        payload = call.payload if isinstance(call.payload, dict) else {}
        kind = MessageType.CALLRESULT if answer is None or answer.kind is None else answer.kind
        yield Exchange(
            charge_point=charge_point,
            message_id=call.message_id or "",
            action=call.action or "",
            payload=payload,
            outcome=Outcome.UNKNOWN if answer is None else _OUTCOMES[kind],
            answer=None if answer is None else answer.payload,
            began=call.time,
            ended=call.time if answer is None else answer.time,
            maybe_elsewhere=call.action == "Heartbeat",
        )


def _is_valid(exchange: Exchange, version: Version) -> bool:
    try:
        return not validate_request(version.subprotocol, exchange.action, exchange.payload)
    except UsageError:
        return False
