"""Commands to charge points and their answers: each caller gets its own answer, and nothing is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from CorrelationLibrary.answers import AnswerKeywords
from CorrelationLibrary.base import CommandConnection
from CorrelationLibrary.connection import Connection
from CorrelationLibrary.counting import Counting
from CorrelationLibrary.direct import Direct
from CorrelationLibrary.sending import Sending
from CorrelationLibrary.traffic import Traffic
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp.version import payload_fields
from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry

__all__ = ["CorrelationLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, AnswerKeywords, Connection, Counting, Direct, Sending, Traffic):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class CorrelationLibrary(_Keywords):
    """Sends commands through the HTTP API of a system under test, and stands in for the charge points behind it.

    `Open Commands` takes the addresses of Redis and the HTTP API; paths, key names and announcements come from the
    target profile. Several connections have an `alias` each; the keywords use `commands` by default.

    # Charge points

    `Announce Charge Points` announces charge points as a gateway would: with a session, an entry in the set of
    connected charge points, and an event. Commands to them are held until `Answer Commands` answers them, in any order,
    twice, with an error, with an unknown id, after the timeout, or never. With `answering=at once` each command is
    answered when it arrives.

    # Commands

    `Start Commands` sends any number at the same time and returns immediately, `Send Command` sends one and waits. A
    command has `charge_point`, `action`, `status` (HTTP), `reason`, `data`, `seconds` (until the response) and
    `own_answer`. A collection of them has `count`, `done`, `waiting`, `answered`, `own_answers`, `mixed_up`,
    `percent_answered`, `statuses`, `quickest`, `slowest`, `summary`, and can be indexed. A GetConfiguration (or
    GetVariables, in OCPP 2.x) asks for a name that exists nowhere else, and a charge point returns unknown names in its
    answer: so each caller can tell its own answer from all others.

    # Clean-up

    At the end of the suite that opened them, waiting commands are cancelled, and charge points and their keys are
    removed from Redis.

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

    free_names = staticmethod(payload_fields)

    def __init__(self) -> None:
        lines: Registry[CommandConnection] = Registry(
            "connection for commands", starter="Open Commands", close=lambda line: line.close()
        )
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
