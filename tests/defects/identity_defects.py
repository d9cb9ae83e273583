"""Tests 13 and 14: the sender of a message, the number of kept messages, and commands to charge points at the
gateway."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from catalogue import defect

from server.correlation.manager import CallErrorReceived
from server.gateway.command_queue import CommandQueue
from server.gateway.session import PendingCommand
from server.ocpp import envelope
from server.processor import processor
from server.store.keys import Keys

SIMILAR = "Charge Points Whose Ids Are Nearly The Same Are Kept Apart"
NEWEST = "The Newest Thousand Messages That Were Set Aside Are Kept"
AT_GATEWAY = "Commands To Charge Points At The Gateway Are Sent One After The Other"
TOLD = "A Caller Is Told The Error That The Charge Point Gave"


def kept_under(change: Callable[[str], str]) -> None:
    """Keep the records of a charge point under another id."""
    for name in ("charge_point", "connectors", "transactions", "active_transactions"):
        sound = getattr(Keys, name)
        setattr(Keys, name, lambda self, charge_point_id, sound=sound: sound(self, change(charge_point_id)))
    connector = Keys.connector
    Keys.connector = lambda self, charge_point_id, number: connector(self, change(charge_point_id), number)


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_without_their_case() -> None:
    """Charge points whose ids differ only by case are treated as one."""
    kept_under(str.lower)


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_of_forty_characters() -> None:
    """Of an id, 40 characters count."""
    kept_under(lambda charge_point_id: charge_point_id[:40])


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_in_one_unicode_form() -> None:
    """Ids are brought into one Unicode form, in which some that differ are the same."""
    kept_under(lambda charge_point_id: unicodedata.normalize("NFC", charge_point_id))


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_are_decoded_once_more() -> None:
    """Percent-encoded characters in an id are decoded again, as they were in the URL already."""
    from urllib.parse import unquote

    kept_under(unquote)


@defect("R13.2", NEWEST, says=r"Dead letters that are kept: .*100 != 1000")
def a_hundred_dead_letters() -> None:
    """The list of dead letters is cut at 100."""
    envelope.DEAD_LETTERS = 100


@defect("R13.2", NEWEST, says=r"No dead letter|Dead letters that are kept")
def the_oldest_dead_letters() -> None:
    """The list of dead letters is cut at its new end: once it is full, new dead letters are lost."""
    sound = processor.Processor._dead_letter_operations

    def operations(self: Any, dead_letters: list[str]) -> list[Any]:
        made = sound(self, dead_letters)
        return [["LTRIM", each[1], -envelope.DEAD_LETTERS, -1] if each[0] == "LTRIM" else each for each in made]

    processor.Processor._dead_letter_operations = operations


@defect("R14.1", AT_GATEWAY, says=r"came while the answer to .* was outstanding")
def commands_overtake_each_other() -> None:
    """The gateway sends a command although the one before was not answered."""

    def take(self: CommandQueue, session: Any, message_id: str, frame: bytes, due: float | None) -> None:
        self._send(session, PendingCommand(message_id, frame, float("inf")))

    CommandQueue.take = take


@defect("R14.1", AT_GATEWAY, says=r"\d+ of 50 callers have not been told anything")
def commands_behind_the_first_are_forgotten() -> None:
    """Of several commands to one charge point the gateway keeps one."""

    def following(self: CommandQueue, session: Any) -> None:
        session.command = None
        if session.commands:
            self._send(session, session.commands.pop())
            session.commands.clear()

    CommandQueue._next = following


@defect("R14.1", TOLD, says=r"does not contain 'Door 17 is open'")
def errors_without_their_description() -> None:
    """A caller is told the code of a CALLERROR, and not its description."""
    sound: Any = CallErrorReceived.__init__

    def init(self: Any, *arguments: Any) -> None:
        *others, _, details = arguments
        sound(self, *others, "", details)

    CallErrorReceived.__init__ = init


@defect("R14.1", TOLD, says=r"does not contain 'SecurityError'")
def every_error_is_generic() -> None:
    """A caller gets GenericError, whatever the error code of the charge point."""
    sound: Any = CallErrorReceived.__init__

    def init(self: Any, *arguments: Any) -> None:
        *others, _, description, details = arguments
        sound(self, *others, "GenericError", description, details)

    CallErrorReceived.__init__ = init
