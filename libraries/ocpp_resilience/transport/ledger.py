"""The messages and answers of a queue as records of the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ocpp_resilience.ledger import EVENT_ACTION, Event, Ledger, event_of
from ocpp_resilience.transport.answers import Answer, AnswerKind
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.history import payload_of
from ocpp_resilience.transport.matching import ExpectedAnswers
from ocpp_resilience.transport.messages import ENVELOPE_BODY, Delivery, SentMessage


class QueueLedger:
    """Writes down the valid messages that are queued, and the answers to them.

    The ledger's model does not cover invalid messages, and those whose answer may have any id: they are left out. An
    answer to no message of this run is recorded, and so found to be unexpected.

    Args:
        ledger: where to write; closed by `end` and `close`.
        expected: which answers belong to this run.
        body: reads the bodies of queued messages.
    """

    def __init__(self, ledger: Ledger, expected: ExpectedAnswers, body: Body = ENVELOPE_BODY) -> None:
        self._ledger = ledger
        self._expected = expected
        self._body = body
        self._ids: dict[str, set[str]] = {}

    @property
    def path(self) -> Path:
        """The file."""
        return self._ledger.path

    @property
    def charge_points(self) -> list[str]:
        """Charge points whose messages are in the ledger."""
        return list(self._ids)

    def sending(self, messages: Iterable[SentMessage]) -> None:
        """These are about to be handed to Redis."""
        for message in messages:
            if message.valid and message.charge_point is not None and message.answer_message_id is not None:
                ids = self._ids.setdefault(message.charge_point, set())
                if message.answer_message_id not in ids:
                    ids.add(message.answer_message_id)
                    self._ledger.invoke(
                        message.charge_point,
                        message.answer_message_id,
                        message.action,
                        seq=message.number,
                        event=self._event_of(message),
                    )
        # Before Redis gets them: a writer that is killed has claimed too much then, not too little.
        self._ledger.flush()

    def _event_of(self, message: SentMessage) -> Event | None:
        # Only these are worth reading again.
        return event_of(message.action, payload_of(message, self._body)) if message.action == EVENT_ACTION else None

    def sent(self, messages: Iterable[SentMessage]) -> None:
        """The replies of Redis to these messages."""
        for message in messages:
            cp, message_id = message.charge_point, message.answer_message_id
            if cp is None or message_id is None or message.occurrence or message_id not in self._ids.get(cp, ()):
                continue
            if message.delivery is Delivery.ACKNOWLEDGED:
                self._ledger.acknowledged(cp, message_id)
            elif message.delivery is Delivery.FAILED:
                self._ledger.failed(cp, message_id, "Redis did not take it")
            else:
                self._ledger.unknown(cp, message_id, "the connection broke before Redis' reply")

    def seen(self, answer: Answer) -> None:
        """An entry of an answer list was read."""
        cp, message_id = answer.charge_point, answer.message_id
        if message_id is None or answer.kind not in {AnswerKind.RESULT, AnswerKind.ERROR}:
            return
        if message_id in self._ids.get(cp, ()) or not self._expected.count(cp, message_id):
            self._ledger.answered(cp, message_id, error=answer.code)

    def end(self) -> None:
        """Everything that there could be was looked for."""
        self._ledger.end()
        self._ledger.close()

    def close(self) -> None:
        """Close the file; losses stay undecided."""
        self._ledger.close()
