"""Charge points on bad networks: calls that cross, takeovers, comings and goings (tests 14 and 18)."""

from __future__ import annotations

import os
from typing import Any

from catalogue import defect
from queue_defects import replaced
from websockets.frames import CloseCode

from server.gateway import session_registry
from server.gateway.call_queue import CallQueue
from server.gateway.command_queue import CommandQueue
from server.gateway.session import Entry, PendingCommand, Session
from server.gateway.session_transitions import SessionTransitions
from server.redis.script import Script

CROSS = "Commands And Calls That Cross Are Both Answered"
NEWEST = "A Command Goes To The Newest Connection After A Takeover"
MOVED = "A Command Follows Its Charge Point To Another Gateway"
TAKEOVER = "Takeovers By Newer Connections Lose Nothing Under Load"
LEFT = "Successive Connections Leave Nothing Behind"
ALONE = ("SOAK BESIDE:no",)


@defect("R14.8", CROSS, says=r"R14\.8 crossed: required >= 1,000 commands", longest_wait=60)
def answers_no_call_while_a_command_waits() -> None:
    """A CALL that comes while a command is unanswered is dropped."""
    sound = CallQueue.take

    def take(self: CallQueue, session: Session, entry: Entry) -> None:
        if session.command is None:
            sound(self, session, entry)

    CallQueue.take = take


@defect("R14.8", CROSS, says=r"R14\.8 repeated: required == 0 commands", longest_wait=60)
def sends_a_command_again_when_a_call_comes() -> None:
    """A CALL is taken for a sign that the command before it was lost."""
    sent: dict[str, bytes] = {}
    send, take = CommandQueue._send, CallQueue.take

    def remember(session: Session, command: PendingCommand) -> None:
        sent[command.message_id] = command.frame
        send(session, command)

    def repeat(self: CallQueue, session: Session, entry: Entry) -> None:
        if session.command is not None:
            session.connection.push(sent[session.command])
        take(self, session, entry)

    CommandQueue._send = staticmethod(remember)
    CallQueue.take = repeat


def keep_the_older(transitions: type[SessionTransitions], *, close_the_newer: bool) -> None:
    """The older of two connections stays the one that commands and answers go to."""
    sound = transitions.open

    def opened(self: SessionTransitions, connection: Any) -> Session:
        before = self._sessions.pop(connection.gateway_id, None)
        session = sound(self, connection)
        if before is not None:
            self._sessions[before.charge_point_id] = before
            if close_the_newer:
                self.close(session, CloseCode.POLICY_VIOLATION, "there is an older connection")
        return session

    transitions.open = opened


@defect("R14.9", NEWEST, says=r"R14\.9 answered: required == 200 commands", longest_wait=60)
def sends_commands_to_the_older_connection() -> None:
    """A second connection of a charge point changes nothing for its commands."""
    keep_the_older(SessionTransitions, close_the_newer=False)


@defect("R14.9", MOVED, says=r"R14\.9 answered: required == 200 commands", longest_wait=60)
def forgets_that_a_charge_point_has_moved() -> None:
    """The first gateway of a charge point stays the one that takes its commands off the list."""
    session_registry._announce = Script(
        replaced(session_registry._ANNOUNCE, "elseif not (newer(", "elseif not (old[1] or newer(")
    )


@defect("R18.9", TAKEOVER, says=r"R18\.9 left: required == 0 connections", longest_wait=60, variables=ALONE, heavy=True)
def leaves_older_connections_open() -> None:
    """A connection that was replaced is forgotten and never closed."""
    SessionTransitions.replaced = lambda self, session: self.drop(session)


@defect(
    "R18.9",
    TAKEOVER,
    says=r"R18\.9 (left: required == 0 connections|unanswered: required == 0 messages)",
    longest_wait=60,
    variables=ALONE,
    heavy=True,
)
def closes_the_newer_of_two_connections() -> None:
    """A charge point that lost its power cannot connect while its older connection is open."""
    keep_the_older(SessionTransitions, close_the_newer=True)


@defect("R18.10", LEFT, says=r"R18\.10 descriptors_left: required == 0 descriptors", variables=ALONE, heavy=True)
def leaks_a_descriptor_of_some_connections() -> None:
    """Of every twentieth connection a file descriptor stays open."""
    sound = SessionTransitions.ended
    count = [0]

    def ended(self: SessionTransitions, session: Session) -> None:
        sound(self, session)
        count[0] += 1
        if count[0] % 20 == 0:
            os.dup(0)

    SessionTransitions.ended = ended


@defect("R18.10", LEFT, says=r"R18\.10 memory_growth_share: required < 10 %", variables=ALONE, heavy=True)
def leaks_memory_of_every_connection() -> None:
    """Of every connection 50 KB stay in memory."""
    sound = SessionTransitions.ended
    kept: list[bytes] = []

    def ended(self: SessionTransitions, session: Session) -> None:
        sound(self, session)
        kept.append(os.urandom(50_000))

    SessionTransitions.ended = ended
