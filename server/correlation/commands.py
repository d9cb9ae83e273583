"""Commands to charge points and their answers, through Redis, from whichever instance to whichever gateway.

A command is registered with the correlation manager, then one script records the waiting instance in Redis, puts the
CALL into the charge point's list and wakes its gateway. All commands of an instance go through one task and one
connection, many in one round trip. Answers come in two ways: from this instance's own processor, or from another one's
through this instance's list of answers. docs/decisions/0006-answers-are-correlated-by-message-id.md has the reasons.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from server.correlation.manager import Correlation, CorrelationCancelled, CorrelationManager, Verdict
from server.correlation.protocols import Protocols
from server.errors import ErrorCode, InvalidMessage, shown
from server.ids import new_message_id, usable_charge_point_id
from server.metrics import Metrics
from server.ocpp import envelope, schemas
from server.ocpp.frames import Call, CallError, CallResult
from server.ocpp.version import Version
from server.ocpp.versions import VERSIONS
from server.redis.link import RedisLink, now
from server.redis.script import Script
from server.redis.tail import TAIL, Oversized, entries_of
from server.store.keys import Keys

logger = structlog.get_logger()

NAME = "commands"
"""Name of this component in error reports to the link."""
CHUNK = 256
"""Commands in one round trip."""
CHUNK_BYTES = 1024 * 1024
"""A round trip's commands end with the one that reaches this size."""
MOST_ANSWERS = 500
"""Answers that are taken in one round trip."""
MOST_ANSWER_BYTES = 1024 * 1024
"""A round trip's answers end with the one that reaches this size."""
SWEEP_SECONDS = 1.0
"""Between two looks for answers that no wake-up told of, while something is waited for."""
LIST_LIFETIME = 3600
"""Seconds that messages wait for their charge point (wire contract)."""
LAST_SECONDS = 1.0
"""Time limit in seconds for deleting this instance's correlations from Redis at shutdown."""
MOST_NOTES = 10_000
"""Notes that are to be taken back while Redis is away; those above expire by themselves."""

_ROUND = (
    TAIL
    + """
-- ARGV: MessagePack of {commands, notes to delete, sessions to look at, {list of answers, how many were read, their
-- digest, how many to read, most bytes, longest}, instance, prefix of wake channels, lifetime of lists in s}.
-- commands: {charge point id, session, charge point, note, list, lifetime of the note in ms, message}.
-- Returns {per command its session, 0 if the charge point is offline, -1 if it is not known, or an error},
-- {per session who it is}, {digest, answers, the oldest first}.
local work = cmsgpack.unpack(ARGV[1])
local time = redis.pcall('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local function identity(key)
    local found = redis.pcall('HMGET', key, 'connection', 'connected_at', 'ws_server_id')
    if found.err or not (found[1] or found[2] or found[3]) then return nil end
    return (found[1] or '') .. ' ' .. (found[2] or ''), found[3] or '', found[1]
end
for _, note in ipairs(work[2]) do
    -- Never another's: message ids are random, but who reads this should not have to rely on it.
    if redis.pcall('GET', note) == work[5] then redis.call('DEL', note) end
end
local results, gateways = {}, {}
for i, command in ipairs(work[1]) do
    local who, gateway, connection = identity(command[2])
    if not who then
        results[i] = redis.call('EXISTS', command[3]) == 1 and 0 or -1
    else
        -- A command is for this connection: on a later one nobody expects it, and it may have been carried out already.
        -- A gateway does not send it once nobody waits any more; by Redis' clock, since their hosts' may differ.
        local message = string.sub(command[7], 1, -2) .. string.format(',"expires_at":%.0f', clock + command[6])
        if connection then message = message .. ',"connection":' .. cjson.encode(connection) end
        message = message .. '}'
        local noted = redis.pcall('SET', command[4], work[5], 'PX', command[6])
        local pushed = noted.err and noted or redis.pcall('LPUSH', command[5], message)
        if type(pushed) == 'table' and pushed.err then
            redis.pcall('DEL', command[4])
            results[i] = {pushed.err}
        else
            redis.call('EXPIRE', command[5], work[7])
            gateways[gateway] = gateways[gateway] or {}
            table.insert(gateways[gateway], command[1])
            results[i] = who
        end
    end
end
for gateway, woken in pairs(gateways) do redis.call('PUBLISH', work[6] .. gateway, cjson.encode(woken)) end
local seen = {}
for i, session in ipairs(work[3]) do seen[i] = identity(session) or '' end
local list, count, longest = work[4][1], work[4][2], work[4][6]
if count > 0 and still(list, count, work[4][3], longest) then redis.call('LTRIM', list, 0, -count - 1) end
local answers, digest = tail(list, work[4][4], work[4][5], longest)
return {results, seen, {digest, answers}}
"""
)

_round = Script(_ROUND)
_pack = msgspec.msgpack.Encoder().encode
_encode = msgspec.json.Encoder().encode
_SURPLUS = {
    Verdict.LATE: "late_answer",
    Verdict.DUPLICATE: "duplicate_answer",
    Verdict.UNKNOWN: "unknown_answer",
}
"""Log fields of an answer without a waiting command."""


def server_of(instance: str) -> str:
    """The server id in an instance's name; empty if it is no such name."""
    return instance.rpartition(".")[0]


class CommandError(Exception):
    """A command was not sent, or its answer cannot be used."""


class InvalidCommand(CommandError):
    """The command does not keep to the OCPP schema; the message names the field. Nothing was sent."""


class CommandNotInVersion(CommandError):
    """The version of OCPP that the charge point speaks lacks the command. Nothing was sent."""


class ChargePointUnknown(CommandError):
    """There is no such charge point. Nothing was sent."""


class ChargePointOffline(CommandError):
    """The charge point is not connected. Nothing was sent."""


class CommandsUnavailable(CommandError):
    """Redis does not answer or takes no writes; the message says whether the command may have been sent."""


class InvalidAnswer(CommandError):
    """The charge point's answer does not keep to the OCPP schema; the message names the field."""


class _Sending:
    """A command on its way.

    Attributes:
        call: the command.
        correlation: the waiting caller.
        sent: whether it was, or may have been, handed to Redis.
        session: the connection that it was sent to, as the script identifies connections.
        problem: why it was not sent.
    """

    __slots__ = ("call", "correlation", "problem", "sent", "session")

    def __init__(self, call: Call, correlation: Correlation) -> None:
        self.call = call
        self.correlation = correlation
        self.sent = False
        self.session: bytes | None = None
        self.problem: CommandError | None = None


class Commands:
    """Sends commands and hands each answer to its waiting caller.

    Args:
        link: for the connection, and to report how Redis is.
        keys: key names.
        correlation: the correlation manager.
        instance: the name of this process in this life, `server_id` and a random part.
        server_id: the name that commands carry.
        timeout: default timeout of a command in seconds.
        longest_answer: bytes above which an answer from another instance is set aside.
        metrics: totals for `/metrics`.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        correlation: CorrelationManager,
        *,
        instance: str,
        server_id: str,
        timeout: float,
        longest_answer: int,
        metrics: Metrics,
    ) -> None:
        self._link = link
        self._keys = keys
        self._wire = link.wire()
        self._protocols = Protocols(link.client, keys)
        self.correlation = correlation
        self.instance = instance
        self._server_id = server_id
        self._timeout = timeout
        self._longest = longest_answer
        self._metrics = metrics
        self._outgoing: deque[_Sending] = deque()
        self._open: dict[str, dict[str, _Sending]] = {}
        self._notes: deque[str] = deque(maxlen=MOST_NOTES)
        self._changed: dict[str, None] = {}
        self._look = True
        self._read: tuple[int, str] = (0, "")
        self._wanted = asyncio.Event()
        self._stopping = False
        self._deadline = float("inf")
        metrics.gauge("ocpp_commands_pending", "Commands that wait for their answer", lambda: len(correlation))

    # --- sending ------------------------------------------------------------------------------------------------------

    async def send(
        self,
        charge_point_id: str,
        action: str,
        payload: dict[str, Any],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - ends in an error of its own
    ) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Args:
            charge_point_id: the recipient.
            action: a command of the version.
            payload: the action's fields (OCPP 1.6 section 6).
            timeout: seconds to wait for the answer; the setting `CORRELATION_TIMEOUT` when left out.

        Returns:
            The payload of the charge point's CALLRESULT (OCPP 1.6 section 6), of any status.

        Raises:
            CommandNotInVersion: the charge point's version of OCPP lacks the command.
            InvalidCommand: unknown action, or a field that the schema does not allow.
            ChargePointUnknown: no such charge point.
            ChargePointOffline: it is not connected.
            CommandsUnavailable: Redis is down or full.
            CallErrorReceived: the charge point answered with a CALLERROR.
            CorrelationTimeout: no answer in time.
            ChargePointDisconnected: it went away before it answered.
            CorrelationClosed: this instance stops.
            InvalidAnswer: the answer breaks the schema.
        """
        known = [version for version in VERSIONS.values() if action in version.commands]
        if not known:
            raise InvalidCommand(f"{action} is not a command of this server")
        if not self._link.healthy:
            raise CommandsUnavailable("Redis is not available; nothing was sent")
        version = await self._version_of(charge_point_id)
        if version is not None and version not in known:
            raise CommandNotInVersion(f"{version.name}, which {charge_point_id} speaks, has no command {action}")
        # The version of an unknown charge point is unknown as well.
        complaints = [
            schemas.complaint(schemas.validator(each, action, flat=False), payload)
            for each in (known if version is None else [version])
        ]
        if all(complaints):
            raise InvalidCommand(complaints[-1] or "")
        if version is None:
            raise ChargePointUnknown(f"there is no charge point {shown(charge_point_id)}")
        call = Call(charge_point_id, new_message_id(), action, payload, protocol=version.protocol)
        wait = self._timeout if timeout is None else timeout
        correlation = self.correlation.register(call.message_id, charge_point_id, action, timeout=wait)
        sending = _Sending(call, correlation)
        self._open.setdefault(charge_point_id, {})[call.message_id] = sending
        self._outgoing.append(sending)
        self._wanted.set()
        try:
            answer = await correlation
        except CorrelationCancelled:
            if sending.problem is not None:
                raise sending.problem from None
            raise
        finally:
            self._ended(sending)
        if found := schemas.violation(version, schemas.answer_validator(version, action), answer):
            code, reason = found
            logger.warning(
                "invalid_answer",
                code=code,
                charge_point_id=charge_point_id,
                message_id=call.message_id,
                action=action,
                reason=reason,
            )
            self._metrics.invalid(code)
            if version.dialect.reports_unreadable_results:
                await self._report_unusable(sending, code, reason)
            raise InvalidAnswer(reason)
        return answer

    async def _version_of(self, charge_point_id: str) -> Version | None:
        """The version of OCPP that a charge point speaks, or spoke last; `None` if it is not known."""
        if not usable_charge_point_id(charge_point_id):
            return None
        try:
            return await self._protocols.of(charge_point_id)
        except RedisError as error:
            raise CommandsUnavailable(f"Redis does not answer; nothing was sent: {error}") from None

    async def _report_unusable(self, sending: _Sending, code: ErrorCode, reason: str) -> None:
        """Tell a charge point that its CALLRESULT cannot be used (OCPP-J 2.1 section 4.2.4)."""
        call, keys, client = sending.call, self._keys, self._link.client
        key = keys.responses(call.charge_point_id)
        try:
            session: Any = await client.hmget(keys.session(call.charge_point_id), ["connection", "ws_server_id"])
            connection, gateway = ((each or b"").decode(errors="replace") for each in session)
            if not connection or not (sending.session or b"").startswith(f"{connection} ".encode()):
                return  # not expected on a later connection
            invalid = InvalidMessage(
                code,
                reason,
                charge_point_id=call.charge_point_id,
                answer_id=call.message_id,
                connection=connection,
                protocol=call.protocol,
                answers_result=True,
            )
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.lpush(key, envelope.error(invalid, timestamp=now(), server_id=self._server_id))
                pipeline.expire(key, LIST_LIFETIME)
                pipeline.publish(keys.wake(gateway), _encode([call.charge_point_id]))
                await pipeline.execute()
        except RedisError as error:
            logger.warning("report_not_sent", charge_point_id=call.charge_point_id, error=str(error))

    def _ended(self, sending: _Sending) -> None:
        call = sending.call
        mine = self._open[call.charge_point_id]
        del mine[call.message_id]
        if not mine:
            del self._open[call.charge_point_id]
        if sending.sent:
            self._notes.append(self._keys.correlation(call.message_id))
        self._wanted.set()

    # --- what comes back ----------------------------------------------------------------------------------------------

    def knows(self, message_id: str) -> bool:
        """Whether this instance waits for an answer with this id, or did so lately."""
        return self.correlation.knows(message_id)

    def answered(self, message: CallResult | CallError) -> Verdict:
        """Hand a charge point's answer to its caller; an answer without one is counted and logged once."""
        if isinstance(message, CallResult):
            verdict = self.correlation.resolve(message.message_id, message.charge_point_id, message.payload)
        else:
            verdict = self.correlation.fail(
                message.message_id, message.charge_point_id, message.code, message.description, message.details
            )
        if verdict is not Verdict.DELIVERED:
            logger.warning(_SURPLUS[verdict], charge_point_id=message.charge_point_id, message_id=message.message_id)
            if verdict is Verdict.UNKNOWN:
                self._metrics.unknown_answers.inc()
        return verdict

    def look(self) -> None:
        """Answers may have come for this instance, or been missed: look for them soon."""
        self._look = True
        # Events may have been missed too.
        self._changed.update(dict.fromkeys(self._open))
        self._wanted.set()

    def session_changed(self, charge_point_id: str) -> None:
        """A charge point has connected or disconnected: soon check for commands that were lost with its old
        connection."""
        if charge_point_id in self._open:
            self._changed[charge_point_id] = None
            self._wanted.set()

    # --- the task -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Fail all waiting callers, and end `run` once Redis has no correlation left, or after a second."""
        self._stopping = True
        self._deadline = time.monotonic() + LAST_SECONDS
        self.correlation.close()
        self._wanted.set()

    async def run(self) -> None:
        """Run until `stop`. During an outage of Redis it waits, and commands are refused."""
        self._link.expect(NAME)
        failing = True  # until the first round trip
        while not self._stopping or ((self._open or self._notes) and time.monotonic() < self._deadline):
            if not (failing or self._outgoing or self._notes or self._changed or self._look):
                self._wanted.clear()
                await self._rest()
                continue
            try:
                await self._round()
                failing = False
                self._link.succeeded(NAME)
            except RedisError as error:
                failing = True
                self._refuse("Redis does not answer; nothing was sent")
                await self._link.recover(error, NAME, self._wire)
        await self._protocols.close()
        if not failing:
            try:
                await self._wire.execute("DEL", self._keys.answers(self.instance))
            except RedisError as error:
                self._link.failed(error, NAME)

    async def _rest(self) -> None:
        """Wait for work; overdue commands are looked for at intervals in any case."""
        longest = None
        if self._stopping:
            longest = max(0.0, self._deadline - time.monotonic())
        elif self._open:
            longest = SWEEP_SECONDS
        try:
            async with asyncio.timeout(longest):
                await self._wanted.wait()
        except TimeoutError:
            self._look = True

    def _refuse(self, why: str) -> None:
        while self._outgoing:
            self._not_sent(self._outgoing.popleft(), CommandsUnavailable(why))

    def _not_sent(self, sending: _Sending, problem: CommandError) -> None:
        sending.problem = problem
        self.correlation.cancel(sending.call.message_id)

    async def _round(self) -> None:
        # A failure in here has sent nothing, and a connection that has died while idle is no failure at all.
        await self._wire.connect()
        chunk, commands = self._take()
        notes = [self._notes.popleft() for _ in range(min(len(self._notes), CHUNK))]
        changed = list(self._changed)[:CHUNK]
        for charge_point_id in changed:
            del self._changed[charge_point_id]
        self._look = False
        keys = self._keys
        work = (
            commands,
            notes,
            [keys.session(each) for each in changed],
            (keys.answers(self.instance), *self._read, MOST_ANSWERS, MOST_ANSWER_BYTES, self._longest),
            self.instance,
            keys.wake(""),
            LIST_LIFETIME,
        )
        for sending in chunk:
            sending.sent = True
        try:
            results, seen, (digest, answers) = await _round(self._wire, [], [_pack(work)])
        except RedisError as error:
            self._notes.extend(notes)
            self._changed.update(dict.fromkeys(changed))
            self._look = True
            for sending in chunk:
                why = f"Redis did not confirm the command, which may have been sent ({type(error).__name__})"
                self._not_sent(sending, CommandsUnavailable(why))
            raise
        for sending, result in zip(chunk, results, strict=True):
            self._sent(sending, result)
        for charge_point_id, session in zip(changed, seen, strict=True):
            self._compare(charge_point_id, session)
        self._read = (len(answers), digest.decode())
        for raw in entries_of(answers):
            self._forwarded(raw)
        if answers:
            # Removes the entries that were read, and reads the rest.
            self._look = True

    def _take(self) -> tuple[list[_Sending], list[tuple[Any, ...]]]:
        chunk: list[_Sending] = []
        commands: list[tuple[Any, ...]] = []
        size, keys = 0, self._keys
        timestamp, clock = now(), time.monotonic()
        while self._outgoing and len(chunk) < CHUNK and size < CHUNK_BYTES:
            sending = self._outgoing.popleft()
            left = sending.correlation.deadline - clock
            if not sending.correlation.pending or left <= 0:
                continue
            call = sending.call
            message = envelope.command(call, timestamp=timestamp, server_id=self._server_id)
            chunk.append(sending)
            size += len(message)
            commands.append(
                (
                    call.charge_point_id,
                    keys.session(call.charge_point_id),
                    keys.charge_point(call.charge_point_id),
                    keys.correlation(call.message_id),
                    keys.responses(call.charge_point_id),
                    max(1, int(left * 1000)),
                    message,
                )
            )
        return chunk, commands

    def _sent(self, sending: _Sending, result: Any) -> None:
        charge_point_id = sending.call.charge_point_id
        if isinstance(result, bytes):
            sending.session = result
            return
        sending.sent = False
        if result == 0:
            self._not_sent(sending, ChargePointOffline(f"the charge point {charge_point_id!r} is not connected"))
        elif result == -1:
            self._not_sent(sending, ChargePointUnknown(f"there is no charge point {charge_point_id!r}"))
        else:
            why = result[0].decode(errors="replace")
            self._not_sent(sending, CommandsUnavailable(f"Redis did not take the command: {why}"))

    def _compare(self, charge_point_id: str, session: bytes) -> None:
        gone = [
            message_id
            for message_id, sending in self._open.get(charge_point_id, {}).items()
            if sending.session is not None and sending.session != session
        ]
        if gone:
            count = self.correlation.disconnect(charge_point_id, gone)
            logger.info("commands_disconnected", charge_point_id=charge_point_id, count=count)

    def _forwarded(self, raw: bytes | Oversized) -> None:
        if isinstance(raw, Oversized):
            logger.warning("forwarded_answer_unreadable", error=f"it has {raw.size} bytes")
            return
        try:
            self.answered(envelope.parse_forwarded(raw))
        except InvalidMessage as error:
            logger.warning("forwarded_answer_unreadable", error=error.reason)
