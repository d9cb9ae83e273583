"""Writing a ledger while traffic runs."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ocpp_resilience.ledger.records import FORMAT, Event, Expect, KeptEvents, Op, Record, encode

BUFFER_BYTES = 64 * 1024


class Ledger:
    """Appends operations and observations to a file, one line each. Thread-safe.

    A message is written down before it is sent (`invoke`), so that a killed writer has claimed too much rather than too
    little: what has no outcome in the file counts as unknown. Lines are gathered up to 64 KiB; `flush` writes them.

    Args:
        path: the file; made with its folder where it is not there, appended to where it is.
        seed: the seed of the run's random choices, for the `begin` record.
        observes: `effect` if this writer looks for traces in the state; only then can a missing one be lost.
        observes_via: it looks for traces of messages over this transport only.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        seed: int | None = None,
        observes: Expect = Expect.ANSWER,
        observes_via: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._writer = f"{os.getpid()}.{secrets.token_hex(3)}"
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._file = self.path.open("ab", buffering=0)
        self._add(
            Record(
                op=Op.BEGIN,
                t=clock(),
                via=observes_via,
                writer=self._writer,
                format=FORMAT,
                seed=seed,
                expect=observes,
            )
        )
        self.flush()

    def invoke(
        self,
        cp: str,
        id: str,  # noqa: A002 - the record's own name for it
        action: str | None = None,
        *,
        seq: int | None = None,
        via: str = "queue",
        expect: Expect = Expect.ANSWER,
        event: Event | None = None,
    ) -> None:
        """The message is about to be sent; see `Record` for the fields."""
        invoked = Record(
            op=Op.INVOKE, t=self._clock(), cp=cp, id=id, action=action, seq=seq, via=via, expect=expect, event=event
        )
        self._add(invoked)

    def acknowledged(self, cp: str, id: str) -> None:  # noqa: A002
        """The system has taken the message over."""
        self._add(Record(op=Op.OK, t=self._clock(), cp=cp, id=id))

    def failed(self, cp: str, id: str, reason: str) -> None:  # noqa: A002
        """The system refused the message, or it was certainly not sent."""
        self._add(Record(op=Op.FAIL, t=self._clock(), cp=cp, id=id, what=reason))

    def unknown(self, cp: str, id: str, reason: str) -> None:  # noqa: A002
        """It is unknown whether the system has the message."""
        self._add(Record(op=Op.UNKNOWN, t=self._clock(), cp=cp, id=id, what=reason))

    def answered(self, cp: str, id: str, *, error: str | None = None) -> None:  # noqa: A002
        """An answer was seen: a CALLRESULT, or a CALLERROR with the code `error`."""
        kind = "result" if error is None else "error"
        self._add(Record(op=Op.ANSWER, t=self._clock(), cp=cp, id=id, kind=kind, what=error))

    def effect(self, cp: str, id: str, what: str) -> None:  # noqa: A002
        """A trace of the message was found in the state."""
        self._add(Record(op=Op.EFFECT, t=self._clock(), cp=cp, id=id, what=what))

    def kept(self, cp: str, kept: KeptEvents) -> None:
        """The stored events of a transaction were read."""
        self._add(Record(op=Op.KEPT, t=self._clock(), cp=cp, id=kept.tx, kept=kept))

    def end(self) -> None:
        """All possible traces were looked for; a message that is still missing is lost."""
        self._add(Record(op=Op.END, t=self._clock(), writer=self._writer))
        self.flush()

    def flush(self) -> None:
        """Write the buffered records."""
        with self._lock:
            self._write()

    def close(self) -> None:
        """Write the buffered records and close the file; without an earlier `end`, losses stay undecided."""
        with self._lock:
            if not self._file.closed:
                self._write()
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, record: Record) -> None:
        line = encode(record)
        with self._lock:
            self._lines.append(line)
            self._bytes += len(line)
            if self._bytes >= BUFFER_BYTES:
                self._write()

    def _write(self) -> None:
        waiting = memoryview(b"".join(self._lines))
        self._lines, self._bytes = [], 0
        while waiting:
            waiting = waiting[self._file.write(waiting) :]
