"""Parses answers, independent of their transport."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.ocpp.model.values import Within
from ocpp_resilience.ocpp.version import DEFAULT_VERSION
from ocpp_resilience.text import shortened
from ocpp_resilience.transport.bodies import Body


class AnswerKind(enum.Enum):
    """The content of an answer list."""

    RESULT = "CALLRESULT"
    ERROR = "CALLERROR"
    RESULT_ERROR = "CALLRESULTERROR"
    CALL = "CALL"
    UNREADABLE = "unreadable"

    @property
    def refuses(self) -> bool:
        """Whether it says no."""
        return self in {AnswerKind.ERROR, AnswerKind.RESULT_ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One entry of a charge point's answer list.

    Attributes:
        charge_point: in whose list it stands.
        message_id: which message it answers; `None` if that cannot be read.
        kind: CALLRESULT, CALLERROR, CALLRESULTERROR, a CALL (a command, which is no answer), or unreadable.
        payload: the fields of a CALLRESULT or CALL; the details of a CALLERROR or CALLRESULTERROR.
        code: the error code of a CALLERROR or CALLRESULTERROR.
        description: its error description.
        data: the entry, byte for byte.
        seen_at: when this library saw it, in seconds of `time.monotonic`.
        seconds: from handing the message to Redis until the answer was seen; `None` if the message is not known.
    """

    charge_point: str
    message_id: str | None
    kind: AnswerKind
    payload: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    description: str | None = None
    data: bytes = field(default=b"", repr=False)
    seen_at: float = 0.0
    seconds: float | None = None

    @property
    def text(self) -> str:
        """The entry as text; bytes that are not UTF-8 are shown as `\\xff`."""
        return self.data.decode("utf-8", "backslashreplace")

    def __str__(self) -> str:
        if self.kind is AnswerKind.UNREADABLE:
            return f"{shortened(self.text)} in the answers of {self.charge_point}"
        what = f"{self.kind.value} {self.code}" if self.kind.refuses else self.kind.value
        return f"{what} to message {self.message_id} of {self.charge_point}"


def read_answer(charge_point: str, data: bytes, *, seen_at: float = 0.0, body: Body | None = None) -> Answer:
    """Read one answer to `charge_point`: by the template of `body`, else an envelope, or the bare OCPP-J array."""
    return answer_of(charge_point, data, read_body(data, body)[1], seen_at=seen_at)


def read_body(data: bytes, body: Body | None = None) -> tuple[str | None, Any]:
    """The charge point in an answer and its frame; `None` for a missing part."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None, None
    if body is not None and isinstance(document, dict):
        return body.read(document)
    if isinstance(document, dict):
        return document.get("charge_point_id"), document.get("payload")
    return None, document


def answer_of(charge_point: str, data: bytes, frame: Any, *, seen_at: float) -> Answer:
    """The answer with this frame."""

    def made(kind: AnswerKind, message_id: str | None, **rest: Any) -> Answer:
        return Answer(charge_point=charge_point, kind=kind, message_id=message_id, data=data, seen_at=seen_at, **rest)

    match frame:
        case [MessageType.CALLRESULT, str(message_id), dict(payload)]:
            return made(AnswerKind.RESULT, message_id, payload=payload)
        case [MessageType.CALLERROR, str(message_id), str(code), str(description), dict(details)]:
            return made(AnswerKind.ERROR, message_id, code=code, description=description, payload=details)
        case [MessageType.CALLRESULTERROR, str(message_id), str(code), str(description), dict(details)]:
            return made(AnswerKind.RESULT_ERROR, message_id, code=code, description=description, payload=details)
        case [MessageType.CALL, str(message_id), str(_), dict(payload)]:
            return made(AnswerKind.CALL, message_id, payload=payload)
    return made(AnswerKind.UNREADABLE, None)


def envelope_problems(answer: Answer, span: Within, protocol: str) -> list[str]:
    """Fields of an answer's envelope that contradict its frame, its list or the time; those of any other body are not
    judged.

    Args:
        answer: the answer.
        span: the time in which it was given.
        protocol: the version of OCPP of the message that it answers.
    """
    try:
        document = json.loads(answer.data)
    except (ValueError, RecursionError):
        return []
    if not isinstance(document, dict) or not {"charge_point_id", "payload"} <= document.keys():
        return []
    frame = document["payload"]
    expected = {"charge_point_id": answer.charge_point}
    if isinstance(frame, list) and len(frame) > 1:
        expected |= {"message_type": frame[0], "message_id": frame[1]}
    if answer.kind is AnswerKind.RESULT:
        expected["protocol"] = protocol
    given = {"protocol": DEFAULT_VERSION} | document
    problems = [
        f"{name} of the envelope: {given[name]!r}, expected {value!r}"
        for name, value in expected.items()
        if name in given and given[name] != value
    ]
    if "timestamp" in document and not span.allows(document["timestamp"]):
        problems.append(f"timestamp of the envelope: {document['timestamp']!r} is not {span}")
    return problems
