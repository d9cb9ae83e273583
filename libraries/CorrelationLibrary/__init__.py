"""Commands to charge points and their answers: whether each caller gets its own, and what is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from CorrelationLibrary.answers import AnswerKeywords
from CorrelationLibrary.base import Line
from CorrelationLibrary.connection import Connection
from CorrelationLibrary.counting import Counting
from CorrelationLibrary.direct import Direct
from CorrelationLibrary.sending import Sending
from CorrelationLibrary.traffic import Traffic
from ocpp_resilience.ids import Ids
from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry

__all__ = ["CorrelationLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, AnswerKeywords, Connection, Counting, Direct, Sending, Traffic):
        """What editors complete: a library has the keywords of all its topics, which it finds at run time."""

else:
    _Keywords = KeywordLibrary


class CorrelationLibrary(_Keywords):
    """Sends commands through the HTTP API of a system under test, and stands in for the charge points behind it.

    `Open Commands` is told where Redis and the HTTP API are; paths, key names and what a gateway announces come from
    the target profile. Several of these have an `alias` each; the keywords work on `commands` unless told otherwise.

    # Charge points

    `Announce Charge Points` lets charge points appear as a gateway would: a session, an entry in the set of connected
    charge points, an event. What they are sent is held until `Answer Commands` answers it, in any order, twice, with
    an error, with an id that nobody knows, after the caller was told that the time is up, or never. With
    `answering=at once` each command is answered when it arrives.

    # Commands

    `Start Commands` sends any number at the same time and goes on, `Send Command` sends one and waits. A command has
    `charge_point`, `action`, `status` (HTTP), `reason`, `data`, `seconds` (until the caller was told) and
    `own_answer`. A collection of them has `count`, `done`, `waiting`, `answered`, `own_answers`, `mixed_up`,
    `percent_answered`, `statuses`, `quickest`, `slowest`, `summary`, and can be indexed. A GetConfiguration (in OCPP
    2.x, a GetVariables) asks for a name that exists nowhere else, and a charge point names what it does not know in its
    answer: so each caller can tell its own answer from all others.

    # What is left behind

    When the suite ends that opened them, what still waits is broken off, and charge points and whatever belongs to them
    are removed from Redis.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Library         OcppServerLibrary
    Library         CorrelationLibrary

    *** Test Cases ***
    Answers In Another Order Reach Their Callers
        ${redis}    Start Redis
        Start Server    ${redis}
        ${server}    Get Server Url
        Open Commands    ${redis}    ${server}
        Announce Charge Points    50
        ${commands}    Start Commands    1000
        Answer Commands    ${commands}    order=random
        Commands Should Be Answered    ${commands}
    ```
    """

    def __init__(self) -> None:
        lines: Registry[Line] = Registry("line of commands", starter="Open Commands", close=lambda line: line.close())
        ids = Ids()
        super().__init__(
            [
                Connection(lines, ids),
                Sending(lines, ids),
                AnswerKeywords(lines, ids),
                Counting(lines, ids),
                Direct(),
                Traffic(lines, ids),
            ]
        )
