"""Structured logs: one record a line on standard output."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import select
import sys
import threading
from collections import deque

import msgspec
import structlog

from server.config import LogFormat, LogLevel
from server.rate_limited_log import LogRateLimit

MOST_WAITING_BYTES = 4 * 1024 * 1024
"""Maximum number of buffered bytes for a slow reader of standard output; further records are dropped and counted."""
LAST_SECONDS = 0.5
"""Seconds that the end of the process waits for the last records to be written."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure(level: LogLevel, form: LogFormat) -> None:
    """Set up logging for the process; records of libraries are included from level `warning` on.

    Args:
        level: the lowest level that is written.
        form: `json`, one object a line with `timestamp` (RFC 3339), `level`, `event` and the record's own fields; or
            `console`, for people.
    """
    output = LogOutput(sys.stdout.buffer.fileno(), form)
    atexit.register(output.close)
    structlog.configure(
        processors=_processors(form),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_arguments: _Records(output),
        cache_logger_on_first_use=True,
    )
    forward = _Forward()
    # Before the output is closed: what was registered last is called first.
    atexit.register(forward.report, at_the_end=True)
    logging.basicConfig(handlers=[forward], level=logging.WARNING, force=True)


def _processors(form: LogFormat) -> list[structlog.typing.Processor]:
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form is LogFormat.JSON:
        return [*shared, structlog.processors.format_exc_info, lambda _logger, _method, event: _encode(event)]
    # Plain tracebacks: the renderer's own choice may show values of variables, passwords included.
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [*shared, console, lambda _logger, _method, line: str(line).encode()]


class LogOutput:
    """Writes records without blocking, so that a pipe without a reader never stops the server.

    Records are written at once while the reader keeps up; the rest is written by a thread.

    Records wait in memory up to a limit. Further records are dropped and counted, and a `log_records_dropped` record
    gives the number as soon as the reader reads again.

    Args:
        descriptor: where records are written, a file descriptor.
        form: the format of the record about dropped ones.
        most: bytes that may wait.
    """

    def __init__(self, descriptor: int, form: LogFormat = LogFormat.JSON, most: int = MOST_WAITING_BYTES) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._most = most
        self._processors = _processors(form)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._closing = False
        self._condition = threading.Condition()
        # A daemon: a reader that never reads must not keep the process from ending.
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def put(self, record: bytes) -> None:
        """Write one record, or hand it over, without waiting."""
        with self._condition:
            if not self._bytes and not self._dropped and len(record) < select.PIPE_BUF and self._takes_a_record():
                with contextlib.suppress(OSError):
                    _write_all(self._descriptor, record + b"\n")
                return
            if self._bytes + len(record) >= self._most:
                self._dropped += 1
                return
            if self._dropped:
                self._append(self._about_dropped())
            self._append(record)
            self._condition.notify()

    def _takes_a_record(self) -> bool:
        """Whether a record of less than PIPE_BUF bytes can be written without waiting (POSIX, `poll` and `write`)."""
        return self._poll.poll(0) == [(self._descriptor, select.POLLOUT)]

    def close(self) -> None:
        """Write the buffered records, for at most `LAST_SECONDS`."""
        with self._condition:
            self._closing = True
            if self._dropped:
                self._append(self._about_dropped())
            self._condition.notify()
        self._thread.join(LAST_SECONDS)

    def _append(self, record: bytes) -> None:
        self._waiting.append(record + b"\n")
        self._bytes += len(record) + 1

    def _about_dropped(self) -> bytes:
        event: structlog.typing.EventDict = {"event": "log_records_dropped", "count": self._dropped}
        self._dropped = 0
        rendered: object = event
        for process in self._processors:
            rendered = process(None, "warning", rendered)  # type: ignore[arg-type]
        return bytes(rendered)  # type: ignore[call-overload, no-any-return]

    def _write(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                records = b"".join(self._waiting)
                self._waiting.clear()
            # A reader that is gone must not end the server.
            with contextlib.suppress(OSError):
                _write_all(self._descriptor, records)
            with self._condition:
                self._bytes -= len(records)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class _Records:
    """A structlog logger that hands rendered records to the output."""

    def __init__(self, output: LogOutput) -> None:
        self.msg = output.put

    def __getattr__(self, _level: str) -> object:
        return self.msg


class _Forward(logging.Handler):
    """Hands the records of the standard library's logging to structlog, so that the log has one format.

    Input from outside can cause them by the thousand (a broken HTTP request is one), so their rate is limited.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rate = LogRateLimit()

    def emit(self, record: logging.LogRecord) -> None:
        self.report()
        if self._rate.allows(record.name):
            fields = {"logger": record.name, "message": record.getMessage()}
            structlog.get_logger().log(record.levelno, "library", exc_info=record.exc_info or None, **fields)

    def report(self, *, at_the_end: bool = False) -> None:
        """Log how many records were left out."""
        for kind, count in self._rate.left_out(at_the_end=at_the_end).items():
            structlog.get_logger().warning("library_records_left_out", logger=kind, count=count)
