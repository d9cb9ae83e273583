"""Test 16: charge points at the gateway while Redis fails. Seen by a fleet that charges through each fault."""

from __future__ import annotations

import time
from typing import Any

from catalogue import defect

from server.gateway import gateway
from server.gateway.call_queue import CallQueue
from server.gateway.request_publisher import RequestPublisher
from server.gateway.session import Entry

LONG = "Charge Points That Charge Through A Long Outage Are Answered Or Refused"
LONGEST_ANSWER = 30.0
"""Seconds: the fleet has to be given longer than the outage takes."""


@defect("R16.6", LONG, says=r"R16\.6 refusals: required >= 1", longest_wait=LONGEST_ANSWER)
def calls_are_held_for_ever() -> None:
    """A gateway that cannot hand a CALL on holds it until it can, however long that takes."""
    gateway.HOLD_SECONDS = 3600.0
    CallQueue.expire = lambda self, session, clock, *, redis_is_away: None


@defect("R16.6", LONG, says=r"without an answer, .* R16\.6 fleet: required == 0", longest_wait=LONGEST_ANSWER)
def calls_are_dropped_without_a_refusal() -> None:
    """CALLs that were held too long are forgotten, and their charge points are not told."""

    def give_up(self: CallQueue, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.session is not None and entry.heartbeat and entry.message_id is not None:
                self.answer_heartbeat(entry.session, entry.message_id)
                self.done(entry.session, entry.message_id)

    CallQueue.give_up = give_up


@defect("R16.6", LONG, says=r"R16\.6 fleet: required == 0|OCPP-J was violated", longest_wait=LONGEST_ANSWER)
def refused_calls_are_handed_on_later() -> None:
    """A CALL that was refused after its time is handed on when Redis is back, and answered once more."""
    CallQueue.awaits = staticmethod(lambda _session, _message_id: True)
    sound = RequestPublisher.expire

    def expire(self: Any) -> None:
        limit = time.monotonic() - self._patience
        overdue = [entry for entry in self._waiting if entry.since < limit and entry.message_id is not None]
        told = self.__dict__.setdefault("told", set())
        refused = [entry for entry in overdue if id(entry) not in told]
        told.update(id(entry) for entry in refused)
        if refused:
            self._on_refused(refused)
        if not overdue:
            sound(self)

    RequestPublisher.expire = expire
