"""Test 17: invalid messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
from catalogue import defect

from server.errors import ErrorCode, InvalidMessage
from server.ocpp import envelope
from server.processor.processor import Effects, Processor
from server.processor.request_queue import Batch

MALFORMED = "Malformed JSON Is Logged And Set Aside And Stops Nothing Behind It"
MISSING = "Messages With Missing Fields Are Refused"
SHAPES = "Wrong Shapes And Ids Are Refused At Every Level"
TYPES = "Wrong Types And Values Are Refused"
OVERSIZED = "Oversized Messages Are Refused Before Work Is Done On Them"
UNKNOWN = "Unknown And Unsupported Actions Are Refused"
GENERATED = "A Thousand Generated Invalid Messages Are Each Logged Once"
BURST = "Valid Messages Are Answered As Quickly As Before After A Burst Of Invalid Ones"
MEMORY = "Memory Stays Stable Under Invalid Messages"


def die_on(recognise: Callable[[bytes], bool]) -> None:
    """End the process, as an unhandled error in another language would, at such a message."""
    sound = Processor._parse

    def parse(self: Processor, raw: Any) -> Any:
        if isinstance(raw, bytes) and recognise(raw):
            os._exit(2)
        return sound(self, raw)

    Processor._parse = parse


def report_refusals(change: Callable[[list[InvalidMessage]], list[InvalidMessage]]) -> None:
    """Change which refusals are logged and counted."""
    sound = Processor._report

    def report(self: Processor, effects: Effects) -> None:
        effects.refused = change(effects.refused)
        sound(self, effects)

    Processor._report = report


@defect("R17.2", MISSING, says=r"The server exited after '.* of missing_field \(")
def dies_on_an_empty_object() -> None:
    """`{}` ends the process."""
    die_on(lambda raw: raw.strip() == b"{}")


@defect("R17.4", TYPES, says=r"The server exited after '.* of not_an_object \(")
def dies_on_json_null() -> None:
    """`null` ends the process."""
    die_on(lambda raw: raw.strip() == b"null")


@defect("R17.1", MALFORMED, says=r"The server exited after '.* of malformed_json \(")
def dies_on_malformed_json() -> None:
    """Text without its closing brace ends the process."""
    die_on(lambda raw: raw.startswith(b"{") and not raw.rstrip().endswith(b"}"))


@defect("R17.1", MALFORMED, says=r"The server exited after '.* of not_utf8 \(")
def dies_on_bytes_that_are_not_utf8() -> None:
    """Bytes that are no UTF-8 end the process."""

    def undecodable(raw: bytes) -> bool:
        try:
            raw.decode()
        except UnicodeDecodeError:
            return True
        return False

    die_on(undecodable)


@defect("R17.5", OVERSIZED, says=r"The server exited after '.* of deep_nesting \(")
def dies_on_deep_nesting() -> None:
    """A thousand brackets end the process."""
    die_on(lambda raw: b"[" * 1000 in raw)


@defect("R17.4", TYPES, says=r"The server exited after '.* of null_value \(")
def dies_on_a_null_value() -> None:
    """A field that is null ends the process."""
    die_on(lambda raw: b":null" in raw.replace(b" ", b"") and b"DataTransfer" not in raw)


@defect("R17.6", GENERATED, says=r"1000 invalid messages, 1000 without a log record")
def drops_silently() -> None:
    """Invalid messages leave no log record."""
    report_refusals(lambda refused: [])


@defect("R17.6", GENERATED, says=r"0 without a log record, 1000 log records too many")
def logs_twice() -> None:
    """Each invalid message is logged where it is found and where it is set aside."""
    report_refusals(lambda refused: [each for one in refused for each in (one, one)])


@defect(
    "R17.6",
    GENERATED,
    says=r"[1-9]\d* without a log record, [1-9]\d* log records too many; no log record with \w+ of .*message id",
)
def logs_without_the_message_id() -> None:
    """Log records of invalid messages do not say which message it was."""

    def anonymous(refused: list[InvalidMessage]) -> list[InvalidMessage]:
        for each in refused:
            each.message_id = None
        return refused

    report_refusals(anonymous)


@defect("R17.3", UNKNOWN, says=r"[1-9]\d* refused with another code; for example .*CALLERROR \w+ to .* expected \w+")
def wrong_error_code() -> None:
    """An unknown action is refused as an internal error."""
    sound = Processor._parse

    def parse(self: Processor, raw: bytes) -> Any:
        verdict = sound(self, raw)
        if isinstance(verdict, InvalidMessage) and verdict.code is ErrorCode.NOT_IMPLEMENTED:
            verdict.code = ErrorCode.INTERNAL_ERROR
        return verdict

    Processor._parse = parse


@defect("R17.2", MISSING, says=r"messages: 0 answered, [1-9]\d* lost.* holds 0 messages")
def invalid_messages_get_no_answer() -> None:
    """A charge point gets no answer to a refused message."""
    Processor._answer_refused = lambda self, invalid, timestamp, answers: None


@defect("R17.2", MISSING, says=r"[1-9]\d* invalid but accepted; for example CALLRESULT")
def missing_fields_are_accepted() -> None:
    """Envelopes are checked as leniently as flat messages."""
    from server.ocpp import schemas

    sound = schemas.validator
    schemas.validator = lambda version, action, *, flat: sound(version, action, flat=True)


@defect("R17.7", MALFORMED, SHAPES, says=r"^\w+: .*[1-9]\d* lost.* holds 0 messages")
def the_message_behind_an_invalid_one_is_dropped() -> None:
    """A batch ends at the first invalid message; later messages in it are dropped."""
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        for index, raw in enumerate(batch.messages):
            if isinstance(self._parse(raw), InvalidMessage):
                return await sound(self, Batch(batch.messages[: index + 1], batch.text))
        return await sound(self, batch)

    Processor._handle = handle


@defect("R17.9", MEMORY, says=r"R17\.9 memory_growth: required < 10 %", timing=True)
def leaks_each_invalid_message() -> None:
    """Every invalid message is kept for later, and later never comes."""
    kept: list[Any] = []

    def keep(refused: list[InvalidMessage]) -> list[InvalidMessage]:
        kept.extend((each, bytearray(2000)) for each in refused)
        return refused

    report_refusals(keep)


# --- envelopes of answers ---------------------------------------------------------------------------------------------


def envelopes(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the envelopes of answers."""
    sound = envelope._answer

    def answer(*parts: Any) -> str:
        return msgspec.json.encode(change(msgspec.json.decode(sound(*parts)))).decode()

    envelope._answer = answer


@defect("R17.3", UNKNOWN, says=r"message_type of the envelope: 3, expected 4")
def refusals_are_wrapped_as_results() -> None:
    """The envelope of a CALLERROR says that it is a CALLRESULT."""
    envelopes(lambda document: document | {"message_type": 3})


@defect("R17.3", UNKNOWN, says=r"timestamp of the envelope: \S+ is not a time with zone")
def envelopes_have_times_without_a_zone() -> None:
    """The time in the envelope of a CALLERROR has no zone."""
    envelopes(
        lambda document: document | ({"timestamp": document["timestamp"][:19]} if document["message_type"] == 4 else {})
    )


@defect("R17.3", UNKNOWN, says=r"message_id of the envelope: '\S+', expected '\S+'")
def envelopes_name_another_message() -> None:
    """The envelope of a CALLERROR has a message id of its own."""
    envelopes(lambda document: document | ({"message_id": "refusal"} if document["message_type"] == 4 else {}))
