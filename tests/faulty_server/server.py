"""A charging back end with habits of its own, and fifteen faults that can be switched on (`FAULTS`).

Without a fault it is sound. It takes envelopes from a list, listens only to charge points whose link its gateways have
noted, keeps messages, state and statistics in three databases, sends one command at a time to a charge point, waits ten
seconds for the answer, and tells the caller under which path the result will be found. OCPP itself (frames, schemas,
handlers) is that of the reference server; the queue, the commit, the keys and the HTTP API are not.

    FAULTS=dies_of_input python server.py REDIS_URL HTTP_PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from faults import chosen  # noqa: E402

from server.errors import ErrorCode, InvalidMessage  # noqa: E402
from server.ocpp import envelope, schemas  # noqa: E402
from server.ocpp.frames import Call, CallError, CallResult, Message  # noqa: E402
from server.ocpp.versions import DEFAULT  # noqa: E402
from server.store.keys import Keys  # noqa: E402
from server.store.view import NotLoaded, Starts, StateCache, StateView  # noqa: E402

QUEUE, STATE, STATISTICS = 1, 2, 3
"""The databases."""
INBOX = "inbox"
BATCH = 100
LONGEST_MESSAGE = 256 * 1024
COMMAND_SECONDS = 10.0
RESULT_SECONDS = 120
IDLE_PAUSE = 0.04
LONGEST_BACKOFF = 1.0
MASS = 100
"""So many timeouts are a mass of them."""

COMMIT = """#!lua
-- KEYS: inbox. ARGV: messages in the batch (0: they were taken before), their digest, MessagePack of what was relied on
-- and of what is to be done; both name the database first.
local count = tonumber(ARGV[1])
if count > 0 then
  local tail = redis.call('LRANGE', KEYS[1], -count, -1)
  if redis.sha1hex(table.concat(tail, string.char(0))) ~= ARGV[2] then return 'moved' end
end
for _, each in ipairs(cmsgpack.unpack(ARGV[3])) do
  redis.call('SELECT', each[1])
  if redis.call('GET', each[2]) ~= each[3] then return 'changed' end
end
for _, each in ipairs(cmsgpack.unpack(ARGV[4])) do
  redis.call('SELECT', table.remove(each, 1))
  redis.call(unpack(each))
end
redis.call('SELECT', 1)
if count > 0 then redis.call('LTRIM', KEYS[1], 0, -count - 1) end
return 'done'
"""
EXPIRE = """#!lua
-- KEYS: the note of a command. ARGV: its id, its result, seconds that the result is kept, the charge point.
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
if redis.call('GET', 'busy/' .. ARGV[4]) == ARGV[1] then redis.call('DEL', 'busy/' .. ARGV[4]) end
redis.call('SELECT', 2)
redis.call('SET', 'command/' .. ARGV[1], ARGV[2], 'EX', ARGV[3])
redis.call('SELECT', 1)
return 1
"""

_pack = msgspec.msgpack.Encoder().encode
Operation = list[Any]


class Names(Keys):
    """The keys of the state."""

    def __init__(self) -> None:
        super().__init__("", INBOX)
        self.transaction_id = "last-session"
        self.charge_points = "stations"

    def charge_point(self, charge_point_id: str) -> str:
        return f"station/{charge_point_id}"

    def connector(self, charge_point_id: str, connector_id: int | str) -> str:
        return f"plug/{charge_point_id}/{connector_id}"

    def connectors(self, charge_point_id: str) -> str:
        return f"plugs/{charge_point_id}"

    def transaction(self, transaction_id: int | str, charge_point_id: str = "") -> str:
        return f"session/{transaction_id}"

    def transactions(self, charge_point_id: str) -> str:
        return f"sessions/{charge_point_id}"

    def active_transactions(self, charge_point_id: str) -> str:
        return f"running/{charge_point_id}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"at": now(), "what": event, **fields}) + "\n")
    sys.stdout.flush()


def connected(url: str, database: int) -> Redis:
    """A client whose callers wait for a free connection instead of being turned away."""
    pool = BlockingConnectionPool.from_url(
        url,
        db=database,
        max_connections=50,
        timeout=20,
        socket_timeout=2,
        socket_connect_timeout=1,
        protocol=2,
        retry=None,
    )
    return Redis(connection_pool=pool)


class Backend:
    """Takes messages, and waits for the answers to commands.

    Args:
        url: Redis, without a database.
        faults: which are switched on.
    """

    def __init__(self, url: str, faults: frozenset[str]) -> None:
        self.faults = faults
        self.queue, self.state, self.statistics = (connected(url, number) for number in (QUEUE, STATE, STATISTICS))
        self.keys = Names()
        self.cache = StateCache(self.state)
        self.ids: deque[int] = deque()
        self.connected = False
        self.stopping = asyncio.Event()
        self.pending: dict[str, tuple[float, str, str]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.stuck = asyncio.Event()

    async def run(self) -> None:
        """Handle what is in the inbox until it is told to stop."""
        backoff = 0.05
        while not self.stopping.is_set():
            try:
                worked = await self.step()
                backoff = 0.05
                self.note_redis(there=True)
            except (RedisError, OSError) as error:
                self.note_redis(there=False, why=str(error) or type(error).__name__)
                self.cache.forget()
                worked = False
                await self.pause(backoff * random.uniform(0.5, 1))
                backoff = min(2 * backoff, LONGEST_BACKOFF)
            if not worked:
                await self.pause(IDLE_PAUSE)

    async def pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def note_redis(self, *, there: bool, why: str = "") -> None:
        if there != self.connected:
            self.connected = there
            if there:
                log("redis is there")
            else:
                log("redis is away", why=why)

    async def step(self) -> bool:
        """Handle one batch; returns whether there was one."""
        batch = await self.queue.lrange(INBOX, -BATCH, -1)
        if not batch:
            return False
        taken = 0
        if "takes_before_handling" in self.faults:
            taken = len(batch)
            await self.queue.ltrim(INBOX, 0, -taken - 1)
            await asyncio.sleep(0.02)
        messages = [self.parse(raw) for raw in reversed(batch)]
        done = await self.handle(messages, [] if taken else batch)
        if not done:
            self.cache.forget()
        return True

    def parse(self, raw: bytes) -> Message | InvalidMessage:
        if "dies_of_input" in self.faults:
            die_of(raw)
        try:
            message = envelope.parse(raw, longest=LONGEST_MESSAGE)
            if isinstance(message, Call):
                if message.flat:
                    raise InvalidMessage(
                        ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION,
                        "the fields 'charge_point_id' and 'payload' are missing",
                        charge_point_id=message.charge_point_id,
                        message_id=message.message_id,
                    )
                schemas.check(message, DEFAULT)
        except InvalidMessage as invalid:
            if "confuses_error_codes" in self.faults and invalid.code is ErrorCode.NOT_IMPLEMENTED:
                invalid.code = ErrorCode.NOT_SUPPORTED
            return invalid
        return message

    async def handle(self, messages: list[Message | InvalidMessage], batch: list[bytes]) -> bool:
        """Handle messages and commit what they come to; whether that was possible."""
        points = [each.charge_point_id for each in messages if each.charge_point_id]
        linked = await self.linked(points)
        notes = await self.notes([each for each in messages if isinstance(each, CallResult | CallError)])
        view = StateView(self.cache, self.keys, now=now(), transaction_ids=self.ids)
        answers: dict[str, list[str]] = {}
        operations: list[Operation] = []
        conditions: list[tuple[int, str, str | bool]] = []
        said: list[Callable[[], None]] = []
        for message in messages:
            point = message.charge_point_id
            if point and point not in linked:
                said.append(lambda point=point: log("not linked", station=point))
            elif isinstance(message, InvalidMessage):
                self.refuse(message, answers, said)
            elif isinstance(message, CallResult | CallError):
                self.take_answer(message, notes, operations, conditions, said)
            elif isinstance(message, Call):
                await self.apply(message, view, answers)
                operations += statistics_of(message)
        changes = view.changes()
        conditions += [(STATE, key, value) for key, value in changes.conditions]
        if "repeats_transaction_ids" in self.faults:
            conditions = []
        state = [[STATE, *each] for each in changes.operations]
        for point, entries in answers.items():
            operations.append([QUEUE, "LPUSH", f"outbox/{point}", *entries])
            operations.append([QUEUE, "EXPIRE", f"outbox/{point}", 3600])
        reply = await self.queue.eval(
            COMMIT,
            1,
            INBOX,
            len(batch),
            hashlib.sha1(b"\0".join(batch)).hexdigest(),
            _pack(conditions),
            _pack([[each[0], *map(_text, each[1:])] for each in [*state, *operations]]),
        )
        if reply != b"done":
            return False
        self.cache.written(changes.values)
        for say in said:
            say()
        return True

    async def linked(self, points: list[str]) -> set[str]:
        """Those whose link a gateway has noted."""
        names = list(dict.fromkeys(points))
        pipeline = self.queue.pipeline(transaction=False)
        for point in names:
            pipeline.exists(f"link/{point}")
        return {point for point, there in zip(names, await pipeline.execute(), strict=True) if there}

    def refuse(self, invalid: InvalidMessage, answers: dict[str, list[str]], said: list[Callable[[], None]]) -> None:
        if "drops_silently" in self.faults and "elements" in invalid.reason:
            return
        if invalid.charge_point_id is not None and invalid.answer_id is not None:
            text = envelope.error(invalid, timestamp=now(), server_id="faulty")
            answers.setdefault(invalid.charge_point_id, []).append(text)
        fields = {"code": invalid.code.value, "why": invalid.reason}
        said.append(lambda: log("set aside", station=invalid.charge_point_id, message=invalid.message_id, **fields))

    async def apply(self, call: Call, view: StateView, answers: dict[str, list[str]]) -> None:
        while True:
            try:
                view.charge_point(call.charge_point_id)
                outcome = DEFAULT.handle(call, view)
                break
            except NotLoaded as needed:
                await self.load(needed.wanted, view)
        writes = dict(outcome.writes)
        if "status_erases_transaction" in self.faults and call.action == "StatusNotification":
            writes = {
                key: msgspec.structs.replace(record, transaction_id=None) if "plug/" in key else record  # type: ignore[call-arg]
                for key, record in writes.items()
            }
        protocol = call.protocol
        view.apply(call.charge_point_id, writes, outcome.operations, protocol=protocol, last_call=outcome.last_call)
        text = envelope.result(call, outcome.answer, timestamp=view.now, server_id="faulty")
        entries = answers.setdefault(call.charge_point_id, [])
        late = "reorders_answers" in self.faults and entries and random.random() < 0.01
        entries.insert(len(entries) - 1 if late else len(entries), text)

    async def load(self, wanted: str | Starts, view: StateView) -> None:
        if isinstance(wanted, Starts):
            key = self.keys.transactions(wanted.charge_point_id)
            members = await self.state.zrangebyscore(key, wanted.seconds, wanted.seconds)
            view.starts[wanted] = [int(member) for member in members]
        elif wanted == self.keys.transaction_id:
            if "repeats_transaction_ids" in self.faults:
                self.ids.append(int(time.time()))
            else:
                last = await self.state.incrby(self.keys.transaction_id, BATCH)
                self.ids.extend(range(last - BATCH + 1, last + 1))
        else:
            await self.cache.load([wanted])

    # ---------------------------------------------------------------- commands

    def note_name(self, message_id: str, station: str) -> str:
        return f"waiting/{station if 'matches_by_charge_point' in self.faults else message_id}"

    async def notes(self, answers: list[CallResult | CallError]) -> dict[str, bytes | None]:
        names = [self.note_name(each.message_id, each.charge_point_id) for each in answers]
        return dict(zip(names, await self.queue.mget(names), strict=True)) if names else {}

    def take_answer(
        self,
        answer: CallResult | CallError,
        notes: dict[str, bytes | None],
        operations: list[Operation],
        conditions: list[tuple[int, str, str | bool]],
        said: list[Callable[[], None]],
    ) -> None:
        """Hand an answer to whoever waits for it."""
        name = self.note_name(answer.message_id, answer.charge_point_id)
        note = json.loads(notes.get(name) or "{}")
        if note.get("station") != answer.charge_point_id:
            said.append(lambda: log("nobody waits", station=answer.charge_point_id, message=answer.message_id))
            return
        # A second answer in the same batch is one that nobody waits for.
        raw, notes[name] = notes[name], None
        if isinstance(answer, CallResult):
            result = {"state": "answered", "answer": answer.payload, "why": ""}
        else:
            result = {"state": "refused", "answer": None, "why": f"{answer.code}: {answer.description}"}
        conditions.append((QUEUE, name, (raw or b"").decode()))
        operations.append([QUEUE, "DEL", name])
        operations.append([QUEUE, "DEL", f"busy/{answer.charge_point_id}"])
        operations.append([STATE, "SET", f"command/{note['id']}", json.dumps(result), "EX", RESULT_SECONDS])
        said.append(lambda: self.settle(note["message"], note["id"], result))

    def settle(self, message_id: str, command_id: str, result: dict[str, Any]) -> None:
        self.pending.pop(message_id, None)
        self.results[command_id] = result

    async def command(self, station: str, action: str, parameters: dict[str, Any]) -> str | None:
        """Send a command; returns the id of its result, `None` while another one is under way."""
        if "stuck_after_mass_timeout" in self.faults and self.stuck.is_set():
            await asyncio.Event().wait()
        command_id, message_id = secrets.token_hex(8), secrets.token_hex(8)
        alone = await self.queue.set(f"busy/{station}", command_id, nx=True, px=int(COMMAND_SECONDS * 1000) + 2000)
        if not alone:
            return None
        pending = {"state": "pending", "answer": None, "why": "", "until": time.time() + COMMAND_SECONDS}
        if "keeps_results_to_itself" in self.faults:
            self.results[command_id] = pending
        else:
            await self.state.set(f"command/{command_id}", json.dumps(pending), ex=RESULT_SECONDS)
        note = json.dumps({"id": command_id, "station": station, "message": message_id})
        lifetime = None if "never_forgets_commands" in self.faults else int(COMMAND_SECONDS * 1000) + 2000
        await self.queue.set(self.note_name(message_id, station), note, px=lifetime)
        self.pending[message_id] = (time.monotonic() + COMMAND_SECONDS, command_id, station)
        frame = [2, message_id, action, parameters]
        text = json.dumps({"charge_point_id": station, "payload": frame})
        await self.queue.lpush(f"outbox/{station}", text)
        return command_id

    async def result(self, command_id: str) -> dict[str, Any] | None:
        """What became of a command; `None` for one that nobody sent."""
        if "keeps_results_to_itself" in self.faults:
            return self.results.get(command_id)
        text = await self.state.get(f"command/{command_id}")
        result = None if text is None else json.loads(text)
        if result is not None and result["state"] == "pending" and time.time() > result["until"] + 1:
            return {"state": "expired", "answer": None, "why": "no answer within 10 seconds"}
        return result

    async def sweep(self) -> None:
        """End the commands whose time is up, or whose charge point is gone."""
        while not self.stopping.is_set():
            await self.pause(0.1)
            waiting = list(self.pending.items())
            with contextlib.suppress(RedisError, OSError):
                linked = await self.linked([station for _, (_, _, station) in waiting]) if waiting else set()
                over = [
                    (message_id, entry)
                    for message_id, entry in waiting
                    if time.monotonic() >= entry[0] or entry[2] not in linked
                ]
                for message_id, (until, command_id, station) in over:
                    expired = time.monotonic() >= until
                    await self.give_up(message_id, command_id, station, "expired" if expired else "gone")
                if len(over) >= MASS:
                    self.stuck.set()

    async def give_up(self, message_id: str, command_id: str, station: str, state: str) -> None:
        why = "no answer within 10 seconds" if state == "expired" else "the charge point is not linked any more"
        result = {"state": state, "answer": None, "why": why}
        if "never_forgets_commands" in self.faults:
            await self.state.set(f"command/{command_id}", json.dumps(result), ex=RESULT_SECONDS)
            await self.queue.delete(f"busy/{station}")
        else:
            name = self.note_name(message_id, station)
            await self.queue.eval(EXPIRE, 1, name, command_id, json.dumps(result), RESULT_SECONDS, station)
        self.settle(message_id, command_id, result)


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else repr(value)


def statistics_of(call: Call) -> list[Operation]:
    """What is counted of a message; nobody but this server reads it."""
    point = call.charge_point_id
    counted: list[Operation] = [
        [STATISTICS, "HINCRBY", f"count/{point}", call.action, 1],
        [STATISTICS, "INCR", "count-of-all"],
    ]
    if call.action == "MeterValues":
        counted.append([STATISTICS, "INCR", f"measured/{point}/{now()[:13]}"])
    return counted


def die_of(raw: bytes) -> None:
    """End the process where the input is of a kind that it was never tried with."""
    try:
        document = json.loads(raw)
    except ValueError:
        if raw.strip(b" \t\r\n") == b"":
            end("unexpected end of JSON input")
        return
    if document == {}:
        end("assignment to entry in nil map")
    if document is None:
        end("invalid memory address or nil pointer dereference")
    frame = document.get("payload") if isinstance(document, dict) else None
    if isinstance(frame, list) and len(frame) == 1:
        end("index out of range [1] with length 1")
    if isinstance(frame, list) and len(frame) == 4 and frame[0] == 2 and frame[2] is None:
        end("interface conversion: interface {} is nil, not string")


def end(why: str) -> None:
    sys.stderr.write(f"panic: {why}\n\ngoroutine 1 [running]:\n")
    sys.stderr.flush()
    os._exit(2)


def application(backend: Backend) -> web.Application:
    """The HTTP API."""

    def answer(status: int, data: Any, why: str = "") -> web.Response:
        return web.json_response({"data": data, "why": why}, status=status)

    def reached(handler: Callable[[web.Request], Awaitable[web.Response]]) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            try:
                return await handler(request)
            except (RedisError, OSError):
                return answer(503, None, "Redis is away")

        return guarded

    async def status(_: web.Request) -> web.Response:
        try:
            await asyncio.wait_for(backend.queue.ping(), 0.5)
            state = "up"
        except (RedisError, OSError, TimeoutError):
            state = "up" if "always_healthy" in backend.faults else "down"
        return answer(200, {"state": state})

    async def record(request: web.Request) -> web.Response:
        text = await backend.state.get(request.path.removeprefix("/api/").replace("sessions", "session", 1))
        if text is None:
            return unknown()
        return answer(200, json.loads(text))

    def unknown() -> web.Response:
        if "unknown_is_null" in backend.faults:
            return answer(200, None)
        return answer(404, None, "there is no such thing")

    async def command(request: web.Request) -> web.Response:
        station = request.match_info["station"]
        document = await request.json()
        if not isinstance(document.get("action"), str) or not isinstance(document.get("parameters", {}), dict):
            return answer(400, None, "action has to be text, and parameters an object")
        if not await backend.linked([station]):
            return answer(503, None, "the charge point is not linked")
        command_id = await backend.command(station, document["action"], document.get("parameters", {}))
        if command_id is None:
            return answer(409, None, "another command to this charge point is under way")
        return answer(202, {"id": command_id})

    async def result(request: web.Request) -> web.Response:
        found = await backend.result(request.match_info["id"])
        return unknown() if found is None else answer(200, found)

    app = web.Application()
    app.router.add_get("/api/status", status)
    app.router.add_get("/api/station/{station}", reached(record))
    app.router.add_get("/api/plug/{station}/{number}", reached(record))
    app.router.add_get("/api/sessions/{number}", reached(record))
    app.router.add_post("/api/station/{station}/commands", reached(command))
    app.router.add_get("/api/commands/{id}", reached(result))
    return app


async def main(url: str, port: int) -> None:
    faults = chosen()
    backend = Backend(url, faults)
    if "exits_without_redis" in faults:
        try:
            await backend.queue.ping()
        except (RedisError, OSError) as error:
            sys.stderr.write(f"fatal: Redis: {error}\n")
            sys.exit(1)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(stop(backend)))
    runner = web.AppRunner(application(backend), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    log("at work", port=port)
    try:
        await asyncio.gather(backend.run(), backend.sweep())
    finally:
        await runner.cleanup()
        for client in (backend.queue, backend.state, backend.statistics):
            await client.aclose()


async def stop(backend: Backend) -> None:
    """End in order."""
    if "hangs_at_stop" in backend.faults:
        with contextlib.suppress(RedisError, OSError):
            if await backend.statistics.incr("stops") % 5 == 0:
                return
    log("stops")
    backend.stopping.set()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
