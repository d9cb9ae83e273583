"""Keywords about the messages that the system under test set aside."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import UsageError
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.dead_letters import DeadLetter, DeadLetterFilter, DeadLetterMark
from ocpp_resilience.transport.invalid_records import RecordReport, wait_for_records
from ocpp_resilience.transport.messages import SentMessage, SentMessages
from RedisQueueLibrary.base import QueueComponent, one_message, several_messages


class DeadLetters(QueueComponent):
    """Dead letters."""

    @keyword(tags=("queue", "getter", "dead letters"))
    def mark_dead_letters(self, *, alias: str = "queue") -> DeadLetterMark:
        """Returns the current position in the dead letters, so that later keywords look only at newer ones.

        A target without dead letters has such a place too; the keywords that read them skip the test then.

        Example:
        ```robotframework
        ${before}    Mark Dead Letters
        Queue Raw Message    null
        Dead Letter Should Exist    since=${before}
        ```
        """
        return self._queues.get(alias).mark_dead_letters()

    @keyword(tags=("queue", "getter", "dead letters"))
    def get_dead_letters(
        self,
        *,
        charge_point: str | None = None,
        code: str | None = None,
        raw_contains: str | None = None,
        since: DeadLetterMark | None = None,
        alias: str = "queue",
    ) -> list[DeadLetter]:
        """Returns dead letters, the newest first.

        Args:
            charge_point: only those of this charge point.
            code: only those with this error code.
            raw_contains: only those whose message contains this text.
            since: only those after this mark.

        Returns:
            Dead letters with `received_at`, `code`, `reason`, `charge_point`, `message_id` and `raw`.

        Raises:
            UsageError: the target has no dead letters.

        Example:
        ```robotframework
        @{letters}    Get Dead Letters    code=FormationViolation
        Log    ${letters[0].reason}
        ```
        """
        wanted = DeadLetterFilter(charge_point=charge_point, code=code, raw_contains=raw_contains)
        return wanted.select(self._queues.get(alias).dead_letters(since))

    @keyword(tags=("queue", "getter", "dead letters"))
    def get_dead_letter_count(
        self,
        *,
        charge_point: str | None = None,
        code: str | None = None,
        raw_contains: str | None = None,
        since: DeadLetterMark | None = None,
        alias: str = "queue",
    ) -> int:
        """Returns how many dead letters there are. A system keeps only the newest 1,000.

        Args:
            charge_point: count only those of this charge point.
            code: count only those with this error code.
            raw_contains: count only those whose message contains this text.
            since: count only those after this mark.

        Raises:
            UsageError: the target has no dead letters.

        Example:
        ```robotframework
        ${before}    Mark Dead Letters
        Queue Raw Message    {"invalid": "malformed_json"
        Wait Until Queue Is Empty
        ${count}    Get Dead Letter Count    since=${before}
        Should Be Equal    ${count}    ${1}
        ```
        """
        letters = self.get_dead_letters(
            charge_point=charge_point, code=code, raw_contains=raw_contains, since=since, alias=alias
        )
        return len(letters)

    @keyword(tags=("queue", "getter", "dead letters"))
    def match_dead_letters_to_invalid_messages(
        self,
        messages: SentMessages | SentMessage | list[SentMessage],
        *,
        since: DeadLetterMark | None = None,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "queue",
    ) -> RecordReport:
        """Compares the dead letters with the queued invalid messages, and returns the result.

        A message has its dead letter when the code is the expected one and a reason is given; where the message can be
        answered, charge point and message id have to be right as well. A system keeps only the newest 1,000.

        Args:
            messages: the result of a sending keyword; valid ones among them are left out.
            since: only dead letters after this mark.
            timeout: the longest wait for the last one.

        Returns:
            A report with `messages`, `missing` and `extra` (numbers), `percent` (of the messages that have their dead
            letter) and `summary` (one line with examples).

        Raises:
            UsageError: the target has no dead letters.

        Example:
        ```robotframework
        ${before}    Mark Dead Letters
        ${sent}    Queue Cases From File    requirement=R17.2
        ${letters}    Match Dead Letters To Invalid Messages    ${sent}    since=${before}
        Should Be Equal    ${letters.missing}    ${0}    msg=${letters.summary}
        ```
        """
        client = self._queues.get(alias)
        report = wait_for_records(
            several_messages(messages).doubtful,
            lambda: [letter.record for letter in client.dead_letters(since)],
            kind="dead letter",
            timeout=timeout,
            strict=client.strict,
        )
        logger.info(report.summary)
        return report

    @keyword(tags=("queue", "check", "dead letters"))
    def dead_letter_should_exist(
        self,
        message: SentMessage | None = None,
        *,
        charge_point: str | None = None,
        code: str | None = None,
        raw_contains: str | None = None,
        since: DeadLetterMark | None = None,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "queue",
    ) -> DeadLetter:
        """Fails unless there is a dead letter with all given properties.

        Args:
            message: the result of a sending keyword: the dead letter of this message.
            charge_point: of this charge point.
            code: with this error code, if the strict oracle decides (`oracle` in the target's profile).
            raw_contains: whose message contains this text.
            since: after this mark.

        Returns:
            The newest such dead letter.

        Raises:
            WaitTimeout: there was none in time; shows the newest one that there is.
            UsageError: the target has no dead letters, or nothing is asked for.

        Example:
        ```robotframework
        ${broken}    Queue Raw Message    {"invalid": "malformed_json"
        ${letter}    Dead Letter Should Exist    ${broken}    code=FormationViolation
        Should Not Be Empty    ${letter.reason}
        ```
        """
        client = self._queues.get(alias)
        wanted = DeadLetterFilter(
            charge_point=charge_point,
            code=code if client.strict else None,
            raw_contains=raw_contains,
            message=None if message is None else one_message(message),
        )
        if since is None and not str(wanted):
            raise UsageError("Select the dead letter by message, charge_point, code, raw_contains or since.")
        letter = waits.dead_letter_should_exist(client, wanted, since, timeout)
        logger.info(str(letter))
        return letter
