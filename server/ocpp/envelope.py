"""Entries of the request queue to messages, and messages to entries of the lists of responses.

The formats are those of the wire contract: the *envelope* that gateways write (its `payload` is the OCPP-J array and
decides) and the *flat* short form of OCPP 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn

import msgspec

from server.errors import ErrorCode, InvalidMessage, shown
from server.ids import LONGEST_CHARGE_POINT_ID, new_message_id, usable_charge_point_id, usable_message_id
from server.ocpp.frames import (
    CALL,
    CALLERROR,
    CALLRESULT,
    CALLRESULTERROR,
    SEND,
    UNREADABLE_ID,
    Call,
    CallError,
    CallResult,
    CallResultError,
    Message,
    read_action,
    read_frame,
    read_json,
    read_message_id,
    refuse,
)
from server.ocpp.version import Version
from server.ocpp.versions import DEFAULT, VERSIONS

DEAD_LETTERS = 1000
"""Maximum number of dead letters; the newest are kept."""
DEAD_LETTER_RAW = 4096
"""Bytes of a message that its dead letter shows."""

_LONGEST_CONNECTION = 64
"""Characters of a connection's name in an envelope; a longer one is no name."""
_FLAT_FRAME_KEYS = frozenset({"action", "chargePointId", "messageId"})

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
_TYPES: dict[type, int] = {CallResult: CALLRESULT, CallError: CALLERROR, CallResultError: CALLRESULTERROR}
_encode = msgspec.json.Encoder().encode


def parse(raw: bytes, *, longest: int) -> Message:
    """Read one entry of the request queue.

    Args:
        raw: the entry as it stands in the list.
        longest: the size limit for a message, in bytes (`MAX_MESSAGE_BYTES`).

    Returns:
        The message; the payload of a `Call` is not validated yet.

    Raises:
        InvalidMessage: the entry is not a message; the error has the reason and, if known, the address for an answer.
    """
    if len(raw) > longest:
        refuse(ErrorCode.FORMATION_VIOLATION, f"the message is longer than {longest} bytes")
    value = read_json(raw)
    if type(value) is not dict:
        kind = {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}.get(type(value), "a number")
        refuse(ErrorCode.FORMATION_VIOLATION, f"the message is {kind}, allowed is an object (envelope or flat)")
    if "payload" in value or "charge_point_id" in value:
        return _envelope(value)
    return _flat(value)


def _envelope(envelope: dict[str, Any]) -> Message:
    server_id = envelope.get("ws_server_id")
    gateway = server_id if type(server_id) is str and usable_charge_point_id(server_id) else ""
    named = envelope.get("connection")
    connection = named if type(named) is str and len(named) <= _LONGEST_CONNECTION else ""
    protocol = envelope.get("protocol", DEFAULT.protocol)
    version = VERSIONS.get(protocol) if type(protocol) is str else None
    try:
        return _envelope_from(envelope, version, gateway, connection)
    except InvalidMessage as invalid:
        invalid.ws_server_id, invalid.connection = gateway, connection
        invalid.protocol = (version or DEFAULT).protocol
        raise


def _envelope_from(envelope: dict[str, Any], known: Version | None, gateway: str, connection: str) -> Message:
    version = known or DEFAULT
    charge_point_id = _charge_point_id(
        envelope.get("charge_point_id"), "charge_point_id" in envelope, "charge_point_id", version
    )
    known_id = envelope.get("message_id")
    usable_id = known_id if usable_message_id(known_id) else None

    def refused(
        code: ErrorCode, reason: str, *, message_id: Any = usable_id, answer_id: str | None = usable_id, **more: Any
    ) -> NoReturn:
        refuse(code, reason, charge_point_id=charge_point_id, message_id=message_id, answer_id=answer_id, **more)

    if known is None:
        frame = envelope.get("payload")
        call = read_frame(frame, charge_point_id, version.dialect) if type(frame) is list else None
        readable = call.message_id if type(call) is Call else None
        refused(
            version.codes.not_allowed,
            f"the field 'protocol' is {shown(envelope['protocol'])}, allowed are {', '.join(VERSIONS)}",
            message_id=readable or usable_id,
            answer_id=readable,
        )
    if "payload" not in envelope:
        refused(version.codes.missing, "the field 'payload' is missing")
    frame = envelope["payload"]
    if type(frame) is not list:
        refused(
            version.codes.unreadable,
            f"the field 'payload' is {shown(frame)}, allowed is an OCPP-J array",
            answer_id=UNREADABLE_ID if version.dialect.answers_unreadable else usable_id,
        )
    message = read_frame(frame, charge_point_id, version.dialect, gateway, connection)
    if "timestamp" in envelope:
        _check_timestamp(envelope["timestamp"], message, version, refused)
    return message


def _check_timestamp(timestamp: Any, message: Message, version: Version, refused: Callable[..., NoReturn]) -> None:
    if type(timestamp) is str and is_rfc3339(timestamp):
        return
    ids: dict[str, Any] = {
        "message_id": message.message_id,
        "answer_id": message.message_id if type(message) is Call and not message.send else None,
        "command_id": message.message_id if isinstance(message, CallResult | CallError) else None,
    }
    reason = f"the field 'timestamp' is {shown(timestamp)}, allowed is an RFC 3339 time with zone"
    if type(timestamp) is not str:
        refused(version.codes.wrong_type, reason, **ids)
    refused(version.codes.not_allowed, reason, **ids)


@lru_cache(maxsize=1024)
def is_rfc3339(text: str) -> bool:
    """Whether `text` is a date and time with zone as RFC 3339 section 5.6 writes them, leap seconds included."""
    if _RFC3339.fullmatch(text) is None:
        return False
    leap = text[17:19] == "60"
    try:
        time = datetime.fromisoformat((f"{text[:17]}59{text[19:]}" if leap else text).upper())
        # A leap second is the last one of a month in UTC (section 5.7).
        return not leap or (time.astimezone(UTC) + timedelta(seconds=1)).strftime("%d %H:%M:%S") == "01 00:00:00"
    except (ValueError, OverflowError):
        return False


def _flat(flat: dict[str, Any]) -> Call:
    charge_point_id = _charge_point_id(flat.get("chargePointId"), "chargePointId" in flat, "chargePointId", DEFAULT)
    message_id = new_message_id()
    if "messageId" in flat:
        message_id = read_message_id(flat["messageId"], charge_point_id, DEFAULT.dialect)
    if "action" not in flat:
        refuse(
            ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION,
            "the field 'action' is missing",
            charge_point_id=charge_point_id,
            message_id=message_id,
            answer_id=message_id,
        )
    action = read_action(flat["action"], charge_point_id, message_id)
    payload = {key: value for key, value in flat.items() if key not in _FLAT_FRAME_KEYS}
    return Call(charge_point_id, message_id, action, payload, flat=True)


def _charge_point_id(value: Any, present: bool, field: str, version: Version) -> str:
    if not present:
        refuse(version.codes.missing, f"the field '{field}' is missing")
    if type(value) is not str:
        refuse(version.codes.wrong_type, f"the field '{field}' is {shown(value)}, allowed is text")
    if not usable_charge_point_id(value):
        refuse(
            version.codes.not_allowed,
            f"the field '{field}' is {shown(value)}, allowed are 1 to {LONGEST_CHARGE_POINT_ID} printable characters"
            " without ':' and white space",
        )
    return value


def unusable_answer(invalid: InvalidMessage) -> CallError | None:
    """The CALLERROR for the caller of a command with an invalid answer; `None` for other messages."""
    if invalid.charge_point_id is None or invalid.command_id is None:
        return None
    description = f"the charge point's answer cannot be used: {invalid.reason}"
    return CallError(invalid.charge_point_id, invalid.command_id, invalid.code.value, description, {})


def enveloped(raw: bytes, message: Message, *, timestamp: str, origin: bytes) -> bytes:
    """The envelope in which a gateway queues a frame; the frame stands in it byte for byte.

    Args:
        raw: the frame.
        message: the frame, parsed.
        timestamp: when it came, RFC 3339.
        origin: see `origin`.
    """
    if type(message) is Call:
        kind = SEND if message.send else CALL
        action = b',"action":' + _encode(message.action)
    else:
        kind, action = _TYPES[type(message)], b""
    return b'{"charge_point_id":%b,"message_type":%d,"message_id":%b%b,"payload":%b,"timestamp":"%b",%b}' % (
        _encode(message.charge_point_id),
        kind,
        _encode(message.message_id),
        action,
        raw,
        timestamp.encode(),
        origin,
    )


def origin(server_id: str, connection: str, protocol: str) -> bytes:
    """The end of the envelopes of one connection: its gateway, its name and its version of OCPP.

    Args:
        server_id: the gateway.
        connection: the charge point's connection; answers to the frame are meant for that one only.
        protocol: the version of OCPP that it speaks.
    """
    fields = {"ws_server_id": server_id, "connection": connection}
    if protocol != DEFAULT.protocol:
        fields["protocol"] = protocol
    return bytes(_encode(fields)[1:-1])


def command(call: Call, *, timestamp: str, server_id: str) -> str:
    """A CALL to a charge point in its envelope.

    Args:
        call: the command.
        timestamp: when it was sent, RFC 3339.
        server_id: the server that sends it.
    """
    envelope = {
        "charge_point_id": call.charge_point_id,
        "message_type": CALL,
        "message_id": call.message_id,
        "action": call.action,
        "payload": [CALL, call.message_id, call.action, call.payload],
        "timestamp": timestamp,
        "ws_server_id": server_id,
    }
    if call.protocol != DEFAULT.protocol:
        envelope["protocol"] = call.protocol
    return _encode(envelope).decode()


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
    """Read the output of `forwarded`.

    Raises:
        InvalidMessage: it is not that.
    """
    value = read_json(raw)
    if type(value) is not list or len(value) != 2 or type(value[0]) is not str or type(value[1]) is not list:
        refuse(ErrorCode.FORMATION_VIOLATION, f"a forwarded answer is {shown(value)}")
    message = read_frame(value[1], value[0], DEFAULT.dialect)
    if not isinstance(message, CallResult | CallError):
        refuse(ErrorCode.FORMATION_VIOLATION, "a forwarded answer is a CALL")
    return message


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
    return _answer(call.charge_point_id, frame, timestamp, server_id, call.connection, call.protocol)


def error(invalid: InvalidMessage, *, timestamp: str, server_id: str) -> str:
    """The CALLERROR, or CALLRESULTERROR, that answers a message that can be answered, in its envelope.

    OCPP-J allows a description 255 characters.
    """
    kind = CALLRESULTERROR if invalid.answers_result else CALLERROR
    frame: list[Any] = [kind, invalid.answer_id, invalid.code.value, invalid.reason[:255], {}]
    charge_point_id = invalid.charge_point_id or ""
    return _answer(charge_point_id, frame, timestamp, server_id, invalid.connection, invalid.protocol)


def _answer(  # noqa: PLR0917
    charge_point_id: str, frame: list[Any], timestamp: str, server_id: str, connection: str, protocol: str
) -> str:
    envelope = {
        "charge_point_id": charge_point_id,
        "message_type": frame[0],
        "message_id": frame[1],
        "payload": frame,
        "timestamp": timestamp,
        "ws_server_id": server_id,
    }
    if connection:
        envelope["connection"] = connection
    if protocol and protocol != DEFAULT.protocol:
        envelope["protocol"] = protocol
    return _encode(envelope).decode()
