"""Wire formats of the request queue to messages, and messages to answers.

Pure: bytes in, objects or `InvalidMessage` out. The formats are those of the wire contract: the *envelope* that
gateways write (its `payload` is the OCPP-J array and decides) and the *flat* short form. Frames follow OCPP-J 1.6
section 4.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from server.errors import ErrorCode, InvalidMessage, shown

CALL, CALLRESULT, CALLERROR = 2, 3, 4

LONGEST_CHARGE_POINT_ID = 48
LONGEST_MESSAGE_ID = 36
DEEPEST_NESTING = 32
DEAD_LETTERS = 1000
"""How many dead letters are kept, newest first."""
DEAD_LETTER_RAW = 4096
"""Bytes of a message that its dead letter shows."""
UNREADABLE_ID = "-1"
"""What OCPP-J's errata put in the place of a message id that cannot be echoed."""

_LONGEST_CONNECTION = 64
"""Characters of a connection's name in an envelope; a longer one is no name."""
_CALL_ELEMENTS, _CALLRESULT_ELEMENTS, _CALLERROR_ELEMENTS = 4, 3, 5
_FLAT_FRAME_KEYS = frozenset({"action", "chargePointId", "messageId"})

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request of a charge point.

    Attributes:
        charge_point_id: 1 to 48 printable characters.
        message_id: 1 to 36 printable characters; made up by the server where a flat message has none.
        action: the OCPP action, not yet known to be one that exists.
        payload: the action's fields, not yet validated; `None`, a list or a scalar where the sender put that there.
        flat: came in the flat form, in which required fields may be missing.
        ws_server_id: the gateway that it came through; empty where it names none.
        connection: the charge point's connection that it came over; empty where the gateway names none.
    """

    charge_point_id: str
    message_id: str
    action: str
    payload: Any
    flat: bool = False
    ws_server_id: str = ""
    connection: str = ""


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


Message = Call | CallResult | CallError


def parse(raw: bytes, *, longest: int) -> Message:
    """Read one entry of the request queue.

    Args:
        raw: the entry as it stands in the list.
        longest: the size limit for a message, in bytes (`MAX_MESSAGE_BYTES`).

    Returns:
        The message; the payload of a `Call` is not validated yet.

    Raises:
        InvalidMessage: the entry is not a message; says what is wrong and whether an answer can be addressed.
    """
    if len(raw) > longest:
        _refuse(ErrorCode.FORMATION_VIOLATION, f"the message is longer than {longest} bytes")
    value = read_json(raw)
    if type(value) is not dict:
        kind = {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}.get(type(value), "a number")
        _refuse(ErrorCode.FORMATION_VIOLATION, f"the message is {kind}, allowed is an object (envelope or flat)")
    if "payload" in value or "charge_point_id" in value:
        return _envelope(value)
    return _flat(value)


def parse_frame(raw: bytes, charge_point_id: str) -> Message:
    """Read a frame as it comes from a charge point's WebSocket: an OCPP-J array (section 4.2).

    Args:
        raw: the frame's text.
        charge_point_id: whose connection it came over.

    Returns:
        The message; the payload of a `Call` is not validated yet.

    Raises:
        InvalidMessage: the frame is not a message; says what is wrong and whether an answer can be addressed.
    """
    value = read_json(raw)
    if type(value) is not list:
        _refuse(
            ErrorCode.FORMATION_VIOLATION,
            f"the frame is {shown(value)}, allowed is an OCPP-J array",
            charge_point_id=charge_point_id,
        )
    return _frame(value, charge_point_id)


def read_json(raw: bytes) -> Any:
    """The JSON value in `raw`, of messages, frames and HTTP bodies alike.

    Raises:
        InvalidMessage: it is not JSON (RFC 8259), is nested deeper than 32 levels, or names a key twice in one object,
            which readers disagree about.
    """
    try:
        value = _decode(raw)
    except RecursionError:
        _refuse(ErrorCode.FORMATION_VIOLATION, f"nested deeper than {DEEPEST_NESTING} levels")
    except (msgspec.MsgspecError, ValueError) as error:
        _refuse(ErrorCode.FORMATION_VIOLATION, f"not JSON: {error}")
    # A repeated key has left fewer colons in the value than there are in the text. Only where the two differ, or where
    # an escape may hide a colon, is the slow and exact look needed.
    if raw.count(b":") != _colons(value, 0) or b"\\u003" in raw:
        _refuse_repeated_keys(raw)
    return value


def _colons(value: Any, depth: int) -> int:
    """Colons that `value` needs when written as JSON; refuses what is nested too deeply on the way."""
    if depth > DEEPEST_NESTING:
        _refuse(ErrorCode.FORMATION_VIOLATION, f"nested deeper than {DEEPEST_NESTING} levels")
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


def _refuse_repeated_keys(raw: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                _refuse(ErrorCode.FORMATION_VIOLATION, f"the key {shown(key)} stands twice in one object")
            seen.add(key)

    json.loads(raw, object_pairs_hook=check)


def _envelope(envelope: dict[str, Any]) -> Message:
    server_id = envelope.get("ws_server_id")
    gateway = server_id if type(server_id) is str and usable_charge_point_id(server_id) else ""
    named = envelope.get("connection")
    connection = named if type(named) is str and len(named) <= _LONGEST_CONNECTION else ""
    try:
        return _envelope_from(envelope, gateway, connection)
    except InvalidMessage as invalid:
        invalid.ws_server_id, invalid.connection = gateway, connection
        raise


def _envelope_from(envelope: dict[str, Any], gateway: str, connection: str) -> Message:
    charge_point_id = _charge_point_id(
        envelope.get("charge_point_id"), "charge_point_id" in envelope, "charge_point_id"
    )
    known_id = envelope.get("message_id")
    usable_id = known_id if _usable_message_id(known_id) else None

    def refuse(
        code: ErrorCode, reason: str, *, message_id: Any = usable_id, answer_id: str | None = usable_id, **more: Any
    ) -> NoReturn:
        _refuse(code, reason, charge_point_id=charge_point_id, message_id=message_id, answer_id=answer_id, **more)

    if "payload" not in envelope:
        refuse(ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION, "the field 'payload' is missing")
    frame = envelope["payload"]
    if type(frame) is not list:
        refuse(ErrorCode.FORMATION_VIOLATION, f"the field 'payload' is {shown(frame)}, allowed is an OCPP-J array")
    message = _frame(frame, charge_point_id, gateway, connection)
    if "timestamp" in envelope:
        _check_timestamp(envelope["timestamp"], message, refuse)
    return message


def _check_timestamp(timestamp: Any, message: Message, refuse: Callable[..., NoReturn]) -> None:
    ids: dict[str, Any] = {
        "message_id": message.message_id,
        "answer_id": message.message_id if type(message) is Call else None,
        "command_id": None if type(message) is Call else message.message_id,
    }
    if type(timestamp) is not str:
        refuse(
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            f"the field 'timestamp' is {shown(timestamp)}, allowed is an RFC 3339 time with zone",
            **ids,
        )
    if not is_rfc3339(timestamp):
        refuse(
            ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
            f"the field 'timestamp' is {shown(timestamp)}, allowed is an RFC 3339 time with zone",
            **ids,
        )


def is_rfc3339(text: str) -> bool:
    """Whether `text` is a date and time with zone as RFC 3339 section 5.6 writes them."""
    if _RFC3339.fullmatch(text) is None:
        return False
    try:
        return datetime.fromisoformat(text.upper()).tzinfo is not None
    except ValueError:
        return False


def _frame(frame: list[Any], charge_point_id: str, gateway: str = "", connection: str = "") -> Message:
    """An OCPP-J array (section 4.2), from a charge point whose id is known to be usable."""
    kind = frame[0] if frame else None
    if type(kind) is not int or kind not in {CALL, CALLRESULT, CALLERROR}:
        message_id = frame[1] if len(frame) > 1 and _usable_message_id(frame[1]) else None
        what = f"the message type number is {shown(kind)}" if frame else "the array is empty: no message type number"
        _refuse(
            ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED,
            f"{what}, allowed are 2, 3 and 4",
            charge_point_id=charge_point_id,
            message_id=message_id,
        )
    if kind == CALL:
        return _call(frame, charge_point_id, gateway, connection)
    return _response(frame, charge_point_id)


def _call(frame: list[Any], charge_point_id: str, gateway: str, connection: str) -> Call:
    if len(frame) != _CALL_ELEMENTS:
        readable = frame[1] if len(frame) > 1 and _usable_message_id(frame[1]) else None
        _refuse(
            ErrorCode.FORMATION_VIOLATION,
            f"the CALL has {len(frame)} elements, allowed are {_CALL_ELEMENTS}",
            charge_point_id=charge_point_id,
            message_id=readable,
            answer_id=readable,
        )
    message_id = _message_id(frame[1], charge_point_id)
    action = _action(frame[2], charge_point_id, message_id)
    return Call(charge_point_id, message_id, action, frame[3], ws_server_id=gateway, connection=connection)


def _response(frame: list[Any], charge_point_id: str) -> CallResult | CallError:
    """CALLRESULT or CALLERROR; an answer is never answered, so a bad one gives no CALLERROR."""
    name, elements = (
        ("CALLRESULT", _CALLRESULT_ELEMENTS) if frame[0] == CALLRESULT else ("CALLERROR", _CALLERROR_ELEMENTS)
    )
    message_id = frame[1] if len(frame) > 1 and _usable_message_id(frame[1]) else None

    def refuse(code: ErrorCode, reason: str) -> NoReturn:
        _refuse(code, reason, charge_point_id=charge_point_id, message_id=message_id, command_id=message_id)

    if len(frame) != elements:
        refuse(ErrorCode.FORMATION_VIOLATION, f"the {name} has {len(frame)} elements, allowed are {elements}")
    if message_id is None:
        refuse(
            ErrorCode.FORMATION_VIOLATION,
            f"the message id is {shown(frame[1])}, allowed are 1 to {LONGEST_MESSAGE_ID} printable characters",
        )
    if type(frame[-1]) is not dict:
        refuse(
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            f"the {name}'s last element is {shown(frame[-1])}, allowed is an object",
        )
    if frame[0] == CALLRESULT:
        return CallResult(charge_point_id, message_id, frame[2])
    for position, element in (("error code", frame[2]), ("error description", frame[3])):
        if type(element) is not str:
            refuse(ErrorCode.TYPE_CONSTRAINT_VIOLATION, f"the {position} is {shown(element)}, allowed is text")
    return CallError(charge_point_id, message_id, frame[2], frame[3], frame[4])


def _flat(flat: dict[str, Any]) -> Call:
    charge_point_id = _charge_point_id(flat.get("chargePointId"), "chargePointId" in flat, "chargePointId")
    message_id = _message_id(flat["messageId"], charge_point_id) if "messageId" in flat else new_message_id()
    if "action" not in flat:
        _refuse(
            ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION,
            "the field 'action' is missing",
            charge_point_id=charge_point_id,
            message_id=message_id,
            answer_id=message_id,
        )
    action = _action(flat["action"], charge_point_id, message_id)
    payload = {key: value for key, value in flat.items() if key not in _FLAT_FRAME_KEYS}
    return Call(charge_point_id, message_id, action, payload, flat=True)


def new_message_id() -> str:
    """A fresh message id, 36 characters (OCPP-J 1.6 section 4.1.4 recommends a UUID)."""
    return str(uuid.uuid4())


def _charge_point_id(value: Any, present: bool, field: str) -> str:
    if not present:
        _refuse(ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION, f"the field '{field}' is missing")
    if type(value) is not str:
        _refuse(ErrorCode.TYPE_CONSTRAINT_VIOLATION, f"the field '{field}' is {shown(value)}, allowed is text")
    if not usable_charge_point_id(value):
        _refuse(
            ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
            f"the field '{field}' is {shown(value)}, allowed are 1 to {LONGEST_CHARGE_POINT_ID} printable characters"
            " without ':' and white space",
        )
    return value


def usable_charge_point_id(value: str) -> bool:
    """Whether `value` may be a charge point's id and part of key names: 1 to 48 printable, no `:`, no white space."""
    return 0 < len(value) <= LONGEST_CHARGE_POINT_ID and value.isprintable() and ":" not in value and " " not in value


def _usable_message_id(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= LONGEST_MESSAGE_ID and value.isprintable()


def _message_id(value: Any, charge_point_id: str) -> str:  # noqa: RET503 - _refuse does not return
    """The message id of a CALL; one that cannot be echoed is cut or replaced in the answer (OCPP-J 1.6 errata)."""
    if _usable_message_id(value):
        return str(value)
    readable = type(value) is str and value != "" and value[:LONGEST_MESSAGE_ID].isprintable()
    _refuse(
        ErrorCode.FORMATION_VIOLATION,
        f"the message id is {shown(value)}, allowed are 1 to {LONGEST_MESSAGE_ID} printable characters",
        charge_point_id=charge_point_id,
        message_id=value[:LONGEST_MESSAGE_ID] if readable else None,
        answer_id=value[:LONGEST_MESSAGE_ID] if readable else UNREADABLE_ID,
    )


def _action(value: Any, charge_point_id: str, message_id: str) -> str:
    if type(value) is not str:
        _refuse(
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            f"the action is {shown(value)}, allowed is text",
            charge_point_id=charge_point_id,
            message_id=message_id,
            answer_id=message_id,
        )
    return value


def _refuse(code: ErrorCode, reason: str, **about: Any) -> NoReturn:
    """Raise `InvalidMessage`, whose other arguments are `about`."""
    # `from None`: a decoder's own exception would be carried along, and with it the whole message.
    raise InvalidMessage(code, reason, **about) from None


def unusable_answer(invalid: InvalidMessage) -> CallError | None:
    """What who waits for the answer to a command gets in the place of one that was set aside; `None` if it is none."""
    if invalid.charge_point_id is None or invalid.command_id is None:
        return None
    description = f"the charge point's answer cannot be used: {invalid.reason}"
    return CallError(invalid.charge_point_id, invalid.command_id, invalid.code.value, description, {})


def enveloped(raw: bytes, message: Message, *, timestamp: str, server_id: str, connection: str) -> bytes:
    """The envelope in which a gateway queues a frame; the frame stands in it byte for byte.

    Args:
        raw: the frame.
        message: what `parse_frame` made of it.
        timestamp: when it came, RFC 3339.
        server_id: the gateway.
        connection: the charge point's connection; what answers the frame is meant for that one only.
    """
    if type(message) is Call:
        kind, action = CALL, b',"action":' + _encode(message.action)
    else:
        kind, action = CALLRESULT if type(message) is CallResult else CALLERROR, b""
    return (
        b'{"charge_point_id":%b,"message_type":%d,"message_id":%b%b,"payload":%b,"timestamp":"%b","ws_server_id":%b,'
        b'"connection":%b}'
        % (
            _encode(message.charge_point_id),
            kind,
            _encode(message.message_id),
            action,
            raw,
            timestamp.encode(),
            _encode(server_id),
            _encode(connection),
        )
    )


def result_frame(message_id: str, payload: dict[str, Any]) -> bytes:
    """A CALLRESULT as it goes over a WebSocket."""
    return _encode([CALLRESULT, message_id, payload])


def error_frame(message_id: str, code: ErrorCode, description: str) -> bytes:
    """A CALLERROR as it goes over a WebSocket; the description is cut at OCPP-J's 255 characters."""
    return _encode([CALLERROR, message_id, code.value, description[:255], {}])


def command(call: Call, *, timestamp: str, server_id: str, expires_at: int) -> str:
    """A CALL to a charge point in its envelope.

    Args:
        call: the command.
        timestamp: when it was sent, RFC 3339.
        server_id: who sends it.
        expires_at: when nobody waits for its answer any more, Unix time in ms; a gateway does not send it after that.
    """
    return _encode(
        {
            "charge_point_id": call.charge_point_id,
            "message_type": CALL,
            "message_id": call.message_id,
            "action": call.action,
            "payload": [CALL, call.message_id, call.action, call.payload],
            "timestamp": timestamp,
            "ws_server_id": server_id,
            "expires_at": expires_at,
        }
    ).decode()


def forwarded(message: CallResult | CallError) -> str:
    """A charge point's answer as it is passed on to the instance that waits for it; `parse_forwarded` reads it."""
    if type(message) is CallResult:
        frame: list[Any] = [CALLRESULT, message.message_id, message.payload]
    else:
        error_message: Any = message
        frame = [
            CALLERROR,
            message.message_id,
            error_message.code,
            error_message.description,
            error_message.details,
        ]
    return _encode([message.charge_point_id, frame]).decode()


def parse_forwarded(raw: bytes) -> CallResult | CallError:
    """Read what `forwarded` has written.

    Raises:
        InvalidMessage: it is not that.
    """
    value = read_json(raw)
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str or type(value[1]) is not list:
        _refuse(ErrorCode.FORMATION_VIOLATION, f"a forwarded answer is {shown(value)}")
    message = _frame(value[1], value[0])
    if type(message) is Call:
        _refuse(ErrorCode.FORMATION_VIOLATION, "a forwarded answer is a CALL")
    return message  # type: ignore[return-value]


def dead_letter(invalid: InvalidMessage, raw: bytes, received_at: str) -> str:
    """The entry under which a message that was set aside is kept (wire contract)."""
    return _encode(
        {
            "received_at": received_at,
            "code": invalid.code,
            "reason": invalid.reason,
            "charge_point_id": invalid.charge_point_id,
            "message_id": invalid.message_id,
            # Bytes that are no UTF-8 stay readable and distinguishable.
            "raw": raw[:DEAD_LETTER_RAW].decode("utf-8", errors="backslashreplace"),
        }
    ).decode()


def result(call: Call, payload: dict[str, Any], *, timestamp: str, server_id: str) -> str:
    """The CALLRESULT that answers `call`, in its envelope."""
    frame = [CALLRESULT, call.message_id, payload]
    return _answer(call.charge_point_id, CALLRESULT, call.message_id, frame, timestamp, server_id, call.connection)


def error(
    charge_point_id: str,
    message_id: str,
    code: ErrorCode,
    description: str,
    *,
    timestamp: str,
    server_id: str,
    connection: str = "",
) -> str:
    """A CALLERROR in its envelope; the description is cut at OCPP-J's 255 characters."""
    frame = [CALLERROR, message_id, code.value, description[:255], {}]
    return _answer(charge_point_id, CALLERROR, message_id, frame, timestamp, server_id, connection)


def _answer(  # noqa: PLR0917
    charge_point_id: str,
    message_type: int,
    message_id: str,
    frame: list[Any],
    timestamp: str,
    server_id: str,
    connection: str,
) -> str:
    envelope = {
        "charge_point_id": charge_point_id,
        "message_type": message_type,
        "message_id": message_id,
        "payload": frame,
        "timestamp": timestamp,
        "ws_server_id": server_id,
    }
    if connection:
        envelope["connection"] = connection
    return _encode(envelope).decode()
