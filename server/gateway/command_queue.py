"""CALLs to charge points, one to each at a time (OCPP-J 1.6 section 4.1.1)."""

from __future__ import annotations

import hashlib
import time
from collections import deque

import structlog

from server.errors import ErrorCode, InvalidMessage
from server.gateway.request_publisher import RequestPublisher
from server.gateway.session import Entry, PendingCommand, Session
from server.metrics import Metrics
from server.ocpp import envelope, frames
from server.ocpp.frames import CallError
from server.redis.link import now

logger = structlog.get_logger()

WAITING_COMMANDS = 100
"""CALLs to a charge point that wait for its answer to the one before."""
MOST_CARRIED_OUT = 32
"""CALLs to a charge point that are known again, should they come twice."""
COMMAND_SECONDS = 60.0
"""Seconds after which a CALL to a charge point is given up, where its sender did not say until when it waits."""


class CommandQueue:
    """Sends commands in their order, the next one when the one before is answered or given up.

    Args:
        publisher: pushes to the request queue, for answers in the place of a charge point.
        metrics: totals for `/metrics`.
    """

    def __init__(self, publisher: RequestPublisher, metrics: Metrics) -> None:
        self._publisher = publisher
        self._metrics = metrics

    def take(self, session: Session, message_id: str, frame: bytes, due: float | None) -> None:
        """Send a command, now or after those before it; `due` is in how many seconds its caller gives up."""
        if session.carried_out is not None and _digest(frame) in session.carried_out:
            # A promoted replica may not know that it was taken out of the list.
            logger.info("command_repeated", charge_point_id=session.charge_point_id, message_id=message_id)
            return
        until = time.monotonic() + (COMMAND_SECONDS if due is None else due)
        command = PendingCommand(message_id, frame, until)
        if session.command is None:
            self._send(session, command)
            return
        if session.commands is None:
            session.commands = deque()
        if len(session.commands) < WAITING_COMMANDS:
            session.commands.append(command)
            return
        description = f"{WAITING_COMMANDS} commands wait for this charge point"
        self._metrics.refused("commands")
        self._answer(
            session, CallError(session.charge_point_id, message_id, ErrorCode.INTERNAL_ERROR.value, description, {})
        )

    def answered(self, session: Session, message_id: str) -> None:
        """The charge point has answered: send the next command, if this was the answer to the one that was sent."""
        if session.command == message_id:
            self._next(session)

    def answer_unusable(self, session: Session, invalid: InvalidMessage) -> None:
        """Tell the caller of a command that its answer cannot be used; no better one will come."""
        error = envelope.unusable_answer(invalid)
        if error is not None and error.message_id == session.command:
            self._answer(session, error)
            self._next(session)

    def expire(self, session: Session, clock: float) -> None:
        """Give up a command whose answer is overdue."""
        if session.command is not None and clock > session.command_until:
            self._next(session)

    @staticmethod
    def drop(session: Session) -> None:
        """Drop the commands of an ended session; the disconnect event informs their callers."""
        if session.commands:
            logger.info("commands_dropped", charge_point_id=session.charge_point_id, count=len(session.commands))
        session.commands = None

    @staticmethod
    def _send(session: Session, command: PendingCommand) -> None:
        if command.until <= time.monotonic():
            logger.info("command_expired", charge_point_id=session.charge_point_id, message_id=command.message_id)
            return
        if session.connection.push(command.frame):
            session.command, session.command_until = command.message_id, command.until
            if session.carried_out is None:
                session.carried_out = deque(maxlen=MOST_CARRIED_OUT)
            session.carried_out.append(_digest(command.frame))

    def _next(self, session: Session) -> None:
        session.command = None
        while session.commands and session.command is None and not session.closed:
            self._send(session, session.commands.popleft())

    def _answer(self, session: Session, error: CallError) -> None:
        """Answer a command in the place of its charge point."""
        raw = frames.error_frame(error.message_id, ErrorCode(error.code), error.description)
        entry = envelope.enveloped(raw, error, timestamp=now(), origin=session.origin)
        self._publisher.put(Entry(entry, session, None))


def _digest(frame: bytes) -> bytes:
    """A fingerprint of a frame, which may be large."""
    return hashlib.blake2b(frame, digest_size=16).digest()
