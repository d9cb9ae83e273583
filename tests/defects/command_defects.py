"""Test 14: commands to charge points at the gateway, one outstanding at a time, across reconnects and takeovers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from catalogue import defect
from queue_defects import replaced

from server.correlation import commands
from server.correlation.commands import Commands
from server.gateway import gateway
from server.gateway.command_queue import CommandQueue
from server.gateway.gateway import Gateway
from server.gateway.response_delivery import ResponseDelivery
from server.gateway.session import PendingCommand, Session
from server.gateway.session_transitions import SessionTransitions
from server.redis.script import Script

AT_GATEWAY = "Commands To Charge Points At The Gateway Are Sent One After The Other"
HOLDS_UP = "A Command That Is Not Answered Holds Up The Next Ones Until Its Time Is Up"
END = "Commands End When Their Connection Ends"
TOLD = "A Caller Gets The Error Of The Charge Point"
OLDER = "Commands For Older Connections Do Not Come Over The Newer Ones"
REACH = "Commands Reach The Charge Point Whose Id They Name"


@defect("R14.2", HOLDS_UP, says=r"1 charge point should have received 6 commands")
def an_unanswered_command_blocks_its_charge_point() -> None:
    """A command without an answer stays outstanding for ever, and those behind it are never sent."""
    CommandQueue.expire = lambda *_: None


@defect("R14.2", HOLDS_UP, says=r"The second command came [01]\.\d+ s behind the first")
def a_command_is_given_up_after_half_a_second() -> None:
    """The next command is sent while the one before may still be answered."""
    sound = CommandQueue._send

    def send(session: Session, command: PendingCommand) -> None:
        sound(session, command)
        session.command_until = min(session.command_until, time.monotonic() + 0.5)

    CommandQueue._send = staticmethod(send)


@defect("R14.2", HOLDS_UP, says=r"1 charge point should have received 6 commands")
def the_gateway_waits_longer_than_the_caller() -> None:
    """A command is given up a minute after it was sent, however long its caller waits."""
    sound = CommandQueue.take

    def take(self: CommandQueue, session: Session, message_id: str, frame: bytes, due: float | None) -> None:
        sound(self, session, message_id, frame, 60.0)

    CommandQueue.take = take


@defect("R14.5", HOLDS_UP, says=r"The note of a command of 2 s lives for [1-9]\d\d+")
def notes_of_commands_live_for_an_hour() -> None:
    """What Redis notes of a command outlives the wait for its answer, where nobody takes it back."""
    commands._round = Script(replaced(commands._ROUND, "'PX', command[6])", "'PX', 3600000)"))


def at_the_next_connection(act: Callable[[Session, Session], None]) -> None:
    """Do something with the newest session of a charge point and the one before it, which may be over."""
    sound = SessionTransitions.open
    latest: dict[str, Session] = {}

    def opened(self: SessionTransitions, connection: Any) -> Session:
        session = sound(self, connection)
        before = latest.get(session.charge_point_id)
        if before is not None:
            act(session, before)
        latest[session.charge_point_id] = session
        return session

    SessionTransitions.open = opened


@defect("R14.9", END, says=r"The charge point got 1\d commands, expected 3")
def waiting_commands_come_over_the_newer_connection() -> None:
    """Commands that waited for their turn are sent when their charge point has connected again."""
    kept: dict[str, deque[PendingCommand]] = {}

    def drop(session: Session) -> None:
        kept[session.charge_point_id] = session.commands or deque()
        session.commands = None

    def hand_over(session: Session, before: Session) -> None:
        session.commands = before.commands or kept.pop(session.charge_point_id, deque())
        if session.commands:
            command = session.commands.popleft()
            session.command, session.command_until = command.message_id, command.until
            session.connection.push(command.frame)

    CommandQueue.drop = staticmethod(drop)
    at_the_next_connection(hand_over)


@defect("R14.9", END, says=r"The charge point got 4 commands, expected 3")
def an_unanswered_command_is_sent_again_after_a_reconnect() -> None:
    """The command that was outstanding comes once more over the newer connection."""
    sent: dict[str, bytes] = {}
    sound = CommandQueue._send

    def send(session: Session, command: PendingCommand) -> None:
        sent[command.message_id] = command.frame
        sound(session, command)

    def repeat(session: Session, before: Session) -> None:
        if before.command in sent:
            session.connection.push(sent[before.command])

    CommandQueue._send = staticmethod(send)
    at_the_next_connection(repeat)


@defect("R14.5", END, AT_GATEWAY, says=r"callers have no outcome|Expected each command to get its own answer")
def a_command_stays_outstanding_over_connections() -> None:
    """A newer connection begins with the command of the one before as its outstanding one."""

    def inherit(session: Session, before: Session) -> None:
        session.command, session.command_until = before.command or "before", time.monotonic() + 60

    at_the_next_connection(inherit)


@defect("R14.5", END, says=r"The caller has no outcome|callers have no outcome")
def callers_are_not_told_of_a_takeover() -> None:
    """A charge point that is connected counts as the one that the command was sent to."""
    sound = Commands._compare

    def compare(self: Commands, charge_point_id: str, session: bytes) -> None:
        if not session:
            sound(self, charge_point_id, session)

    Commands._compare = compare


@defect(
    "R14.1",
    REACH,
    says=r"The charge point got \d commands, expected 2|Expected each command to get its own"
    r"|[1-9]\d* (unanswered|of \d+ callers have no outcome)",
)
def gateways_find_sessions_by_the_beginning_of_ids() -> None:
    """A wake-up for a charge point goes to the first session whose id begins like its own, and the sweep is slow."""

    def wake(self: Gateway, charge_point_ids: list[str]) -> None:
        for charge_point_id in charge_point_ids:
            for session in self._sessions.live():
                if session.charge_point_id.startswith(charge_point_id):
                    self._delivery.wake(session)
                    break

    async def sweep(self: ResponseDelivery) -> int:
        await self._wire.execute("PING")
        return 0

    Gateway.wake, ResponseDelivery._sweep = wake, sweep


@defect("R14.1", TOLD, says=r"Expected each command to get its own|callers have no outcome")
def an_error_does_not_end_the_outstanding_command() -> None:
    """After a CALLERROR of a charge point the gateway goes on waiting, and sends no further command."""
    sound = Gateway._received
    answered = CommandQueue.answered
    errors: list[bool] = []

    def received(self: Gateway, session: Session, raw: bytes) -> None:
        errors.append(raw.lstrip().startswith(b"[4"))
        sound(self, session, raw)
        errors.pop()

    def note(self: CommandQueue, session: Session, message_id: str) -> None:
        if not errors[-1]:
            answered(self, session, message_id)

    Gateway._received, CommandQueue.answered = received, note


@defect("R14.1", HOLDS_UP, says=r"Other commands came, or in another order")
def the_newest_command_is_sent_first() -> None:
    """Of the commands that wait for their turn, the last one comes first."""

    def following(self: CommandQueue, session: Session) -> None:
        session.command = None
        while session.commands and session.command is None and not session.closed:
            self._send(session, session.commands.pop())

    CommandQueue._next = following


# --- frames that are no answer to the outstanding command -------------------------------------------------------------

EARLY = r"The second command came [01]\.\d+ s behind the first"


def released_by(kinds: set[int]) -> None:
    """Send the next command when the charge point has sent a frame of these kinds, whatever its message id is."""
    sound = Gateway._received

    def received(self: Gateway, session: Session, raw: bytes) -> None:
        sound(self, session, raw)
        if session.command is not None and any(raw.startswith(b"[%d" % kind) for kind in kinds):
            self._commands._next(session)

    Gateway._received = received


@defect("R14.1", HOLDS_UP, says=EARLY)
def any_answer_releases_the_next_command() -> None:
    """A CALLRESULT to whatever command ends the outstanding one, and the next one is sent."""
    released_by({3})


@defect("R14.1", HOLDS_UP, says=EARLY)
def any_error_releases_the_next_command() -> None:
    """A CALLERROR to whatever command ends the outstanding one, and the next one is sent."""
    released_by({4})


@defect("R14.1", HOLDS_UP, says=EARLY)
def a_call_releases_the_next_command() -> None:
    """A CALL of the charge point is taken for a sign that it is free for the next command."""
    released_by({2})


# --- commands that wait in Redis for a connection that is over --------------------------------------------------------


@defect(
    "R14.9", OLDER, says=r"206 commands came over the newer connections, 200 were for them.* to_older: required == 0"
)
def gateways_take_commands_for_older_connections() -> None:
    """A gateway looks at the connection that an answer is for, not at that of a command."""
    sound = gateway._read_response

    def read(entry: bytes) -> Any:
        response = sound(entry)
        if bytes(response.payload).startswith(b"[2"):
            response.connection = None
        return response

    gateway._read_response = read


@defect(
    "R14.9", OLDER, says=r"206 commands came over the newer connections, 200 were for them.* to_older: required == 0"
)
def commands_are_for_any_connection() -> None:
    """A command does not say which connection it is for."""
    commands._round = Script(replaced(commands._ROUND, "if connection then message", "if false then message"))


@defect("R14.9", OLDER, says=r"have a different outcome.* 408 |callers have no outcome")
def callers_are_not_told_of_a_move() -> None:
    """A charge point that is connected to another gateway by now counts as the one that the command was sent to."""
    sound = Commands._compare

    def compare(self: Commands, charge_point_id: str, session: bytes) -> None:
        if not session:
            sound(self, charge_point_id, session)

    Commands._compare = compare
