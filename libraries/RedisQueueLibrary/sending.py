"""Keywords that put messages on the queue."""

from __future__ import annotations

from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import nearest
from ocpp_resilience.transport import messages
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.messages import MessageFormat, SentMessage, SentMessages
from RedisQueueLibrary.base import QueueComponent, log_all_sent, log_sent


class Sending(QueueComponent):
    """One message, several, text as it is."""

    @keyword(tags=("queue", "send"))
    def queue_message(
        self,
        action: str,
        *,
        charge_point: str | None = None,
        format: MessageFormat | None = None,  # noqa: A002 - what the argument is called in suites
        message_id: str | None = None,
        payload: dict[str, Any] | None = None,
        alias: str = "queue",
        **fields: Any,
    ) -> SentMessage:
        """Queues one message and returns a record of it.

        Actions of charge points have a valid payload by default, so that the action alone is enough. Any other action
        gets an empty payload.

        Args:
            action: the OCPP action. An action of OCPP 1.6 with another name in the tested version is sent under that
                name: StartTransaction as TransactionEvent.
            charge_point: the id of the charge point that sends it; a new one if not given.
            format: `envelope` or `flat`; that of the queue if not given.
            message_id: its message id; a new one if not given.
            payload: the whole payload, in the place of the default one.
            fields: payload fields, in the place of the default ones or beside them.

        Returns:
            The record, which the keywords that look at answers take.

        Raises:
            UsageError: the payload cannot be sent in this form, or the action is a known one that is misspelt.
            LacksCapability: the target does not support the action; the test is skipped.
            QueueUnavailable: Redis did not acknowledge it.

        Example:
        ```robotframework
        ${boot}    Queue Message    BootNotification    chargePointVendor=ACME
        Queue Message    StatusNotification    charge_point=${boot.charge_point}    connectorId=${2}    status=Faulted
        Message Should Be Answered    ${boot}
        ```
        """
        client = self._queues.get(alias)
        action = client.version.named(action)
        _refuse_misspelt(client, action)
        client.need_actions(action)
        message = client.build(
            action,
            {**(client.version.sample(action) if payload is None else payload), **fields},
            charge_point=self._ids.charge_point() if charge_point is None else charge_point,
            message_id=message_id,
            message_format=format,
        )
        client.send([message])
        log_sent(client, message)
        return message

    @keyword(tags=("queue", "send"))
    def queue_messages(
        self,
        *actions: str,
        charge_point: str | None = None,
        format: MessageFormat | None = None,  # noqa: A002 - what the argument is called in suites
        alias: str = "queue",
    ) -> SentMessages:
        """Queues several messages of one charge point, in this order, and returns records of them.

        Args:
            actions: the OCPP actions, named as in `Queue Message`; each message has the default payload of its action.
            charge_point: whose messages they are; a new one if not given.
            format: `envelope` or `flat`; that of the queue if not given.

        Raises:
            UsageError: an action is a known one that is misspelt.
            LacksCapability: the target does not support one of the actions; the test is skipped.
            QueueUnavailable: Redis did not acknowledge all of them; the message says how many.

        Example:
        ```robotframework
        ${sent}    Queue Messages    BootNotification    StatusNotification    Heartbeat
        All Messages Should Be Answered    ${sent}    timeout=5s
        ```
        """
        client = self._queues.get(alias)
        actions = tuple(client.version.named(each) for each in actions)
        _refuse_misspelt(client, *actions)
        client.need_actions(*actions)
        point = self._ids.charge_point() if charge_point is None else charge_point
        built = [
            client.build(each, client.version.sample(each), charge_point=point, message_format=format)
            for each in actions
        ]
        sent = client.send(built)
        log_all_sent(client, sent)
        return sent

    @keyword(tags=("queue", "send"))
    def queue_message_of_size(
        self,
        size: int,
        *,
        valid: bool = True,
        charge_point: str | None = None,
        format: MessageFormat | None = None,  # noqa: A002 - as above
        alias: str = "queue",
    ) -> SentMessage:
        """Queues a DataTransfer of this many bytes, valid except possibly for its size, and returns a record of it.

        Args:
            size: bytes of the whole message, as it stands on the queue.
            valid: whether it has to be accepted; a larger one than the system takes has to be refused.
            charge_point: the id of the charge point that sends it; a new one if not given.
            format: `envelope` or `flat`; that of the queue if not given.

        Raises:
            UsageError: it is too small for a DataTransfer.
            LacksCapability: the target does not support the action; the test is skipped.
            QueueUnavailable: Redis did not acknowledge it.

        Example:
        ```robotframework
        ${sent}    Queue Message Of Size    200000
        Message Should Be Answered    ${sent}
        ```
        """
        client = self._queues.get(alias)
        client.need_actions("DataTransfer")
        point = self._ids.charge_point() if charge_point is None else charge_point

        def build(text: str, message_id: str | None) -> SentMessage:
            payload = client.version.sample("DataTransfer") | {"data": text}
            return client.build(
                "DataTransfer", payload, charge_point=point, message_id=message_id, message_format=format
            )

        empty = build("", None)
        rest = size - len(empty.data)
        if rest < 0:
            raise UsageError(f"size is {size}; at least {len(empty.data)} is needed.")
        message = build("x" * rest, empty.message_id)
        message.valid = valid
        client.send([message])
        log_sent(client, message)
        return message

    @keyword(tags=("queue", "send"))
    def queue_raw_message(self, message: str | bytes, *, alias: str = "queue") -> SentMessage:
        """Queues text or bytes exactly as they are, and returns a record of them.

        The readable parts of the message (charge point, message id, action) are in the record, so that its answer can
        be waited for.

        Args:
            message: the message; text is sent as UTF-8.

        Raises:
            QueueUnavailable: Redis did not acknowledge it.

        Example:
        ```robotframework
        Queue Raw Message    {"action": "Heartbeat", "chargePointId": "CP-001"}
        Queue Raw Message    {"invalid": "malformed_json"
        ```
        """
        client = self._queues.get(alias)
        (sent,) = client.send([messages.raw(_as_bytes(message))])
        log_sent(client, sent)
        return sent

    @keyword(tags=("queue", "send"))
    def queue_raw_messages(self, *raw_messages: str | bytes, alias: str = "queue") -> SentMessages:
        """Queues several texts or bytes exactly as they are, in this order, and returns records of them.

        Args:
            raw_messages: the messages; text is sent as UTF-8.

        Raises:
            QueueUnavailable: Redis did not acknowledge all of them; the message says how many.

        Example:
        ```robotframework
        ${sent}    Queue Raw Messages
        ...    {"action": "BootNotification", "chargePointId": "CP-001"}
        ...    {"invalid": "malformed_json"
        ...    {"action": "Heartbeat", "chargePointId": "CP-001"}
        Message Should Be Answered    ${sent}[2]
        ```
        """
        client = self._queues.get(alias)
        sent = client.send([messages.raw(_as_bytes(each)) for each in raw_messages])
        for message in sent:
            log_sent(client, message)
        return sent


def _as_bytes(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else messages.encode_text(message)


def _refuse_misspelt(client: QueueClient, *actions: str) -> None:
    """Refuse an action that is one letter beside a known one: it would be answered as unknown, or skip the test."""
    known = client.version.samples
    for action in actions:
        meant = None if action in known else nearest(action, known)
        if meant is not None and abs(len(meant) - len(action)) <= 1:
            raise UsageError(f"{client.version} has no action '{action}'; did you mean '{meant}'?")
