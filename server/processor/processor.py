"""Takes batches off the request queue, handles them and commits the results."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.exceptions import RedisError, ResponseError

from server.correlation.commands import Commands, server_of
from server.errors import CorruptState, ErrorCode, InvalidMessage
from server.metrics import Metrics
from server.ocpp import envelope, schemas
from server.ocpp.frames import Call, CallError, CallResult, CallResultError, Message
from server.ocpp.parsed import ParsedMessages
from server.ocpp.versions import VERSIONS
from server.processor.queue_consumer import QueueConsumer
from server.processor.request_queue import Batch, Committed, Conflict, Delivery, Refused, RequestQueue
from server.redis.link import RedisLink, now
from server.redis.tail import Oversized
from server.store.keys import Keys
from server.store.transaction_ids import TransactionIds
from server.store.view import Changes, NotLoaded, Operation, Starts, StateCache, StateView

logger = structlog.get_logger()

NAME = "processor"
"""Name of this component in error reports to the link; shards append their number."""
FORWARDED_LIFETIME = 120
"""Seconds that an answer waits for the instance that waits for it: it is read at once, or the instance is dead."""
RESPONSE_LIFETIME = 3600
"""Seconds that an answer waits for its charge point (wire contract)."""


@dataclass
class Effects:
    """Log records and counts of a batch, published once it is known to be committed."""

    processed: Counter[str] = field(default_factory=Counter)
    refused: list[InvalidMessage] = field(default_factory=list)
    answers: list[CallResult | CallError] = field(default_factory=list)
    unusable: list[CallError] = field(default_factory=list)
    forwarded: int = 0
    unread: list[CallResultError] = field(default_factory=list)


@dataclass
class BatchResult:
    """A handled batch, ready to be committed."""

    operations: list[Operation]
    deliveries: list[Delivery]
    changes: Changes
    effects: Effects


class Processor(QueueConsumer):
    """Drains the request queue, or one shard of it, while it owns it; stands by while another owns the queue.

    Args:
        link: for state, and to report how Redis is.
        keys: key names.
        queue: the queue.
        server_id: the name that answers carry.
        longest_message: `MAX_MESSAGE_BYTES`.
        require_boot: refuse CALLs of charge points that were not accepted yet.
        metrics: totals for `/metrics`.
        commands: the waiting commands of this process.
        ids: of transactions; shared by the processors of this process.
        parsed: messages that the gateway of this process has parsed; `None` where there is none.
        shard: the number of the shard that `queue` is; `None` for the whole queue.

    Attributes:
        processed: messages processed since the start.
        invalid: messages set aside since the start, by code.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        queue: RequestQueue,
        *,
        server_id: str,
        longest_message: int,
        require_boot: bool,
        metrics: Metrics,
        commands: Commands,
        ids: TransactionIds,
        parsed: ParsedMessages | None = None,
        shard: int | None = None,
    ) -> None:
        super().__init__(
            link,
            queue,
            name=NAME if shard is None else f"{NAME}-{shard}",
            stands_by=shard is None,
            about=None if shard is None else {"shard": shard},
        )
        self._keys = keys
        self._server_id = server_id
        self._longest = longest_message
        self._require_boot = require_boot
        self._metrics = metrics
        self._commands = commands
        self._cache = StateCache(link.client)
        self._ids = ids
        self._parsed = parsed
        self._transaction_ids: deque[int] = deque()
        self._uncertain: tuple[int, Effects] | None = None
        self._corrupt: set[str] = set()
        self.processed = 0
        self.invalid: Counter[str] = Counter()

    @property
    def consumer(self) -> str:
        """The name under which the queue is owned."""
        return self.queue.consumer

    @property
    def depth(self) -> int | None:
        """Messages in the queue when it was last looked at."""
        return self.queue.depth

    def _not_owner(self) -> None:
        super()._not_owner()
        # Another owner of the queue may have changed the cached values. A commit would notice that; a fresh start is
        # cheaper.
        self._cache.forget()

    async def _claim(self) -> None:
        await super()._claim()
        with contextlib.suppress(ResponseError):  # a counter that is none costs a start, and not the queue
            await self._ids.keep()

    def _settle(self, last_commit: int | None) -> None:
        """Publish the effects of a commit whose reply was lost, once the number of the last commit is known.

        With `None`, the outcome cannot be known any more. Its messages are then reported all the same: a message set
        aside without a record would be worse than one with two.
        """
        if self._uncertain is not None:
            number, effects = self._uncertain
            self._uncertain = None
            if last_commit is None or last_commit == number:
                self._report(effects)

    def _conflicted(self, conflict: Conflict) -> None:
        self._cache.forget(conflict.changed)
        for key in conflict.wrong_type:
            self._cache.unreadable(key, "it is not a string")
        self._metrics.conflicts.inc()

    async def _process(self, batch: Batch) -> Committed | Conflict | Refused:
        work = await self._handle(batch)
        try:
            result = await self.queue.commit(batch, work.changes.conditions, work.operations, work.deliveries)
        except (RedisError, asyncio.CancelledError):
            self._uncertain = (self.queue.attempt, work.effects)
            raise
        if isinstance(result, Committed):
            self._cache.written(work.changes.values)
            # An operator may repair it: the next message reads again.
            self._cache.forget(self._corrupt)
            self._corrupt.clear()
            self._link.succeeded(self._name)
            self._report(work.effects)
            for failure in result.failed:
                logger.error("operation_failed", error=failure)
        return result

    async def _handle(self, batch: Batch) -> BatchResult:
        parsed = [self._parse(raw) for raw in batch.messages]
        view = StateView(self._cache, self._keys, now=now(), transaction_ids=self._transaction_ids)
        await self._prepare(parsed, view)
        elsewhere = await self._waiting_elsewhere(parsed)
        answers: dict[str, list[str]] = {}
        askers: dict[str, set[tuple[str, str]]] = {}
        dead_letters: list[str] = []
        forwarded: dict[str, list[str]] = {}
        effects = Effects()
        for raw, message in zip(batch.messages, parsed, strict=True):
            verdict: InvalidMessage | None
            if isinstance(message, InvalidMessage):
                verdict = message
            else:
                try:
                    verdict = self._apply(message, view, answers)
                except NotLoaded as needed:
                    verdict = await self._apply_once_loaded(needed, message, view, answers)
            if verdict is not None:
                effects.refused.append(verdict)
                shown = raw.head if isinstance(raw, Oversized) else raw
                dead_letters.append(envelope.dead_letter(verdict, shown, view.now))
                self._tell_sender(verdict, elsewhere, forwarded, effects)
                self._answer_refused(verdict, view.now, answers)
                if verdict.charge_point_id and verdict.answer_id:
                    askers.setdefault(verdict.charge_point_id, set()).add((verdict.ws_server_id, verdict.connection))
            elif type(message) is Call:
                effects.processed[message.action] += 1
                if not message.send:
                    askers.setdefault(message.charge_point_id, set()).add((message.ws_server_id, message.connection))
            elif isinstance(message, CallResult | CallError):
                instance = elsewhere.get(message.message_id)
                if instance is None:
                    effects.answers.append(message)
                else:
                    forwarded.setdefault(instance, []).append(envelope.forwarded(message))
                    effects.forwarded += 1
            elif isinstance(message, CallResultError):
                effects.unread.append(message)
        changes = view.changes()
        answering = self._answer_operations(answers)
        operations = [
            # First: deliveries go by their numbers.
            *answering,
            *self._dead_letter_operations(dead_letters),
            *changes.operations,
            *self._forward_operations(forwarded),
        ]
        return BatchResult(operations, self._deliveries(answering, askers), changes, effects)

    def _parse(self, raw: bytes | Oversized) -> Message | InvalidMessage:
        if isinstance(raw, Oversized):
            reason = f"the message is longer than {self._longest} bytes: it has {raw.size}"
            return InvalidMessage(ErrorCode.FORMATION_VIOLATION, reason)
        try:
            known = self._parsed and self._parsed.take(raw)
            message: Message = known or envelope.parse(raw, longest=self._longest)
            if type(message) is Call:
                schemas.check(message, VERSIONS[message.protocol])
        except InvalidMessage as invalid:
            return invalid
        except Exception:
            # No input is known that leads here. If one is found, it costs itself and not the queue.
            logger.exception("parsing_failed")
            return InvalidMessage(ErrorCode.INTERNAL_ERROR, "the message could not be read")
        return message

    async def _prepare(self, parsed: list[Message | InvalidMessage], view: StateView) -> None:
        """Prefetch the state of a whole batch and reserve transaction ids: one round trip each."""
        wanted: dict[str | Starts, None] = {}
        starts = 0
        for message in parsed:
            if type(message) is Call:
                version = VERSIONS[message.protocol]
                for each in version.reads(message, self._keys):
                    wanted[each] = None
                starts += version.actions[message.action].takes_id
        await self._load(wanted, view)
        if starts > len(self._transaction_ids):
            with contextlib.suppress(CorruptState):
                await self._reserve(starts - len(self._transaction_ids))

    async def _load(self, wanted: Iterable[str | Starts], view: StateView) -> None:
        """Read values into the cache, and index entries into the view: the cache does not keep those up to date."""
        starts = [each for each in wanted if isinstance(each, Starts)]
        await self._cache.load(each for each in wanted if isinstance(each, str))
        if not starts:
            return
        async with self._link.client.pipeline(transaction=False) as pipeline:
            for each in starts:
                pipeline.zrangebyscore(self._keys.transactions(each.charge_point_id), each.seconds, each.seconds)
            found = await pipeline.execute(raise_on_error=False)
        for each, members in zip(starts, found, strict=True):
            if isinstance(members, ResponseError):
                view.starts[each] = CorruptState(self._keys.transactions(each.charge_point_id), str(members))
            elif isinstance(members, RedisError):
                raise members
            else:
                view.starts[each] = [int(member) for member in members if member.isdigit()]

    def _tell_sender(
        self,
        invalid: InvalidMessage,
        elsewhere: dict[str, str],
        forwarded: dict[str, list[str]],
        effects: Effects,
    ) -> None:
        """Inform the caller of a command immediately about an invalid answer, instead of letting it time out."""
        error = envelope.unusable_answer(invalid)
        if error is None:
            return
        if self._commands.correlation.waits(error.message_id):
            effects.unusable.append(error)
        elif instance := elsewhere.get(error.message_id):
            forwarded.setdefault(instance, []).append(envelope.forwarded(error))

    async def _waiting_elsewhere(self, parsed: list[Message | InvalidMessage]) -> dict[str, str]:
        """Message ids of answers that another instance waits for, and which; also of those that cannot be used."""
        answers = [
            envelope.unusable_answer(message) if isinstance(message, InvalidMessage) else message
            for message in parsed
            if type(message) is not Call
        ]
        ids = [
            message.message_id
            for message in answers
            if isinstance(message, CallResult | CallError) and not self._commands.knows(message.message_id)
        ]
        if not ids:
            return {}
        values: list[Any] = await self._link.client.mget([self._keys.correlation(each) for each in ids])
        found = {}
        for message_id, value in zip(ids, values, strict=True):
            instance = value.decode(errors="replace") if value else ""
            if server_of(instance) and instance != self._commands.instance:
                found[message_id] = instance
        return found

    async def _reserve(self, count: int) -> None:
        try:
            reserved = await self._ids.reserve(count)
        except ResponseError as error:
            if type(error) is not ResponseError:
                raise
            raise CorruptState(self._keys.transaction_id, str(error)) from None
        self._transaction_ids.extend(reserved)

    async def _apply_once_loaded(
        self, needed: NotLoaded, message: Message, view: StateView, answers: dict[str, list[str]]
    ) -> InvalidMessage | None:
        """Load the values that handling a message needs, as often as it needs more, and apply it then."""
        while True:
            try:
                if needed.wanted == self._keys.transaction_id:
                    await self._reserve(1)
                else:
                    await self._load([needed.wanted], view)
            except CorruptState as error:
                self._corrupt.add(error.key)
                assert type(message) is Call  # noqa: S101 - nothing else needs anything
                return _refusal(message, ErrorCode.INTERNAL_ERROR, str(error))
            try:
                return self._apply(message, view, answers)
            except NotLoaded as more:
                needed = more

    def _apply(self, message: Message, view: StateView, answers: dict[str, list[str]]) -> InvalidMessage | None:
        if type(message) is not Call:
            return None
        try:
            charge_point = view.charge_point(message.charge_point_id)
            if self._require_boot and charge_point.boot_time is None and message.action != "BootNotification":
                reason = "the charge point was not accepted: boot first"
                return _refusal(message, ErrorCode.SECURITY_ERROR, reason)
            outcome = VERSIONS[message.protocol].handle(message, view)
        except (NotLoaded, RedisError):
            raise
        except InvalidMessage as invalid:
            return invalid
        except CorruptState as error:
            self._corrupt.add(error.key)
            return _refusal(message, ErrorCode.INTERNAL_ERROR, str(error))
        except Exception:
            logger.exception("handler_failed", action=message.action, message_id=message.message_id)
            return _refusal(message, ErrorCode.INTERNAL_ERROR, f"{message.action} could not be handled")
        view.apply(
            message.charge_point_id,
            outcome.writes,
            outcome.operations,
            protocol=message.protocol,
            last_call=outcome.last_call,
        )
        if message.send:
            return None
        answers.setdefault(message.charge_point_id, []).append(
            envelope.result(message, outcome.answer, timestamp=view.now, server_id=self._server_id)
        )
        return None

    def _answer_refused(self, invalid: InvalidMessage, timestamp: str, answers: dict[str, list[str]]) -> None:
        if invalid.charge_point_id is not None and invalid.answer_id is not None:
            answers.setdefault(invalid.charge_point_id, []).append(
                envelope.error(invalid, timestamp=timestamp, server_id=self._server_id)
            )

    def _answer_operations(self, answers: dict[str, list[str]]) -> list[Operation]:
        operations: list[Operation] = []
        for charge_point_id, entries in answers.items():
            key = self._keys.responses(charge_point_id)
            operations.append(["LPUSH", key, *entries])
            operations.append(["EXPIRE", key, RESPONSE_LIFETIME])
        return operations

    def _deliveries(self, answering: list[Operation], askers: dict[str, set[tuple[str, str]]]) -> list[Delivery]:
        """The gateways that are told of answers, and of which ones.

        A gateway gets the answers themselves where all of them are for one connection: of those for two, the gateway of
        the other one might take out what this one has not got. With replicas it reads them once these have them.
        """
        told: dict[str, Delivery] = {}
        pushes = {operation[1]: number for number, operation in enumerate(answering, 1) if operation[0] == "LPUSH"}
        for charge_point_id, connections in askers.items():
            whole = len(connections) == 1 and not self._link.wait_replicas
            for gateway, connection in connections:
                if not gateway:
                    continue
                delivery = told.get(gateway)
                if delivery is None:
                    delivery = Delivery(self._keys.delivery(gateway), self._keys.wake(gateway), [], [], [])
                    told[gateway] = delivery
                if charge_point_id not in delivery.charge_points[-1:]:
                    delivery.charge_points.append(charge_point_id)
                    number = pushes.get(self._keys.responses(charge_point_id), 0)
                    delivery.operations.append(number if whole and connection else 0)
                    delivery.connections.append(connection)
        return list(told.values())

    def _forward_operations(self, forwarded: dict[str, list[str]]) -> list[Operation]:
        operations: list[Operation] = []
        for instance, entries in forwarded.items():
            key = self._keys.answers(instance)
            operations.append(["LPUSH", key, *entries])
            operations.append(["EXPIRE", key, FORWARDED_LIFETIME])
            operations.append(["PUBLISH", self._keys.wake(server_of(instance)), "[]"])
        return operations

    def _dead_letter_operations(self, dead_letters: list[str]) -> list[Operation]:
        if not dead_letters:
            return []
        key = self._keys.dead_letters
        return [["LPUSH", key, *dead_letters], ["LTRIM", key, 0, envelope.DEAD_LETTERS - 1]]

    def _report(self, effects: Effects) -> None:
        """Log and count the effects of a commit."""
        for action, count in effects.processed.items():
            self._metrics.processed(action, count)
            self.processed += count
        for message in (*effects.answers, *effects.unusable):
            self._commands.answered(message)
        self.processed += len(effects.answers) + effects.forwarded + len(effects.unread)
        for report in effects.unread:
            logger.warning(
                "answer_not_read",
                code=report.code,
                description=report.description,
                charge_point_id=report.charge_point_id,
                message_id=report.message_id,
            )
        for invalid in effects.refused:
            logger.warning(
                "invalid_message",
                code=invalid.code,
                reason=invalid.reason,
                charge_point_id=invalid.charge_point_id,
                message_id=invalid.message_id,
            )
            self._metrics.invalid(invalid.code)
            self.invalid[invalid.code] += 1


def _refusal(call: Call, code: ErrorCode, reason: str) -> InvalidMessage:
    return InvalidMessage(
        code,
        reason,
        charge_point_id=call.charge_point_id,
        message_id=call.message_id,
        answer_id=None if call.send else call.message_id,
        ws_server_id=call.ws_server_id,
        connection=call.connection,
        protocol=call.protocol,
    )
