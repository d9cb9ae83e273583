"""Messages for the queue: builds them, and recognises them among queued entries.

The two formats are those of the wire contract. The *envelope* is what gateways write: its `payload` is the OCPP-J array
(OCPP-J 1.6 section 4.2). The *flat* form is the short one of tests and integration.
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import usable_charge_point_id
from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.ocpp.version import LARGEST_INTEGER, ocpp_version
from ocpp_resilience.text import counted, shortened
from ocpp_resilience.transport.bodies import Body

ENVELOPE_BODY = Body()
_FLAT_FRAME_KEYS = frozenset({"action", "chargePointId", "messageId"})
_ENVELOPE_KEYS = frozenset({"payload", "charge_point_id"})


class MessageFormat(enum.Enum):
    """The form in which a message is sent: as the body of the target's queue, in the flat form, or as a bare frame."""

    ENVELOPE = "envelope"
    FLAT = "flat"
    FRAME = "frame"


class Delivery(enum.Enum):
    """Progress of a message on its way to the queue."""

    NOT_SENT = "not sent"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(slots=True, eq=False, kw_only=True)
class Message:
    """A message as it stands on the queue.

    Attributes:
        charge_point: whose message it is; `None` if that cannot be read.
        message_id: the message id; `None` if it has none, or none that can be read.
        action: the OCPP action; `None` if it cannot be read, or the message is no CALL.
        format: envelope or flat; `None` for a message that was given as text.
        data: the message, byte for byte.
        connector: the number of the connector that it is about, if any.
    """

    charge_point: str | None
    message_id: str | None
    action: str | None
    data: bytes = field(repr=False)
    format: MessageFormat | None = None
    connector: int | None = None

    @property
    def text(self) -> str:
        """The message as text; bytes that are not UTF-8 are shown as `\\xff`."""
        return self.data.decode("utf-8", "backslashreplace")

    def __str__(self) -> str:
        if self.charge_point is None:
            return f"the message {shortened(self.text)}"
        identity = f" (message id {self.message_id})" if self.message_id is not None else ""
        return f"{self.action or 'a message'} of {self.charge_point}{identity}"


@dataclass(slots=True, eq=False, kw_only=True)
class SentMessage(Message):
    """A message that this run put on the queue, and its progress.

    Attributes:
        answerable: whether an answer has to come; `None` if that is not known (text that was sent as it is).
        answer_message_id: the message id of that answer; `None` for any that belongs to no other message.
        valid: `True` if it has to be accepted, `False` if it has to be refused, `None` if that is not known.
        expected_code: the error code that an invalid message has to be refused with.
        about: the error of an invalid message, or the id of its case.
        open: whether the documents leave the outcome open: refused once, or accepted and answered once.
        is_answer: whether it is a charge point's answer, which a CALLRESULTERROR refuses (OCPP 2.1).
        number: its place among everything that the run sent, from 1.
        occurrence: how many messages with the same charge point and message id were sent before.
        delivery: whether Redis acknowledged it.
        sent_at: when it was handed to Redis, in seconds of `time.monotonic`.
        acknowledged_at: when Redis acknowledged it.
        repeats: how many times more it was sent with the same message id, after its connection had ended.
        point_writes: how many connections ended and began for it, and how often it was refused with InternalError and
            sent under another message id: each may be written to the record of its charge point.
    """

    answerable: bool | None = True
    answer_message_id: str | None = None
    valid: bool | None = True
    expected_code: str | None = None
    about: str = ""
    open: bool = False
    is_answer: bool = False
    number: int = 0
    occurrence: int = 0
    delivery: Delivery = Delivery.NOT_SENT
    sent_at: float | None = None
    acknowledged_at: float | None = None
    repeats: int = 0
    point_writes: int = 0

    def leave_open(self) -> None:
        """Judge it by the tolerant oracle: it may be accepted, refused, or set aside without an answer."""
        self.valid = None
        self.expected_code = None
        self.answerable = None


class SentMessages:
    """Several messages that this run put on the queue, in the order queued.

    In Robot Framework it can be looped over and indexed like a list.

    Attributes:
        seed: of the generated part; `None` without one.
        count: how many messages there are.
        charge_points: the charge points among them, each once, in the order of their first message.
        acknowledged: how many Redis acknowledged.
        unknown: how many may or may not be on the queue, since the connection broke before the acknowledgement.
        failed: how many are certainly not on the queue.
        valid: those that have to be accepted, as a `SentMessages` of its own.
        invalid: those that have to be refused.
        answerable: those that have to be answered, accepted or refused.
        codes: how many messages have to be refused with which code.
        seconds: from the first message handed to Redis to the last acknowledgement.
    """

    def __init__(self, messages: Iterable[SentMessage], *, seed: int | None = None) -> None:
        self._messages = tuple(messages)
        self.seed = seed

    @overload
    def __getitem__(self, index: int) -> SentMessage: ...
    @overload
    def __getitem__(self, index: slice) -> SentMessages: ...
    def __getitem__(self, index: int | slice) -> SentMessage | SentMessages:
        if isinstance(index, slice):
            return SentMessages(self._messages[index], seed=self.seed)
        return self._messages[index]

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[SentMessage]:
        return iter(self._messages)

    def __repr__(self) -> str:
        return f"<{counted(self.count, 'message')} of {counted(len(self.charge_points), 'charge point')}>"

    @property
    def count(self) -> int:
        return len(self._messages)

    @property
    def charge_points(self) -> list[str]:
        return list(dict.fromkeys(each.charge_point for each in self._messages if each.charge_point is not None))

    @property
    def acknowledged(self) -> int:
        return self._delivered(Delivery.ACKNOWLEDGED)

    @property
    def unknown(self) -> int:
        return self._delivered(Delivery.UNKNOWN)

    @property
    def failed(self) -> int:
        return self._delivered(Delivery.FAILED)

    def _delivered(self, delivery: Delivery) -> int:
        return sum(1 for each in self._messages if each.delivery is delivery)

    @property
    def valid(self) -> SentMessages:
        return SentMessages((each for each in self._messages if each.valid is True), seed=self.seed)

    @property
    def invalid(self) -> SentMessages:
        return SentMessages((each for each in self._messages if each.valid is False), seed=self.seed)

    @property
    def doubtful(self) -> SentMessages:
        """The invalid ones, and those that are left open."""
        return SentMessages((each for each in self._messages if each.valid is False or each.open), seed=self.seed)

    @property
    def answerable(self) -> SentMessages:
        return SentMessages((each for each in self._messages if each.answerable is True), seed=self.seed)

    @property
    def codes(self) -> dict[str, int]:
        return dict(Counter(each.expected_code for each in self._messages if each.expected_code is not None))

    @property
    def seconds(self) -> float:
        """From the first message handed to Redis to the last acknowledgement."""
        first, last = self.first_acknowledged_at, self.last_acknowledged_at
        started = min((each.sent_at for each in self._messages if each.sent_at is not None), default=None)
        return 0.0 if first is None or last is None or started is None else last - started

    @property
    def first_acknowledged_at(self) -> float | None:
        """Time at which Redis acknowledged the first message, in seconds of `time.monotonic`."""
        return min((each.acknowledged_at for each in self._messages if each.acknowledged_at is not None), default=None)

    @property
    def last_acknowledged_at(self) -> float | None:
        """Time at which Redis acknowledged the last message."""
        return max((each.acknowledged_at for each in self._messages if each.acknowledged_at is not None), default=None)


def build(
    action: str,
    payload: Mapping[str, Any],
    *,
    charge_point: str,
    message_id: str,
    message_format: MessageFormat,
    body: Body = ENVELOPE_BODY,
) -> SentMessage:
    """Make the CALL `action` of `charge_point`, ready to be sent.

    Args:
        action: the OCPP action; it need not exist.
        payload: its fields; they need not be valid.
        charge_point: whose message it is.
        message_id: its message id.
        message_format: the form.
        body: writes the body of a queued message.

    Raises:
        UsageError: the payload cannot be written as JSON, or not in the flat form.
    """
    frame = [MessageType.CALL, message_id, action, payload]
    document: Any = frame
    if message_format is MessageFormat.FLAT:
        if clash := sorted((_FLAT_FRAME_KEYS | _ENVELOPE_KEYS) & payload.keys()):
            raise UsageError(
                f"The payload field '{clash[0]}' cannot be sent in the flat form, where this name has another meaning. "
                f"Use format=envelope."
            )
        document = {"action": action, "chargePointId": charge_point, "messageId": message_id, **payload}
    elif message_format is MessageFormat.ENVELOPE:
        document = body.written(charge_point, frame)
    return SentMessage(
        charge_point=charge_point,
        message_id=message_id,
        action=action,
        data=encode_json(document),
        format=message_format,
        connector=_connector(payload),
        answer_message_id=message_id,
    )


def encode_json(document: object) -> bytes:
    """`document` as compact JSON.

    Raises:
        UsageError: it is not valid JSON; such a message is sent as text.
    """
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"The message cannot be written as JSON: {error}. Send it as raw text instead.") from None


def encode_text(text: str) -> bytes:
    """`text` as UTF-8.

    Raises:
        UsageError: it has a half of a surrogate pair, which UTF-8 has no bytes for.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"The text cannot be written as UTF-8: {error}. Give it as bytes instead.") from None


def read(data: bytes, body: Body = ENVELOPE_BODY) -> Message:
    """Recognise a message, as far as it can be read.

    Args:
        data: the message.
        body: reads the body of a queued message.
    """
    charge_point, message_id, action, form, connector = _parts(_strict_json(data), body)
    return Message(
        charge_point=charge_point,
        message_id=message_id,
        action=action,
        format=form,
        connector=connector,
        data=data,
    )


def form_of(data: bytes) -> MessageFormat | None:
    """The format whose fields a message has, valid or not; `None` if it has none, or is no JSON object."""
    document = _strict_json(data)
    if not isinstance(document, dict):
        return None
    if _ENVELOPE_KEYS & document.keys():
        return MessageFormat.ENVELOPE
    return MessageFormat.FLAT if _FLAT_FRAME_KEYS & document.keys() else None


def raw(data: bytes) -> SentMessage:
    """A message that is sent as it is.

    It is parsed as far as possible, so that its answer can be waited for: a CALL with a usable charge point id is to be
    answered; a message without one is invalid, and cannot be answered; nothing is known about any other. One that is no
    JSON object names no OCPP version, and has the error code of 1.6.
    """
    seen = read(data)
    usable = usable_charge_point_id(seen.charge_point)
    answerable = None if usable and seen.action is None else usable
    readable = isinstance(_strict_json(data), dict)
    return SentMessage(
        charge_point=seen.charge_point if usable else None,
        message_id=seen.message_id,
        action=seen.action,
        data=data,
        connector=seen.connector,
        answerable=answerable,
        answer_message_id=seen.message_id,
        valid=None if usable else False,
        expected_code=None if readable else ocpp_version().codes.unreadable,
        about="" if readable else "not a JSON object",
    )


def _strict_json(data: bytes) -> object:
    """`data` parsed as JSON, `None` if it is not strictly valid."""
    try:
        document = json.loads(data.decode(), object_pairs_hook=_once_each, parse_constant=_no_number)
        # Fails where a number is too large for a float, and where there is half of a surrogate pair.
        json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return document


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _parts(document: object, body: Body) -> tuple[str | None, str | None, str | None, MessageFormat | None, int | None]:
    if isinstance(document, list) and document[:1] and document[0] in tuple(MessageType):
        return None, *_frame_parts(document), MessageFormat.FRAME, _connector_of(document)
    if not isinstance(document, dict):
        return None, None, None, None, None
    if body.is_envelope and not _ENVELOPE_KEYS & document.keys():
        return (
            _text(document.get("chargePointId")),
            _text(document.get("messageId")),
            _text(document.get("action")),
            MessageFormat.FLAT if "action" in document else None,
            _connector(document),
        )
    point, frame = body.read(document)
    message_id, action = _frame_parts(frame)
    if message_id is None and body.is_envelope and not isinstance(frame, list):
        message_id = _text(document.get("message_id"))
    return _text(point), message_id, action, MessageFormat.ENVELOPE, _connector_of(frame)


def _frame_parts(frame: object) -> tuple[str | None, str | None]:
    """The message id of a frame, and the action of a CALL."""
    match frame:
        case [MessageType.CALL | MessageType.SEND, message_id, action, _]:
            return _text(message_id), _text(action)
        case [_, message_id, *_]:
            return _text(message_id), None
    return None, None


def _connector_of(frame: object) -> int | None:
    match frame:
        case [MessageType.CALL, _, _, fields]:
            return _connector(fields)
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _connector(payload: object) -> int | None:
    number = payload.get("connectorId") if isinstance(payload, Mapping) else None
    usable = isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= LARGEST_INTEGER
    return number if usable else None
