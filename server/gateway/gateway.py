"""Charge points' WebSockets: OCPP-J frames to the request queue, and responses back to the charge points.

No task, timer or Redis connection belongs to a single charge point beyond what `websockets` itself needs: one request
publisher, one response delivery, one session registry and one sweep serve all connections of an instance. Frames are
sent without waiting; the backlog of a slow reader is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.typing import Subprotocol

from server import descriptors
from server.errors import ErrorCode, InvalidMessage, shown
from server.gateway.call_queue import HOLD_SECONDS, CallQueue
from server.gateway.command_queue import CommandQueue
from server.gateway.flow_control import FlowControl
from server.gateway.handshakes import Handshakes
from server.gateway.request_publisher import RequestPublisher
from server.gateway.response_delivery import ResponseDelivery
from server.gateway.session import Entry, Session
from server.gateway.session_registry import SessionRegistry
from server.gateway.session_transitions import CLOSE_SECONDS, SessionTransitions
from server.gateway.websocket import MOST_UNSENT, Refusal, Socket
from server.ids import usable_charge_point_id
from server.metrics import Metrics
from server.ocpp import envelope, frames
from server.ocpp.frames import Call, CallResultError, Message
from server.ocpp.parsed import ParsedMessages
from server.ocpp.versions import VERSIONS
from server.origins import Origins
from server.redis.link import RedisLink, now
from server.store.keys import Keys
from server.store.models import unix_seconds

logger = structlog.get_logger()

LONGEST_COMMAND = 3600.0
"""Seconds that the next CALL to a charge point waits for the answer to the one before, at the very most."""
OPEN_SECONDS = 5.0
"""Seconds that the TLS handshake and the opening handshake may take, each."""
STOP_SECONDS = 1.5
"""Seconds that closing all connections may take at the end."""
SWEEP_EVERY = 0.25
"""Seconds between two sweeps: pings, overdue CALLs and commands, connections that do not close."""
PARTS = 4
"""Sweeps until each connection was looked at."""
LEAST_WAIT = 0.3
"""Ping intervals that a charge point has at least to answer a ping; it has nearly a whole one in all but short ones."""


class _Response(msgspec.Struct):
    """The fields of an entry of a response list that decide its handling."""

    payload: msgspec.Raw
    expires_at: Any = None
    connection: Any = None


_read_response = msgspec.json.Decoder(_Response).decode
_read = msgspec.json.Decoder().decode
_read_delivered = msgspec.msgpack.Decoder(tuple[int, list[tuple[str, int, list[str]]]]).decode


class Gateway:
    """Serves charge points until it is stopped.

    Args:
        link: for Redis, and to know how it is.
        keys: key names.
        instance: the name of this process in this life.
        shards: how many shards the request queue has.
        server_id: the name of this gateway.
        longest_message: `MAX_MESSAGE_BYTES`.
        ping_interval: seconds of silence after which a charge point is pinged; it is closed before they are twice over.
        credentials: charge point id to the SHA-256 digest of its password; `None` if none are asked for.
        tls: the certificate and key for `wss`; `None` for `ws`.
        metrics: totals for `/metrics`.
        origins: which web pages are refused.
        message_rate: messages a second that one charge point may send; 0 for no limit.
        parsed: gets messages for the processor of this process; `None` where there is none.
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
        origins: Origins,
        message_rate: float,
        parsed: ParsedMessages | None = None,
    ) -> None:
        self._link = link
        self._listener: socket.socket | None = None
        self._longest = longest_message
        self._ping_interval = ping_interval
        self._tls = tls
        self._handshakes = Handshakes(credentials, metrics, origins)
        self._flow = FlowControl(message_rate)
        self._opening: set[Socket] = set()
        self._parsed = parsed
        # As the processor reads it.
        self._named = server_id if usable_charge_point_id(server_id) else ""
        self._metrics = metrics
        self._stop = asyncio.Event()
        self._publisher = RequestPublisher(
            link,
            keys,
            instance=instance,
            shards=shards,
            on_refused=self._given_up,
            patience=HOLD_SECONDS,
        )
        self._delivery = ResponseDelivery(
            link,
            keys,
            longest=longest_message,
            live=self._live,
            deliver=self._deliver,
            on_missing=self._unknown,
            on_lost=self._replaced,
        )
        self._registry = SessionRegistry(
            link,
            keys,
            server_id=server_id,
            live=self._live,
            on_announced=self._delivery.wake,
            on_lost=self._replaced,
        )
        self._calls = CallQueue(self._publisher, metrics)
        self._commands = CommandQueue(self._publisher, metrics)
        self._sessions = SessionTransitions(self._registry, self._calls, self._commands, server_id=server_id)
        metrics.gauge("ocpp_connections", "Charge points that are connected", lambda: len(self._sessions))
        metrics.gauge("ocpp_gateway_waiting", "Messages that wait for the request queue", lambda: len(self._publisher))

    def _live(self) -> list[Session]:
        return self._sessions.live()

    def _given_up(self, entries: list[Entry]) -> None:
        self._calls.give_up(entries)

    def _unknown(self, session: Session) -> None:
        self._sessions.announce(session)

    def _replaced(self, session: Session) -> None:
        self._sessions.replaced(session)

    def wake(self, charge_point_ids: list[str]) -> None:
        """Look for responses to these charge points; those that are not connected here are passed over."""
        for charge_point_id in charge_point_ids:
            session = self._sessions.get(charge_point_id)
            if session is not None:
                self._delivery.wake(session)

    def delivered(self, payload: bytes) -> None:
        """Deliver responses that were just put in the lists of charge points; `server.processor.request_queue` sends
        them."""
        try:
            published, lists = _read_delivered(payload)
        except msgspec.MsgspecError as error:
            logger.warning("delivery_unreadable", error=str(error))
            return
        for charge_point_id, length, entries in lists:
            session = self._sessions.get(charge_point_id)
            if session is not None:
                self._delivery.offer(session, entries, length=length, published=published)

    def bind(self, listener: socket.socket) -> int:
        """Serve on this socket, which listens already; returns its port."""
        self._listener = listener
        return int(listener.getsockname()[1])

    def check(self) -> None:
        """Redis is available, perhaps again: make sure that it has every session."""
        self._registry.check()

    def stop(self) -> None:
        """End `run`: no new connection, those that are open closed with 1001."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`. The process may open as many connections as the system lets it."""
        descriptors.raise_limit()
        # Typed as a class, and only ever called.
        create_connection: Any = partial(Socket, self._opening, self._handshakes.refused, self._flow)
        server = await serve(
            self._serve,
            sock=self._listener,
            ssl=self._tls,
            subprotocols=[Subprotocol(protocol) for protocol in VERSIONS],
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
            tasks.create_task(self._publisher.run(), name="request_publisher")
            tasks.create_task(self._delivery.run(), name="response_delivery")
            tasks.create_task(self._registry.run(), name="session_registry")
            tasks.create_task(self._sweep(), name="sweep")
            try:
                await self._stop.wait()
            finally:
                await self._close(server)
                self._handshakes.report(at_the_end=True)
                self._flow.report(at_the_end=True)
                self._publisher.stop()
                self._delivery.stop()
                self._registry.stop()

    async def _close(self, server: Server) -> None:
        server.close(code=CloseCode.GOING_AWAY)
        # No connection can be accepted any more; `websockets` would wait for each handshake.
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

    # --- from the charge point ----------------------------------------------------------------------------------------

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Socket)  # noqa: S101
        session = self._sessions.open(connection)
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
            self._sessions.ended(session)

    def _over(self, session: Session) -> None:
        """Nothing will come from the charge point any more."""
        if not session.closed and (failure := session.connection.failure):
            # There is no frame to keep: `websockets` has given up reading it.
            self._set_aside(
                session,
                InvalidMessage(session.version.codes.unreadable, failure[1], charge_point_id=session.charge_point_id),
                b"",
            )
        self._sessions.over(session)

    def _received(self, session: Session, raw: bytes) -> None:
        if session.closed:
            return
        try:
            message = frames.parse_frame(
                raw, session.charge_point_id, session.version.dialect, self._named, session.connection_id
            )
        except InvalidMessage as invalid:
            self._refuse(session, invalid, raw)
            if not _is_utf8(raw):
                # RFC 6455 section 8.1; frames are taken undecoded, so that `websockets` does not look.
                self._sessions.close(session, CloseCode.INVALID_DATA, "the text is not UTF-8")
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
        queued = envelope.enveloped(raw, message, timestamp=now(), origin=session.origin)
        if len(queued) > self._longest:
            self._refuse(session, self._too_long(session, message), raw)
        elif not isinstance(message, Call) or message.send:
            if not isinstance(message, Call | CallResultError):
                self._commands.answered(session, message.message_id)
            self._pass_on(session, queued)
        elif self._calls.under_way(session, message.message_id):
            self._set_aside(session, _under_way(session, message), raw)
        elif not self._link.healthy and message.action == "Heartbeat":
            self._calls.answer_heartbeat(session, message.message_id)
        else:
            entry = Entry(queued, session, message.message_id, heartbeat=message.action == "Heartbeat")
            if self._parsed is not None:
                self._parsed.remember(queued, message)
            self._calls.take(session, entry)

    def _pass_on(self, session: Session, queued: bytes) -> None:
        """Queue a message that needs no answer."""
        if self._publisher.full:
            self._metrics.refused("full")
            logger.warning("answer_dropped", charge_point_id=session.charge_point_id)
        else:
            self._publisher.put(Entry(queued, session, None))

    def _refuse(self, session: Session, invalid: InvalidMessage, raw: bytes) -> None:
        self._set_aside(session, invalid, raw)
        self._commands.answer_unusable(session, invalid)

    def _set_aside(self, session: Session, invalid: InvalidMessage, raw: bytes) -> None:
        logger.warning(
            "invalid_message",
            code=invalid.code,
            reason=invalid.reason,
            charge_point_id=invalid.charge_point_id,
            message_id=invalid.message_id,
        )
        self._metrics.invalid(invalid.code)
        if not self._publisher.full:
            self._publisher.put(Entry(envelope.dead_letter(invalid, raw, now()), None, None))
        if invalid.answer_id is not None:
            session.connection.push(
                frames.error_frame(
                    invalid.answer_id, invalid.code, invalid.reason, answers_result=invalid.answers_result
                )
            )

    def _too_long(self, session: Session, message: Message) -> InvalidMessage:
        answered = isinstance(message, Call) and not message.send
        return InvalidMessage(
            session.version.codes.wrong_shape,
            f"the message is longer than {self._longest} bytes",
            charge_point_id=message.charge_point_id,
            message_id=message.message_id,
            answer_id=message.message_id if answered else None,
            command_id=None if isinstance(message, Call | CallResultError) else message.message_id,
        )

    # --- to the charge point ------------------------------------------------------------------------------------------

    def _deliver(self, session: Session, entries: Sequence[bytes | str]) -> bool:
        connection = session.connection
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
                due = _time_left(response.expires_at, self._delivery.clock)
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
            if (
                response.connection is not None
                and kind in {frames.CALLRESULT, frames.CALLERROR}
                and not self._calls.awaits(session, message_id)
            ):
                logger.info("response_repeated", charge_point_id=session.charge_point_id, message_id=message_id)
                continue
            if kind == frames.CALL:
                self._commands.take(session, message_id, bytes(response.payload), due)
            else:
                if not connection.push(bytes(response.payload)):
                    self._sessions.drop(session)
                    return False
                if kind != frames.CALLRESULTERROR:
                    self._calls.done(session, message_id)
        return True

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
                self._publisher.expire()
            self._handshakes.report()
            self._flow.report()
            clock = time.monotonic()
            self._sessions.abort_overdue(clock)
            # Each connection is looked at once a second.
            if position == 0:
                live = self._sessions.live()
            for session in live[position::PARTS]:
                if not session.closed:
                    self._commands.expire(session, clock)
                    self._calls.expire(session, clock, redis_is_away=not self._link.healthy)
                    self._ping(session, clock)
            position = (position + 1) % PARTS

    def _ping(self, session: Session, clock: float) -> None:
        """Ping a silent charge point, and cut the connection of one that does not answer."""
        connection = session.connection
        silence = clock - connection.heard
        if silence <= self._ping_interval:
            return
        if session.pinged <= connection.heard:
            session.pinged = clock
            connection.ping_now()
        elif (
            # The next look would come too late.
            silence > 2 * self._ping_interval - 1.5 * PARTS * SWEEP_EVERY
            and clock - session.pinged > LEAST_WAIT * self._ping_interval
        ):
            logger.warning("silent_peer", charge_point_id=session.charge_point_id)
            self._sessions.abort(session)


def _under_way(session: Session, call: Call) -> InvalidMessage:
    """The refusal of a CALL with a message id that is in use: an answer that echoed it would answer the first one."""
    return InvalidMessage(
        session.version.codes.unreadable,
        "a CALL with this message id is under way",
        charge_point_id=call.charge_point_id,
        message_id=call.message_id,
        answer_id=frames.UNREADABLE_ID,
    )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _time_left(expires_at: Any, clock: int) -> float | None:
    """Seconds until a command expires, `None` if it does not.

    Args:
        expires_at: RFC 3339, or Unix time in ms; by Redis' clock, as the hosts of sender and gateway may disagree.
        clock: Redis' time, Unix time in ms.
    """
    if expires_at is None:
        return None
    if isinstance(expires_at, str):
        if not envelope.is_rfc3339(expires_at):
            raise ValueError(f"expires_at is {shown(expires_at)}")
        return min(unix_seconds(expires_at) - clock / 1000, LONGEST_COMMAND)
    return min((float(expires_at) - clock) / 1000, LONGEST_COMMAND)
