"""The ledger's records: one JSON object a line, one line for each thing that was done or seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from ocpp_resilience.errors import UsageError

EVENT_ACTION = "TransactionEvent"
"""The action whose messages are events of a transaction (OCPP 2.0.1 and 2.1)."""
FORMAT = 1
"""Version of the file format, in the `begin` record."""


class LedgerError(UsageError):
    """A ledger file that cannot be judged; the message names file, line and reason.

    Attributes:
        file: the file.
        line: line number, from 1; 0 for the file as a whole.
    """

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}{f', line {line}' if line else ''}: {problem}")
        self.file = file
        self.line = line


class Op(StrEnum):
    """Kinds of records.

    The first four are the life of one message as its sender knows it, as in Jepsen's histories: it is invoked, and then
    it is acknowledged, has failed, or its state is unknown. The others are later observations of it.
    """

    BEGIN = "begin"
    """A writer starts; carries `format`."""
    INVOKE = "invoke"
    """The message is about to be sent."""
    OK = "ok"
    """The system has taken it over: Redis acknowledged the push, or the charge point got its CALLRESULT."""
    FAIL = "fail"
    """The system refused it, or it was certainly not sent: it must never have an effect."""
    UNKNOWN = "unknown"
    """The connection broke, or the time was up, before either was known: both is possible."""
    ANSWER = "answer"
    """An answer to it was seen."""
    EFFECT = "effect"
    """A trace of it was found in the state, for example a transaction that it started."""
    KEPT = "kept"
    """The stored events of a transaction (OCPP 2.0.1 and 2.1) were read; `id` is the transaction."""
    END = "end"
    """The writer has looked for everything that there could be. A history without it decides nothing about loss."""


class Expect(StrEnum):
    """Required outcomes of an acknowledged message."""

    ANSWER = "answer"
    EFFECT = "effect"
    BOTH = "both"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """The role of a TransactionEvent (OCPP 2.0.1 and 2.1) in its transaction.

    Attributes:
        tx: the transaction, whose id is unique for its charge point.
        seq_no: its sequence number.
        type: `Started`, `Updated` or `Ended`.
        offline: whether it says that it is sent later than it happened.
    """

    tx: str
    seq_no: int
    type: str = "Updated"
    offline: bool = False


class KeptEvents(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored events of a transaction.

    Attributes:
        tx: the transaction.
        seq_no: the highest sequence number.
        missing: those below it that it has not seen.
        offline: how many events were sent later; `None` if it does not keep that.
    """

    tx: str
    seq_no: int
    missing: list[int] = msgspec.field(default_factory=list)
    offline: int | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the file.

    Attributes:
        op: the kind of record.
        t: when, in seconds since 1970, by the writer's clock.
        cp: charge point id.
        id: message id; with `cp` it names the message.
        seq: the message's place among those of its charge point that have to keep their order; `None` where order
            does not matter (commands).
        action: OCPP action, for people.
        via: the transport of the message: `queue`, `websocket` or `command`; in a `begin` that looks for traces, the
            transports looked at, all if left out.
        expect: the required outcome once it is acknowledged; of a `begin`: `effect` if this writer looks for traces in
            the state.
        kind: of an answer: `result`, `error`, or `invalid` for one that OCPP-J or the schemas forbid.
        what: of an effect the trace, for example `transaction 17`; of an error answer its code; of an invalid answer
            its error; of a failure or an unknown outcome the reason.
        event: of a TransactionEvent: its place in its transaction.
        kept: of a `kept`: the stored events.
        writer: of a `begin` and an `end`: the name of the writer, which connects the two.
        format: of a `begin`: version of the file format.
        seed: of a `begin`: the seed of the run's random choices.
    """

    op: Op
    t: float
    cp: str | None = None
    id: str | None = None
    seq: int | None = None
    action: str | None = None
    via: str | None = None
    expect: Expect = Expect.ANSWER
    kind: str | None = None
    what: str | None = None
    event: Event | None = None
    kept: KeptEvents | None = None
    writer: str | None = None
    format: int | None = None
    seed: int | None = None


def event_of(action: str | None, payload: object) -> Event | None:
    """The place of a TransactionEvent in its transaction; `None` of any other message, or one that does not say."""
    if action != EVENT_ACTION or not isinstance(payload, dict):
        return None
    info = payload.get("transactionInfo")
    tx, number = info.get("transactionId") if isinstance(info, dict) else None, payload.get("seqNo")
    if not isinstance(tx, str) or not isinstance(number, int):
        return None
    return Event(tx, number, str(payload.get("eventType")), offline=payload.get("offline") is True)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """The record as a line."""
    return _encoder.encode(record) + b"\n"


def read(path: Path | str) -> Iterator[tuple[str, Record]]:
    """The records of a file, each with `file, line n` for messages.

    A last line without its end was cut off when the writer was killed; it is left out, since its event may not have
    happened.

    Raises:
        LedgerError: the file cannot be read, or a line is no record.
    """
    try:
        with Path(path).open("rb") as lines:
            yield from _records(str(path), lines)
    except OSError as error:
        raise LedgerError(str(path), 0, f"cannot be read: {error.strerror}") from None


def _records(name: str, lines: Iterable[bytes]) -> Iterator[tuple[str, Record]]:
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            record = _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LedgerError(name, number, f"is no ledger record: {error}") from None
        if record.op is Op.BEGIN and record.format != FORMAT:
            raise LedgerError(name, number, f"has format {record.format}; this version reads format {FORMAT}.")
        if record.op not in {Op.BEGIN, Op.END} and (record.cp is None or record.id is None):
            raise LedgerError(name, number, f"'{record.op}' lacks cp or id, which name the message.")
        if record.op is Op.KEPT and record.kept is None:
            raise LedgerError(name, number, "'kept' lacks the field kept.")
        yield f"{name}, line {number}", record
