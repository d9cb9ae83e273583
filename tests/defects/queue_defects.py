"""Test 13: the queue."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import hiredis
from catalogue import defect

from server.processor import request_queue
from server.processor.processor import Processor
from server.processor.request_queue import Batch, RequestQueue
from server.redis.script import Script

ONE_ORDER = "Messages Of One Charge Point Are Answered In The Order Queued"
FIFTY_ORDERS = "Messages Of Fifty Charge Points Are Answered In The Order Of Each"
OUTAGE = "A Running Server Survives An Outage Of Redis And Answers Everything Once"
RESTARTED = "Messages Queued Before And After A Redis Restart Are All Answered Once"
MIXED = "A Thousand Mixed Messages Are All Answered In Time"
REFUSALS = "Refused Messages Are Answered In Their Place"
IDLE = "An Empty Queue Leaves The Server Idle And Quick To Answer"


def replaced(text: str, old: str, new: str) -> str:
    """`text` with `old` replaced; a defect that would change nothing must not go unnoticed."""
    if old not in text:
        raise ValueError(f"The server has changed: there is no {old!r} to break.")
    return text.replace(old, new)


def take_at_most_once() -> None:
    """A processor removes messages from the list at once."""
    untrimmed = "    return {depth, batch}\n"
    trim = "    if #batch > 0 then redis.call('LTRIM', queue, 0, -#batch - 1) end\n"
    peek = replaced(request_queue.PEEK, untrimmed, trim + untrimmed)
    commit = replaced(request_queue._COMMIT, request_queue.PEEK, peek)
    commit = replaced(commit, "if not unchanged(KEYS[1], count, ARGV[5], longest) then", "if false then")
    commit = replaced(commit, "redis.call('LTRIM', KEYS[1], 0, -count - 1)\n", "")
    request_queue._take = Script(replaced(request_queue._TAKE, request_queue.PEEK, peek))
    request_queue._commit = Script(commit)

    async def wait(self: RequestQueue) -> Batch:
        reply = await self._blocking.execute("BRPOP", self._name, self._wait)
        message = reply[1] if reply else None
        return Batch([message[: self._longest + 1]], b"") if message else Batch([], b"")

    RequestQueue.wait = wait


def reorder(order: Any) -> None:
    """Handle the messages of a batch in another order."""
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        return await sound(self, Batch(order(batch.messages), batch.text))

    Processor._handle = handle


def slow_down(seconds: float) -> None:
    """Have each message take so long."""
    sound = Processor._process

    async def process(self: Processor, batch: Batch) -> Any:
        await asyncio.sleep(seconds * len(batch.messages))
        return await sound(self, batch)

    Processor._process = process


@defect("R13.6", OUTAGE, says=r"[1-9]\d* lost.* R13\.6 lost: required == 0", timing=True)
def lost_when_the_connection_drops_after_the_take() -> None:
    """Messages leave the list when they are taken (BRPOP), and are lost when Redis dies before the commit."""
    take_at_most_once()
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        await asyncio.sleep(0.02)
        return await sound(self, batch)

    Processor._handle = handle


@defect("R13.6", RESTARTED, says=r"[1-9]\d* lost.* R13\.6 lost: required == 0")
def an_outage_empties_the_queue() -> None:
    """A second connection to Redis begins anew: the queue is dropped."""
    sound = RequestQueue.__init__

    def init(self: RequestQueue, *arguments: Any, **options: Any) -> None:
        sound(self, *arguments, **options)
        connect, before = self._wire._connected, list[bool]()

        async def connected() -> Any:
            replies = await connect()
            if before:
                replies.write(hiredis.pack_command(("DEL", self._name)))  # type: ignore[arg-type]
                await replies.next(5)
            before.append(True)
            return replies

        self._wire._connected = connected

    RequestQueue.__init__ = init


@defect("R13.1", MIXED, says=r"[1-9]\d* lost.* the queue .* holds 0 messages")
def a_charge_point_gets_one_answer_of_a_batch() -> None:
    """Of the answers to one charge point in one batch, only the first is written."""
    sound = Processor._answer_operations
    Processor._answer_operations = lambda self, answers: sound(
        self, {point: entries[:1] for point, entries in answers.items()}
    )


@defect("R13.4", ONE_ORDER, FIFTY_ORDERS, says=r"0 lost, .*[1-9]\d* out of order")
def last_in_first_out() -> None:
    """The newest message of a batch is handled first."""
    reorder(lambda messages: messages[::-1])


@defect("R13.4", FIFTY_ORDERS, says=r"0 lost, .*[1-9]\d* out of order", timing=True)
def order_kept_only_without_concurrency() -> None:
    """Messages of several charge points are handled side by side, without keeping each one's own apart."""
    chance = random.Random(1)

    def shuffled(messages: list[bytes]) -> list[bytes]:
        points = {message[message.find(b"CP-") :][:20] for message in messages}
        return chance.sample(messages, len(messages)) if len(points) > 1 else messages

    reorder(shuffled)


@defect("R13.3", IDLE, says=r"health_response_time: required < 100 ms", timing=True)
def blocks_on_an_empty_queue() -> None:
    """Waiting for a message holds up the whole process, health answers included."""

    async def wait(self: RequestQueue) -> Batch:
        time.sleep(0.15)  # noqa: ASYNC251 - that is the defect
        return await self.peek()

    RequestQueue.wait = wait


@defect("R13.3", IDLE, says=r"idle_cpu: required < 2 %", timing=True)
def spins_on_an_empty_queue() -> None:
    """An empty queue is polled without a pause."""

    async def wait(self: RequestQueue) -> Batch:
        return await self.peek()

    RequestQueue.wait = wait


@defect("R13.3", IDLE, says=r"answer_after_silence: required < 1 s", timing=True)
def falls_asleep_on_an_empty_queue() -> None:
    """The longer the silence, the longer the pause between two looks."""
    pauses: list[float] = []

    async def wait(self: RequestQueue) -> Batch:
        batch = await self.peek()
        if batch.messages:
            pauses.clear()
        else:
            pauses.append(min(8.0, 2.0 ** len(pauses)))
            await asyncio.sleep(pauses[-1])
        return batch

    RequestQueue.wait = wait


@defect(
    "R13.3", "The Server Shuts Down Quickly While The Queue Is Empty", says=r"shutdown: required < 2 s", timing=True
)
def sigterm_hangs() -> None:
    """A processor that waits for a message does not hear that it shall stop."""
    Processor.stop = lambda self: None


@defect(
    "R13.5",
    "Twenty Thousand Messages Are Drained At The Required Rate",
    says=r"Not every message was answered: 20000 messages: .* holds [1-9]\d* messages|drain_rate: required",
    longest_wait=25,
    timing=True,
)
def one_message_at_a_time() -> None:
    """Each message costs a pause of 15 ms."""
    slow_down(0.015)


@defect(
    "R13.1",
    "Every Action In Every Message Format Is Answered In Time",
    says=r"flat: No answer to \w+ of .* holds 0 messages",
)
def flat_messages_are_not_understood() -> None:
    """Only the envelope is read."""
    from server.errors import ErrorCode, InvalidMessage
    from server.ocpp import envelope

    def refuse(_flat: Any) -> Any:
        raise InvalidMessage(ErrorCode.FORMATION_VIOLATION, "not an envelope")

    envelope._flat = refuse


@defect(
    "R13.2",
    "A Malformed Message Is Set Aside And The Valid Ones Around It Are Processed",
    says=r"No dead letter for the message .*malformed_json",
)
def malformed_messages_are_not_set_aside() -> None:
    """There is no list of dead letters."""
    Processor._dead_letter_operations = lambda self, dead_letters: []


@defect(
    "R13.4",
    "Several Processors Keep The Order Of Each Charge Point",
    says=r"[1-9]\d* lost.* the queue .* holds 0 messages|[1-9]\d* (answered twice|out of order)",
    timing=True,
)
def processors_do_not_know_of_each_other() -> None:
    """Every processor takes the messages that it finds, even if another one handles an earlier message."""
    take_at_most_once()
    request_queue._claim = Script(replaced(request_queue._CLAIM, "if not mine and owner[1] and", "if false and"))
    request_queue._commit = Script(
        replaced(request_queue._commit._text, "if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2]", "if false")
    )


@defect(
    "R13.4",
    "A Processor That Dies Is Replaced And The Order Is Kept",
    says=r"5000 messages: 0 answered, .* 5000 still on the queue; the queue .* holds 5000 messages",
)
def a_dead_processor_keeps_the_queue() -> None:
    """The owner of the queue keeps it for a day, dead or alive."""
    sound = RequestQueue.__init__

    def init(self: RequestQueue, *arguments: Any, **options: Any) -> None:
        sound(self, *arguments, **options)
        self._lease_ms = 24 * 3600 * 1000

    RequestQueue.__init__ = init


# --- refusals among answers -------------------------------------------------------------------------------------------


def is_error(entry: str) -> bool:
    """Whether an answer is a CALLERROR."""
    return '"message_type":4' in entry


def answers_in(order: Callable[[list[str]], list[str]]) -> None:
    """Give the answers of a batch to each charge point in another order."""
    sound = Processor._answer_operations

    def operations(self: Processor, answers: dict[str, list[str]]) -> Any:
        return sound(self, {charge_point: order(entries) for charge_point, entries in answers.items()})

    Processor._answer_operations = operations


@defect("R13.4", REFUSALS, says=r"was answered after .* R13\.4 out_of_order: required == 0")
def refusals_come_last() -> None:
    """The refusals of a batch come behind its answers."""
    answers_in(lambda entries: sorted(entries, key=is_error))


@defect("R13.4", REFUSALS, says=r"was answered after .* R13\.4 out_of_order: required == 0")
def refusals_come_first() -> None:
    """The refusals of a batch come before its answers: they are made while the messages are read."""
    answers_in(lambda entries: sorted(entries, key=lambda entry: not is_error(entry)))


@defect("R13.4", REFUSALS, says=r"was answered after .* R13\.4 out_of_order: required == 0")
def refusals_of_a_batch_are_reversed() -> None:
    """Among the answers of a batch each refusal stands where there has to be one, the last one first."""

    def reversed_errors(entries: list[str]) -> list[str]:
        errors = [entry for entry in entries if is_error(entry)]
        return [errors.pop() if is_error(entry) else entry for entry in entries]

    answers_in(reversed_errors)
