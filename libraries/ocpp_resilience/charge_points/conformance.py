"""Whether the other side kept to OCPP-J 1.6, judged by what went over a charge point's WebSocket."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema_rs

from ocpp_resilience.ocpp.frames import Direction, Frame
from ocpp_resilience.ocpp.messages import MessageType
from ocpp_resilience.ocpp.model import Behaviour, Exchange, Model16
from ocpp_resilience.ocpp.schemas import schema
from ocpp_resilience.text import shortened

UNREADABLE_ID = "-1"
"""The message id of a CALLERROR to a frame whose own id cannot be echoed."""
LONGEST_MESSAGE_ID = 36
_ANSWERS = (MessageType.CALLRESULT, MessageType.CALLERROR)


def violations(frames: Iterable[Frame], *, command_timeout: float, behaviour: Behaviour | None = None) -> list[str]:
    """What the gateway did that it must not, one sentence each, in the order in which it happened.

    These rules are checked: each frame is an OCPP-J message (section 4.2); a command and the answer to a CALL are as
    the official schemas say; a command has an id that no command had before on its connection (section 4.1.4); there is
    one outstanding command at a time (section 4.1.1); what an answer says is possible; each CALL is answered once at
    most, and nothing is answered that was not sent.

    Args:
        frames: what went over the wire, oldest first.
        command_timeout: seconds after which a command that was not answered is no longer outstanding.
        behaviour: what the system does where the specification leaves a choice.
    """
    judge = _Judge(command_timeout, Model16(behaviour))
    for frame in frames:
        judge.look(frame)
    return judge.found


class _Judge:
    def __init__(self, command_timeout: float, model: Model16) -> None:
        self._model = model
        self.found: list[str] = []
        self._command_timeout = command_timeout
        self._connection = 0
        self._on_a_new_connection()

    def _on_a_new_connection(self) -> None:
        """Message ids have to be unique on one connection only, and nothing is outstanding on a new one."""
        self._calls: dict[str, Frame] = {}
        self._unreadable = 0
        self._answered: set[str] = set()
        self._commands: set[str] = set()
        self._outstanding: Frame | None = None

    def look(self, frame: Frame) -> None:
        """The next frame."""
        if frame.connection != self._connection:
            self._connection = frame.connection
            self._on_a_new_connection()
        if frame.direction is Direction.SENT:
            self._sent(frame)
        elif frame.kind is MessageType.CALL:
            self._command(frame)
        elif frame.kind in _ANSWERS:
            self._answer(frame)
        else:
            self._note(frame, "is no OCPP-J message")

    def _note(self, frame: Frame, problem: str) -> None:
        self.found.append(f"Frame {frame.number}, {shortened(frame.text)}, {problem}.")

    def _sent(self, frame: Frame) -> None:
        if frame.kind is MessageType.CALL and frame.message_id is not None:
            if frame.message_id in self._calls:
                self._unreadable += 1  # the second of two with the same id cannot be answered by its id
            self._calls[frame.message_id] = frame
        elif frame.kind in _ANSWERS:
            if self._outstanding is not None and frame.message_id == self._outstanding.message_id:
                self._outstanding = None
        else:
            self._unreadable += 1

    def _command(self, frame: Frame) -> None:
        message_id = frame.message_id or ""
        if message_id in self._commands:
            self._note(frame, f"has the message id of an earlier command, {message_id}")
        if not 0 < len(message_id) <= LONGEST_MESSAGE_ID:
            self._note(frame, f"has a message id of {len(message_id)} characters")
        before = self._outstanding
        if before is not None and frame.at - before.at < self._command_timeout:
            self._note(frame, f"came while the answer to {before} was outstanding")
        self._commands.add(message_id)
        self._outstanding = frame
        self._check(frame, frame.action or "", frame.payload)

    def _answer(self, frame: Frame) -> None:
        message_id = frame.message_id or ""
        if message_id in self._calls:
            if message_id in self._answered:
                self._note(frame, f"is the second answer to {message_id}")
            self._answered.add(message_id)
            if frame.kind is MessageType.CALLRESULT:
                self._result(self._calls[message_id], frame)
        elif frame.kind is MessageType.CALLERROR and self._unreadable:
            self._unreadable -= 1  # what cannot be read was sent, and may be answered with a cut id or with -1
        elif any(sent[:LONGEST_MESSAGE_ID] == message_id for sent in self._calls):
            self._answered.add(message_id)
        else:
            self._note(frame, f"answers {message_id}, which was not sent")

    def _result(self, call: Frame, answer: Frame) -> None:
        action = call.action or ""
        exchange = Exchange(
            charge_point="",
            message_id=call.message_id or "",
            action=action,
            payload=call.payload if isinstance(call.payload, dict) else {},
            answer=answer.payload,
            began=call.time,
            ended=answer.time,
        )
        for problem in self._model.answer_problems(exchange):
            self._note(answer, f"is no valid {action}Response: {problem}")

    def _check(self, frame: Frame, name: str, payload: Any) -> None:
        validator = _validator(name)
        if validator is None:
            self._note(frame, f"is a {name}, which OCPP 1.6 does not have")
            return
        for error in validator.iter_errors(payload):
            where = ".".join(str(step) for step in error.instance_path) or "its payload"
            self._note(frame, f"is no valid {name}: {where}: {shortened(error.message)}")


@cache
def _validator(name: str) -> jsonschema_rs.Draft4Validator | None:
    try:
        return jsonschema_rs.Draft4Validator(schema(name), validate_formats=True)
    except FileNotFoundError:
        return None
