"""The request queue of a charging back end: putting messages on it, reading and judging the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp.version import payload_fields
from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.transport.client import QueueClient
from RedisQueueLibrary.answer_times import Timing
from RedisQueueLibrary.answers import Answers
from RedisQueueLibrary.background import Background
from RedisQueueLibrary.connection import Connection, close_queue
from RedisQueueLibrary.dead_letters import DeadLetters
from RedisQueueLibrary.invalid import InvalidMessageKeywords
from RedisQueueLibrary.judgement import Judgement
from RedisQueueLibrary.ledger import LedgerKeywords
from RedisQueueLibrary.length import Length
from RedisQueueLibrary.sending import Sending
from RedisQueueLibrary.sessions import Sessions
from RedisQueueLibrary.traces import Traces
from RedisQueueLibrary.transactions import Transactions
from RedisQueueLibrary.volume import Volume

__all__ = ["RedisQueueLibrary"]


if TYPE_CHECKING:

    class _Keywords(
        KeywordLibrary,
        Answers,
        Background,
        Connection,
        DeadLetters,
        InvalidMessageKeywords,
        Judgement,
        LedgerKeywords,
        Length,
        Sending,
        Sessions,
        Timing,
        Traces,
        Transactions,
        Volume,
    ):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class RedisQueueLibrary(_Keywords):
    """Puts messages of charge points on the request queue, and follows each to its outcome.

    `Open Queue` connects to the Redis of a system under test; key names and message format come from its target
    profile. Several queues have an `alias` each; the keywords use `queue` by default.

    # Messages

    `Queue Message` makes a valid message out of nothing but an action, for a charge point that no other test uses.
    Fields are sent with the type that they have in Robot Framework: `connectorId=${2}` is a number, `connectorId=2` is
    text. A sent message is returned as a record with these attributes: `charge_point`, `message_id`, `action`, `text`,
    `answerable` (whether an answer has to come), `expected_code` (of an invalid message), `delivery`.

    Keywords that queue several messages return a collection that can be indexed and looped over, and that has:
    `count`, `charge_points`, `acknowledged`, `unknown` and `failed` (by Redis), `valid` and `invalid` (collections of
    their own), `answerable`, `codes` (how many have to be refused with which code), `seconds` and `seed`.

    # Answers

    Answers are read without removing them, so that nothing is lost when Redis is killed meanwhile. Only answers after
    the first message of this run count. An answer has `charge_point`, `message_id`, `kind.value` (CALLRESULT or
    CALLERROR), `payload`, `code`, `description`, `seconds` (from queueing until it was seen) and `text`. Every keyword
    that waits goes on while Redis is down, and mentions it in its failure.

    # Clean-up

    When the suite ends that opened a queue, everything is removed that was written through it, and nothing else; see
    `Remove Test Data`.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Library         OcppServerLibrary
    Library         RedisQueueLibrary
    Suite Setup     Start Everything

    *** Test Cases ***
    A Queued Heartbeat Is Answered
        ${heartbeat}    Queue Message    Heartbeat
        ${answer}    Message Should Be Answered    ${heartbeat}
        Should Contain    ${answer.payload}    currentTime

    *** Keywords ***
    Start Everything
        ${redis}    Start Redis
        Start Server    ${redis}
        Open Queue    ${redis}
    ```
    """

    free_names = staticmethod(payload_fields)

    def __init__(self) -> None:
        queues: Registry[QueueClient] = Registry("queue", starter="Open Queue", close=close_queue)
        ids = Ids()
        super().__init__(
            [
                Connection(queues, ids),
                Sending(queues, ids),
                Volume(queues, ids),
                Background(queues, ids),
                InvalidMessageKeywords(queues, ids),
                Length(queues, ids),
                Answers(queues, ids),
                Judgement(queues, ids),
                Timing(queues, ids),
                DeadLetters(queues, ids),
                Sessions(queues, ids),
                Traces(queues, ids),
                Transactions(queues, ids),
                LedgerKeywords(queues, ids),
            ]
        )
