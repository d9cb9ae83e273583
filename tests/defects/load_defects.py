"""Test 18: load."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any

from catalogue import defect
from msgspec.structs import replace
from queue_defects import slow_down, take_at_most_once
from websockets.frames import CloseCode

from server.errors import InvalidMessage
from server.gateway.call_queue import TRY_AGAIN, CallQueue
from server.gateway.gateway import Gateway
from server.gateway.handshakes import Handshakes
from server.gateway.session import Session
from server.gateway.session_transitions import SessionTransitions
from server.ocpp.v16.actions import ACTIONS
from server.ocpp.version import Outcome
from server.processor.processor import Effects, Processor
from server.store.models import Transaction

CHARGE = "Fifty Charge Points Charge At The Same Time"
BURST = "The Default Burst Is Answered Completely"
BLACKOUT = "All Charge Points Reconnect At Once After A Blackout"
RATE = "The Required Rate Is Sustained At A Normal Response Time"
KILLED = "A Processor That Is Killed Under Load Is Replaced And Nothing Is Lost"
COME_AND_GO = "Memory Stays Stable While Charge Points Come And Go"
SOAK = "Memory Stays Bounded Under Extended Operation"
OVERLOAD = "Beyond Its Capacity The Server Refuses Or Answers But Never Goes Silent"
ALONE = ("SOAK BESIDE:no",)
"""No soak beside: it takes the machine's time, and the places of the test's own charge points."""
A_LOAD = 90
"""Seconds that a load may take on a machine that is busy with others: it ends by itself, with a defect too."""


@defect(
    "R18.1",
    CHARGE,
    says=r"39 of 50 charge points are connected, .* 503",
    longest_wait=25,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def refuses_the_fortieth_connection() -> None:
    """No more than 39 charge points may be connected."""
    sound = Gateway.__init__

    def init(self: Gateway, *arguments: Any, **options: Any) -> None:
        sound(self, *arguments, **options)
        usual = self._handshakes.check

        def check(connection: Any, request: Any) -> Any:
            if len(self._sessions) >= 39:
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Full.\n")
            return usual(connection, request)

        self._handshakes.check = check

    Gateway.__init__ = init


@defect(
    "R18.6",
    BLACKOUT,
    says=r"R18\.1 charge_points: required >= 50 .* measured \d\b",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def connections_that_were_cut_stay_registered() -> None:
    """A charge point whose connection broke counts as connected for ten minutes, and cannot connect again."""
    sound, left = SessionTransitions.ended, {}

    def ended(self: SessionTransitions, session: Session) -> None:
        sound(self, session)
        if session.connection.close_code == CloseCode.ABNORMAL_CLOSURE:
            left[session.charge_point_id] = time.monotonic()

    usual = Handshakes.check

    def check(self: Handshakes, connection: Any, request: Any) -> Any:
        refusal = usual(self, connection, request)
        if refusal is None and time.monotonic() - left.get(connection.gateway_id, -600) < 600:
            return connection.respond(HTTPStatus.CONFLICT, "Connected already.\n")
        return refusal

    SessionTransitions.ended, Handshakes.check = ended, check


@defect(
    "R18.2",
    CHARGE,
    says=r"[1-9]\d* do not add up.*; for example transaction .* the charge point knows .* inconsistent: required == 0",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def takes_the_meter_of_another() -> None:
    """A transaction is completed with the meter reading of the one that was completed before it."""
    sound = ACTIONS["StopTransaction"].handle
    before: list[int | None] = [0]

    def stop(call: Any, view: Any) -> Any:
        outcome = sound(call, view)
        for key, record in outcome.writes.items():
            if isinstance(record, Transaction) and record.meter_stop is not None:
                outcome.writes[key] = replace(record, meter_stop=before[0])
                before[0] = record.meter_stop
        return outcome

    ACTIONS["StopTransaction"].handle = stop


@defect(
    "R18.7",
    CHARGE,
    says=r"[1-9]\d* keys hang in the air; for example .* is over and still active.* orphan_keys: required == 0",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def stopped_transactions_stay_in_the_index() -> None:
    """A transaction is completed, and still listed among those that run."""
    sound = ACTIONS["StopTransaction"].handle

    def stop(call: Any, view: Any) -> Any:
        outcome = sound(call, view)
        return Outcome(outcome.answer, outcome.writes)

    ACTIONS["StopTransaction"].handle = stop


@defect(
    "R18.4",
    SOAK,
    says=r"Memory grows beyond 100 MB or 10 % in 600 s",
    longest_wait=120,
    variables=("SOAK:45s",),
    timing=True,
    heavy=True,
)
def leaks_a_kilobyte_a_message() -> None:
    """Of every message that was taken off the queue, 1 KB stays in memory."""
    sound = Processor._parse
    kept: list[bytes] = []

    def parse(self: Processor, raw: Any) -> Any:
        kept.append(bytes([len(kept) % 251]) * 1000)
        return sound(self, raw)

    Processor._parse = parse


@defect(
    "R18.4",
    COME_AND_GO,
    says=r"memory_growth_share: required < 10 %",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def leaks_each_connection() -> None:
    """Records of closed connections are kept."""
    kept: list[Any] = []
    sound = SessionTransitions.ended

    def ended(self: SessionTransitions, session: Session) -> None:
        sound(self, session)
        kept.append((session, bytearray(20_000)))

    SessionTransitions.ended = ended


@defect(
    "R18.3",
    BURST,
    says=r"[1-9]\d* refused with InternalError.* burst_answered: required == 100 %",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def refuses_one_in_five_hundred() -> None:
    """Now and then a message is refused, although there is room for it."""
    sound = CallQueue._submit
    count = [0]

    def submit(self: CallQueue, session: Session, entry: Any) -> None:
        count[0] += 1
        if count[0] % 500 == 0:
            self._refuse(session, entry.message_id, TRY_AGAIN, "full")
        else:
            sound(self, session, entry)

    CallQueue._submit = submit


@defect(
    "R18.3",
    RATE,
    says=r"R18\.5 median_ratio: required .* measured \d\d+[.\d]* x",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    alone=True,
)
def sixty_messages_a_second() -> None:
    """Each message takes 16 ms, and one is handled after the other."""
    slow_down(0.016)


@defect(
    "R18.5",
    RATE,
    says=r"R18\.5 median_ratio: required .* measured ([4-9]|\d\d+)[.\d]* x",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    alone=True,
)
def answers_in_bunches() -> None:
    """As soon as there is something to do, answers are collected for 100 ms."""
    sound = Processor._process
    last = [0.0]

    async def process(self: Processor, batch: Any) -> Any:
        if time.monotonic() - last[0] < 0.02:
            await asyncio.sleep(0.1)
            batch = await self.queue.peek()
        last[0] = time.monotonic()
        return await sound(self, batch)

    Processor._process = process


@defect(
    "R18.6",
    BURST,
    says=r"Heartbeats still take .* more than 2 x|R18\.6 \w+: required",
    longest_wait=30,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def slower_with_every_message() -> None:
    """The longer the server runs, the longer an answer takes: it looks through all that it has ever handled."""
    sound = Processor._process
    handled = [0]

    async def process(self: Processor, batch: Any) -> Any:
        handled[0] += len(batch.messages)
        await asyncio.sleep(handled[0] * 2e-5)
        return await sound(self, batch)

    Processor._process = process


@defect(
    "R18.7",
    KILLED,
    says=r"\d+ of \d+ messages were answered; errors: .*[1-9]\d* unanswered",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def lost_with_the_processor() -> None:
    """A processor loses its batch when it dies; it always has one in progress."""
    take_at_most_once()
    slow_down(0.006)


@defect(
    "R18.8", OVERLOAD, says=r"silent_refusals: required", longest_wait=A_LOAD, variables=ALONE, timing=True, heavy=True
)
def goes_silent_beyond_its_capacity() -> None:
    """When many messages wait, further ones are dropped silently."""
    sound = CallQueue._submit

    def submit(self: CallQueue, session: Session, entry: Any) -> None:
        if len(self._publisher) < 50:
            sound(self, session, entry)

    CallQueue._submit = submit


@defect(
    "R18.8",
    OVERLOAD,
    says=r"memory_growth: required < 100 MB",
    longest_wait=A_LOAD,
    variables=ALONE,
    timing=True,
    heavy=True,
)
def memory_without_a_bound_at_overload() -> None:
    """Waiting messages are kept twice, and never freed."""
    kept: list[bytearray] = []
    sound = CallQueue._submit

    def submit(self: CallQueue, session: Session, entry: Any) -> None:
        if len(self._publisher) > 5:
            kept.append(bytearray(50_000))
        sound(self, session, entry)

    CallQueue._submit = submit


def _after_refusals(change: Any) -> None:
    sound = Processor._report

    def report(self: Processor, effects: Effects) -> None:
        change(effects.refused)
        sound(self, effects)

    Processor._report = report


@defect(
    "R17.8",
    "Valid Messages Are Answered As Quickly As Before After A Burst Of Invalid Ones",
    says=r"Answers still take .* more than 2 x",
    variables=ALONE,
    timing=True,
    heavy=True,
)
def slower_with_every_invalid_message() -> None:
    """All dead letters are searched for each new message."""
    seen = [0]

    def count(refused: list[InvalidMessage]) -> None:
        seen[0] += len(refused)

    _after_refusals(count)
    sound = Processor._process

    async def process(self: Processor, batch: Any) -> Any:
        await asyncio.sleep(seen[0] * 1e-5)
        return await sound(self, batch)

    Processor._process = process
