"""Test 17, on the WebSocket: invalid frames."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest import mock

from catalogue import defect

from server.errors import ErrorCode, InvalidMessage
from server.gateway import gateway
from server.gateway.command_queue import CommandQueue
from server.gateway.gateway import Gateway
from server.gateway.session import Session
from server.ocpp import frames
from server.processor import processor
from server.processor.processor import Processor

ANSWERED = "Invalid Messages On The WebSocket Are Answered As OCPP-J Says"
NOBODY = "Unanswerable Frames Are Ignored Or Close The Connection"
GENERATED = "A Thousand Generated Invalid Frames Get The Right Reactions"
BOOT_FIRST = "Calls Before The Boot Are Refused Where The System Asks For It"


def set_aside_as(change: Callable[[Gateway, Session, InvalidMessage], None]) -> None:
    """Change a frame that is set aside before it is recorded."""
    sound = Gateway._set_aside

    def set_aside(self: Gateway, session: Session, invalid: InvalidMessage, raw: bytes) -> None:
        change(self, session, invalid)
        sound(self, session, invalid, raw)

    Gateway._set_aside = set_aside


@defect("R17.10", NOBODY, GENERATED, says=r"expected nothing, seen the CALLERROR FormationViolation to -1")
def answers_frames_that_nobody_can_answer() -> None:
    """Text that is not JSON gets a CALLERROR to -1."""

    def answer(_: Gateway, __: Session, invalid: InvalidMessage) -> None:
        invalid.answer_id = invalid.answer_id or frames.UNREADABLE_ID

    set_aside_as(answer)


def unsaid(name: str, frames_with: Callable[[InvalidMessage], bool]) -> None:
    """Leave the metrics out, or the log, where the gateway sets a frame aside."""
    sound = Gateway._set_aside

    def set_aside(self: Gateway, session: Session, invalid: InvalidMessage, raw: bytes) -> None:
        if not frames_with(invalid):
            sound(self, session, invalid, raw)
            return
        with mock.patch.object(*((self._metrics, "invalid") if name == "metrics" else (gateway.logger, "warning"))):
            sound(self, session, invalid, raw)

    Gateway._set_aside = set_aside


@defect("R17.6", GENERATED, says=r"1000 invalid frames are counted \d{1,3} times in the metrics")
def frames_are_not_counted_as_set_aside() -> None:
    """The metrics count what the processor sets aside, and not what the gateway refuses."""
    unsaid("metrics", lambda _: True)


@defect("R17.6", GENERATED, says=r"1000 invalid frames are counted \d{1,3} times in the metrics")
def frames_without_an_answer_are_not_counted() -> None:
    """Frames that get no CALLERROR are missing in the metrics."""
    unsaid("metrics", lambda invalid: invalid.answer_id is None)


@defect("R17.6", GENERATED, says=r"1000 invalid frames have \d{1,3} log records")
def frames_without_an_answer_are_not_logged() -> None:
    """Frames that get no CALLERROR have no log record."""
    unsaid("log", lambda invalid: invalid.answer_id is None)


@defect("R17.6", GENERATED, says=r"1000 invalid frames have 1\d{3} log records")
def refused_frames_are_logged_twice() -> None:
    """A frame that the gateway answers with a CALLERROR has two log records."""
    sound = Gateway._refuse

    def refuse(self: Gateway, session: Session, invalid: InvalidMessage, raw: bytes) -> None:
        if invalid.answer_id is not None:
            fields = {"code": invalid.code, "reason": invalid.reason, "message_id": invalid.message_id}
            gateway.logger.warning("invalid_message", charge_point_id=session.charge_point_id, **fields)
        sound(self, session, invalid, raw)

    Gateway._refuse = refuse


def boots_as(change: Callable[[Processor, Any], bool]) -> None:
    """Let some messages through although the boot was not accepted."""
    sound = Processor._apply

    def apply(self: Processor, message: Any, *rest: Any) -> Any:
        asked = self._require_boot
        self._require_boot = asked and not change(self, message)
        try:
            return sound(self, message, *rest)
        finally:
            self._require_boot = asked

    Processor._apply = apply


@defect("R17.10", BOOT_FIRST, says=r"Before the boot .*Heartbeat is answered with no error, expected SecurityError")
def the_setting_for_the_boot_is_ignored() -> None:
    """Every message is handled before the boot, whatever the setting says."""
    boots_as(lambda *_: True)


@defect("R17.10", BOOT_FIRST, says=r"Before the boot (?!.*Heartbeat)\w+ is answered with no error, expected Security")
def some_actions_need_no_boot() -> None:
    """Authorize and DataTransfer are answered before the boot."""
    boots_as(lambda _, message: message.action in {"Authorize", "DataTransfer"})


@defect("R17.10", BOOT_FIRST, says=r"Before the boot .*expected SecurityError")
def one_boot_is_enough_for_all() -> None:
    """Once any charge point has booted, the others need not."""
    booted: list[bool] = []

    def seen(_: Processor, message: Any) -> bool:
        booted.extend([True] if message.action == "BootNotification" else [])
        return bool(booted)

    boots_as(seen)


@defect("R17.10", BOOT_FIRST, says=r"Before the boot Authorize is answered with NotSupported, expected SecurityError")
def before_the_boot_nothing_is_supported() -> None:
    """What comes before the boot is refused with NotSupported."""
    sound = processor._refusal

    def refusal(call: Any, code: ErrorCode, reason: str) -> InvalidMessage:
        return sound(call, ErrorCode.NOT_SUPPORTED if code is ErrorCode.SECURITY_ERROR else code, reason)

    processor._refusal = refusal


@defect("R17.10", BOOT_FIRST, says=r"Heartbeat .*SecurityError")
def each_connection_needs_a_boot() -> None:
    """After a reconnect the boot before counts no longer."""
    sound = Processor._apply
    connections: dict[str, str] = {}

    def apply(self: Processor, message: Any, view: Any, answers: Any) -> Any:
        if getattr(message, "action", "") == "BootNotification":
            connections[message.charge_point_id] = message.connection
        elif self._require_boot and connections.get(message.charge_point_id) != message.connection:
            return processor._refusal(message, ErrorCode.SECURITY_ERROR, "boot first")
        return sound(self, message, view, answers)

    Processor._apply = apply


@defect("R17.10", ANSWERED, GENERATED, says=r"expected the CALLERROR \w+ to \S+, seen nothing")
def never_answers_invalid_frames() -> None:
    """A CALL that cannot be read in full is dropped without a CALLERROR."""

    def drop(_: Gateway, __: Session, invalid: InvalidMessage) -> None:
        invalid.answer_id = None

    set_aside_as(drop)


@defect("R17.10", ANSWERED, says=r"message-id-under-way: expected the CALLERROR FormationViolation to -1")
def echoes_an_id_that_is_under_way() -> None:
    """The second of two CALLs with one message id is refused with that id: the first is taken for refused."""

    def echo(_: Gateway, __: Session, invalid: InvalidMessage) -> None:
        if "under way" in invalid.reason:
            invalid.answer_id = invalid.message_id

    set_aside_as(echo)


@defect("R17.10", NOBODY, GENERATED, says=r"expected a close with 1007, seen nothing")
def takes_text_that_is_not_utf8() -> None:
    """A text frame that is not UTF-8 does not cost the connection."""
    gateway._is_utf8 = lambda _: True


@defect("R17.10", NOBODY, ANSWERED, GENERATED, says=r"expected [^;]*, seen a close with 1002")
def hangs_up_on_every_invalid_frame() -> None:
    """A frame with any fault costs the connection."""

    def hang_up(self: Gateway, session: Session, _: InvalidMessage) -> None:
        self._sessions.close(session, 1002, "invalid frame")

    set_aside_as(hang_up)


@defect("R17.10", NOBODY, ANSWERED, GENERATED, says=r"[1-9]\d* whose next message was not answered")
def hears_nothing_behind_an_invalid_frame() -> None:
    """A connection over which an invalid frame came is not listened to any more."""
    deaf: list[Session] = []
    sound = Gateway._received

    def note(_: Gateway, session: Session, __: InvalidMessage) -> None:
        deaf.append(session)

    def received(self: Gateway, session: Session, raw: bytes) -> None:
        if not any(session is other for other in deaf):
            sound(self, session, raw)

    set_aside_as(note)
    Gateway._received = received


@defect("R17.10", NOBODY, says=r"callresult-nobody-waits-for[^:]*: expected nothing, seen the CALLERROR InternalError")
def answers_answers() -> None:
    """A CALLRESULT to a message that was never sent is answered with a CALLERROR."""
    sound = CommandQueue.answered

    def answered(self: CommandQueue, session: Session, message_id: str) -> None:
        if session.command != message_id:
            session.connection.push(frames.error_frame(message_id, ErrorCode.INTERNAL_ERROR, "nobody waits for it"))
        sound(self, session, message_id)

    CommandQueue.answered = answered


@defect("R17.10", NOBODY, says=r"oversized-call[^:]*: expected a close with 1009, seen")
def reads_frames_of_any_size() -> None:
    """A frame beyond the size limit is read."""
    sound = gateway.serve

    def serve(*arguments: Any, **options: Any) -> Any:
        return sound(*arguments, **(options | {"max_size": None}))

    gateway.serve = serve


@defect("R17.10", NOBODY, says=r"Server 'server' exited with status 2\..* Last sent: \S*(deep|nest)")
def dies_on_deeply_nested_frames() -> None:
    """A frame of a thousand opening brackets ends the process."""
    sound = frames.parse_frame

    def parse_frame(raw: bytes, *about: Any) -> Any:
        if b"[" * 1000 in raw:
            os._exit(2)
        return sound(raw, *about)

    frames.parse_frame = parse_frame
