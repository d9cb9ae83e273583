"""Messages over charge points' own WebSockets: for systems without a queue, or with a private one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from ocpp_resilience import background
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.profile import Target
from ocpp_resilience.transport.answers import Answer
from ocpp_resilience.transport.gathered import GatheredAnswers
from ocpp_resilience.transport.invalid_records import UNREADABLE_ID
from ocpp_resilience.transport.messages import Delivery, SentMessage

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 1.0
LAST_CONNECTIONS_SECONDS = 15.0
"""Limit for the connections that are made only to be closed in order; a busy machine needs seconds for them."""
END_SECONDS = LAST_CONNECTIONS_SECONDS + 10 * CLOSE_SECONDS
AT_A_TIME = 100
"""Charge points that connect at the same time: thousands at once would all be too late for each other."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts to connect, or to send a message again that was refused with InternalError."""
MAYBE_ANSWERED = 1.0
"""Seconds that a message which need not be answered holds those behind it."""
ANSWERS_AWAITED = 2.0
"""A message without an answer holds those behind it for so many times the longest answer time of the target."""


@dataclass(eq=False)
class _Line:
    """A charge point's side: its connection and the messages that it has not sent yet.

    Attributes:
        point: the charge point.
        waiting: messages to be sent, oldest first.
        current: the message that is being sent or waits for its answer.
        wake: set when there is something to do.
        answered: gets the answer that `wire_id` waits for.
        wire_id: the message id of the outstanding CALL; `None` while any answer will do, or none is outstanding.
        connections: how many connections it has had.
        unanswered: the last message that need not be valid and had no answer while it was waited for.
    """

    point: str
    waiting: deque[SentMessage] = field(default_factory=deque)
    current: SentMessage | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Future[list[Any]] | None = None
    wire_id: str | None = None
    booted: bool = False
    connections: int = 0
    unanswered: SentMessage | None = None
    socket: ClientConnection | None = None
    reader: asyncio.Task[None] | None = None
    task: asyncio.Task[None] | None = None


class WebSocketTransport(GatheredAnswers):
    """Sends each message on the connection of its charge point, one CALL after the answer to the one before.

    A charge point behaves like real ones. It reconnects when its connection ends, and repeats the unanswered message. A
    message that is refused with InternalError is repeated with a new id: `sent_again` counts those. An invalid message
    is sent once.

    Args:
        target: path, subprotocol, OCPP version, answer time.

    Attributes:
        sent_again: how many times a message was refused with InternalError and sent again.
        problem: why a charge point could not connect at the last attempt; `None` if all could.
    """

    place = "WebSockets"
    keeps = True

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self._url: str | None = None
        self._lines: dict[str, _Line] = {}
        self._numbers = itertools.count(1)
        self._token = secrets.token_hex(3)
        self._connecting = asyncio.Semaphore(AT_A_TIME)
        self.problem: str | None = None
        self.sent_again = 0

    def connect_to(self, url: str) -> None:
        """Set the address of the gateway: `ws://host:port`."""
        self._url = url.rstrip("/")

    # ---------------------------------------------------------------- requests, from the keywords' thread

    def push(self, messages: Sequence[SentMessage]) -> str | None:
        """Hand messages to their charge points, which send them in this order.

        Raises:
            UsageError: it is not known where the gateway is, or a message has no charge point.
        """
        if self._url is None:
            raise UsageError("There is no gateway address; call `Connect Queue To Gateway` first.")
        now = time.monotonic()
        by_point: dict[str, list[SentMessage]] = {}
        for message in messages:
            message.sent_at = message.acknowledged_at = now
            message.delivery = Delivery.ACKNOWLEDGED
            if message.charge_point is None:
                raise UsageError(f"{message} cannot be sent on a WebSocket: it has no charge point.")
            by_point.setdefault(message.charge_point, []).append(message)
        background.call(self._enqueue, by_point)
        return None

    def _enqueue(self, by_point: dict[str, list[SentMessage]]) -> None:
        for point, messages in by_point.items():
            line = self._lines.get(point)
            if line is None:
                line = self._lines[point] = _Line(point)
                line.task = asyncio.get_running_loop().create_task(self._run(line), name=f"{point} sends")
            line.waiting.extend(messages)
            line.wake.set()

    def _unsent(self) -> list[SentMessage]:
        return [
            message
            for line in list(self._lines.values())
            for message in [*([line.current] if line.current else []), *line.waiting.copy()]
        ]

    def length(self) -> int:
        """Number of messages that charge points have not sent, or that are unanswered."""
        return len(background.call(self._unsent))

    def in_flight(self) -> int:
        """Number of outstanding CALLs."""
        return sum(line.current is not None for line in list(self._lines.values()))

    def oldest(self, count: int) -> list[bytes]:
        """The messages that are next."""
        return [message.data for message in background.call(self._unsent)[:count]]

    def waiting(self, ours: Callable[[bytes], bool]) -> int:
        """Number of unfinished messages."""
        return sum(ours(message.data) for message in background.call(self._unsent))

    def withdraw(self, ours: Callable[[bytes], bool]) -> int:
        """Drop unsent messages."""

        def drop() -> int:
            before = len(self._unsent())
            for line in self._lines.values():
                line.waiting = deque(each for each in line.waiting if not ours(each.data))
            return before - len(self._unsent())

        return background.call(drop)

    def remove(self, charge_points: Sequence[str], ours: Callable[[Answer], bool]) -> tuple[int, int]:
        """End the connections of these charge points."""
        background.run(self._end, {*charge_points}, timeout=END_SECONDS)
        return super().remove(charge_points, ours)

    def close(self) -> None:
        """End all connections."""
        background.run(self._end, set(self._lines), timeout=END_SECONDS)

    # ---------------------------------------------------------------- on the loop

    async def _end(self, points: Iterable[str]) -> None:
        lines = [self._lines.pop(point) for point in set(points) if point in self._lines]
        tasks = [line.task for line in lines if line.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * CLOSE_SECONDS)
        orderly = await asyncio.gather(*(self._hang_up(line) for line in lines))
        if cut_off := [line for line, closed in zip(lines, orderly, strict=True) if not closed]:
            await self._come_back(cut_off)
            await asyncio.gather(*(self._hang_up(line) for line in cut_off))

    async def _come_back(self, lines: Iterable[_Line]) -> None:
        """Connect those again whose connection the system has ended, so that all leave in order.

        What a gateway noted of a connection stays in Redis where it ended without Redis; the next connection of the
        same charge point takes it over, and its end removes it. The answer to a Heartbeat shows that it was taken over:
        the handshake alone does not.
        """
        cut_off = deque(lines)

        async def come() -> None:
            while cut_off:
                line = cut_off.popleft()
                try:
                    await self._connect(line)
                except TimeoutError:
                    cut_off.append(line)
                except (WebSocketException, OSError):
                    # The gateway is not there, and will not be for the others.
                    cut_off.clear()
                else:
                    await self._ask(line)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_CONNECTIONS_SECONDS):
                await asyncio.gather(*(come() for _ in range(AT_A_TIME)))

    async def _ask(self, line: _Line) -> None:
        socket, wire_id = line.socket, f"{self._token}-last-{next(self._numbers)}"
        if socket is not None:
            text = json.dumps([MessageType.CALL, wire_id, "Heartbeat", {}])
            # A connection that is ended meanwhile is that charge point's alone.
            with contextlib.suppress(WebSocketException, OSError):
                await self._exchange(line, socket, text, wire_id, patience=CONNECT_SECONDS)

    @staticmethod
    async def _hang_up(line: _Line) -> bool:
        """Close a connection; `False` if the system had ended it before, which is perhaps noticed only now."""
        socket, line.socket = line.socket, None
        orderly = True
        if socket is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await socket.close()
                end = socket.protocol.close_exc
                orderly = end.rcvd is not None and not end.rcvd_then_sent
            except TimeoutError:
                pass
            except (WebSocketException, OSError):
                orderly = False
            socket.transport.abort()
        if line.reader is not None:
            line.reader.cancel()
        return orderly

    async def _run(self, line: _Line) -> None:
        while True:
            while line.waiting:
                line.current = line.waiting.popleft()
                await self._deliver(line, line.current)
                line.current = None
            line.wake.clear()
            await line.wake.wait()

    async def _deliver(self, line: _Line, message: SentMessage) -> None:
        text = _as_frame(message.data)
        wire_id = message.answer_message_id
        if not message.valid:
            # From now on a refusal without an id may be that of this one.
            line.unanswered = None
        pause = FIRST_PAUSE
        patience = 0.0
        if message.answerable is not False and (message.answerable or wire_id is not None):
            # A lenient system may ignore an invalid message; an answer is recorded whenever it comes.
            due = message.answerable and message.valid is not False
            patience = ANSWERS_AWAITED * self._target.timeouts.answer if due else MAYBE_ANSWERED
        while True:
            had = max(line.connections, 1)
            socket = await self._connected(line)
            message.point_writes += 2 * (line.connections - had)
            try:
                answer = await self._exchange(line, socket, text, wire_id, patience=patience)
            except (WebSocketException, OSError):
                if message.valid is False:
                    # A frame that cost the connection is not sent again; whether it had an answer is judged.
                    return
                message.repeats += 1
                await asyncio.sleep(FIRST_PAUSE)
                continue
            if answer is None:
                line.unanswered = None if message.valid else message
                return
            if message.valid and answer[0] == MessageType.CALLERROR and answer[2:3] == ["InternalError"]:
                self.sent_again += 1
                message.point_writes += 1
                wire_id = f"{self._token}-again-{next(self._numbers)}"
                text = _with_id(text, wire_id)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self.took_in(line.point, _answer_to(message, answer))
            return

    async def _exchange(
        self, line: _Line, socket: ClientConnection, text: str | bytes, wire_id: str | None, *, patience: float
    ) -> list[Any] | None:
        """Send a frame; the answer to it, `None` if none came within `patience` seconds."""
        if not patience:
            await socket.send(text, text=True)
            # Whether a frame costs the connection is known before the next one is sent. Text that is not UTF-8 has to,
            # and a gateway may find that out behind its answer to a ping (RFC 6455 section 8.1).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MAYBE_ANSWERED):
                    await (socket.wait_closed() if isinstance(text, bytes) else await socket.ping())
            return None
        line.answered = asyncio.get_running_loop().create_future()
        line.wire_id = wire_id
        try:
            await socket.send(text, text=True)
            async with asyncio.timeout(patience):
                return await line.answered
        except TimeoutError:
            return None
        finally:
            line.answered = None

    async def _connected(self, line: _Line) -> ClientConnection:
        """The connection of a charge point, made again and again until it stands."""
        pause = FIRST_PAUSE
        while line.socket is None or line.socket.close_code is not None:
            try:
                async with self._connecting:
                    await self._connect(line)
            except (WebSocketException, OSError, TimeoutError) as error:
                self.problem = f"{line.point} could not connect to {self._url}: {error}"
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self.problem = None
        return line.socket

    async def _connect(self, line: _Line) -> None:
        socket = await connect(
            f"{self._url}{self._target.gateway_path(line.point)}",
            subprotocols=[Subprotocol(self._target.gateway.subprotocol)],
            open_timeout=CONNECT_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
            compression=None,
            max_size=None,
            proxy=None,
        )
        line.reader = asyncio.get_running_loop().create_task(self._read(line, socket), name=f"{line.point} reads")
        if self._target.announcement.required and not line.booted:
            line.booted = True
            version = self._target.version
            boot = [MessageType.CALL, f"{self._token}-boot-{next(self._numbers)}", version.boot]
            text = json.dumps([*boot, version.sample(version.boot)])
            await self._exchange(line, socket, text, str(boot[1]), patience=self._target.timeouts.answer)
        line.socket = socket
        line.connections += 1

    async def _read(self, line: _Line, socket: ClientConnection) -> None:
        try:
            async for data in socket:
                await self._received(line, socket, data)
        except ConnectionClosed:
            pass
        finally:
            if line.answered is not None and not line.answered.done():
                line.answered.set_exception(ConnectionError("the connection has ended"))
                line.answered.exception()

    async def _received(self, line: _Line, socket: ClientConnection, data: str | bytes) -> None:
        raw = data.encode() if isinstance(data, str) else data
        try:
            frame = json.loads(raw)
        except (ValueError, RecursionError):
            frame = None
        match frame:
            case [MessageType.CALL, str(message_id), str(action), dict(fields)]:
                self.took_in(line.point, raw)
                await socket.send(self._reply(message_id, action, fields))
            case [MessageType.CALLRESULT | MessageType.CALLERROR, message_id, *_] if (
                line.answered is not None
                and not line.answered.done()
                and (line.wire_id in {None, message_id} or self._refuses(frame, line.current))
            ):
                line.answered.set_result(frame)
            case [MessageType.CALLERROR, *_] if (late := line.unanswered) is not None and self._refuses(frame, late):
                line.unanswered = None
                self.took_in(line.point, _answer_to(late, frame))
            case _:
                self.took_in(line.point, raw)

    def _refuses(self, frame: list[Any], message: SentMessage | None) -> bool:
        """Whether this is a CALLERROR that names no message, and refuses an invalid one: there is one at a time.

        The strict oracle asks for the message id wherever it can be read.
        """
        invalid = message is not None and message.valid is not True
        return invalid and frame[:2] == [MessageType.CALLERROR, UNREADABLE_ID] and not self._target.strict

    def _reply(self, message_id: str, action: str, fields: dict[str, Any]) -> str:
        version = self._target.version
        command = version.commands.get(action)
        if command is None:
            return json.dumps([MessageType.CALLERROR, message_id, version.codes.unknown_action, "", {}])
        return json.dumps([MessageType.CALLRESULT, message_id, command.accept(fields, version.settings())])


def _as_frame(data: bytes) -> str | bytes:
    """The frame for a message: text, or binary if its bytes are not valid UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _answer_to(message: SentMessage, answer: list[Any]) -> bytes:
    """The answer under the id that is expected of it, if any is: it may have come under another one."""
    if message.answer_message_id is not None:
        answer = [answer[0], message.answer_message_id, *answer[2:]]
    return json.dumps(answer, ensure_ascii=False).encode()


def _with_id(text: str | bytes, message_id: str) -> str:
    frame = json.loads(text)
    frame[1] = message_id
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)
