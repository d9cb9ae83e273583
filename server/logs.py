"""Structured logs: one record a line on standard output."""

from __future__ import annotations

import contextlib
import logging
import sys

import msgspec
import structlog

from server.config import LogFormat, LogLevel

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure(level: LogLevel, form: LogFormat) -> None:
    """Set up logging for the process; what libraries log joins in from `warning` on.

    Args:
        level: the lowest level that is written.
        form: `json`, one object a line with `timestamp` (RFC 3339), `level`, `event` and the record's own fields; or
            `console`, for people.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    if form is LogFormat.JSON:
        structlog.configure(
            processors=[*shared, lambda _logger, _method, event: _encode(event)],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            logger_factory=_Output,
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            # Plain tracebacks: the renderer's own choice may show what stands in variables, passwords too.
            processors=[
                *shared[:2],
                structlog.dev.ConsoleRenderer(
                    colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            cache_logger_on_first_use=True,
        )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


class _Output(structlog.BytesLogger):
    """Standard output. A reader that is gone must not end the server; one that does not read can hold it up."""

    def __init__(self, *_arguments: object) -> None:
        super().__init__(sys.stdout.buffer)

    def msg(self, message: bytes) -> None:
        """Write a record, or drop it where nobody can get it any more."""
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _Forward(logging.Handler):
    """Hands the records of the standard library's logging to structlog, so that the log has one format."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        fields = {"logger": record.name, "message": record.getMessage()}
        logger.log(record.levelno, "library", exc_info=record.exc_info or None, **fields)
