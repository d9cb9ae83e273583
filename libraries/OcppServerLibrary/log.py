"""Keywords that read the server's log as data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed, LacksCapability, WaitTimeout
from ocpp_resilience.profile.sections import Capability
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.log_records import count_in_words, fields_in_words, shorten
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.transport.invalid_records import RecordReport, wait_for_records
from ocpp_resilience.transport.messages import SentMessages
from ocpp_resilience.waiting import in_words, wait_until

Field = str | int | float | bool | None


class Log(Component):
    """Log records."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers

    def _with_records(self, alias: str) -> OcppServer:
        """The server, if its log is declared as data; otherwise its log cannot be judged."""
        server = self._servers.get(alias)
        target = server.target
        if not target.has(Capability.LOG_RECORDS):
            raise LacksCapability(
                f"Target '{target.name}' does not support log records (capabilities in {target.source})."
            )
        return server

    @keyword(tags=("server", "log", "getter"))
    def mark_server_log(self, *, alias: str = "server") -> int:
        """Returns the number of log records so far, for the `since` of the other keywords.

        Example:
        ```robotframework
        ${mark}    Mark Server Log
        Stop Redis
        Wait For Log Record    event=redis_unavailable    since=${mark}
        ```
        """
        return self._servers.get(alias).records.position()

    @keyword(tags=("server", "log", "getter"))
    def get_server_log_records(self, *, alias: str = "server", since: int = 0, **fields: Field) -> list[dict[str, Any]]:
        """Returns the log records that the server has written so far, of all its starts.

        Args:
            since: only records behind this mark.
            fields: values that fields must have, equal as text; `${None}` for a field that is null or missing. The
                names are `event`, `level`, `code`, `reason`, `charge_point_id`, `message_id` and so on, for every
                target.

        Returns:
            A list of dictionaries. A line that is no JSON object is a record with `event` `None` and `text`.

        Raises:
            LacksCapability: the target has no `log_records`; the test is skipped.

        Example:
        ```robotframework
        ${mark}    Mark Server Log
        ${records}    Get Server Log Records    event=invalid_message    code=NotImplemented    since=${mark}
        ```
        """
        return [dict(record) for record in self._with_records(alias).records.matching(fields, since=since)]

    @keyword(tags=("server", "log", "check"))
    def log_record_count_should_be(
        self,
        expected: int,
        *,
        alias: str = "server",
        since: int = 0,
        timeout: timedelta = timedelta(seconds=5),
        **fields: Field,
    ) -> None:
        """Fails unless the server has written exactly this many log records with these fields.

        Waits until there are that many, since a record may be written a moment after the effect that a test saw. More
        are a failure at once, but those that come later are not seen: check when the work is done.

        Args:
            expected: how many.
            since: only records behind this mark.
            timeout: the longest wait for the last of them.
            fields: values that fields must have, as for `Get Server Log Records`.

        Raises:
            LacksCapability: the target has no `log_records`; the test is skipped.
            ExpectationFailed: there are more, or were fewer until the end; shows the newest ones.

        Example:
        ```robotframework
        Log Record Count Should Be    1    event=invalid_message    charge_point_id=CP-001    since=${mark}
        ```
        """
        server = self._with_records(alias)
        try:
            found = server.records.wait_for(fields, timeout=timeout, count=expected, since=since)
        except WaitTimeout:
            found = server.records.matching(fields, since=since)
        if len(found) == expected:
            return
        waited = f" within {in_words(timeout)}" if len(found) < expected else ""
        newest = "".join(f"\n{shorten(record)}" for record in found[-5:])
        raise ExpectationFailed(
            f"Expected {count_in_words(expected)} with {fields_in_words(fields)} in the log of {server.name}{waited}, "
            f"found {len(found)}.{' The newest:' if newest else ''}{newest}"
        )

    @keyword(tags=("server", "log", "check"))
    def wait_for_log_record(
        self, *, alias: str = "server", since: int = 0, timeout: timedelta = timedelta(seconds=5), **fields: Field
    ) -> dict[str, Any]:
        """Waits until the server has written a log record with these fields, and returns the first of them.

        Args:
            since: only records behind this mark.
            fields: values that fields must have, as for `Get Server Log Records`.

        Raises:
            LacksCapability: the target has no `log_records`; the test is skipped.
            WaitTimeout: there was none; shows the last record that was written.

        Example:
        ```robotframework
        ${record}    Wait For Log Record    event=redis_unavailable    since=${mark}    timeout=10s
        Log    ${record}[error]
        ```
        """
        return dict(self._with_records(alias).records.wait_for(fields, timeout=timeout, since=since)[0])

    @keyword(tags=("server", "log", "getter"))
    def match_log_records_to_invalid_messages(
        self,
        messages: Any,
        *,
        alias: str = "server",
        since: int = 0,
        timeout: timedelta = timedelta(seconds=5),
    ) -> RecordReport:
        """Returns how the log records about invalid messages agree with the invalid messages that were queued.

        A message has its record when the code is the expected one and a reason is given; where the message can be
        answered, charge point and message id have to be right as well.

        Args:
            messages: the result of a sending keyword of RedisQueueLibrary; valid ones among them are left out.
            since: only records behind this mark.
            timeout: the longest wait for the last record. Surplus ones that come later are not seen: check when the
                work is done.

        Returns:
            A report with `messages`, `missing` and `extra` (numbers), `percent` (of the messages that have their
            record) and `summary` (one line with examples).

        Raises:
            LacksCapability: the target has no `log_records`; the test is skipped.

        Example:
        ```robotframework
        ${mark}    Mark Server Log
        ${sent}    Queue Cases From File    requirement=R17.2
        ${records}    Match Log Records To Invalid Messages    ${sent}    since=${mark}
        Should Be Equal    ${records.extra}    ${0}    msg=${records.summary}
        ```
        """
        invalid = SentMessages(messages).doubtful
        server = self._with_records(alias)
        records = server.records

        report = wait_for_records(
            invalid,
            lambda: records.matching({"event": "invalid_message"}, since=since),
            kind="log record",
            timeout=timeout,
            strict=server.target.strict,
        )
        logger.info(report.summary)
        return report

    @keyword(tags=("server", "log", "getter", "security"))
    def count_lines_of_server_log(self, *texts: str, alias: str = "server") -> int:
        """Returns the number of lines of the server's output that contain one of the texts, for example a password.

        Args:
            texts: the texts to look for.

        Example:
        ```robotframework
        ${shown} =    Count Lines Of Server Log    secret-e1f6d2
        Should Be Equal    ${shown}    ${0}
        ```
        """
        return _lines_with(texts, self._servers.get(alias))

    @keyword(tags=("server", "log", "wait", "measurement"))
    def measure_time_to_log_line(
        self,
        *texts: str,
        before: int = 0,
        alias: str = "server",
        timeout: timedelta = timedelta(seconds=5),
    ) -> float:
        """Returns how long it takes until one more line of the server's output contains one of the texts, in seconds.

        Where none comes, this is no failure but a time above `timeout`, for `Requirement Should Be Met` to judge.

        Args:
            texts: the texts to look for.
            before: how many such lines there were already, from `Count Lines Of Server Log`.

        Raises:
            ExpectationFailed: the server has ended by itself, without such a line.

        Example:
        ```robotframework
        ${before} =    Count Lines Of Server Log    certificate
        Inject Fault    bad certificate
        ${seconds} =    Measure Time To Log Line    certificate    before=${before}    timeout=5 s
        Requirement Should Be Met    R16.11    error    ${seconds}    samples=1
        ```
        """
        server = self._servers.get(alias)
        began = time.monotonic()

        def look() -> bool | None:
            if _lines_with(texts, server) > before:
                return True
            if ended := server.ended_by_itself():
                raise ExpectationFailed(ended)
            return None

        with contextlib.suppress(WaitTimeout):
            wait_until(look, timeout=timeout, failure=lambda: "no such line")
        return time.monotonic() - began

    @keyword(tags=("server", "log", "diagnosis"))
    def get_server_log(self, *, alias: str = "server", lines: int = 50) -> str:
        """Returns the last lines of the server's standard output and standard error.

        Args:
            lines: how many lines of each.

        Example:
        ```robotframework
        ${text}    Get Server Log    lines=20
        Log    ${text}
        ```
        """
        text = self._servers.get(alias).process.output_tail(lines)
        logger.debug(text)
        return text


def _lines_with(texts: Iterable[str], server: OcppServer) -> int:
    files = [file for file in (server.process.stdout, server.process.stderr) if file.exists()]
    lines = (line for file in files for line in file.read_text("utf-8", "replace").splitlines())
    return sum(any(text in line for text in texts) for line in lines)
