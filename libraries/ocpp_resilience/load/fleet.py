"""The charge points of one generating process, and their clockwork.

Everything on one event loop; a message costs one callback. Only what went over the wire counts: a charge point has one
CALL outstanding at most (OCPP-J 1.6, section 4.1.1), and what falls due meanwhile waits its turn, on the clock.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from picows import WSCloseCode, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from ocpp_resilience.charge_points.behaviour import Behaviour
from ocpp_resilience.ledger.records import FORMAT
from ocpp_resilience.load.plan import Model, Plan, Profile
from ocpp_resilience.load.result import LAG_LIMIT_MS, Part, Second, Spent, Spread, Times, cause_of_slip
from ocpp_resilience.load.scripts import HOLD, RECONNECT, Actor, Script, Session, script_of

SPIN_BELOW = 300.0
"""Up to this rate (messages a second) the last millisecond before a message is due is waited out on the processor: the
loop's timers are whole milliseconds, which would be counted as latency."""
SWEEP_SECONDS = 0.05
CAPACITY_SECONDS = 1.0
"""What is answered in this time before the schedule slips is what the server can answer."""
RETRY_SECONDS = (0.05, 2.0)
"""First and longest pause between two attempts to connect; a charge point draws its pause from within."""

now = time.monotonic
_decode = msgspec.json.decode
_EXPECT_BOTH = {"StartTransaction", "StopTransaction"}
"""Actions that leave a trace of their own in the state."""


class LedgerLines:
    """Ledger lines (see `ocpp_resilience.ledger`) made as cheaply as they can be."""

    def __init__(self, path: str | None, seed: int, *, commands: bool) -> None:
        self._file = Path(path).open("ab", buffering=0) if path else None  # noqa: SIM115 - closed by `close`
        self._writer = f"load.{secrets.token_hex(4)}"
        self.lines: list[str] = []
        self.on = self._file is not None
        if self.on:
            # Charge points see every command that is carried out, and so whether one is missing.
            looks = ',"expect":"effect","via":"command"' if commands else ""
            self.lines.append(
                f'{{"op":"begin","t":{time.time():.6f},"writer":"{self._writer}","format":{FORMAT},"seed":{seed}'
                f"{looks}}}\n"
            )
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._file is not None and self.lines:
            waiting = memoryview("".join(self.lines).encode())
            self.lines.clear()
            while waiting:
                waiting = waiting[self._file.write(waiting) :]

    def end(self) -> None:
        """Everything that was sent has an outcome by now."""
        if self._file is not None:
            self.lines.append(f'{{"op":"end","t":{time.time():.6f},"writer":"{self._writer}"}}\n')
            self.flush()
            self._file.close()
            self._file = None


class ChargePoint(WSListener, Actor):
    """One charge point on its WebSocket."""

    def __init__(self, fleet: Fleet, number: int, cp: str) -> None:
        self.fleet = fleet
        self.number = number
        self.id = cp
        self.url = fleet.plan.url_of(cp)
        addresses = fleet.plan.local_addresses
        self.local = (addresses[number % len(addresses)], 0) if addresses else None
        self.transport: WSTransport | None = None
        self.script: Script = script_of(
            self,
            fleet.plan,
            random.Random(f"{fleet.plan.seed}/{number}"),  # noqa: S311 - behaviour, no secret
        )
        self.action = ""
        self.payload = b""
        self.waiting_for: str | None = None
        self.late: set[str] = set()
        self.due = 0.0
        self.free_at = 0.0
        self.sent_at = 0.0
        self.backlog: deque[float] = deque()
        self.sequence = 0
        self.last_message_id = ""
        self.stopping = False
        self.refused = False
        self.behaviour = Behaviour() if fleet.plan.commands else None
        self.finished = False
        self.held = False
        self.ready = False
        self.planned_close = False
        self.connecting = False
        self.fragments: list[bytes] = []

    # --- the connection

    async def connect(self, times: Times) -> bool:
        """Open the WebSocket; what goes wrong is counted by kind."""
        fleet = self.fleet
        began = now()
        try:
            transport, _ = await ws_connect(
                lambda: self,
                self.url,
                ssl_context=fleet.tls,
                websocket_handshake_timeout=fleet.plan.timeout,
                extra_headers={"Sec-WebSocket-Protocol": fleet.plan.subprotocol},
                disconnect_on_exception=False,
                max_redirects=0,
                local_addr=self.local,
            )
        except WSHandshakeError as error:
            status = error.response.status if error.response else "no answer"
            fleet.failures[f"connection refused: {getattr(status, 'value', status)}"] += 1
            return False
        except (OSError, TimeoutError) as error:
            fleet.failures[f"connection refused: {type(error).__name__}"] += 1
            return False
        times.add(now() - began)
        if transport.is_disconnected or transport.response is None:
            return False  # it was lost as soon as it was open
        if transport.response.headers.get("Sec-WebSocket-Protocol") != fleet.plan.subprotocol:
            fleet.failures["connection refused: other subprotocol"] += 1
            transport.disconnect()
            return False
        return True

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The WebSocket is open."""
        self.transport = transport
        self.planned_close = False
        self.fragments.clear()
        self.fleet.connected_one()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The WebSocket is closed: what was outstanding has no known outcome."""
        if self.transport is not transport:
            return
        self.transport = None
        fleet = self.fleet
        fleet.connected -= 1
        fleet.fewest = min(fleet.fewest, fleet.connected)
        if fleet.closing:
            return
        if not self.planned_close and fleet.blackout_began is None:
            fleet.failures["connection lost"] += 1
        if self.waiting_for is not None:
            self.unknown("connection lost")
        fleet.owned(self.stay_connected(self.planned_close))

    async def stay_connected(self, at_once: bool) -> None:
        """Connect again until that works, with pauses that grow and are drawn by chance."""
        if self.connecting:  # a connection that was lost before `connect` returned
            return
        self.connecting = True
        fleet = self.fleet
        pause = RETRY_SECONDS[0]
        try:
            if not at_once and fleet.blackout_began is None:
                await asyncio.sleep(fleet.chance.uniform(0, pause))
            while not fleet.closing and self.transport is None:
                if await self.connect(fleet.times["reconnecting"]):
                    fleet.all_back()
                    self.resume()
                    return
                await asyncio.sleep(fleet.chance.uniform(pause / 2, pause))
                pause = min(2 * pause, RETRY_SECONDS[1])
        finally:
            self.connecting = False

    def resume(self) -> None:
        """Go on where the connection was lost."""
        self.free_at = now()
        if self.waiting_for is None and not self.finished and self.ready:
            self.next_one(self.free_at)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame has arrived."""
        at = now()
        try:
            kind = frame.msg_type
            if kind is WSMsgType.TEXT and frame.fin:
                self.received(frame.get_payload_as_bytes(), at)
            elif kind is WSMsgType.TEXT or kind is WSMsgType.CONTINUATION:
                self.fragments.append(frame.get_payload_as_bytes())
                if frame.fin:
                    whole = b"".join(self.fragments)
                    self.fragments.clear()
                    self.received(whole, at)
            elif kind is WSMsgType.CLOSE:
                if not transport.is_close_frame_sent:
                    transport.send_close(WSCloseCode.OK)
                transport.disconnect()
        except Exception as error:  # noqa: BLE001 - a mistake in here has to end the run, not to be logged by picows
            self.fleet.fail(error)

    # --- messages

    def received(self, data: bytes, at: float) -> None:
        """Take in a message of the server."""
        fleet = self.fleet
        try:
            message = _decode(data)
            kind, message_id = message[0], message[1]
        except (msgspec.DecodeError, LookupError, TypeError):
            fleet.part.unexpected += 1
            return
        if kind == 2:
            self.commanded(message)
            return
        if message_id != self.waiting_for:
            self.not_waited_for(message, message_id)
            return
        fleet.service(at - self.sent_at)
        if fleet.open:
            fleet.latency(at - self.due)
            fleet.queueing(self.sent_at - self.due)
        answer: dict[str, Any] | None
        if kind == 3:
            answer = message[2]
            fleet.part.answered += 1
            fleet.second_answered += 1
            if fleet.ledger_on:
                t = f'"t":{time.time():.6f},"cp":"{self.id}","id":"{message_id}"'
                fleet.line(f'{{"op":"ok",{t}}}\n{{"op":"answer",{t},"kind":"result"}}\n')
        else:
            answer = None
            code = str(message[2])
            fleet.refused[code] += 1
            fleet.second_errors += 1
            if fleet.ledger_on:
                t = f'"t":{time.time():.6f},"cp":"{self.id}","id":"{message_id}"'
                what = msgspec.json.encode(code).decode()
                fleet.line(f'{{"op":"fail",{t},"what":{what}}}\n')
                fleet.line(f'{{"op":"answer",{t},"kind":"error","what":{what}}}\n')
        self.waiting_for = None
        self.refused = kind != 3
        self.done(answer, at)

    def commanded(self, message: list[Any]) -> None:
        """Answer a command of the server, and write down that it was carried out."""
        fleet = self.fleet
        fleet.part.commands += 1
        message_id, action, payload = (*message[1:4], None, None)[:3]
        answer = None
        if self.behaviour is not None and isinstance(payload, dict):
            answer = self.behaviour.accept(action, payload)
            if fleet.ledger_on and action == "GetConfiguration":
                for key in payload.get("key", ()):
                    name, what = msgspec.json.encode(key).decode(), '"carried out"'
                    t = f'"t":{time.time():.6f},"cp":"{self.id}"'
                    fleet.line(f'{{"op":"effect",{t},"id":{name},"what":{what}}}\n')
        if answer is not None:
            reply = msgspec.json.encode([3, message_id, answer])
        else:
            reply = msgspec.json.encode([4, message_id, "NotImplemented", "A simulated charge point.", {}])
        if self.transport is not None:
            self.transport.send(WSMsgType.TEXT, reply)

    def not_waited_for(self, message: list[Any], message_id: Any) -> None:
        """An answer that is late, or belongs to nothing."""
        fleet = self.fleet
        known = message_id in self.late
        self.late.discard(message_id)
        if known:
            fleet.part.late += 1
        else:
            fleet.part.unexpected += 1
        if fleet.ledger_on:
            kind = "result" if message[0] == 3 else "error"
            name = msgspec.json.encode(str(message_id)).decode()
            fleet.line(f'{{"op":"answer","t":{time.time():.6f},"cp":"{self.id}","id":{name},"kind":"{kind}"}}\n')

    def unknown(self, reason: str) -> None:
        """The outstanding message has no known outcome."""
        fleet = self.fleet
        message_id = self.waiting_for
        if message_id is None:
            return
        self.waiting_for = None
        self.refused = False
        self.late.add(message_id)
        fleet.failures[f"unanswered: {reason}"] += 1
        fleet.second_errors += 1
        if fleet.ledger_on:
            t = f'"t":{time.time():.6f},"cp":"{self.id}","id":"{message_id}"'
            fleet.line(f'{{"op":"unknown",{t},"what":"{reason}"}}\n')
        self.done(None, now())

    def prepare(self, answer: dict[str, Any] | None, first: bool = False) -> bool:
        """Have the script say what comes next; whether there is something to send."""
        try:
            step = next(self.script) if first else self.script.send(answer)
        except StopIteration:
            self.finished = True
            self.fleet.finished_one()
            return False
        if step is HOLD:
            self.held = True
            self.fleet.hold()
            return False
        if step is RECONNECT:
            self.ready = self.prepare(None)
            if self.transport is not None and not self.finished:
                self.planned_close = True
                self.transport.send_close(WSCloseCode.OK)  # the server answers it, and `on_ws_frame` disconnects
            return False
        self.action, self.payload = step
        self.ready = True
        return True

    def done(self, answer: dict[str, Any] | None, at: float) -> None:
        """The outstanding message has come to its end: send the next one, or wait for its time."""
        fleet = self.fleet
        self.free_at = at
        self.ready = False
        messages = fleet.plan.messages
        if messages is not None and self.sequence >= messages:
            self.stopping = True
        if not self.prepare(answer):
            return
        if fleet.pause and not fleet.open:
            fleet.loop.call_later(fleet.pause, self.after_pause, at)
        else:
            self.next_one(at)

    def after_pause(self, since: float) -> None:
        """The pause of the closed model is over."""
        at = now()
        self.fleet.part.thought += at - since
        self.free_at = at
        if self.fleet.lag_on:
            self.fleet.times["lag"].add(max(0.0, at - since - self.fleet.pause))
        self.next_one(at)

    def next_one(self, at: float) -> None:
        """Send the message that is ready, if it is due and there is a connection."""
        if self.waiting_for is not None or self.transport is None or not self.ready:
            return
        if self.planned_close:
            return
        if not self.fleet.open:
            self.fire(at, at)
        elif self.fleet.finishing:
            self.fleet.part.due += 1
            self.fire(at, at)
        elif self.backlog:
            self.fire(self.backlog.popleft(), at)

    def arrival(self, due: float, at: float) -> None:
        """Open model: a message is due."""
        if self.waiting_for is None and self.ready and self.transport is not None and not self.backlog:
            self.fire(due, at)
        else:
            self.backlog.append(due)

    def fire(self, due: float, at: float) -> None:
        """Send the message that is ready."""
        fleet = self.fleet
        transport = self.transport
        if transport is None:
            return
        self.sequence = sequence = self.sequence + 1
        self.waiting_for = self.last_message_id = message_id = f"{fleet.prefix}{sequence}"
        self.due = due
        if fleet.ledger_on:
            expect = ',"expect":"both"' if fleet.plan.effects and self.action in _EXPECT_BOTH else ""
            fleet.line(
                f'{{"op":"invoke","t":{time.time():.6f},"cp":"{self.id}","id":"{message_id}","seq":{sequence},'
                f'"action":"{self.action}","via":"websocket"{expect}}}\n'
            )
        fleet.part.sent += 1
        fleet.second_sent += 1
        self.sent_at = now() if fleet.open else at
        transport.send(WSMsgType.TEXT, b'[2,"%b","%b",%b]' % (message_id.encode(), self.action.encode(), self.payload))

    # --- what the script reports

    def charging(self, session: Session) -> None:
        """A transaction is active."""
        fleet = self.fleet
        fleet.part.sessions.append(session)
        fleet.charging += 1
        fleet.part.most_charging = max(fleet.part.most_charging, fleet.charging)

    def charged(self) -> None:
        """StopTransaction is about to be sent."""
        self.fleet.charging -= 1


class Fleet:
    """The charge points of this process.

    Args:
        plan: what they do.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.part = Part(sessions=[], seconds=[], times={}, ledgers=[plan.ledger] if plan.ledger else [])
        self.open = plan.model is Model.OPEN
        self.pause = plan.pause
        self.chance = random.Random(f"{plan.seed}/fleet/{plan.own[0]}")  # noqa: S311
        self.prefix = f"{secrets.token_hex(3)}-"
        self.refused: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.times = {name: Times() for name in ("latency", "queueing", "service", "connecting", "reconnecting", "lag")}
        self._now_times = {name: Times() for name in ("latency", "service")}
        self.service = self._now_times["service"].add
        self.latency = self._now_times["latency"].add
        self.queueing = self.times["queueing"].add
        self.ledger = LedgerLines(plan.ledger, plan.seed, commands=plan.commands)
        self.ledger_on = self.ledger.on
        self.line = self.ledger.lines.append
        self.second_sent = self.second_answered = self.second_errors = 0
        self.connected = 0
        self.fewest = 0
        self.charging = 0
        self.stopping = False
        self.finishing = False
        self.closing = False
        self.lag_on = True
        self.blackout_began: float | None = None
        self.tls = ssl.create_default_context() if plan.url.startswith("wss:") else None
        self.failed: BaseException | None = None
        self.over = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        first, step = plan.own
        self.points = [ChargePoint(self, number, cp) for number, cp in enumerate(plan.ids()) if number % step == first]
        self._mine = {point.number: point for point in self.points}
        self._unfinished = len(self.points)
        self._began_cpu = 0.0
        self._arrivals: Iterator[float] = iter(())
        self._next: tuple[int, float] | None = None
        self._number = 0
        self._in_time = 0.0

    def owned(self, coroutine: Any) -> None:
        """Run a coroutine as a task of the fleet, which is cancelled at the end."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Something broke that must not break: end the run and say so."""
        self.failed = self.failed or error
        self.over.set()

    def connected_one(self) -> None:
        """A WebSocket was opened."""
        self.connected += 1
        self.part.connections += 1
        self.part.most_connected = max(self.part.most_connected, self.connected)

    def all_back(self) -> None:
        """See whether everybody is connected again after the blackout."""
        if self.blackout_began is not None and self.connected == len(self.points):
            self.part.recovered_after = now() - self.blackout_began
            self.blackout_began = None
            self._check_end()

    async def connect(self) -> None:
        """Connect everybody, some at a time, until all are or the time is up."""
        gate = asyncio.Semaphore(self.plan.connect_at_once)
        end = now() + self.plan.connect_timeout

        async def one(point: ChargePoint) -> None:
            pause = RETRY_SECONDS[0]
            while True:
                async with gate:
                    if await point.connect(self.times["connecting"]):
                        return
                if now() + pause > end or self.stopping:
                    return
                await asyncio.sleep(self.chance.uniform(pause / 2, pause))
                pause = min(2 * pause, RETRY_SECONDS[1])

        await asyncio.gather(*(one(point) for point in self.points))
        self.part.charge_points = len(self.points)
        self.part.connected_at_start = self.fewest = self.connected

    async def run(self, start_at: float, progress: Callable[[Fleet, float], None]) -> Part:
        """Send what the plan says, from `start_at` (monotonic clock) on; returns what was measured.

        Args:
            start_at: when.
            progress: told once a second.
        """
        await asyncio.sleep(max(0.0, start_at - now()))
        began = self.part.began = max(start_at, now()) if not self.open else start_at
        self._began_cpu = time.process_time()
        for point in self.points:
            point.free_at = began
            if point.transport is None:
                self.owned(point.stay_connected(at_once=False))
            point.prepare(None, first=True)
        self.owned(self._sweep())
        self.owned(self._every_second(began, progress))
        if self.plan.blackout_at is not None:
            self.loop.call_later(self.plan.blackout_at, self.black_out)
        if self.open:
            self._in_time = began + self.plan.length + LAG_LIMIT_MS / 1000
            self._arrivals = self.plan.schedule()
            self._take()
            self._tick()
        else:
            if self.plan.seconds is not None:
                self.loop.call_later(self.plan.seconds, self.stop)
            for point in self.points:
                point.next_one(now())
        await self.over.wait()
        self.closing = True
        await self._end(began)
        return self.part

    # --- the schedule of the open model

    def _take(self) -> None:
        self._next = None
        for due in self._arrivals:
            number = self._number
            self._number += 1
            owner = number % self.plan.charge_points
            if owner in self._mine:
                self._next = (owner, self.part.began + due)
                return

    def _tick(self) -> None:
        """Hand out what is due, and come back for the next."""
        if self.stopping or self.over.is_set():
            return
        at = now()
        lag = self.times["lag"].add
        while self._next is not None and self._next[1] <= at:
            owner, due = self._next
            self.part.due += 1
            self.part.due_in_time += at <= self._in_time
            lag(at - due)
            self._mine[owner].arrival(due, at)
            self._take()
        if self._next is None:
            self.stop()
            return
        wait = self._next[1] - now()
        if wait > 0.0015:
            self.loop.call_later(wait - 0.001 if self._spins(at) else wait, self._tick)
        elif self._spins(at):
            self.loop.call_soon(self._tick)
        else:
            self.loop.call_later(0.001, self._tick)

    def _spins(self, at: float) -> bool:
        left = at - self.part.began
        for stage in self.plan.stages:
            if left < stage.seconds:
                return stage.rate / self.plan.own[1] <= SPIN_BELOW
            left -= stage.seconds
        return False

    def stop(self) -> None:
        """Nothing falls due any more; what was begun is brought to its end."""
        if self.stopping:
            return
        self.stopping = True
        if not self.open:
            for point in self.points:
                point.stopping = True
        self.hold()
        if self.open:
            if not self.plan.drain or self.part.slipped_at is not None:
                for point in self.points:
                    self.unsent(point)
            self.loop.call_later(self.plan.timeout, self._give_up)
        else:
            self.loop.call_later(self.plan.timeout, self.over.set)
        self._check_end()

    def unsent(self, point: ChargePoint) -> None:
        """What is due and was not sent will not be."""
        if point.backlog:
            self.failures["not sent"] += len(point.backlog)
            point.backlog.clear()

    def _give_up(self) -> None:
        for point in self.points:
            self.unsent(point)
        self.loop.call_later(self.plan.timeout, self.over.set)
        self._check_end()

    def _check_end(self) -> None:
        if self.over.is_set() or not self.stopping:
            return
        if self.open:
            # Who is still away after a blackout is waited for, too: whether everybody comes back is what is asked.
            if self.blackout_began is not None:
                return
            if any(point.backlog or point.waiting_for is not None for point in self.points):
                return
            if not self.finishing:
                # What runs is ended in order, one message after the other; the schedule is over.
                self.finishing = True
                for point in self.points:
                    point.stopping = True
                    if self.plan.profile in {Profile.SESSION, Profile.MIX} and not point.finished:
                        point.next_one(now())
                    else:
                        point.finished = True
            if any(point.waiting_for is not None for point in self.points):
                return
            self.over.set()
        elif all(point.finished or (point.waiting_for is None and point.transport is None) for point in self.points):
            self.over.set()

    def finished_one(self) -> None:
        """A charge point's script has come to its end."""
        self._unfinished -= 1
        self.hold()
        if self._unfinished <= 0:
            self.over.set()

    def hold(self) -> None:
        """Let the charge points that wait for each other go, once all are there or nobody is to wait any more."""
        held = [point for point in self.points if point.held]
        if held and (self.stopping or self.open or len(held) >= self._unfinished):
            for point in held:
                point.held = False
            self.loop.call_soon(self._go_on, held)

    def _go_on(self, points: list[ChargePoint]) -> None:
        at = now()
        for point in points:
            if point.prepare(None):
                point.next_one(at)

    def black_out(self) -> None:
        """Cut every connection; all connect again at once."""
        if self.closing or self.stopping:
            return
        self.blackout_began = now()
        for point in self.points:
            if point.transport is not None:
                point.transport.disconnect(graceful=False)

    # --- what goes on beside

    async def _sweep(self) -> None:
        """Find what is unanswered for too long, what is overdue, and the end."""
        slip = self.plan.slip
        expected = now() + SWEEP_SECONDS
        spent: deque[Spent] = deque(maxlen=round(CAPACITY_SECONDS / SWEEP_SECONDS) + 1)
        while True:
            await asyncio.sleep(max(0.0, expected - now()))
            at = now()
            if not self.open and not self.pause:
                self.times["lag"].add(max(0.0, at - expected))
            expected = at + SWEEP_SECONDS
            limit = at - self.plan.timeout
            for point in self.points:
                if point.waiting_for is not None and point.sent_at < limit:
                    point.unknown("timeout")
            if slip is not None and not self.stopping:
                spent.append(self._spent(at))
                oldest = min((point.backlog[0] for point in self.points if point.backlog), default=at)
                if at - oldest > slip:
                    self.part.slipped_at = oldest - self.part.began
                    first, last = spent[0], spent[-1]
                    self.part.slip_rate = (last.answered - first.answered) / max(last.at - first.at, SWEEP_SECONDS)
                    self.part.slip_cause = cause_of_slip(first, last)
                    self.stop()
            self._check_end()

    def _spent(self, at: float) -> Spent:
        """What went where so far; two of these say what went where in between."""
        lag, service, newest = self.times["lag"], self.times["service"], self._now_times["service"]
        for times in (lag, newest):
            times.count()
        return Spent(
            at=at,
            answered=self.part.answered,
            lag=lag.total,
            lags=int(lag.histogram.get_total_count()),
            service=service.total + newest.total,
            services=int(service.histogram.get_total_count() + newest.histogram.get_total_count()),
            cpu=time.process_time(),
        )

    async def _every_second(self, began: float, progress: Callable[[Fleet, float], None]) -> None:
        number = 0
        while True:
            await asyncio.sleep(max(0.0, began + number + 1 - now()))
            self._close_second(number)
            progress(self, began)
            number += 1

    def _close_second(self, number: int) -> None:
        self.ledger.flush()
        name = "latency" if self.open else "service"
        second = self._now_times[name]
        second.count()
        spread = Spread.of(second.histogram, second.total)
        self.part.seconds.append(
            Second(
                second=number,
                sent=self.second_sent,
                answered=self.second_answered,
                errors=self.second_errors,
                p50=spread.p50,
                p99=spread.p99,
                max=spread.max,
                histogram=second.encode() if self.plan.own[1] > 1 and spread.samples else "",
            )
        )
        self.second_sent = self.second_answered = self.second_errors = 0
        for each, times in self._now_times.items():
            self.times[each].merge(times)
        self.times["queueing"].count()
        self.times["lag"].count()

    async def _end(self, began: float) -> None:
        part = self.part
        part.ended = now()
        elapsed = max(part.ended - began, 1e-9)
        part.cpu_share = (time.process_time() - self._began_cpu) / elapsed
        if not self.open:
            part.due = part.sent
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for point in self.points:
            if point.waiting_for is not None:
                point.finished = True
                point.script.close()
                point.prepare = lambda *_: False  # type: ignore[method-assign]
                point.unknown("stopped before the answer")
        self._close_second(len(part.seconds))
        part.fewest_connected = self.fewest
        part.connected_at_end = self.connected
        part.refused = dict(self.refused)
        part.failures = dict(self.failures)
        if not self.open:
            # Without a schedule a message is due when it is sent.
            self.times["latency"] = self.times["service"]
        part.times = {name: (times.encode(), times.total) for name, times in self.times.items()}
        part.error = f"{type(self.failed).__name__}: {self.failed}" if self.failed else None
        self.ledger.end()
        await self._close()

    async def _close(self) -> None:
        """Close every connection in order, and cut what does not close within 2 seconds."""
        transports = [point.transport for point in self.points if point.transport is not None]
        for transport in transports:
            transport.send_close(WSCloseCode.OK)
        if transports:
            waits = [asyncio.ensure_future(transport.wait_disconnected()) for transport in transports]
            _, left = await asyncio.wait(waits, timeout=2)
            for wait in left:
                wait.cancel()
        for transport in transports:
            if not transport.is_disconnected:
                transport.disconnect(graceful=False)
