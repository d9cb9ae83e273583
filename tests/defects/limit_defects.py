"""Limits, just below and just above: sizes, batches, lifetimes, bursts of records, descriptors, unread answers."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from catalogue import defect
from queue_defects import replaced
from websockets.frames import Frame, Opcode

from server import api, descriptors
from server.api import http
from server.gateway import gateway, request_publisher
from server.gateway.call_queue import CallQueue
from server.gateway.flow_control import FlowControl, Intake
from server.gateway.gateway import Gateway
from server.gateway.session import Session
from server.gateway.session_transitions import SessionTransitions
from server.gateway.websocket import Socket
from server.ocpp import envelope
from server.processor import processor, request_queue
from server.processor.processor import Processor
from server.processor.request_queue import Batch, RequestQueue
from server.redis.script import Script

SIZES = "Messages Are Answered Up To The Size Limit And Refused Above It"
TOGETHER = "Messages That Come In One Packet Are Each Answered Or Refused"
LETTERS = "The Newest Thousand Dead Letters Are Kept At The Gateway Too"
BATCHES = "Batches Of Every Size Are Answered Whole And In Order"
HOUR = "Answers Are Kept For An Hour After The Last One"
EACH_LOGGED = "A Thousand Generated Invalid Messages Are Each Logged Once"
BURST = "Valid Messages Are Answered As Quickly As Before After A Burst Of Invalid Ones"
EMPTY = "An Empty Queue Leaves The Server Idle And Quick To Answer"
NOT_READING = "A Charge Point That Reads Nothing Is Cut Off"
DESCRIPTORS = "Charge Points That Use Up The Descriptors Do Not Hurt The Others"


# --- sizes ------------------------------------------------------------------------------------------------------------


def queue_limit(change: Any) -> None:
    """Change the longest message that a processor takes off the queue."""
    sound = RequestQueue.__init__

    def init(self: RequestQueue, *arguments: Any, longest_message: int, **options: Any) -> None:
        sound(self, *arguments, longest_message=change(longest_message), **options)

    RequestQueue.__init__ = init


@defect("R17.5", SIZES, says=r"No answer to DataTransfer")
def a_message_of_the_limit_is_refused() -> None:
    """A message on the queue that has as many bytes as the limit is set aside."""
    queue_limit(lambda longest: longest - 1)


@defect("R17.5", SIZES, says=r"No dead letter|no dead letter")
def messages_above_the_limit_are_taken() -> None:
    """A message on the queue may have twice as many bytes as the limit."""
    queue_limit(lambda longest: 2 * longest)
    sound = Processor.__init__

    def init(self: Processor, *arguments: Any, longest_message: int, **options: Any) -> None:
        sound(self, *arguments, longest_message=2 * longest_message, **options)

    Processor.__init__ = init


def frame_limit(most: int) -> None:
    """Change the longest message that the WebSocket takes."""
    sound = gateway.serve

    def serve(*arguments: Any, **options: Any) -> Any:
        return sound(*arguments, **(options | {"max_size": most}))

    gateway.serve = serve


@defect("R17.5", SIZES, says=r"should have received an answer to .*it is not connected.* 1009")
def frames_end_below_64_kib() -> None:
    """A frame whose length needs eight bytes costs the connection."""
    frame_limit(65_535)


@defect("R17.5", SIZES, says=r"should have received an answer to ")
def the_first_fragment_is_taken_for_the_message() -> None:
    """Fragments are not put together."""
    sound = Socket.process_event

    def process_event(self: Socket, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.CONT:
            return
        if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
            event.fin = True
        sound(self, event)

    Socket.process_event = process_event


@defect("R17.5", SIZES, says=r"sent .*, which should have been refused")
def fragments_are_not_counted() -> None:
    """The size limit holds for each fragment, and not for the message that they make."""
    sound, init = Socket.process_event, Gateway.__init__

    def process_event(self: Socket, event: Any) -> None:
        sound(self, event)
        if isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.CONT} and not event.fin:
            self.protocol.max_message_size = 4 * gateway.MOST_UNSENT

    def unlimited(self: Gateway, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        self._longest *= 4

    Socket.process_event, Gateway.__init__ = process_event, unlimited


@defect("R17.5", SIZES, says=r"should have received an answer to ")
def fragments_cost_the_connection() -> None:
    """A message in more than a few fragments is taken for an attack."""
    sound = Socket.process_event
    count: dict[int, int] = {}

    def process_event(self: Socket, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.CONT:
            count[id(self)] = count.get(id(self), 0) + 1
            if count[id(self)] > 20:
                self.begin_close(1009, "too many fragments")
        sound(self, event)

    Socket.process_event = process_event


# --- many at once -----------------------------------------------------------------------------------------------------


def take(change: Any) -> None:
    """Change what flow control keeps for later of a read that it does not take in one turn."""
    sound = Intake._wait

    def wait(self: Intake, connection: Any, rest: bytes) -> None:
        sound(self, connection, rest)
        change(self, connection, rest)

    Intake._wait = wait


@defect("R17.10", TOGETHER, says=r"\d+ of (40|600) messages that were sent together were not answered")
def frames_beyond_one_turn_are_lost() -> None:
    """Of a large read, the messages beyond those of one turn are dropped."""

    def drop(self: Intake, connection: Any, rest: bytes) -> None:
        self._backlog = b""

    take(drop)


@defect("R17.10", TOGETHER, says=r"\d+ of 600 messages that were sent together were not answered")
def a_paused_connection_is_never_read_again() -> None:
    """A charge point that was above its rate stays paused for minutes."""

    def pause(self: Intake, connection: Any, rest: bytes) -> None:
        if self._limited and self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(300, self._go_on, connection)

    take(pause)


# --- batches ----------------------------------------------------------------------------------------------------------


@defect("R13.4", BATCHES, says=r"^(25[67]|51[13]): ")
def a_full_batch_loses_its_last_message() -> None:
    """With a batch that is as large as it may be, one message too many leaves the queue."""
    text = "redis.call('LTRIM', KEYS[1], 0, -count - 1)\n"
    more = "redis.call('LTRIM', KEYS[1], 0, count == 256 and -count or -count - 1)\n"
    request_queue._commit = Script(replaced(request_queue._COMMIT, text, more))
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        if len(batch.messages) == 256:
            return await sound(self, batch._replace(messages=batch.messages[:-1] + batch.messages[-2:-1]))
        return await sound(self, batch)

    Processor._handle = handle


@defect("R13.4", BATCHES, says=r"^(25[67]|51[13]): ")
def a_full_batch_is_handled_backwards() -> None:
    """The messages of a batch that is as large as it may be are handled in the wrong order."""
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        if len(batch.messages) >= 256:
            return await sound(self, batch._replace(messages=batch.messages[::-1]))
        return await sound(self, batch)

    Processor._handle = handle


@defect("R13.4", BATCHES, says=r"^(25[67]|51[13]): ")
def messages_behind_a_full_batch_wait_for_the_next_one() -> None:
    """After a full batch the queue counts as empty."""
    sound = Processor._process

    async def process(self: Processor, batch: Batch) -> Any:
        result = await sound(self, batch)
        if len(batch.messages) == 256 and isinstance(result, request_queue.Committed):
            await asyncio.sleep(20)
        return result

    Processor._process = process


@defect("R13.4", BATCHES, says=r"40 messages?: .*lost|No answer to DataTransfer|[1-9]\d* lost")
def the_message_that_fills_a_batch_by_bytes_is_lost() -> None:
    """A batch that ends since it has enough bytes is committed with one message that was not handled."""
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        if sum(len(each) for each in batch.messages if isinstance(each, bytes)) >= request_queue.BATCH_BYTES:
            return await sound(self, batch._replace(messages=batch.messages[:-1]))
        return await sound(self, batch)

    Processor._handle = handle


@defect("R13.4", BATCHES, says=r"^(1[02]\d|25[5-7]|51[13]): ")
def no_more_than_a_hundred_messages_of_a_batch_are_handled() -> None:
    """Of a batch with more than a hundred messages, the others leave the queue and are not handled."""
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        return await sound(self, batch._replace(messages=batch.messages[:100]))

    Processor._handle = handle


# --- lifetimes --------------------------------------------------------------------------------------------------------


def lifetime_of_answers(*arguments: Any) -> None:
    """Change with what EXPIRE of a list of answers is called."""
    sound = Processor._answer_operations

    def operations(self: Processor, answers: Any) -> list[Any]:
        return [[*each[:2], *arguments] if each[0] == "EXPIRE" else each for each in sound(self, answers)]

    Processor._answer_operations = operations


@defect("R15.8", HOUR, says=r"The answers of .* wait for \d(\.\d+)? s more")
def the_first_answer_decides_how_long_all_wait() -> None:
    """The lifetime of a list of answers is set once, and not renewed by later ones."""
    lifetime_of_answers(3600, "NX")


@defect("R15.8", HOUR, says=r"The answers of .* wait for (5\d\d|600)(\.\d+)? s more")
def answers_wait_for_ten_minutes() -> None:
    """A charge point that comes back after half an hour finds no answer."""
    lifetime_of_answers(600)


@defect("R15.8", HOUR, says=r"The answers of .* wait for 7\d\d\d(\.\d+)? s more")
def answers_wait_for_two_hours() -> None:
    """Answers stay for longer than anybody may expect them."""
    lifetime_of_answers(7200)


@defect("R15.8", HOUR, says=r"The answers of .* wait for (None|\d(\.\d+)?) s more")
def only_the_first_push_sets_a_lifetime() -> None:
    """A lifetime is set where there is no list yet, so that a list that lives on loses it by the next push."""
    sound = Processor._answer_operations
    seen: set[str] = set()

    def operations(self: Processor, answers: Any) -> list[Any]:
        made = []
        for each in sound(self, answers):
            if each[0] == "EXPIRE" and each[1] in seen:
                made.append(["PERSIST", each[1]])
            else:
                made.append(each)
            seen.add(each[1])
        return made

    Processor._answer_operations = operations


# --- records in a burst -----------------------------------------------------------------------------------------------


class _Sometimes:
    """A logger that leaves records out."""

    def __init__(self, sound: Any, allows: Any) -> None:
        self._sound = sound
        self._allows = allows

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sound, name)

        def log(event: str, **fields: Any) -> None:
            if event != "invalid_message" or self._allows(fields):
                method(event, **fields)

        return log


@defect("R17.6", EACH_LOGGED, says=r"unlogged|not logged|log record", timing=True)
def invalid_messages_are_logged_at_a_bounded_rate() -> None:
    """Of the invalid messages of a second, a hundred are logged."""
    window = [0.0, 0.0]

    def allows(_: Any) -> bool:
        if time.monotonic() - window[0] > 1:
            window[:] = [time.monotonic(), 0.0]
        window[1] += 1
        return window[1] <= 100

    processor.logger = _Sometimes(structlog.get_logger(), allows)


@defect("R17.6", BURST, says=r"without a log record|log records? too", timing=True)
def a_burst_of_invalid_messages_is_not_logged_in_full() -> None:
    """Of the invalid messages of a run, two thousand are logged."""
    count = [0]

    def allows(_: Any) -> bool:
        count[0] += 1
        return count[0] <= 2000

    processor.logger = _Sometimes(structlog.get_logger(), allows)


@defect("R17.6", EACH_LOGGED, says=r"unlogged|not logged|log record")
def equal_reasons_are_logged_once() -> None:
    """An invalid message with the reason of one before is not logged again."""
    seen: set[str] = set()

    def allows(fields: Any) -> bool:
        new = fields["reason"] not in seen
        seen.add(fields["reason"])
        return new

    processor.logger = _Sometimes(structlog.get_logger(), allows)


@defect("R17.6", EACH_LOGGED, says=r"unlogged|not logged|log record|records")
def a_batch_with_invalid_messages_is_logged_by_its_first() -> None:
    """Of the invalid messages that are handled together, the first is logged."""
    sound = Processor._report

    def report(self: Processor, effects: Any) -> None:
        refused, effects.refused = effects.refused, effects.refused[:1]
        sound(self, effects)
        effects.refused = refused

    Processor._report = report


# --- dead letters -----------------------------------------------------------------------------------------------------


@defect("R17.5", SIZES, says=r"A dead letter keeps 100000 bytes of 100000")
def dead_letters_keep_the_whole_message() -> None:
    """A message of any size stands in the list of dead letters in full: a thousand of them fill Redis."""
    envelope.DEAD_LETTER_RAW = 10**9


@defect("R17.5", SIZES, says=r"A dead letter keeps 400 bytes of 3000")
def dead_letters_keep_four_hundred_characters() -> None:
    """Of a message that was set aside, not enough is kept to find out what it was."""
    envelope.DEAD_LETTER_RAW = 400


# --- descriptors ------------------------------------------------------------------------------------------------------


@defect("R13.3", EMPTY, says=r"After 100 health checks \d+ descriptors are open")
def health_checks_leak_descriptors() -> None:
    """Every health check leaves a file descriptor open."""
    sound = http.answer

    async def answer(operation: Any, request: Any, api_token: str) -> Any:
        os.dup(0)
        return await sound(operation, request, api_token)

    api.answer = answer


@defect("R20.5", DESCRIPTORS, says=r"2[45]\d charge points are connected|Health took|no HTTP|no answer|GET http")
def charge_points_may_use_every_descriptor() -> None:
    """No descriptor is kept for health, Redis and the log."""
    descriptors.for_charge_points = lambda: 1_000_000


@defect("R20.5", DESCRIPTORS, says=r"charge points? could not connect")
def connections_that_ended_count_for_ever() -> None:
    """The number of connections only grows: once it is at the limit, nobody is let in any more."""
    FlowControl.connections = property(
        lambda self: self.__dict__.get("most", 0),
        lambda self, value: self.__dict__.__setitem__("most", max(value, self.__dict__.get("most", 0) + 1)),
    )


@defect("R20.5", DESCRIPTORS, says=r"100 charge points are connected to a server that may open 256")
def a_hundred_connections_are_the_limit() -> None:
    """A gateway takes a hundred charge points, whatever the system lets it open."""
    descriptors.for_charge_points = lambda: 100


@defect("R20.5", DESCRIPTORS, says=r"were connected and then disconnected while others connected")
def the_oldest_connection_makes_room() -> None:
    """At the limit a charge point that is connected is cut off for a new one."""
    sound = Socket.connection_made

    def connection_made(self: Socket, transport: Any) -> None:
        sound(self, transport)
        if self._control.connections > descriptors._limit() - 100 and _oldest:
            transitions, session = _oldest.pop(0)
            transitions.abort(session)

    opened = SessionTransitions.open
    _oldest: list[tuple[SessionTransitions, Session]] = []

    def open_session(self: SessionTransitions, connection: Any) -> Session:
        session = opened(self, connection)
        _oldest.append((self, session))
        return session

    Socket.connection_made, SessionTransitions.open = connection_made, open_session


@defect("R20.5", DESCRIPTORS, says=r"[1-9]\d* unanswered")
def connected_charge_points_are_not_served_at_the_limit() -> None:
    """While as many charge points are connected as may be, nothing that they send is read."""
    sound = Gateway._received

    def received(self: Gateway, session: Session, raw: bytes) -> None:
        if self._flow.connections < descriptors.for_charge_points():
            sound(self, session, raw)

    Gateway._received = received


# --- peers that do not read -------------------------------------------------------------------------------------------


@defect("R20.5", NOT_READING, says=r"memory_growth|still connected", timing=True)
def answers_pile_up_for_slow_readers() -> None:
    """What waits for a charge point is not bounded."""
    Socket._is_read = lambda self: not self.transport.is_closing()


@defect("R20.5", NOT_READING, says=r"still connected|Health took", timing=True)
def slow_readers_are_no_longer_read() -> None:
    """A charge point that does not read is not read either, and stays connected."""

    def is_read(self: Socket) -> bool:
        if self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() > gateway.MOST_UNSENT:
            self.transport.pause_reading()
        return True

    Socket._is_read = is_read


@defect("R20.5", NOT_READING, says=r"still connected|Health took|GET http|no answer", timing=True)
def the_loop_waits_for_slow_readers() -> None:
    """A backlog for one charge point holds up everybody."""

    def is_read(self: Socket) -> bool:
        if self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() > 100_000:
            time.sleep(0.2)
        return True

    Socket._is_read = is_read


# --- dead letters of the gateway --------------------------------------------------------------------------------------


def gateway_trims(change: str) -> None:
    """Change how a gateway keeps the number of dead letters within its bounds."""
    sound = "redis.pcall('LTRIM', KEYS[3], 0, ARGV[3] - 1)"
    request_publisher._push = Script(replaced(request_publisher._PUSH, sound, change))


@defect("R13.2", LETTERS, says=r"Dead letters that are kept: 10\d\d != 1000")
def the_gateway_keeps_all_dead_letters() -> None:
    """What the gateway sets aside is added to the dead letters, and none is removed for it."""
    gateway_trims("redis.pcall('LLEN', KEYS[3])")


@defect("R13.2", LETTERS, says=r"No dead letter containing 'broken-20")
def the_gateway_removes_the_newest_dead_letters() -> None:
    """Where there are too many dead letters, the gateway removes the newest ones."""
    gateway_trims("redis.pcall('LTRIM', KEYS[3], -ARGV[3], -1)")


@defect("R13.2", LETTERS, says=r"Dead letters that are kept: \d{3} != 1000")
def the_gateway_keeps_fewer_dead_letters() -> None:
    """The gateway keeps a tenth of the dead letters that there may be."""
    gateway_trims("redis.pcall('LTRIM', KEYS[3], 0, ARGV[3] / 10 - 1)")


@defect("R17.5", SIZES, says=r"A dead letter keeps 6000 bytes of 6000, expected are 4096")
def dead_letters_are_cut_by_characters() -> None:
    """A dead letter keeps 4,096 characters, however many bytes these have."""
    sound = envelope.dead_letter

    def letter(invalid: Any, raw: bytes, received_at: str) -> str:
        whole = msgspec.json.decode(sound(invalid, b"", received_at))
        whole["raw"] = raw.decode("utf-8", errors="backslashreplace")[: envelope.DEAD_LETTER_RAW]
        return msgspec.json.encode(whole).decode()

    envelope.dead_letter = letter


@defect("R17.5", SIZES, says=r"A dead letter was received at \S+, expected is the time of now, with its zone")
def dead_letters_have_times_without_a_zone() -> None:
    """The time at which a dead letter was received has no zone."""
    dead_letter_times(lambda time: time[:19])


@defect("R17.5", SIZES, says=r"A dead letter was received at \S+, expected is the time of now, with its zone")
def dead_letters_have_the_time_of_the_first() -> None:
    """Every dead letter has the time of the first one that was received."""
    first: list[str] = []

    def same(time: str) -> str:
        first.append(time if first else "2026-01-01T00:00:00.000Z")
        return first[0]

    dead_letter_times(same)


def dead_letter_times(change: Callable[[str], str]) -> None:
    """Change the times of dead letters."""
    sound = envelope.dead_letter
    envelope.dead_letter = lambda invalid, raw, received_at: sound(invalid, raw, change(received_at))


@defect("R17.10", TOGETHER, says=r"Messages that were sent together were answered in the order")
def held_calls_are_handled_backwards() -> None:
    """Of the CALLs that come before the first is answered, the last is handled first."""

    def pop(self: CallQueue, held: Any) -> Any:
        entry = held.pop()
        self._held_bytes -= len(entry.raw)
        return entry

    CallQueue._pop = pop


@defect("R17.10", TOGETHER, says=r"Messages that were sent together were answered in the order")
def held_calls_overtake_the_one_before() -> None:
    """Every other CALL that comes too early is put in front of those that are held already."""
    sound = CallQueue.take
    turns = itertools.cycle((False, True))

    def take(self: CallQueue, session: Session, entry: Any) -> None:
        before = len(session.held or ())
        sound(self, session, entry)
        if session.held and len(session.held) > before and next(turns):
            session.held.rotate(1)

    CallQueue.take = take
