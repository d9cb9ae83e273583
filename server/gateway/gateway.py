"""Charge points' WebSockets: OCPP-J frames to the request queue, and what waits for a charge point back to it.

No task, timer or Redis connection belongs to a single charge point beyond what `websockets` itself needs: one outbox,
one delivery, one registry of sessions and one sweeper serve all of an instance's connections. Frames are sent without
waiting; how much may pile up for a slow reader is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.typing import Subprotocol

from server.errors import ErrorCode, InvalidMessage, shown
from server.gateway.handshakes import Handshakes
from server.gateway.request_publisher import Entry, Outbox
from server.gateway.response_delivery import Delivery
from server.gateway.sessions import Session, Sessions
from server.gateway.websocket import MOST_UNSENT, Refusal, Socket, address_of
from server.metrics import Metrics
from server.ocpp import messages
from server.ocpp.messages import Call, CallError
from server.redis.link import RedisLink, now
from server.store.keys import Keys

logger = structlog.get_logger()

SUBPROTOCOL = Subprotocol("ocpp1.6")
HELD_CALLS = 8
"""CALLs of a charge point that wait for the answer to the one before; OCPP-J 1.6 section 4.1.1 allows it none."""
CALL_SECONDS = 60.0
"""Seconds after which a CALL without an answer no longer holds up the charge point's next one."""
MOST_HELD_BYTES = 32 * 1024 * 1024
"""Bytes of such CALLs of all charge points."""
WAITING_COMMANDS = 100
"""CALLs to a charge point that wait for its answer to the one before."""
COMMAND_SECONDS = 60.0
"""Seconds after which a CALL to a charge point is given up, where its sender did not say until when it waits."""
LONGEST_COMMAND = 3600.0
"""Seconds that the next CALL to a charge point waits for the answer to the one before, at the very most."""
HOLD_SECONDS = 5.0
"""Seconds that a CALL is held while Redis is away; then it is refused, and never processed."""
OPEN_SECONDS = 5.0
"""What TLS handshake and opening handshake may take, each."""
CLOSE_SECONDS = 1.0
"""What a closing handshake may take."""
STOP_SECONDS = 1.5
"""What closing all connections may take at the end."""
SWEEP_EVERY = 0.25
"""Seconds between two looks at what is due: pings, overdue CALLs and commands, connections that do not close."""
PARTS = 4
"""Such looks until each connection was looked at."""
TRY_AGAIN = "Redis is unavailable: the message was not taken and may be sent again"


class _Response(msgspec.Struct):
    """What counts of an entry in a list of responses."""

    payload: msgspec.Raw
    expires_at: Any = None
    connection: Any = None


_read_response = msgspec.json.Decoder(_Response).decode
_read = msgspec.json.Decoder().decode


class Gateway:
    """Serves charge points until it is told to stop.

    Args:
        link: for Redis, and to know how it is.
        keys: key names.
        instance: the name of this process in this life.
        shards: how many shards the request queue has.
        server_id: the name of this gateway.
        longest_message: `MAX_MESSAGE_BYTES`.
        ping_interval: seconds of silence after which a charge point is pinged; after the same again it is closed.
        credentials: charge point id to the SHA-256 digest of its password; `None` where none are asked for.
        tls: the certificate and key for `wss`; `None` for `ws`.
        metrics: totals for `/metrics`.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        *,
        instance: str,
        shards: int,
        server_id: str,
        longest_message: int,
        ping_interval: float,
        credentials: Mapping[str, bytes] | None,
        tls: ssl.SSLContext | None,
        metrics: Metrics,
    ) -> None:
        self._link = link
        self._listener: socket.socket | None = None
        self._server_id = server_id
        self._longest = longest_message
        self._ping_interval = ping_interval
        self._tls = tls
        self._handshakes = Handshakes(credentials, metrics)
        self._opening: set[Socket] = set()
        self._metrics = metrics
        self._sessions: dict[str, Session] = {}
        self._closing: set[Session] = set()
        self._held_bytes = 0
        self._stop = asyncio.Event()
        self._outbox = Outbox(
            link, keys, instance=instance, shards=shards, on_refused=self._refused, patience=HOLD_SECONDS
        )
        self._delivery = Delivery(
            link, keys, live=self._live, deliver=self._deliver, on_missing=self._unknown, on_lost=self._replaced
        )
        self._registry = Sessions(
            link,
            keys,
            server_id=server_id,
            live=self._live,
            on_announced=self._delivery.wake,
            on_lost=self._replaced,
        )
        self.refused: Counter[str] = Counter()
        metrics.gauge("ocpp_connections", "Charge points that are connected", lambda: len(self._sessions))
        metrics.gauge("ocpp_gateway_waiting", "Messages that wait for the request queue", lambda: len(self._outbox))

    def _live(self) -> Iterable[Session]:
        return list(self._sessions.values())

    def wake(self, charge_point_ids: list[str]) -> None:
        """Something waits for these charge points; those that are not connected here are passed over."""
        for charge_point_id in charge_point_ids:
            session = self._sessions.get(charge_point_id)
            if session is not None:
                self._delivery.wake(session)

    def bind(self, listener: socket.socket) -> int:
        """Serve on this socket, which listens already; returns its port."""
        self._listener = listener
        return int(listener.getsockname()[1])

    def check(self) -> None:
        """Redis is there, perhaps again: see that it knows of everybody who is connected."""
        self._registry.check()

    def stop(self) -> None:
        """End `run`: no new connection, those that are open closed with 1001."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`. The process may open as many connections as the system lets it."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        # Typed as a class, and only ever called.
        create_connection: Any = partial(Socket, self._opening, self._handshakes.refused)
        server = await serve(
            self._serve,
            sock=self._listener,
            ssl=self._tls,
            subprotocols=[SUBPROTOCOL],
            process_request=self._handshakes.check,
            compression=None,
            server_header=None,
            open_timeout=OPEN_SECONDS,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            max_size=self._longest,
            max_queue=4,
            write_limit=MOST_UNSENT,
            logger=logging.getLogger("websockets.server"),
            create_connection=create_connection,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outbox.run(), name="outbox")
            tasks.create_task(self._delivery.run(), name="delivery")
            tasks.create_task(self._registry.run(), name="sessions")
            tasks.create_task(self._sweep(), name="sweep")
            try:
                await self._stop.wait()
            finally:
                await self._close(server)
                self._handshakes.report(at_the_end=True)
                self._outbox.stop()
                self._delivery.stop()
                self._registry.stop()

    async def _close(self, server: Server) -> None:
        server.close(code=CloseCode.GOING_AWAY)
        # Nobody can be let in any more; `websockets` would wait for each of them.
        for opening in list(self._opening):
            opening.refusal = Refusal.STOPPING
            opening.transport.abort()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await server.wait_closed()
        except TimeoutError:
            for connection in (*server.all_connections, *self._opening):
                connection.transport.abort()
            await server.wait_closed()

    # --- opening ------------------------------------------------------------------------------------------------------

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Socket)  # noqa: S101
        session = self._open(connection)
        connection.take = partial(self._received, session)
        connection.over = partial(self._over, session)
        try:
            connection.look_if_over()
            while True:
                raw = await connection.recv(decode=False)
                connection.queued -= 1
                self._received(session, raw)
                connection.look_if_over()
        except ConnectionClosed:
            pass
        finally:
            # Connection and session would hold each other until the garbage collector comes by.
            connection.take = connection.over = None
            self._over(session)
            self._ended(session)

    def _open(self, connection: Socket) -> Session:
        session = Session(connection.gateway_id, connection, address_of(connection))
        before = self._sessions.get(session.charge_point_id)
        self._sessions[session.charge_point_id] = session
        # Told before the end of the one before: that ends nothing then.
        self._registry.connected(session)
        if before is not None:
            self._replaced(before)
        logger.info("connected", charge_point_id=session.charge_point_id, remote_addr=session.remote_addr)
        return session

    def _over(self, session: Session) -> None:
        """Nothing will come from the charge point any more; its connection may last a little longer."""
        if session.closed:
            return
        connection: Socket = session.connection
        if failure := connection.failure:
            # There is no frame to keep: `websockets` has given up reading it.
            self._set_aside(
                session,
                InvalidMessage(ErrorCode.FORMATION_VIOLATION, failure[1], charge_point_id=session.charge_point_id),
                b"",
            )
        self._drop(session)
        session.closing = time.monotonic()
        self._closing.add(session)

    def _ended(self, session: Session) -> None:
        self._closing.discard(session)
        connection: Socket = session.connection
        logger.info(
            "disconnected",
            charge_point_id=session.charge_point_id,
            code=connection.close_code,
            reason=connection.close_reason,
        )

    def _drop(self, session: Session) -> None:
        """The session is over, whatever still becomes of its connection."""
        if session.closed:
            return
        session.closed = True
        if self._sessions.get(session.charge_point_id) is session:
            del self._sessions[session.charge_point_id]
        while session.held:
            self._next_held(session.held)
        if session.commands:
            # Who sent them is told of the disconnect (server.correlation.commands): they must not be carried out later.
            logger.info("commands_dropped", charge_point_id=session.charge_point_id, count=len(session.commands))
        session.held = session.commands = None
        self._registry.disconnected(session)

    def _close_session(self, session: Session, code: int, reason: str) -> None:
        self._drop(session)
        session.closing = time.monotonic()
        self._closing.add(session)
        session.connection.begin_close(code, reason)

    def _replaced(self, session: Session) -> None:
        if not session.closed:
            logger.info("connection_replaced", charge_point_id=session.charge_point_id)
            self._close_session(session, CloseCode.NORMAL_CLOSURE, "replaced by a newer connection")

    def _unknown(self, session: Session) -> None:
        self._registry.connected(session)

    # --- from the charge point ----------------------------------------------------------------------------------------

    def _received(self, session: Session, raw: bytes) -> None:
        if session.closed:
            return
        try:
            message = messages.parse_frame(raw, session.charge_point_id)
        except InvalidMessage as invalid:
            if invalid.charge_point_id is None:
                invalid.charge_point_id = session.charge_point_id
            self._set_aside(session, invalid, raw)
            self._tell_sender(session, invalid)
            if not _is_utf8(raw):
                # RFC 6455 section 8.1; frames are taken undecoded, so that `websockets` does not look.
                self._close_session(session, CloseCode.INVALID_DATA, "the text is not UTF-8")
            return
        except Exception:
            logger.exception("parsing_failed")
            self._set_aside(
                session,
                InvalidMessage(
                    ErrorCode.INTERNAL_ERROR, "the frame could not be read", charge_point_id=session.charge_point_id
                ),
                raw,
            )
            return
        envelope = messages.enveloped(
            raw, message, timestamp=now(), server_id=self._server_id, connection=session.connection_id
        )
        if len(envelope) > self._longest:
            reason = f"the message is longer than {self._longest} bytes"
            too_long = _invalid(message, reason, answer=isinstance(message, Call))
            self._set_aside(session, too_long, raw)
            self._tell_sender(session, too_long)
        elif not isinstance(message, Call):
            self._answered(session, message.message_id)
            if self._outbox.full:
                self._metrics.refused("full")
                logger.warning("answer_dropped", charge_point_id=session.charge_point_id)
            else:
                self._outbox.put(Entry(envelope, session, None))
        elif message.message_id == session.call or (
            session.held and any(entry.message_id == message.message_id for entry in session.held)
        ):
            # The id is the first one's: an answer that echoed it would be taken for the answer to that.
            twice = _invalid(message, "a CALL with this message id is under way", answer=False)
            twice.answer_id = messages.UNREADABLE_ID
            self._set_aside(session, twice, raw)
        elif not self._link.healthy and message.action == "Heartbeat":
            self._heartbeat(session, message.message_id)
        elif session.call is None:
            self._submit(session, self._entry(session, envelope, message))
        elif self._held_bytes >= MOST_HELD_BYTES or (session.held is not None and len(session.held) >= HELD_CALLS):
            self._refuse(
                session, message.message_id, f"{HELD_CALLS} CALLs wait for the answer to the one before", "held"
            )
        else:
            if session.held is None:
                session.held = deque()
            session.held.append(self._entry(session, envelope, message))
            self._held_bytes += len(envelope)

    @staticmethod
    def _entry(session: Session, envelope: bytes, call: Call) -> Entry:
        return Entry(envelope, session, call.message_id, heartbeat=call.action == "Heartbeat")

    def _submit(self, session: Session, entry: Entry) -> None:
        if self._outbox.full:
            self._refuse(session, entry.message_id or "", TRY_AGAIN, "full")
            return
        session.call = entry.message_id
        session.call_since = time.monotonic()
        self._outbox.put(entry)

    @staticmethod
    def _heartbeat(session: Session, message_id: str) -> None:
        session.connection.push(messages.result_frame(message_id, {"currentTime": now()}))

    def _call_done(self, session: Session) -> None:
        session.call = None
        while session.held and session.call is None and not session.closed:
            self._submit(session, self._next_held(session.held))

    def _next_held(self, held: deque[Entry]) -> Entry:
        entry = held.popleft()
        self._held_bytes -= len(entry.raw)
        return entry

    def _refuse(self, session: Session, message_id: str, description: str, why: str) -> None:
        self._metrics.refused(why)
        self.refused[why] += 1
        session.connection.push(messages.error_frame(message_id, ErrorCode.INTERNAL_ERROR, description))

    def _refused(self, entries: list[Entry]) -> None:
        for entry in entries:
            session = entry.session
            if session is not None and entry.message_id is not None:
                if entry.heartbeat:
                    self._heartbeat(session, entry.message_id)
                else:
                    self._refuse(session, entry.message_id, TRY_AGAIN, "unavailable")
                if session.call == entry.message_id:
                    self._call_done(session)

    def _set_aside(self, session: Session, invalid: InvalidMessage, raw: bytes) -> None:
        logger.warning(
            "invalid_message",
            code=invalid.code,
            reason=invalid.reason,
            charge_point_id=invalid.charge_point_id,
            message_id=invalid.message_id,
        )
        self._metrics.invalid(invalid.code)
        if not self._outbox.full:
            self._outbox.put(Entry(messages.dead_letter(invalid, raw, now()), None, None))
        if invalid.answer_id is not None:
            session.connection.push(messages.error_frame(invalid.answer_id, invalid.code, invalid.reason))

    # --- to the charge point ------------------------------------------------------------------------------------------

    def _deliver(self, session: Session, entries: list[bytes]) -> bool:
        connection: Socket = session.connection
        if connection.protocol.state is not State.OPEN:
            return False
        for entry in entries:
            try:
                response = _read_response(entry)
                frame = _read(response.payload)
                if type(frame) is not list:
                    raise ValueError(f"the payload is {shown(frame)}, allowed is an OCPP-J array")
                kind, message_id = frame[0], frame[1]
                if type(message_id) is not str:
                    raise ValueError("no message id")
                due = _time_left(response.expires_at)
            except (msgspec.MsgspecError, ValueError, TypeError, IndexError, ArithmeticError, RecursionError) as error:
                # An integer may have more digits than a float can take: an ArithmeticError.
                logger.warning(
                    "invalid_response",
                    charge_point_id=session.charge_point_id,
                    error=str(error),
                    raw=shown(entry, limit=200),
                )
                continue
            if response.connection is not None and response.connection != session.connection_id:
                # It may have been sent over the connection that it was for: done or answered twice otherwise.
                logger.info(
                    "response_outlived_connection", charge_point_id=session.charge_point_id, message_id=message_id
                )
                continue
            if kind == messages.CALL:
                self._command(session, message_id, bytes(response.payload), due)
            else:
                if not connection.push(bytes(response.payload)):
                    self._drop(session)
                    return False
                if message_id == session.call:
                    self._call_done(session)
        return True

    def _command(self, session: Session, message_id: str, frame: bytes, due: float | None) -> None:
        until = time.monotonic() + (COMMAND_SECONDS if due is None else due)
        if session.command is None:
            self._send_command(session, message_id, frame, until)
            return
        if session.commands is None:
            session.commands = deque()
        if len(session.commands) < WAITING_COMMANDS:
            session.commands.append((message_id, frame, until))
            return
        description = f"{WAITING_COMMANDS} commands wait for this charge point"
        self._metrics.refused("commands")
        self._answer_for(
            session, CallError(session.charge_point_id, message_id, ErrorCode.INTERNAL_ERROR.value, description, {})
        )

    def _answer_for(self, session: Session, error: CallError) -> None:
        """Answer a command in the place of its charge point."""
        raw = messages.error_frame(error.message_id, ErrorCode(error.code), error.description)
        envelope = messages.enveloped(
            raw, error, timestamp=now(), server_id=self._server_id, connection=session.connection_id
        )
        self._outbox.put(Entry(envelope, session, None))

    def _tell_sender(self, session: Session, invalid: InvalidMessage) -> None:
        """Nothing better will come than this answer, if it is one: its command is over, and its sender hears why."""
        error = messages.unusable_answer(invalid)
        if error is not None and error.message_id == session.command:
            self._answer_for(session, error)
            self._command_done(session)

    def _send_command(self, session: Session, message_id: str, frame: bytes, until: float) -> None:
        if until <= time.monotonic():
            logger.info("command_expired", charge_point_id=session.charge_point_id, message_id=message_id)
            return
        if session.connection.push(frame):
            session.command, session.command_until = message_id, until

    def _answered(self, session: Session, message_id: str) -> None:
        if session.command == message_id:
            self._command_done(session)

    def _command_done(self, session: Session) -> None:
        session.command = None
        while session.commands and session.command is None and not session.closed:
            self._send_command(session, *session.commands.popleft())

    # --- what is due --------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        position, live = 0, list[Session]()
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(SWEEP_EVERY):
                    await self._stop.wait()
            except TimeoutError:
                pass
            if not self._link.healthy:
                self._outbox.expire()
            self._handshakes.report()
            clock = time.monotonic()
            for session in list(self._closing):
                if clock - session.closing > CLOSE_SECONDS:
                    self._closing.discard(session)
                    session.connection.transport.abort()
            # Each connection is looked at once a second.
            if position == 0:
                live = list(self._sessions.values())
            for session in live[position::PARTS]:
                if not session.closed:
                    self._look(session, clock)
            position = (position + 1) % PARTS

    def _look(self, session: Session, clock: float) -> None:
        if session.command is not None and clock > session.command_until:
            self._command_done(session)
        if session.call is not None and clock - session.call_since > CALL_SECONDS:
            # The charge point has given it up long ago; its answer is delivered all the same if it still comes.
            self._call_done(session)
        if session.held and not self._link.healthy:
            overdue = []
            while session.held and clock - session.held[0].since > HOLD_SECONDS:
                overdue.append(self._next_held(session.held))
            self._refused(overdue)
        connection: Socket = session.connection
        if clock - connection.heard > self._ping_interval:
            if session.pinged > connection.heard:
                if clock - session.pinged > self._ping_interval:
                    logger.warning("silent_peer", charge_point_id=session.charge_point_id)
                    self._drop(session)
                    connection.transport.abort()
            else:
                session.pinged = clock
                connection.ping_now()


def _invalid(message: messages.Message, reason: str, *, answer: bool) -> InvalidMessage:
    return InvalidMessage(
        ErrorCode.FORMATION_VIOLATION,
        reason,
        charge_point_id=message.charge_point_id,
        message_id=message.message_id,
        answer_id=message.message_id if answer else None,
        command_id=None if isinstance(message, Call) else message.message_id,
    )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _time_left(expires_at: Any) -> float | None:
    """Seconds until a command expires, given as RFC 3339 or as Unix time in ms; `None` where it does not."""
    if expires_at is None:
        return None
    if isinstance(expires_at, str):
        if not messages.is_rfc3339(expires_at):
            raise ValueError(f"expires_at is {shown(expires_at)}")
        due = datetime.fromisoformat(expires_at.upper())
        return min(due.timestamp() - time.time(), LONGEST_COMMAND)
    return min(float(expires_at) / 1000 - time.time(), LONGEST_COMMAND)
