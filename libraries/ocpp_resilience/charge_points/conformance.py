"""Whether the other side kept to OCPP-J 1.6, judged by what went over a charge point's WebSocket."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema_rs

from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType
from ocpp_resilience.text import shortened

UNREADABLE_ID = "-1"
"""The message id of a CALLERROR to a frame whose own id cannot be echoed."""
LONGEST_MESSAGE_ID = 36
_ANSWERS = (MessageType.CALLRESULT, MessageType.CALLERROR)


def violations(frames: Iterable[Frame], *, command_timeout: float) -> list[str]:
    """What the gateway did that it must not, one sentence each, in the order in which it happened.

    These rules are checked: each frame is an OCPP-J message (section 4.2); a command and the answer to a CALL are as
    the official schemas say; a command has an id that no command had before (section 4.1.4); there is one outstanding
    command at a time (section 4.1.1); each CALL is answered once at most, and nothing is answered that was not sent.

    Args:
        frames: what went over the wire, oldest first.
        command_timeout: seconds after which a command that was not answered is no longer outstanding.
    """
    judge = _Judge(command_timeout)
    for frame in frames:
        judge.look(frame)
    return judge.found


class _Judge:
    def __init__(self, command_timeout: float) -> None:
        self.found: list[str] = []
        self._command_timeout = command_timeout
        self._calls: dict[str, str] = {}
        self._unreadable = 0
        self._answered: set[str] = set()
        self._commands: set[str] = set()
        self._outstanding: Frame | None = None

    def look(self, frame: Frame) -> None:
        """The next frame."""
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
            self._calls[frame.message_id] = frame.action or ""
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
        self._check(frame, frame.action or "", frame.payload, is_response=False)

    def _answer(self, frame: Frame) -> None:
        message_id = frame.message_id or ""
        if message_id in self._calls:
            if message_id in self._answered:
                self._note(frame, f"is the second answer to {message_id}")
            self._answered.add(message_id)
            if frame.kind is MessageType.CALLRESULT:
                self._check(frame, self._calls[message_id], frame.payload, is_response=True)
        elif frame.kind is MessageType.CALLERROR and self._unreadable:
            self._unreadable -= 1  # what cannot be read was sent, and may be answered with a cut id or with -1
        elif any(sent[:LONGEST_MESSAGE_ID] == message_id for sent in self._calls):
            self._answered.add(message_id)
        else:
            self._note(frame, f"answers {message_id}, which was not sent")

    def _check(self, frame: Frame, action: str, payload: Any, *, is_response: bool) -> None:
        name = f"{action}Response" if is_response else action
        validator = _validator(action, is_response=is_response)
        if validator is None:
            self._note(frame, f"is a {name}, which OCPP 1.6 does not have")
            return
        for error in validator.iter_errors(payload):
            where = ".".join(str(step) for step in error.instance_path) or "its payload"
            self._note(frame, f"is no valid {name}: {where}: {shortened(error.message)}")


@cache
def _validator(action: str, *, is_response: bool) -> jsonschema_rs.Draft4Validator | None:
    schemas = ocpp_version().schemas
    if action not in schemas.actions:
        return None
    schema = schemas.response(action) if is_response else schemas.request(action)
    return jsonschema_rs.Draft4Validator(schema, validate_formats=True)
