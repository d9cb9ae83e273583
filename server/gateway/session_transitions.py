"""Transitions of a session: opened, replaced by a newer connection, closed, connection lost."""

from __future__ import annotations

import time

import structlog
from websockets.frames import CloseCode

from server.gateway.call_queue import CallQueue
from server.gateway.command_queue import CommandQueue
from server.gateway.session import Session
from server.gateway.session_registry import SessionRegistry
from server.gateway.websocket import Socket, address_of
from server.ocpp.versions import DEFAULT, VERSIONS

logger = structlog.get_logger()

CLOSE_SECONDS = 1.0
"""Seconds that a closing handshake may take."""


class SessionTransitions:
    """The sessions of a gateway by charge point, and every change of their state.

    Args:
        registry: publishes sessions to Redis.
        calls: CALLs of charge points; those of a session that is over are dropped.
        commands: CALLs to charge points; likewise.
        server_id: the name of this gateway.
    """

    def __init__(self, registry: SessionRegistry, calls: CallQueue, commands: CommandQueue, *, server_id: str) -> None:
        self._registry = registry
        self._calls = calls
        self._commands = commands
        self._server_id = server_id
        self._sessions: dict[str, Session] = {}
        self._closing: set[Session] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def live(self) -> list[Session]:
        """The sessions that are connected now."""
        return list(self._sessions.values())

    def get(self, charge_point_id: str) -> Session | None:
        """The session of a charge point that is connected here."""
        return self._sessions.get(charge_point_id)

    def open(self, connection: Socket) -> Session:
        """Begin a session; it replaces the one that its charge point has here."""
        version = VERSIONS.get(connection.subprotocol or "", DEFAULT)
        session = Session(
            connection.gateway_id, connection, address_of(connection), version=version, server_id=self._server_id
        )
        before = self._sessions.get(session.charge_point_id)
        self._sessions[session.charge_point_id] = session
        # The new one is announced before the end of the old one, which ends nothing then.
        self._registry.connected(session)
        if before is not None:
            self.replaced(before)
        logger.info(
            "connected",
            charge_point_id=session.charge_point_id,
            remote_addr=session.remote_addr,
            protocol=version.protocol,
        )
        return session

    def replaced(self, session: Session) -> None:
        """Close a session whose charge point has reconnected, here or at another gateway."""
        if not session.closed:
            logger.info("connection_replaced", charge_point_id=session.charge_point_id)
            self.close(session, CloseCode.POLICY_VIOLATION, "replaced by a newer connection")

    def announce(self, session: Session) -> None:
        """Tell Redis of a session again, since it knows nothing of it."""
        self._registry.connected(session)

    def close(self, session: Session, code: int, reason: str) -> None:
        """End a session from this side."""
        self._end(session)
        session.connection.begin_close(code, reason)

    def over(self, session: Session) -> None:
        """Nothing will come from the charge point any more; its connection may last a little longer."""
        if not session.closed:
            self._end(session)

    def abort(self, session: Session) -> None:
        """End a session and cut its connection without a handshake."""
        self.drop(session)
        session.connection.transport.abort()

    def ended(self, session: Session) -> None:
        """The connection is gone."""
        self._closing.discard(session)
        connection = session.connection
        logger.info(
            "disconnected",
            charge_point_id=session.charge_point_id,
            code=connection.close_code,
            reason=connection.close_reason,
        )

    def drop(self, session: Session) -> None:
        """End a session, however its connection ends."""
        if session.closed:
            return
        session.closed = True
        if self._sessions.get(session.charge_point_id) is session:
            del self._sessions[session.charge_point_id]
        self._calls.drop(session)
        self._commands.drop(session)
        self._registry.disconnected(session)

    def abort_overdue(self, clock: float) -> None:
        """Abort connections whose closing handshake takes too long."""
        for session in list(self._closing):
            if clock - session.closing > CLOSE_SECONDS:
                self._closing.discard(session)
                session.connection.transport.abort()

    def _end(self, session: Session) -> None:
        self.drop(session)
        session.closing = time.monotonic()
        self._closing.add(session)
