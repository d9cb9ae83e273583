"""OCPP-J frames: bytes of a WebSocket to messages, and answers to bytes.

Pure: bytes in, messages or `InvalidMessage` out. Frames follow section 4 of OCPP-J 1.6, 2.0.1 and 2.1; a `Dialect`
holds the differences between the versions.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec

from server.errors import ErrorCode, InvalidMessage, shown
from server.ids import LONGEST_MESSAGE_ID, usable_message_id

CALL, CALLRESULT, CALLERROR, CALLRESULTERROR, SEND = 2, 3, 4, 5, 6

DEEPEST_NESTING = 32
UNREADABLE_ID = "-1"
"""Stands in the place of a message id that cannot be echoed (OCPP-J errata)."""

_CALL_ELEMENTS, _CALLRESULT_ELEMENTS, _CALLERROR_ELEMENTS = 4, 3, 5
_NAMES = {
    CALL: "CALL",
    CALLRESULT: "CALLRESULT",
    CALLERROR: "CALLERROR",
    CALLRESULTERROR: "CALLRESULTERROR",
    SEND: "SEND",
}

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_WHITE_SPACE = b" \t\r\n"


class Codes(msgspec.Struct, frozen=True, kw_only=True):
    """The error codes that versions spell, or use, differently.

    Attributes:
        unreadable: the frame is no JSON, no OCPP-J array, or has no usable message id.
        wrong_shape: the array has a wrong number of elements, or the payload a field that the action does not have.
        missing: a required field is missing.
        wrong_type: a value has the wrong JSON type.
        not_allowed: a value is out of range, too long or not in its enumeration.
    """

    unreadable: ErrorCode
    wrong_shape: ErrorCode
    missing: ErrorCode
    wrong_type: ErrorCode = ErrorCode.TYPE_CONSTRAINT_VIOLATION
    not_allowed: ErrorCode = ErrorCode.PROPERTY_CONSTRAINT_VIOLATION


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between versions in the format of frames.

    Attributes:
        protocol: the WebSocket subprotocol, which also stands in envelopes and records.
        codes: the error codes.
        message_types: the message type numbers that the version knows.
        answers_unreadable: whether a frame without a usable message id gets a CALLERROR to `-1`, and one of an unknown
            type a CALLERROR, where OCPP-J 1.6 sends none.
    """

    protocol: str
    codes: Codes
    message_types: frozenset[int] = frozenset({CALL, CALLRESULT, CALLERROR})
    answers_unreadable: bool = False

    @property
    def reports_unreadable_results(self) -> bool:
        """Whether an unreadable CALLRESULT is answered with a CALLRESULTERROR (OCPP-J 2.1 section 4.2.4)."""
        return CALLRESULTERROR in self.message_types


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request of a charge point, or a command to one.

    Attributes:
        charge_point_id: 1 to 48 printable characters.
        message_id: 1 to 36 printable characters; made up by the server where a flat message has none.
        action: the OCPP action, not yet known to be one that exists.
        payload: the action's fields, not yet validated; `None`, a list or a scalar where the sender put that there.
        flat: came in the flat form, in which required fields may be missing.
        ws_server_id: the gateway that it came through; empty if it names none.
        connection: the charge point's connection that it came over; empty if the gateway names none.
        protocol: the version of OCPP.
        send: a SEND of OCPP 2.1, which is never answered.
    """

    charge_point_id: str
    message_id: str
    action: str
    payload: Any
    flat: bool = False
    ws_server_id: str = ""
    connection: str = ""
    protocol: str = "ocpp1.6"
    send: bool = False


class CallResult(msgspec.Struct, frozen=True, gc=False):
    """A charge point's answer to a command."""

    charge_point_id: str
    message_id: str
    payload: dict[str, Any]


class CallError(msgspec.Struct, frozen=True, gc=False):
    """A charge point's refusal of a command."""

    charge_point_id: str
    message_id: str
    code: str
    description: str
    details: dict[str, Any]


class CallResultError(msgspec.Struct, frozen=True, gc=False):
    """A charge point's report that it cannot read the answer to its CALL (OCPP-J 2.1 section 4.2.4)."""

    charge_point_id: str
    message_id: str
    code: str
    description: str
    details: dict[str, Any]


Message = Call | CallResult | CallError | CallResultError


def parse_frame(raw: bytes, charge_point_id: str, dialect: Dialect, gateway: str = "", connection: str = "") -> Message:
    """Read a frame as it comes from a charge point's WebSocket: an OCPP-J array (section 4.2).

    Args:
        raw: the frame's text.
        charge_point_id: the charge point whose connection it came over.
        dialect: of the version that the connection speaks.
        gateway: the gateway, where a `Call` is to name it.
        connection: the connection, likewise.

    Returns:
        The message; the payload of a `Call` is not validated yet.

    Raises:
        InvalidMessage: the frame is not a message; the error has the reason and, if known, the address for an answer.
    """
    unreadable_id = UNREADABLE_ID if dialect.answers_unreadable else None
    try:
        value = read_json(raw, dialect.codes.unreadable)
    except InvalidMessage as invalid:
        refuse(invalid.code, invalid.reason, charge_point_id=charge_point_id, answer_id=unreadable_id)
    if type(value) is not list:
        refuse(
            dialect.codes.unreadable,
            f"the frame is {shown(value)}, allowed is an OCPP-J array",
            charge_point_id=charge_point_id,
            answer_id=unreadable_id,
        )
    return read_frame(value, charge_point_id, dialect, gateway, connection)


def read_json(raw: bytes, code: ErrorCode = ErrorCode.FORMATION_VIOLATION) -> Any:
    """The JSON value in `raw`, of messages, frames and HTTP bodies alike.

    Args:
        raw: the text.
        code: the error code of text that is not JSON.

    Raises:
        InvalidMessage: it is not JSON (RFC 8259), is nested deeper than 32 levels, or names a key twice in one object,
            which readers disagree about.
    """
    try:
        value = _decode(raw)
    except RecursionError:
        refuse(code, f"nested deeper than {DEEPEST_NESTING} levels")
    except (msgspec.MsgspecError, ValueError) as error:
        refuse(code, f"not JSON: {error}")
    # What reads as it would be written, but for white space, names no key twice. Without brackets for it, nothing is
    # nested too deeply.
    if raw.count(b"{") + raw.count(b"[") <= DEEPEST_NESTING and _is_as_written(raw, value):
        return value
    # A repeated key has left fewer colons in the value than there are in the text. Only where the two differ, or where
    # an escape may hide a colon, is the slow and exact look needed.
    try:
        colons = _colons(value, 0)
    except RecursionError:
        refuse(code, f"nested deeper than {DEEPEST_NESTING} levels")
    if raw.count(b":") != colons or b"\\u003" in raw:
        _refuse_repeated_keys(raw, code)
    return value


def _is_as_written(raw: bytes, value: Any) -> bool:
    """Whether `raw` is the text of `value`, white space aside: it has the same tokens then, and the same keys."""
    written = _encode(value)
    return written == raw or written.translate(None, _WHITE_SPACE) == raw.translate(None, _WHITE_SPACE)


def _colons(value: Any, depth: int) -> int:
    """Colons that `value` needs when written as JSON; RecursionError if it is nested too deeply."""
    if depth > DEEPEST_NESTING:
        raise RecursionError
    kind = type(value)
    if kind is dict:
        count = len(value)
        for key, item in value.items():
            if ":" in key:
                count += key.count(":")
            if type(item) is str:
                count += item.count(":")
            elif type(item) in {dict, list}:
                count += _colons(item, depth + 1)
        return count
    if kind is list:
        count = 0
        for item in value:
            if type(item) is str:
                count += item.count(":")
            elif type(item) in {dict, list}:
                count += _colons(item, depth + 1)
        return count
    return value.count(":") if kind is str else 0


def _refuse_repeated_keys(raw: bytes, code: ErrorCode) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                refuse(code, f"the key {shown(key)} occurs twice in one object")
            seen.add(key)

    json.loads(raw, object_pairs_hook=check)


def read_frame(
    frame: list[Any], charge_point_id: str, dialect: Dialect, gateway: str = "", connection: str = ""
) -> Message:
    """Read an OCPP-J array (section 4.2) from a charge point with a valid id; raises as `parse_frame`."""
    kind = frame[0] if frame else None
    if type(kind) is not int or kind not in dialect.message_types:
        message_id = frame[1] if len(frame) > 1 and usable_message_id(frame[1]) else None
        what = f"the message type number is {shown(kind)}" if frame else "the array is empty: no message type number"
        numbers = [str(each) for each in sorted(dialect.message_types)]
        answer_id = message_id or UNREADABLE_ID
        refuse(
            # Without an id, a version that answers at all says that the frame as a whole cannot be used.
            dialect.codes.unreadable
            if dialect.answers_unreadable and message_id is None
            else ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED,
            f"{what}, allowed are {', '.join(numbers[:-1])} and {numbers[-1]}",
            charge_point_id=charge_point_id,
            message_id=message_id,
            answer_id=answer_id if dialect.answers_unreadable else None,
        )
    if kind in {CALL, SEND}:
        return _call(frame, charge_point_id, dialect, gateway, connection)
    return _response(frame, charge_point_id, dialect)


def _call(frame: list[Any], charge_point_id: str, dialect: Dialect, gateway: str, connection: str) -> Call:
    send = frame[0] == SEND
    if len(frame) != _CALL_ELEMENTS:
        readable = frame[1] if len(frame) > 1 and usable_message_id(frame[1]) else None
        unreadable = readable is None and dialect.answers_unreadable
        refuse(
            dialect.codes.unreadable if unreadable else dialect.codes.wrong_shape,
            f"the {_NAMES[frame[0]]} has {len(frame)} elements, allowed are {_CALL_ELEMENTS}",
            charge_point_id=charge_point_id,
            message_id=readable,
            answer_id=None if send else UNREADABLE_ID if unreadable else readable,
        )
    try:
        message_id = read_message_id(frame[1], charge_point_id, dialect)
        action = read_action(frame[2], charge_point_id, message_id)
    except InvalidMessage as invalid:
        if send:
            invalid.answer_id = None
        raise
    return Call(
        charge_point_id,
        message_id,
        action,
        frame[3],
        ws_server_id=gateway,
        connection=connection,
        protocol=dialect.protocol,
        send=send,
    )


def _response(frame: list[Any], charge_point_id: str, dialect: Dialect) -> CallResult | CallError | CallResultError:
    """CALLRESULT, CALLERROR or CALLRESULTERROR; none of them is answered with a CALLERROR."""
    kind = frame[0]
    name, elements = _NAMES[kind], _CALLRESULT_ELEMENTS if kind == CALLRESULT else _CALLERROR_ELEMENTS
    message_id = frame[1] if len(frame) > 1 and usable_message_id(frame[1]) else None
    report = kind == CALLRESULT and dialect.reports_unreadable_results

    def refused(code: ErrorCode, reason: str) -> NoReturn:
        refuse(
            code,
            reason,
            charge_point_id=charge_point_id,
            message_id=message_id,
            command_id=None if kind == CALLRESULTERROR else message_id,
            # In OCPP 2.1 it goes out as a CALLRESULTERROR.
            answer_id=message_id if report else None,
            answers_result=report,
        )

    if len(frame) != elements:
        refused(dialect.codes.wrong_shape, f"the {name} has {len(frame)} elements, allowed are {elements}")
    if message_id is None:
        refused(
            dialect.codes.unreadable,
            f"the message id is {shown(frame[1])}, allowed are 1 to {LONGEST_MESSAGE_ID} printable characters",
        )
    if type(frame[-1]) is not dict:
        refused(dialect.codes.wrong_type, f"the {name}'s last element is {shown(frame[-1])}, allowed is an object")
    if kind == CALLRESULT:
        return CallResult(charge_point_id, message_id, frame[2])
    for position, element in (("error code", frame[2]), ("error description", frame[3])):
        if type(element) is not str:
            refused(dialect.codes.wrong_type, f"the {position} is {shown(element)}, allowed is text")
    kind_of_error = CallError if kind == CALLERROR else CallResultError
    return kind_of_error(charge_point_id, message_id, frame[2], frame[3], frame[4])


def read_message_id(value: Any, charge_point_id: str, dialect: Dialect) -> str:  # noqa: RET503 - refuse does not return
    """The message id of a CALL; one that cannot be echoed is cut or replaced in the answer (OCPP-J 1.6 errata).

    Raises:
        InvalidMessage: it has not 1 to 36 printable characters.
    """
    if usable_message_id(value):
        return str(value)
    readable = type(value) is str and value != "" and value[:LONGEST_MESSAGE_ID].isprintable()
    readable = readable and not dialect.answers_unreadable
    refuse(
        dialect.codes.unreadable,
        f"the message id is {shown(value)}, allowed are 1 to {LONGEST_MESSAGE_ID} printable characters",
        charge_point_id=charge_point_id,
        message_id=value[:LONGEST_MESSAGE_ID] if readable else None,
        answer_id=value[:LONGEST_MESSAGE_ID] if readable else UNREADABLE_ID,
    )


def read_action(value: Any, charge_point_id: str, message_id: str) -> str:
    """The action of a CALL.

    Raises:
        InvalidMessage: it is not text.
    """
    if type(value) is not str:
        refuse(
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            f"the action is {shown(value)}, allowed is text",
            charge_point_id=charge_point_id,
            message_id=message_id,
            answer_id=message_id,
        )
    return value


def refuse(code: ErrorCode, reason: str, **about: Any) -> NoReturn:
    """Raise `InvalidMessage` with the arguments in `about`."""
    # `from None`: a decoder's own exception would be carried along, and with it the whole message.
    raise InvalidMessage(code, reason, **about) from None


def result_frame(message_id: str, payload: dict[str, Any]) -> bytes:
    """A CALLRESULT as it goes over a WebSocket."""
    return _encode([CALLRESULT, message_id, payload])


def error_frame(message_id: str, code: ErrorCode, description: str, *, answers_result: bool = False) -> bytes:
    """A CALLERROR, or a CALLRESULTERROR, as it goes over a WebSocket; OCPP-J allows a description 255 characters."""
    return _encode([CALLRESULTERROR if answers_result else CALLERROR, message_id, code.value, description[:255], {}])
