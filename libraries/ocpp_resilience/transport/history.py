"""The queued messages and their outcomes, as input for a model of the protocol."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from ocpp_resilience.clock import since_1970
from ocpp_resilience.ocpp.model import Behaviour, Exchange, Outcome, model_of
from ocpp_resilience.ocpp.model.values import Within
from ocpp_resilience.ocpp.version import Version
from ocpp_resilience.transport.answers import Answer, AnswerKind, envelope_problems
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.messages import ENVELOPE_BODY, Delivery, MessageFormat, SentMessage

ReadAnswers: TypeAlias = Callable[[Sequence[str]], Mapping[str, Sequence[Answer]]]
_FRAME_KEYS = ("action", "chargePointId", "messageId")


def exchange_of(message: SentMessage, answer: Answer | None, payload: dict[str, Any] | None = None) -> Exchange:
    """A queued message and its answer, as the model takes them.

    Args:
        message: the message, whose charge point, message id and action are known.
        answer: its answer; `None` while there is none.
        payload: the payload of the message; empty if that does not matter.
    """
    outcome = Outcome.UNKNOWN
    if answer is not None:
        outcome = Outcome.ANSWERED if answer.kind is AnswerKind.RESULT else Outcome.REFUSED
    elif message.delivery in {Delivery.FAILED, Delivery.NOT_SENT}:
        outcome = Outcome.REFUSED
    return Exchange(
        charge_point=message.charge_point or "",
        message_id=message.answer_message_id or "",
        action=message.action or "",
        payload=payload or {},
        outcome=outcome,
        answer=None if answer is None else answer.payload,
        began=since_1970(message.sent_at or 0.0),
        ended=since_1970(0.0 if answer is None else answer.seen_at),
        # A gateway may answer it while Redis is away.
        maybe_elsewhere=message.format is MessageFormat.FRAME and message.action == "Heartbeat",
        repeats=message.repeats,
        point_writes=message.point_writes,
    )


class QueueHistory:
    """Feeds a model with the queued messages, in the order of each charge point.

    Left out of the state, but not of the answers, are charge points with unknown messages: a charge point of another
    client, and one that was sent a message of unknown validity.

    Args:
        read_answers: reads new entries from the answer lists of these charge points, and returns all answers to each so
            far, oldest first.
        version: the OCPP version of the messages.
        behaviour: the system's choices where the specification leaves one.
        body: reads the bodies of queued messages.
    """

    def __init__(
        self,
        read_answers: ReadAnswers,
        version: Version,
        behaviour: Behaviour | None = None,
        *,
        body: Body = ENVELOPE_BODY,
    ) -> None:
        self.model = model_of(version, behaviour)
        self._body = body
        self._read_answers = read_answers
        self._waiting: defaultdict[str, deque[SentMessage]] = defaultdict(deque)

    def sending(self, messages: Iterable[SentMessage]) -> None:
        """These are about to be handed to Redis."""
        for message in messages:
            point = message.charge_point
            if point is None or message.valid is False:
                continue
            if message.valid is None or message.answer_message_id is None:
                self.model.leave_out(point, f"it is unknown whether {message} is valid")
            else:
                self._waiting[point].append(message)

    def answer_problems(self, message: SentMessage, answer: Answer) -> list[str]:
        """Problems of one answer by itself: of its envelope, and of a CALLRESULT."""
        exchange = exchange_of(message, answer)
        tolerance = self.model.behaviour.clock_tolerance
        span = Within(exchange.began - tolerance, exchange.ended + tolerance)
        problems = envelope_problems(answer, span, self.model.version)
        if problems or answer.kind is not AnswerKind.RESULT or not message.action or message.valid is not True:
            return problems
        return self.model.answer_problems(exchange)

    def settle(self) -> list[str]:
        """Feed the model with all messages up to now; returns the wrong answers.

        Raises:
            QueueUnavailable: Redis cannot be reached.
        """
        answers = self._read_answers(list(self._waiting))
        problems: list[str] = []
        for point, messages in self._waiting.items():
            by_id: defaultdict[str | None, list[Answer]] = defaultdict(list)
            for answer in answers[point]:
                if answer.kind in {AnswerKind.RESULT, AnswerKind.ERROR}:
                    by_id[answer.message_id].append(answer)
            for message in messages:
                found = by_id.get(message.answer_message_id, [])
                answer_to = found[message.occurrence] if len(found) > message.occurrence else None
                exchange = exchange_of(message, answer_to, payload_of(message, self._body))
                problems += [f"{exchange}: {each}" for each in self.model.take(exchange)]
        self._waiting.clear()
        return problems

    def leave_out(self, charge_points: Iterable[str], why: str) -> None:
        """Do not judge the state of these charge points."""
        for point in charge_points:
            self.model.leave_out(point, why)

    def forget(self) -> None:
        """Judge none of the messages up to now; charge points that are used again are left out."""
        known = {*self._waiting, *self.model.charge_points, *self.model.unjudged}
        self._waiting.clear()
        for point in known:
            self.model.retire(point)

    def removed(self) -> None:
        """The state of all charge points was removed; they start from scratch."""
        self._waiting.clear()
        self.model.forget_all()


def payload_of(message: SentMessage, body: Body = ENVELOPE_BODY) -> dict[str, Any]:
    """The payload of a valid message, whatever its form."""
    document = msgspec.json.decode(message.data)
    if message.format is MessageFormat.FLAT:
        return {name: value for name, value in document.items() if name not in _FRAME_KEYS}
    frame = document if isinstance(document, list) else body.read(document)[1]
    payload: dict[str, Any] = frame[3]
    return payload
