"""Random invalid messages, each certainly invalid, with the answer that a correct system gives.

Every message starts as a valid one and is broken in exactly one place, so that the expected error code is known. The
same seed makes the same breaks; only ids and times differ from run to run.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.ocpp.invalid_payloads import BAD_DATES, NOT_LIST, NOT_OBJECT, NOT_TEXT, Payloads
from ocpp_resilience.ocpp.version import Version, ocpp_version, protocol_named
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.messages import ENVELOPE_BODY, MessageFormat, SentMessage, build, encode_json, read

MAX_MESSAGE_BYTES = 256 * 1024
FORMS = (MessageFormat.ENVELOPE, MessageFormat.FLAT)
LARGE_SHARE = 200
"""One message in so many may be an oversized one, so that a burst does not fill the memory of Redis."""
MOST_LARGE = 10

UNREADABLE_ID = "-1"

_HOLE = "@@hole@@"
_NOT_USABLE_IDS = ("", " ", "a b", "a:b", "a\tb", "a\u0000b", "a\u200bb", "tab\t", "é\u0085", "x" * 49, "x" * 1_000)
_UNKNOWN_ACTIONS = (
    "",
    "heartbeat",
    "HEARTBEAT",
    "MakeCoffee",
    "Heartbeat ",
    "Heartbeat\u0000",
    "ChargingNeeds",
    "💥",
    "../../x",
)
_NOT_JSON_VALUES = (
    "NaN",
    "Infinity",
    "-Infinity",
    "undefined",
    "True",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
    "'text'",
    '"\\x41"',
    '"\\u12"',
    '"\\ud800"',
    '"\\udc00"',
    "1e400",
    "-1e400",
)


_OPEN_VALUES = frozenset({'"\\ud800"', '"\\udc00"', "1e400", "-1e400"})
"""Of these RFC 8259 says that readers differ (sections 6 and 8.2)."""


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A broken message, before it is known whether an answer to it is expected."""

    kind: str
    data: bytes
    code: str
    charge_point: str | None = None
    message_id: str | None = None
    answer_id: str | None = None
    answerable: bool | None = False
    open: bool = False
    is_answer: bool = False
    silent: bool = False


class InvalidMessages:
    """Makes invalid messages.

    Args:
        rng: the source of random choices.
        new_message_id: gives the message ids.
        version: the OCPP version.
        actions: those that the system under test handles.
        max_message_bytes: the size limit of the system under test.
        forms: those that the system under test takes.
        body: writes the body of a queued message.
    """

    def __init__(
        self,
        rng: random.Random,
        new_message_id: Callable[[], str],
        *,
        version: Version | None = None,
        actions: Sequence[str] | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        forms: Sequence[MessageFormat] = FORMS,
        body: Body = ENVELOPE_BODY,
    ) -> None:
        self._rng = rng
        self._version = version or ocpp_version()
        self._codes = self._version.codes
        # A queued message that cannot be read names no version: it is refused as one of OCPP 1.6 is.
        framed = MessageFormat.FRAME in forms
        self._unreadable = self._codes.unreadable if framed else ocpp_version().codes.unreadable
        handled = self._version.core if actions is None else actions
        self._actions = [action for action in handled if action in self._version.samples]
        self._unsupported = self._version.unsupported(handled)
        self._payloads = Payloads(rng, self._version)
        self._new_message_id = new_message_id
        self._max_bytes = max_message_bytes
        self._forms = tuple(forms)
        self._framed = MessageFormat.FRAME in self._forms
        self._body = body
        makers: list[tuple[int, Callable[[str], _Draft]]] = [
            (40, self._broken_payload),
            (6, self._truncated),
            (6, self._not_json_inside),
            (5, self._garbage),
            (4, self._bytes_inside),
            (4, self._not_an_object),
            (4, self._repeated_key),
            (4, self._charge_point_id),
            (4, self._message_id),
            (4, self._action),
            (3, self._payload_not_object),
            (3, self._elements),
            (3, self._message_type),
            (3, self._bad_answer),
            (3, self._broken_send),
            (3, self._envelope_field),
            (3, self._flat_field),
            (1, self._deep),
        ]
        unfit = self._unfit()
        self._makers = [(weight, maker) for weight, maker in makers if maker not in unfit]

    def _unfit(self) -> list[Callable[[str], _Draft]]:
        """Mutations that are impossible in the system's message formats."""
        unfit: list[Callable[[str], _Draft]] = []
        if self._framed:
            # The connection identifies the charge point; invalid UTF-8 closes it.
            unfit += [self._bytes_inside, self._repeated_key, self._charge_point_id]
        if MessageFormat.ENVELOPE not in self._forms or not self._body.is_envelope:
            unfit += [self._envelope_field, self._charge_point_id]
        if MessageFormat.FLAT not in self._forms:
            unfit.append(self._flat_field)
        if not self._version.sends:
            unfit.append(self._broken_send)
        return unfit

    def make(self, charge_point: str, *, large: bool = False) -> SentMessage:
        """One invalid message, of `charge_point` if it names one.

        Args:
            charge_point: the charge point.
            large: whether it is one over the size limit.
        """
        if large:
            maker: Callable[[str], _Draft] = self._oversized
        else:
            maker = self._rng.choices([each for _, each in self._makers], [weight for weight, _ in self._makers])[0]
        draft = maker(charge_point)
        if self._framed:
            draft.charge_point = charge_point
            if not draft.answerable and not draft.silent:
                # A frame without a readable id may be answered with -1 (OCPP-J 1.6 errata).
                draft.answerable = None
        seen = read(draft.data, self._body) if len(draft.data) <= self._max_bytes else None
        return SentMessage(
            charge_point=draft.charge_point,
            message_id=draft.message_id,
            action=seen.action if seen else None,
            connector=seen.connector if seen else None,
            data=draft.data,
            answerable=draft.answerable,
            answer_message_id=draft.answer_id,
            valid=False,
            expected_code=draft.code,
            about=draft.kind,
            open=draft.open,
            is_answer=draft.is_answer,
        )

    # The valid message that is broken afterwards.

    def _format(self) -> MessageFormat:
        return self._rng.choice(self._forms)

    def _written(self, point: str, action: str, payload: Any, form: MessageFormat, message_id: Any) -> Any:
        if form is MessageFormat.FLAT:
            return {"action": action, "chargePointId": point, "messageId": message_id, **payload}
        return self._around(point, [MessageType.CALL, message_id, action, payload])

    def _around(self, point: str, frame: Any) -> Any:
        """The carrier of a frame."""
        if self._framed:
            return frame
        if self._body.is_envelope:
            return {"charge_point_id": point, "payload": frame, **protocol_named(self._version)}
        return self._body.written(point, frame)

    def _valid(self, point: str) -> tuple[Any, str, MessageFormat]:
        """A valid message as a document, its message id and its form."""
        form, action, message_id = self._format(), self._rng.choice(self._actions), self._new_message_id()
        return self._written(point, action, self._payload(action, form), form, message_id), message_id, form

    def _payload(self, action: str, form: MessageFormat) -> dict[str, Any]:
        payload = self._payloads.valid(action)
        if form is MessageFormat.FLAT:
            # DataTransfer's field of this name would be the message's own id in the flat form.
            payload.pop("messageId", None)
        return payload

    @staticmethod
    def _answered(kind: str, document: object, code: str, point: str, message_id: str) -> _Draft:
        """A message with a readable charge point and message id, which must be answered."""
        return _Draft(
            kind=kind,
            data=encode_json(document),
            code=code,
            charge_point=point,
            message_id=message_id,
            answer_id=message_id,
            answerable=True,
        )

    # One place of a payload, broken as the schema says that it must not be.

    def _broken_payload(self, point: str) -> _Draft:
        form, action, message_id = self._format(), self._rng.choice(self._actions), self._new_message_id()
        payload = self._payload(action, form)
        ways = list(self._payloads.breaks(action, payload, required_counts=form is not MessageFormat.FLAT))
        chosen = self._rng.choice(ways)
        chosen.apply()
        document = self._written(point, action, payload, form, message_id)
        draft = self._answered(f"{action}: {chosen.kind}", document, chosen.code, point, message_id)
        draft.open = chosen.open
        return draft

    def _broken_send(self, point: str) -> _Draft:
        """A SEND, which is never answered (OCPP-J 2.1 section 4.2.5)."""
        action, message_id = self._rng.choice(list(self._version.sends)), self._new_message_id()
        payload = self._payloads.valid(action)
        chosen = self._rng.choice(list(self._payloads.breaks(action, payload)))
        chosen.apply()
        frame = [MessageType.SEND, message_id, action, payload]
        return _Draft(
            kind=f"SEND of {action}: {chosen.kind}",
            data=encode_json(self._around(point, frame)),
            code=chosen.code,
            charge_point=point,
            message_id=message_id,
            open=chosen.open,
            silent=True,
        )

    # No JSON, or JSON that is no message at all: no answer is possible.

    def _truncated(self, point: str) -> _Draft:
        data = encode_json(self._valid(point)[0])
        return _Draft(kind="truncated", data=data[: self._rng.randint(0, len(data) - 1)], code=self._unreadable)

    def _not_json_inside(self, point: str) -> _Draft:
        text = self._with_hole(point)
        value = self._rng.choice(_NOT_JSON_VALUES)
        return _Draft(
            kind=f"{value} as a value",
            data=text.replace(f'"{_HOLE}"', value).encode(),
            code=self._unreadable,
            open=value in _OPEN_VALUES,
        )

    def _with_hole(self, point: str) -> str:
        """A valid message as text, with `_HOLE` in the place of a text."""
        form = self._format()
        action, payload = self._version.phrases.authorize(_HOLE)
        return encode_json(self._written(point, action, payload, form, self._new_message_id())).decode()

    def _bytes_inside(self, point: str) -> _Draft:
        inside = self._rng.choice(
            (b"\xff", b"\xc3(", b"\xe2\x82", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x00", b"\n", b"\x1f")
        )
        data = self._with_hole(point).encode().replace(_HOLE.encode(), b"a" + inside + b"z")
        return _Draft(kind=f"the bytes {inside!r} in a text", data=data, code=self._unreadable)

    def _garbage(self, point: str) -> _Draft:
        rng = self._rng
        valid = encode_json(self._valid(point)[0])
        # No JSON text starts with these bytes.
        start = rng.choice(b"\xff\x80\x00<=?@ABCxyz}],:'\\%&")
        data = rng.choice(
            (
                b"",
                b" \n",
                bytes([start]) + rng.randbytes(rng.randint(0, 200)),
                valid + b"}",
                valid + valid,
                valid + b" x",
                b"/* comment */" + valid,
                valid[:-1] + b",}",
                valid.replace(b'"', b"'"),
                valid.decode().encode("utf-16"),
            )
        )
        return _Draft(kind="not JSON", data=data, code=self._unreadable)

    def _not_an_object(self, point: str) -> _Draft:
        # As a frame, a CALL is one that is valid.
        call = [[], []] if self._framed else [MessageType.CALL, self._new_message_id(), "Heartbeat", {}]
        value: Any = self._rng.choice((None, True, False, 0, -1, 1.5, "", "x", point, [], [[]], [{}], call, [call]))
        # An array is a frame there, whose first element is no message type.
        is_frame = self._framed and isinstance(value, list) and not self._version.answers_unreadable
        code = self._codes.message_type if is_frame else self._unreadable
        return _Draft(kind="not an object", data=encode_json(value), code=code)

    def _repeated_key(self, point: str) -> _Draft:
        document, _, _ = self._valid(point)
        data = encode_json(document).decode()
        key = self._rng.choice(list(document))
        again = f'{{"{key}":{json.dumps(self._rng.choice((document[key], None, "other")), ensure_ascii=False)},'
        return _Draft(kind=f"the key {key} twice", data=(again + data[1:]).encode(), code=self._unreadable, open=True)

    def _deep(self, _: str) -> _Draft:
        depth = self._rng.choice((1_000, 10_000, 20_000))
        # However deep a system is willing to read: an array is no message, and the object lacks its end.
        data = self._rng.choice((b"[" * depth + b"]" * depth, b"[" * depth, b'{"a":' * depth))
        return _Draft(kind=f"nested {depth} deep", data=data, code=self._unreadable)

    def _oversized(self, point: str) -> _Draft:
        document, _, _ = self._valid(point)
        data = encode_json(document)
        missing = self._max_bytes + 1 - len(data)
        # White space before the last brace or bracket: nothing but its size is wrong with it.
        spaces = b" " * max(missing, 1)
        return _Draft(kind="oversized", data=data[:-1] + spaces + data[-1:], code=self._unreadable)

    # A message whose frame is wrong.

    def _charge_point_id(self, point: str) -> _Draft:
        document, _, form = self._valid(point)
        key = "chargePointId" if form is MessageFormat.FLAT else "charge_point_id"
        match self._rng.randrange(3):
            case 0:
                del document[key]
                return _Draft(kind=f"{key} is missing", data=encode_json(document), code=self._codes.missing)
            case 1:
                document[key] = self._rng.choice(NOT_TEXT)
                return _Draft(
                    kind=f"{key} is {document[key]!r}", data=encode_json(document), code=self._codes.wrong_type
                )
        document[key] = self._rng.choice(_NOT_USABLE_IDS)
        # Which ids can be used is the system's choice, but for the empty one.
        is_open = document[key] != ""
        return _Draft(
            kind=f"{key} is {document[key][:60]!r}",
            data=encode_json(document),
            code=self._codes.wrong_value,
            open=is_open,
        )

    def _message_id(self, point: str) -> _Draft:
        form = self._format()
        if self._rng.random() < 0.5:
            wrong = self._new_message_id() + "x" * self._rng.choice((self._version.longest_message_id, 1_000))
            # OCPP 1.6 has it cut, later versions have it replaced.
            cut = wrong[: self._version.longest_message_id]
            message_id = UNREADABLE_ID if self._version.answers_unreadable else cut
            document = self._written(point, "Heartbeat", {}, form, wrong)
            draft = self._answered(
                f"a message id of {len(wrong)} characters", document, self._codes.unreadable, point, message_id
            )
            draft.message_id = None if self._version.answers_unreadable else cut
            return draft
        wrong = self._rng.choice((*NOT_TEXT, "", "a\nb", "\u0000"))
        document = self._written(point, "Heartbeat", {}, form, wrong)
        draft = self._answered(f"the message id {wrong!r}", document, self._codes.unreadable, point, UNREADABLE_ID)
        draft.message_id = None
        return draft

    def _action(self, point: str) -> _Draft:
        form, message_id = self._format(), self._new_message_id()
        match self._rng.randrange(3):
            case 0:
                action, code = self._rng.choice(_UNKNOWN_ACTIONS), self._codes.unknown_action
            case 1 if self._unsupported:
                action, code = self._rng.choice(self._unsupported), self._codes.unsupported_action
            case _:
                action, code = self._rng.choice(NOT_TEXT), self._codes.wrong_type
        document = self._written(point, action, {}, form, message_id)
        return self._answered(f"the action {action!r}", document, code, point, message_id)

    def _payload_not_object(self, point: str) -> _Draft:
        message_id = self._new_message_id()
        wrong = self._rng.choice(NOT_OBJECT)
        document = self._written(point, self._rng.choice(self._actions), wrong, MessageFormat.ENVELOPE, message_id)
        return self._answered(f"the payload is {wrong!r}", document, self._codes.wrong_type, point, message_id)

    def _elements(self, point: str) -> _Draft:
        message_id = self._new_message_id()
        call: list[Any] = [MessageType.CALL, message_id, "Heartbeat", {}]
        frame = self._rng.choice((call[:2], call[:3], [*call, None], [*call, {}], call * 2))
        document = self._around(point, frame)
        return self._answered(f"a CALL with {len(frame)} elements", document, self._codes.formation, point, message_id)

    def _message_type(self, point: str) -> _Draft:
        message_id, version = self._new_message_id(), self._version
        numbers: tuple[Any, ...] = (0, 1, 5, -2, 42, 2.5, "2", "CALL", None, True, [2], {}, 10**20)
        number: Any = self._rng.choice([each for each in numbers if each not in version.message_types[3:]])
        frame = self._rng.choice(([number, message_id, "Heartbeat", {}], [number], []))
        document = self._around(point, frame)
        known = message_id if len(frame) > 1 else None
        kind = f"the message type number {number!r}" if frame else "an empty array"
        if not version.answers_unreadable:
            data = encode_json(document)
            return _Draft(kind=kind, data=data, code=self._codes.message_type, charge_point=point, message_id=known)
        if known is not None:
            return self._answered(kind, document, self._codes.message_type, point, known)
        draft = self._answered(kind, document, self._codes.unreadable, point, UNREADABLE_ID)
        draft.message_id = None
        return draft

    def _bad_answer(self, point: str) -> _Draft:
        """An answer of a charge point with a wrong number of elements: it is never answered, but by the CALLRESULTERROR
        of OCPP 2.1.
        """
        message_id = self._new_message_id()
        result: list[Any] = [MessageType.CALLRESULT, message_id, {}]
        error: list[Any] = [MessageType.CALLERROR, message_id, "InternalError", "", {}]
        frame = self._rng.choice((result[:2], [*result, {}], error[:2], error[:3], error[:4], [*error, {}]))
        kind = f"a {MessageType(frame[0]).name} with {len(frame)} elements"
        document = self._around(point, frame)
        if frame[0] == MessageType.CALLRESULT and self._version.reports_unreadable_answers:
            draft = self._answered(kind, document, self._codes.formation, point, message_id)
            draft.is_answer = True
            return draft
        data = encode_json(document)
        return _Draft(kind=kind, data=data, code=self._codes.formation, charge_point=point, message_id=message_id)

    def _envelope_field(self, point: str) -> _Draft:
        message_id = self._new_message_id()
        action = self._rng.choice(self._actions)
        payload = self._version.sample(action)
        document = self._written(point, action, payload, MessageFormat.ENVELOPE, message_id)
        document["message_id"] = message_id
        match self._rng.randrange(4):
            case 0:
                del document["payload"]
                return self._answered("payload is missing", document, self._codes.missing, point, message_id)
            case 1:
                document["payload"] = self._rng.choice(NOT_LIST)
                answer_id = UNREADABLE_ID if self._version.answers_unreadable else message_id
                draft = self._answered("payload is not an array", document, self._codes.unreadable, point, answer_id)
                draft.message_id = message_id
                return draft
            case 2:
                document["timestamp"] = self._rng.choice(NOT_TEXT)
                return self._answered("timestamp is not text", document, self._codes.wrong_type, point, message_id)
        document["timestamp"] = self._rng.choice(BAD_DATES)
        return self._answered("timestamp is no date", document, self._codes.wrong_value, point, message_id)

    def _flat_field(self, point: str) -> _Draft:
        message_id = self._new_message_id()
        document = {"chargePointId": point, "messageId": message_id}
        return self._answered("action is missing", document, self._codes.missing, point, message_id)


def generate_invalid(
    count: int,
    charge_points: Sequence[str],
    *,
    seed: int,
    new_message_id: Callable[[], str],
    valid_between: int = 0,
    message_format: MessageFormat = MessageFormat.ENVELOPE,
    version: Version | None = None,
    actions: Sequence[str] | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    forms: Sequence[MessageFormat] = FORMS,
    body: Body = ENVELOPE_BODY,
) -> list[SentMessage]:
    """Make `count` invalid messages, with valid ones in between.

    Args:
        count: how many invalid ones.
        charge_points: whose they are, in turn.
        seed: of the mutations.
        new_message_id: gives the message ids.
        valid_between: how many valid ones, evenly spread; each is of the same charge point as the invalid one before
            it, and one comes last.
        message_format: the form of the valid ones.
        version: the OCPP version; 1.6 if not given.
        actions: those that the system under test handles; the version's core if not given.
        max_message_bytes: the size limit of the system under test.
        forms: those that the system under test takes.
        body: writes the body of a queued message.

    Raises:
        UsageError: a number cannot be used.
    """
    if count < 1 or not 0 <= valid_between <= count:
        raise UsageError(
            f"{count} invalid messages with {valid_between} valid ones in between cannot be made: allowed are 1 "
            f"invalid one or more, and at most as many valid ones."
        )
    if not charge_points:
        raise UsageError("No charge point to queue messages for; at least one is required.")
    rng = random.Random(seed)  # noqa: S311 - has to be repeatable
    version = version or ocpp_version()
    sendable = [action for action in actions or version.core if action in version.samples]
    maker = InvalidMessages(
        rng,
        new_message_id,
        version=version,
        actions=actions,
        max_message_bytes=max_message_bytes,
        forms=forms,
        body=body,
    )
    large = set(rng.sample(range(count), min(count // LARGE_SHARE, MOST_LARGE)))
    messages: list[SentMessage] = []
    for index in range(count):
        point = charge_points[index % len(charge_points)]
        messages.append(maker.make(point, large=index in large))
        # Whether a multiple of count / valid_between was reached by this message.
        if (index + 1) * valid_between // count > index * valid_between // count:
            action = rng.choice(sendable)
            messages.append(
                build(
                    action,
                    version.sample(action),
                    charge_point=point,
                    message_id=new_message_id(),
                    message_format=message_format,
                    body=body,
                )
            )
    return messages
