"""Keywords for single transactions on the queue, in the messages of any OCPP version."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp.version import Call, Transaction, TransactionId, TransactionName
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.answers import Answer
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.history import payload_of
from ocpp_resilience.transport.messages import SentMessages
from RedisQueueLibrary.base import QueueComponent, log_sent


@dataclass(frozen=True, slots=True)
class QueuedTransaction:
    """A transaction whose messages are queued.

    Attributes:
        charge_point: whose it is.
        transaction: makes its messages.
    """

    charge_point: str
    transaction: Transaction = field(repr=False)

    @property
    def id(self) -> TransactionId | None:
        """Its id."""
        return self.transaction.id


class Transactions(QueueComponent):
    """Starting and stopping."""

    @keyword(tags=("queue", "send", "transaction"))
    def start_queued_transaction(
        self,
        charge_point: str,
        *,
        connector: int = 1,
        id_tag: str = "TEST-TAG",
        meter: int = 1000,
        timeout: timedelta | None = None,
        alias: str = "queue",
    ) -> QueuedTransaction:
        """Queues the message that starts a transaction, waits for its answer, and returns the transaction.

        It is a StartTransaction in OCPP 1.6, where the answer has the id, and a TransactionEvent in OCPP 2.x, where the
        charge point chooses it.

        Args:
            charge_point: whose transaction it is.
            connector: the number of the connector; of the EVSE in OCPP 2.x.
            id_tag: who charges.
            meter: the meter, in Wh.
            timeout: the longest wait for the answer; the one that the target's profile allows if not given.

        Returns:
            The transaction: `id` and `charge_point`; `Stop Queued Transaction` takes it.

        Raises:
            LacksCapability: the target does not support the action; the test is skipped.
            ExpectationFailed: it was refused, not answered in time, or answered without an id.

        Example:
        ```robotframework
        ${id}    New Charge Point Id
        ${transaction}    Start Queued Transaction    ${id}    meter=${100}
        Stop Queued Transaction    ${transaction}    meter=${900}
        ```
        """
        client = self._queues.get(alias)
        made = client.version.transaction(connector=connector, id_tag=id_tag)
        answer = _say(client, charge_point, made.start(meter, rfc3339()), timeout)
        made.started(answer.payload)
        logger.info(f"Transaction {made.id} of {charge_point} runs.")
        return QueuedTransaction(charge_point, made)

    @keyword(tags=("queue", "send", "transaction"))
    def stop_queued_transaction(
        self,
        transaction: QueuedTransaction,
        *,
        meter: int = 2000,
        timeout: timedelta | None = None,
        alias: str = "queue",
    ) -> None:
        """Queues the message that ends a transaction, and waits for its answer.

        Args:
            transaction: what `Start Queued Transaction` returned.
            meter: the meter, in Wh.
            timeout: the longest wait for the answer; the one that the target's profile allows if not given.

        Raises:
            ExpectationFailed: it was refused, or not answered in time.

        Example:
        ```robotframework
        ${transaction}    Start Queued Transaction    CP-001
        Stop Queued Transaction    ${transaction}    meter=${1500}
        ```
        """
        stop = transaction.transaction.stop(meter, rfc3339())
        _say(self._queues.get(alias), transaction.charge_point, stop, timeout)

    @keyword(tags=("queue", "answer", "getter", "transaction"))
    def get_started_transactions(self, messages: SentMessages, *, alias: str = "queue") -> list[TransactionName]:
        """Returns the transactions that answered messages have started, in the messages' order.

        Args:
            messages: what a sending keyword returned.

        Returns:
            `id` and `charge_point` of each; the id is `None` where nobody knows it.

        Example:
        ```robotframework
        ${sent}    Queue Generated Messages    100    action=StartTransaction    charge_points=100
        All Messages Should Be Answered    ${sent}
        @{started}    Get Started Transactions    ${sent}
        @{wrong}    Get Transactions With Other Status    active    ${started}
        ```
        """
        client = self._queues.get(alias)
        client.refresh(messages.charge_points)
        found = []
        for message in messages:
            answer = client.answer_to(message)
            number = None
            if answer is not None and answer.code is None:
                number = client.version.phrases.transaction_id(payload_of(message), answer.payload)
            found.append(TransactionName(number, message.charge_point or ""))
        return found


def _say(client: QueueClient, charge_point: str, call: Call, timeout: timedelta | None) -> Answer:
    """Queue a message and wait for its CALLRESULT."""
    client.need_actions(call.action)
    message = client.build(call.action, call.payload, charge_point=charge_point)
    client.send([message])
    log_sent(client, message)
    return waits.should_be_answered(client, message, client.within(timeout))
