"""One simulated charge point: its connection, its calls, its answers, and all that went over the wire.

Everything here runs on the background loop; other threads only read `frames`, `connected` and `ends`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ocpp_resilience.charge_points.behaviour import Behaviour, How, Script
from ocpp_resilience.charge_points.conformance import OpenCalls
from ocpp_resilience.charge_points.errors import CallRefused, NoAnswer, NotConnected
from ocpp_resilience.charge_points.gateway import Gateway, Login
from ocpp_resilience.charge_points.ghost import End, Ghost
from ocpp_resilience.errors import UsageError, WrongAnswers
from ocpp_resilience.ocpp import Version
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType, in_short, read_frame
from ocpp_resilience.ocpp.model import Exchange, model_of
from ocpp_resilience.ocpp.numbers import with_integers
from ocpp_resilience.ocpp.v201 import Transaction as EventTransaction
from ocpp_resilience.text import examples
from ocpp_resilience.waiting import in_words

KEPT_FRAMES = 10_000
"""So many frames of a charge point are kept, the newest."""
CLOSING_SECONDS = 1.5
"""Time limit in seconds of a closing handshake."""
OBEYING_SECONDS = 30.0
"""Maximum time to wait for the answer to a message that a charge point sends to obey a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a CALL.

    Attributes:
        charge_point: whose CALL it was.
        message_id: its message id.
        action: its action.
        kind: CALLRESULT or CALLERROR.
        payload: the payload of a CALLRESULT.
        code: the error code of a CALLERROR, else `None`.
        description: the description of a CALLERROR.
        details: the details of a CALLERROR.
        seconds: from sending the CALL until the answer was there.
        problems: violations of the protocol in the payload of a CALLRESULT.
    """

    charge_point: str
    message_id: str
    action: str
    kind: MessageType
    payload: Any
    code: str | None
    description: str | None
    details: Any
    seconds: float
    problems: Sequence[str] = ()

    def accepted(self) -> Any:
        """The payload.

        Raises:
            CallRefused: it is a CALLERROR.
            WrongAnswers: the protocol does not allow this CALLRESULT.
        """
        if self.kind is MessageType.CALLERROR:
            what = f": {self.description}" if self.description else ""
            raise CallRefused(
                f"{self.action} of {self.charge_point} (message id {self.message_id}) was answered with the CALLERROR "
                f"{self.code}{what}.",
                code=self.code or "",
                description=self.description or "",
            )
        if self.problems:
            raise WrongAnswers(
                f"The answer to {self.action} of {self.charge_point} (message id {self.message_id}) is wrong: "
                f"{examples(self.problems)}.",
                violations=["answered wrongly"],
            )
        return self.payload


@dataclass(slots=True)
class Charging:
    """A running transaction with numbered events (OCPP 2.0.1 and 2.1).

    Attributes:
        transaction: makes its events.
        meter: the energy register, in Wh.
    """

    transaction: EventTransaction
    meter: int


class ChargePoint:
    """A charge point.

    Args:
        charge_point_id: its id.
        gateway: where it connects.
        login: how it connects.

    Attributes:
        behaviour: its configuration and how it answers commands.
        frames: sent and received frames, oldest first; the newest 10,000.
        before_frames: the CALLs of the oldest kept frame's connection that are older than it, and not answered yet.
        ends: how its connections ended, oldest first.
        ghosts: connections that it has left behind without ending them, oldest first.
        connections: how many connections it has opened.
        unmatched: how many answers came that nothing waited for.
        charging: the transactions that it has begun with TransactionEvents and not ended, by EVSE.
    """

    def __init__(self, charge_point_id: str, gateway: Gateway, login: Login | None = None) -> None:
        self.id = charge_point_id
        self.gateway = gateway
        self.login = login or Login()
        self.behaviour = Behaviour(self.version)
        self.frames: deque[Frame] = deque()
        self.before_frames = OpenCalls()
        self.ends: list[End] = []
        self.ghosts: list[Ghost] = []
        self.unmatched = 0
        self.charging: dict[int, Charging] = {}
        self.connected_at: float | None = None
        self.connections = 0
        self._model = model_of(self.version, gateway.target.behaviour)
        self._token = secrets.token_hex(4)
        self._calls = 0
        self._frames = 0
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, asyncio.Future[Frame]] = {}
        self._last_call: tuple[str, Mapping[str, Any], str] | None = None
        self._turn = asyncio.Lock()
        self._ending = False

    def __repr__(self) -> str:
        return f"<charge point {self.id}>"

    @property
    def version(self) -> Version:
        """The OCPP version that it speaks."""
        return self.gateway.version

    @property
    def connected(self) -> bool:
        """Whether it has a connection now."""
        return self._socket is not None

    @property
    def last_number(self) -> int:
        """The number of the newest frame, 0 before the first."""
        return self._frames

    def state(self) -> str:
        """The state of its connection, as words that follow its name."""
        if self.connected:
            return "is connected"
        if not self.ends:
            return "never connected"
        return f"is not connected: the connection was ended {self.ends[-1]}"

    def connection_seconds(self) -> float:
        """Duration in seconds of the current or the last connection; 0 before the first."""
        if self.connected_at is None:
            return 0.0
        return (time.monotonic() if self.connected else self.ends[-1].at) - self.connected_at

    def seen(
        self,
        *,
        direction: Direction | None = None,
        kind: MessageType | None = None,
        action: str | None = None,
        since: int = 0,
    ) -> list[Frame]:
        """The frames with a number above `since` that fit, oldest first."""
        return [
            frame
            for frame in self.frames.copy()
            if frame.number > since
            and (direction is None or frame.direction is direction)
            and (kind is None or frame.kind is kind)
            and (action is None or frame.action == action)
        ]

    # ---------------------------------------------------------------- the connection

    async def connect(self, *, limit: float) -> None:
        """Connect; the frames of earlier connections are kept.

        Raises:
            ConnectFailed: the gateway did not accept it.
            UsageError: it is connected already.
        """
        if self._socket is not None:
            raise UsageError(f"{self.id} is connected already.")
        socket = await self.gateway.open(self.id, self.login, limit=limit)
        self._socket = socket
        self.connections += 1
        self._ending = False
        self.connected_at = time.monotonic()
        self._reader = asyncio.create_task(self._read(socket), name=f"charge point {self.id}")

    async def disconnect(self, code: int = 1000, reason: str = "") -> None:
        """End the connection with a closing handshake of at most 1.5 s; after that it is cut."""
        socket = self._socket
        if socket is not None:
            self._ending = True
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                # A gateway that reads nothing holds up `close` for longer than its own time limit.
                async with asyncio.timeout(CLOSING_SECONDS):
                    await socket.close(code, reason)
            socket.transport.abort()
        await self._ended()

    async def abort(self) -> None:
        """Cut the connection without a closing handshake, as when the power fails."""
        if self._socket is not None:
            self._ending = True
            self._socket.transport.abort()
        await self._ended()

    async def reconnect_as_ghost(self, *, limit: float) -> Ghost:
        """Connect again and leave the older connection open, as after a power failure that no side has noticed.

        Callers that wait for an answer over the older connection fail; commands over it are not answered.

        Args:
            limit: the longest wait for the newer connection, in seconds.

        Raises:
            ConnectFailed: the gateway did not accept it; the older connection is gone then.
            NotConnected: there is no older connection.
        """
        socket, reader = self._connection(), self._reader
        assert reader is not None  # noqa: S101 - each connection has one
        ghost = Ghost(charge_point=self.id, since=math.inf, socket=socket, reader=reader)
        self.ghosts.append(ghost)
        self._socket = None
        self._forget_outstanding(f"{self.id} has lost its power.")
        try:
            await self.connect(limit=limit)
        except BaseException:
            await ghost.cut()
            raise
        ghost.since = time.monotonic()
        return ghost

    async def close(self) -> None:
        """End every connection, those that were left behind too."""
        for ghost in self.ghosts:
            if ghost.end is None:
                await ghost.cut()
        await self.disconnect()

    async def settled(self) -> None:
        """Wait until every received command is answered that should be answered."""
        while self._answering:
            await asyncio.wait(list(self._answering))

    async def _ended(self) -> None:
        for task in list(self._answering):
            if task is not asyncio.current_task():
                task.cancel()
        if self._reader is not None:
            await asyncio.wait([self._reader])

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for data in socket:
                ghost = self._ghost(socket)
                if ghost is None:
                    self._received(data)
                else:
                    number, at = len(ghost.received) + 1, time.monotonic()
                    frame = read_frame(data, direction=Direction.RECEIVED, number=number, at=at, time=time.time())
                    ghost.received.append(frame)
        except ConnectionClosed:
            pass
        finally:
            self._closed(socket)

    def _ghost(self, socket: ClientConnection) -> Ghost | None:
        """The end of a connection that was left behind; `None` for the one in use."""
        if socket is self._socket:
            return None
        return next((ghost for ghost in self.ghosts if ghost.socket is socket), None)

    def _closed(self, socket: ClientConnection) -> None:
        ghost = self._ghost(socket)
        code = socket.close_code
        end = End(
            code=1006 if code is None else code,
            reason=socket.close_reason or "",
            by_us=self._ending and ghost is None,
            at=time.monotonic(),
        )
        if ghost is not None:
            ghost.end = end
            return
        self._socket = None
        self.ends.append(end)
        self._forget_outstanding(f"{self.id} {self.state()}.")

    def _forget_outstanding(self, why: str) -> None:
        """Nothing of the connection that is gone is answered any more, by neither side."""
        for task in list(self._answering):
            task.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(NotConnected(why))
                # The waiting caller gets it; without one, the answer is late and ignored.
                future.exception()

    # ---------------------------------------------------------------- its own messages

    def new_message_id(self) -> str:
        """A message id that no other charge point and no other CALL has."""
        self._calls += 1
        return f"{self._token}-{self._calls}"

    async def call(
        self,
        action: str,
        payload: Mapping[str, Any],
        *,
        limit: float,
        message_id: str | None = None,
    ) -> Answer:
        """Send a CALL and wait for its answer. Only one is outstanding at a time; others wait for their turn.

        Args:
            action: the action; it need not exist.
            payload: its fields; they need not be valid.
            limit: the longest wait for the answer once it is this CALL's turn, in seconds.
            message_id: the message id; a new one if not given.

        Raises:
            NoAnswer: there was no answer in time.
            NotConnected: there is no connection, or it ended before the answer came.
        """
        async with self._turn:
            chosen = self.new_message_id() if message_id is None else message_id
            self._last_call = (action, payload, chosen)
            future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            self._waiting[chosen] = future
            since = self._frames
            text = _text([MessageType.CALL, chosen, action, payload])
            try:
                async with asyncio.timeout(limit):
                    sent = await self._send(text)
                    frame = await future
            except TimeoutError:
                seen = self.seen(direction=Direction.RECEIVED, since=since)
                raise NoAnswer(
                    f"{action} of {self.id} (message id {chosen}) was not answered within {in_words(limit)}. "
                    f"Since then it received {in_short(seen)}."
                ) from None
            finally:
                del self._waiting[chosen]
        return Answer(
            charge_point=self.id,
            message_id=chosen,
            action=action,
            kind=frame.kind or MessageType.CALLRESULT,
            payload=frame.payload,
            code=frame.code,
            description=frame.description,
            details=frame.details,
            seconds=frame.at - sent.at,
            problems=self._problems(action, payload, sent, frame),
        )

    def _problems(self, action: str, payload: Mapping[str, Any], sent: Frame, answer: Frame) -> list[str]:
        if answer.kind is not MessageType.CALLRESULT:
            return []
        exchange = Exchange(
            charge_point=self.id,
            message_id=sent.message_id or "",
            action=action,
            payload=payload,
            answer=with_integers(answer.payload),
            began=sent.time,
            ended=answer.time,
        )
        return self._model.answer_problems(exchange)

    async def send_call(self, action: str, payload: Mapping[str, Any], message_id: str | None = None) -> Frame:
        """Send a CALL without waiting for its answer.

        Raises:
            NotConnected: there is no connection.
        """
        chosen = self.new_message_id() if message_id is None else message_id
        self._last_call = (action, payload, chosen)
        return await self._send(_text([MessageType.CALL, chosen, action, payload]))

    async def repeat_last_call(self, *, limit: float, new_message_id: bool = False) -> Answer:
        """Send the last CALL again and wait for its answer, as a charge point does that has got none.

        Args:
            limit: the longest wait, in seconds.
            new_message_id: the same event under a new message id; else it is the same frame.

        Raises:
            UsageError: it has not sent any.
            NoAnswer, NotConnected: as `call`.
        """
        if self._last_call is None:
            raise UsageError(f"{self.id} has not sent a CALL that could be repeated.")
        action, payload, message_id = self._last_call
        return await self.call(action, payload, limit=limit, message_id=None if new_message_id else message_id)

    async def send(self, data: str | bytes, *, fragments: int = 1) -> Frame:
        """Send a frame unchanged, also while a CALL is outstanding: text as a text frame, bytes as a binary one.

        Args:
            data: what is sent.
            fragments: in how many frames of the WebSocket it is sent (RFC 6455 section 5.4).

        Raises:
            NotConnected: there is no connection.
        """
        if fragments == 1:
            return await self._send(data)
        socket = self._connection()
        frame = self._note(Direction.SENT, data)
        size = -(-len(data) // fragments)
        await self._write(socket, [data[start : start + size] for start in range(0, len(data), size)], text=None)
        return frame

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes on the connection below the WebSocket: frames that no library would make.

        Raises:
            NotConnected: there is no connection.
        """
        socket = self._connection()
        self._note(Direction.SENT, data)
        socket.transport.write(data)

    async def send_together(self, texts: Sequence[str]) -> None:
        """Send text frames in one packet, so that the gateway has the last of them before it has answered the first.

        Raises:
            NotConnected: there is no connection.
        """
        socket = self._connection()
        for text in texts:
            self._note(Direction.SENT, text)
            socket.protocol.send_text(text.encode())
        socket.transport.write(b"".join(socket.protocol.data_to_send()))

    async def send_as_text(self, data: bytes) -> Frame:
        """Send bytes in a text frame, UTF-8 or not."""
        socket = self._connection()
        frame = self._note(Direction.SENT, data)
        await self._write(socket, data, text=True)
        return frame

    def _connection(self) -> ClientConnection:
        if self._socket is None:
            raise NotConnected(f"{self.id} {self.state()}.")
        return self._socket

    async def _send(self, data: str | bytes) -> Frame:
        socket = self._connection()
        frame = self._note(Direction.SENT, data)
        await self._write(socket, data, text=None)
        return frame

    async def _write(self, socket: ClientConnection, data: Any, *, text: bool | None) -> None:
        try:
            await socket.send(data, text=text)
        except ConnectionClosed:
            # The reader learns of it in the same moment; it says how the connection ended.
            if self._reader is not None:
                await asyncio.wait([self._reader])
            raise NotConnected(f"{self.id} {self.state()}.") from None

    def _note(self, direction: Direction, data: str | bytes) -> Frame:
        self._frames += 1
        frame = read_frame(
            data,
            direction=direction,
            number=self._frames,
            at=time.monotonic(),
            time=time.time(),
            connection=self.connections,
            message_types=self.version.message_types,
        )
        if len(self.frames) >= KEPT_FRAMES:
            self.before_frames.forget(self.frames.popleft())
        self.frames.append(frame)
        return frame

    # ---------------------------------------------------------------- what comes from the gateway

    def _received(self, data: str | bytes) -> None:
        frame = self._note(Direction.RECEIVED, data)
        if frame.kind is MessageType.CALL:
            task = asyncio.create_task(self._answer(frame), name=f"{self.id} answers {frame.action}")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        future = self._waiting.get(frame.message_id) if frame.kind and frame.message_id is not None else None
        if future is None or future.done():
            self.unmatched += 1
        else:
            future.set_result(frame)

    async def _answer(self, command: Frame) -> None:
        action, message_id = command.action or "", command.message_id or ""
        payload = command.payload if isinstance(command.payload, dict) else {}
        script = self.behaviour.script_for(action)
        if wait := script.delay + random.uniform(0, script.spread):  # noqa: S311 - chance, not a secret
            await asyncio.sleep(wait)
        with contextlib.suppress(NotConnected):
            if script.how is How.DISCONNECT:
                await self.disconnect(1001, "scripted by the test")
            elif script.how is not How.SILENCE:
                if script.how is How.CROSS:
                    with contextlib.suppress(NoAnswer):
                        await self.call(script.action, self.version.sample(script.action), limit=script.patience)
                text = self._reply(script, action, message_id, payload)
                await self._send(text)
                if script.how is How.TWICE:
                    await self._send(text)
                elif script.how is How.OBEY:
                    await self._obey(action, payload)

    async def _obey(self, action: str, payload: Mapping[str, Any]) -> None:
        """Carry out an accepted command; most commands need no action."""
        command = self.version.commands.get(action)
        if command is None:
            return
        if command.restarts:
            await self.disconnect(1000, "reset")
        elif command.then is not None and (message := command.then(payload)) is not None:
            with contextlib.suppress(NoAnswer):
                await self.call(*message, limit=OBEYING_SECONDS)

    def _reply(self, script: Script, action: str, message_id: str, payload: Mapping[str, Any]) -> str:
        if script.how is How.CALLERROR:
            return _text([MessageType.CALLERROR, message_id, script.code, script.description, {}])
        if script.how is How.UNKNOWN_ID:
            message_id = f"unknown-{self.new_message_id()}"
        made = script.payload
        if made is None:
            act = self.behaviour.reject if script.how is How.REJECT else self.behaviour.accept
            made = act(action, payload)
        if made is None:
            description = f"{action} is not known here."
            return _text([MessageType.CALLERROR, message_id, "NotImplemented", description, {}])
        return _text([MessageType.CALLRESULT, message_id, made])


def _text(frame: list[Any]) -> str:
    try:
        return json.dumps(frame, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"The message cannot be written as JSON: {error}. Send it as a raw frame instead.") from None
