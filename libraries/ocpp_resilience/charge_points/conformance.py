"""Checks that the peer kept to OCPP-J, from the frames on a charge point's WebSocket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema_rs

from ocpp_resilience.ocpp import Version, ocpp_version
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType
from ocpp_resilience.ocpp.model import Behaviour as OcppBehaviour
from ocpp_resilience.ocpp.model import Exchange, model_of
from ocpp_resilience.ocpp.numbers import with_integers
from ocpp_resilience.ocpp.version import DEFAULT_VERSION
from ocpp_resilience.text import shortened

UNREADABLE_ID = "-1"
"""The message id of a CALLERROR to a frame whose own id cannot be echoed."""
LONGEST_MESSAGE_ID = 36
_ANSWERS = (MessageType.CALLRESULT, MessageType.CALLERROR)
_NEVER_ANSWERED = (MessageType.CALLRESULTERROR, MessageType.SEND)


@dataclass(slots=True)
class OpenCalls:
    """The CALLs that a charge point sent on one connection, and the number of answers to each.

    OCPP-J asks for message ids that are unique on the same connection (section 4.1.4); each connection has its own.

    Attributes:
        connection: number of the connection.
        actions: action by message id, of every CALL with a readable id.
        sent: how often a CALL with this id was sent.
        answered: how often it was answered.
        unreadable: frames without a readable message id that were not answered yet.
    """

    connection: int = 0
    actions: dict[str, str] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0

    def copy(self) -> OpenCalls:
        """A copy from which checking can continue."""
        return OpenCalls(
            self.connection, dict(self.actions), Counter(self.sent), Counter(self.answered), self.unreadable
        )

    def note_sent(self, frame: Frame) -> None:
        """Take in a frame of the charge point that is no answer."""
        if frame.kind in _NEVER_ANSWERED:
            return
        if frame.kind is MessageType.CALL and frame.message_id is not None:
            self.actions[frame.message_id] = frame.action or ""
            self.sent[frame.message_id] += 1
        else:
            self.unreadable += 1

    def find(self, frame: Frame) -> str | None:
        """The id of the CALL that a received answer belongs to; `None` if there is none that still wants an answer."""
        message_id = frame.message_id or ""
        if self.answered[message_id] < self.sent[message_id]:
            return message_id
        if frame.kind is not MessageType.CALLERROR:
            return None
        # A message id that is too long comes back cut, or not at all.
        wanting = (each for each, times in self.sent.items() if self.answered[each] < times)
        if message_id == UNREADABLE_ID:
            return next((each for each in wanting if len(each) > LONGEST_MESSAGE_ID or self.sent[each] > 1), None)
        return next((each for each in wanting if each[:LONGEST_MESSAGE_ID] == message_id), None)

    def forget(self, frame: Frame) -> None:
        """Take in a frame that is no longer kept, so that its answer still finds its CALL.

        A CALL whose answers are all forgotten as well is dropped, so that memory stays bounded.
        """
        if frame.connection != self.connection:
            self.connection, self.unreadable = frame.connection, 0
            for kept in (self.actions, self.sent, self.answered):
                kept.clear()
        if frame.direction is Direction.SENT:
            if frame.kind not in _ANSWERS:
                self.note_sent(frame)
        elif frame.kind in _ANSWERS:
            found = self.find(frame)
            if found is None:
                self.unreadable -= frame.kind is MessageType.CALLERROR and self.unreadable > 0
                return
            self.answered[found] += 1
            if self.answered[found] == self.sent[found]:
                for kept in (self.actions, self.sent, self.answered):
                    del kept[found]


def violations(
    frames: Iterable[Frame],
    *,
    command_timeout: float,
    before: OpenCalls | None = None,
    behaviour: OcppBehaviour | None = None,
    version: Version | None = None,
) -> list[str]:
    """Protocol violations of the gateway, one sentence each, in the order in which they happened.

    These rules are checked on each connection by itself: each frame is an OCPP-J message (section 4.2); a command and
    the answer to a CALL keep to the official schemas; a command has an id that no command of the same connection had
    before (section 4.1.4); there is one outstanding command at a time (section 4.1.1); the values of an answer are
    possible; each CALL has at most one answer, and each answer a CALL of the same connection.

    Args:
        frames: the frames on the wire, oldest first.
        command_timeout: seconds after which a command that was not answered is no longer outstanding.
        before: the CALLs sent before the oldest of the frames, if older ones are no longer kept.
        behaviour: the system's choices where the specification leaves one.
        version: the OCPP version; 1.6 if not given.
    """
    judge = _Judge(command_timeout, before, version or ocpp_version(), behaviour)
    for frame in frames:
        judge.look(frame)
    return judge.found


class _Judge:
    def __init__(
        self, command_timeout: float, before: OpenCalls | None, version: Version, behaviour: OcppBehaviour | None
    ) -> None:
        self._version = version
        self._model = model_of(version, behaviour)
        self._sent_calls: dict[str, Frame] = {}
        self.found: list[str] = []
        self._command_timeout = command_timeout
        self._calls = OpenCalls() if before is None else before.copy()
        self._commands: set[str] = set()
        self._outstanding: Frame | None = None

    def look(self, frame: Frame) -> None:
        """The next frame."""
        if frame.connection != self._calls.connection:
            # A new connection begins without outstanding messages, and ids may be used again.
            self._calls = OpenCalls(frame.connection)
            self._commands.clear()
            self._sent_calls.clear()
            self._outstanding = None
        if frame.direction is Direction.SENT:
            self._sent(frame)
        elif frame.kind is MessageType.CALL:
            self._command(frame)
        elif frame.kind in _ANSWERS:
            self._answer(frame)
        elif frame.kind is MessageType.CALLRESULTERROR:
            self._unreadable_answer(frame)
        elif frame.kind is MessageType.SEND:
            self._note(frame, "is a SEND, which only charge points send")
        else:
            self._note(frame, "is no OCPP-J message")

    def _note(self, frame: Frame, problem: str) -> None:
        self.found.append(f"Frame {frame.number}, {shortened(frame.text)}, {problem}.")

    def _sent(self, frame: Frame) -> None:
        if frame.kind not in _ANSWERS:
            self._calls.note_sent(frame)
            if frame.message_id is not None:
                self._sent_calls[frame.message_id] = frame
        elif self._outstanding is not None and frame.message_id == self._outstanding.message_id:
            self._outstanding = None

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
        calls = self._calls
        found = calls.find(frame)
        if found is not None:
            calls.answered[found] += 1
            if frame.kind is MessageType.CALLRESULT:
                self._check(frame, calls.actions[found], frame.payload, is_response=True)
                self._check_values(self._sent_calls.get(found), frame)
        elif frame.kind is MessageType.CALLERROR and calls.unreadable:
            calls.unreadable -= 1  # a frame that cannot be read may be answered with any id, -1 among them
        elif calls.sent[frame.message_id or ""]:
            times = calls.sent[frame.message_id or ""]
            self._note(frame, f"is the {_nth(times + 1)} answer to {frame.message_id}")
        else:
            self._note(frame, f"answers {frame.message_id}, which was not sent")

    def _unreadable_answer(self, frame: Frame) -> None:
        if frame.message_id not in self._commands:
            self._note(frame, f"reports an answer to {frame.message_id}, which was no command")

    def _validator(self, action: str, *, is_response: bool) -> jsonschema_rs.Draft4Validator | None:
        return schema_validator(action, is_response=is_response, version=self._version.subprotocol)

    def _check_values(self, call: Frame | None, answer: Frame) -> None:
        """Check that the content of a valid answer is possible; the CALL may no longer be kept."""
        if call is None or call.action is None or (validator := self._validator(call.action, is_response=True)) is None:
            return
        if not validator.is_valid(with_integers(answer.payload)):
            return
        exchange = Exchange(
            charge_point="",
            message_id=call.message_id or "",
            action=call.action,
            payload=call.payload if isinstance(call.payload, dict) else {},
            answer=with_integers(answer.payload),
            began=call.time,
            ended=answer.time,
        )
        for problem in self._model.answer_problems(exchange):
            self._note(answer, f"is no possible {call.action}Response: {problem}")

    def _check(self, frame: Frame, action: str, payload: Any, *, is_response: bool) -> None:
        name = f"{action}Response" if is_response else action
        validator = self._validator(action, is_response=is_response)
        if validator is None:
            self._note(frame, f"is a {name}, which {self._version} does not have")
            return
        for error in validator.iter_errors(with_integers(payload)):
            where = ".".join(str(step) for step in error.instance_path) or "its payload"
            self._note(frame, f"is no valid {name}: {where}: {shortened(error.message)}")


def _nth(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


@cache
def schema_validator(
    action: str, *, is_response: bool, version: str = DEFAULT_VERSION
) -> jsonschema_rs.Draft4Validator | None:
    """The compiled schema of a command or of an answer; `None` if the version has no such action."""
    schemas = ocpp_version(version).schemas
    if action not in schemas.actions:
        return None
    schema = schemas.response(action) if is_response else schemas.request(action)
    return jsonschema_rs.Draft4Validator(schema, validate_formats=True)
