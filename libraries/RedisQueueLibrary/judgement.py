"""Keywords that judge the answers to many messages."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn
from robot.running.context import EXECUTION_CONTEXTS

from ocpp_resilience.errors import WrongAnswers
from ocpp_resilience.report import series
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import examples
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.history import QueueHistory
from ocpp_resilience.transport.matching import AnswerReport
from ocpp_resilience.transport.messages import SentMessage, SentMessages
from ocpp_resilience.transport.waits import DrainStatistics
from RedisQueueLibrary.base import QueueComponent, several_messages


class Judgement(QueueComponent):
    """Lost, twice, out of order."""

    @keyword(tags=("queue", "getter"))
    def join_messages(self, *messages: SentMessages | SentMessage | list[SentMessage]) -> SentMessages:
        """Returns several collections of queued messages as one, so that they are judged together.

        Args:
            messages: results of sending keywords, in the order queued.

        Example:
        ```robotframework
        ${before}    Queue Generated Messages    1000
        Restart Redis
        ${after}    Queue Generated Messages    1000    charge_points=${before.charge_points}
        ${sent}    Join Messages    ${before}    ${after}
        All Messages Should Be Answered    ${sent}
        ```
        """
        return SentMessages(each for part in messages for each in several_messages(part))

    @keyword(tags=("queue", "getter", "state"))
    def get_message_history(self, *, alias: str = "queue") -> QueueHistory:
        """Returns the queued messages and their outcomes, for `State Should Equal The Model` of OcppServerLibrary.

        Returns:
            The history of the queue since it was opened, since its test data were removed, or since
            `Forget Message History`; it goes on with each message.

        Example:
        ```robotframework
        ${history}    Get Message History
        State Should Equal The Model    ${history}
        ```
        """
        return self._queues.get(alias).history

    @keyword(tags=("queue", "state"))
    def forget_message_history(self, *, alias: str = "queue") -> None:
        """Removes the messages up to now from the message history, so that a failed test does not affect the next one.

        The state of charge points that were used is not compared any more, when they are used again either.

        Example:
        ```robotframework
        Forget Message History
        ```
        """
        self._queues.get(alias).history.forget()

    @keyword(tags=("queue", "getter", "answer"))
    def get_answer_report(
        self, messages: SentMessages | SentMessage | list[SentMessage], *, alias: str = "queue"
    ) -> AnswerReport:
        """Returns the outcomes of messages up to now, without waiting and without judging.

        Args:
            messages: the result of a sending keyword.

        Returns:
            A report with `summary` (one line), `answered_percent`, and the lists `answered`, `lost`, `answered_twice`,
            `unexpected`, `out_of_order`, `refused` (valid ones with a CALLERROR), `accepted` (invalid ones with a
            CALLRESULT), `other_code`, `wrong` (a CALLRESULT that the protocol does not allow), and, for messages
            without an acknowledgement of Redis, `undecided` and `recovered`.

        Example:
        ```robotframework
        ${report}    Get Answer Report    ${sent}
        Log    ${report.summary}
        Length Should Be    ${report.lost}    0
        ```
        """
        client = self._queues.get(alias)
        judged = several_messages(messages)
        client.refresh(judged.charge_points)
        report = client.report(judged)
        _log(report)
        return report

    @keyword(tags=("queue", "check", "answer"))
    def all_messages_should_be_answered(
        self,
        messages: SentMessages | SentMessage | list[SentMessage],
        *,
        timeout: timedelta = timedelta(seconds=60),
        settle: timedelta = timedelta(milliseconds=200),
        refusals_allowed: bool = False,
        alias: str = "queue",
    ) -> DrainStatistics:
        """Fails unless every message is answered exactly once, and those of each charge point in the order queued.

        Messages that no answer can be addressed for are left out. Messages that Redis did not acknowledge may be
        answered or not.

        Args:
            messages: the result of a sending keyword.
            timeout: the longest wait until all are answered.
            settle: how long to watch afterwards for answers too many.
            refusals_allowed: whether a CALLERROR to a valid message counts as an answer.

        Returns:
            `messages`, `seconds` (from the acknowledgement of the first message until the last answer was seen),
            `seconds_after_last` (from that of the last message), `rate` (messages per second over `seconds`), `summary`
            and `report`.

        Raises:
            WaitTimeout: some were not answered in time; the message says how many and shows the first few.
            WrongAnswers: some were answered twice, out of order, with an error, or not asked for at all.

        Example:
        ```robotframework
        ${sent}    Queue Generated Messages    5000    charge_points=50
        ${drain}    All Messages Should Be Answered    ${sent}    timeout=60s
        Log    ${drain.summary}
        ```
        """
        judged = several_messages(messages)
        drain = waits.wait_for_all(self._queues.get(alias), judged, timeout=timeout, settle=settle)
        ignored = {"refused with another code"}
        if refusals_allowed:
            ignored |= {"valid but refused", "invalid but accepted"}
        _log(drain.report, drain.summary)
        _judge(drain.report, "Not every message was answered as it should be", ignored)
        return drain

    @keyword(tags=("queue", "wait", "answer"))
    def wait_for_answers(
        self,
        messages: SentMessages | SentMessage | list[SentMessage],
        *,
        timeout: timedelta = timedelta(seconds=60),
        settle: timedelta = timedelta(milliseconds=200),
        alias: str = "queue",
    ) -> DrainStatistics:
        """Waits until every message is answered, the time is up, or the server has ended, without failing.

        So what was lost can be measured before it is demanded that nothing was. Messages that still wait on the queue
        at the end are not lost.

        Args:
            messages: what a sending keyword returned.
            timeout: the longest wait until all are answered.
            settle: how long to watch afterwards for answers too many.

        Returns:
            As `All Messages Should Be Answered`; `report` has the lists `lost`, `waiting`, `answered_twice` and others.

        Example:
        ```robotframework
        ${drain}    Wait For Answers    ${sent}    timeout=30s
        ${lost}    Get Length    ${drain.report.lost}
        Requirement Should Be Met    R16.8    lost    ${lost}
        All Messages Should Be Answered    ${sent}    timeout=0s
        ```
        """
        judged = several_messages(messages)
        drain = waits.watch_answers(self._queues.get(alias), judged, timeout=timeout, settle=settle)
        _log(drain.report, drain.summary)
        return drain

    @keyword(tags=("queue", "wait", "answer"))
    def wait_until_messages_are_being_answered(
        self,
        messages: SentMessages | list[SentMessage],
        *,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "queue",
    ) -> int:
        """Waits until at least one of several messages is answered, to be sure that the server handles them.

        Args:
            messages: what a sending keyword returned.

        Returns:
            How many are answered.

        Raises:
            WaitTimeout: none was.

        Example:
        ```robotframework
        ${sent}    Queue Generated Messages    1000
        Wait Until Messages Are Being Answered    ${sent}
        Kill Server
        ```
        """
        return waits.some_answered(self._queues.get(alias), several_messages(messages), timeout)

    @keyword(tags=("queue", "check", "answer", "invalid"))
    def all_messages_should_be_refused(
        self,
        messages: SentMessages | SentMessage | list[SentMessage],
        *,
        timeout: timedelta = timedelta(seconds=60),
        settle: timedelta = timedelta(milliseconds=200),
        check_codes: bool | None = None,
        alias: str = "queue",
    ) -> DrainStatistics:
        """Fails unless every invalid message that can be answered is refused exactly once, with the right code.

        Messages that no answer can be addressed for are left out.

        Args:
            messages: the result of a sending keyword; only the invalid ones among them are looked at.
            timeout: the longest wait until all are answered.
            settle: how long to watch afterwards for answers too many.
            check_codes: whether the code must be the expected one, else any CALLERROR will do; by default the `oracle`
                in the target's profile decides.

        Returns:
            As `All Messages Should Be Answered`.

        Raises:
            WaitTimeout: some were not answered in time; the message says how many and shows the first few.
            WrongAnswers: some were accepted, refused with another code, or answered twice.

        Example:
        ```robotframework
        ${sent}    Queue Generated Invalid Messages    count=1000    valid_between=100
        All Messages Should Be Refused    ${sent}    check_codes=${False}
        ```
        """
        judged = several_messages(messages).invalid
        client = self._queues.get(alias)
        drain = waits.wait_for_all(client, judged, timeout=timeout, settle=settle)
        _log(drain.report, drain.summary)
        series.keep_divergences(
            (each.message.about or str(each.message), str(each.message.expected_code), str(each.answer.code))
            for each in drain.report.other_code
        )
        exact = client.strict if check_codes is None else check_codes
        ignored = set() if exact else {"refused with another code"}
        if not exact:
            _show_tolerated(drain.report)
        _judge(drain.report, "Not every invalid message was refused as it should be", ignored)
        return drain

    @keyword(tags=("queue", "check", "answer"))
    def answers_should_be_in_order(
        self, messages: SentMessages | SentMessage | list[SentMessage], *, alias: str = "queue"
    ) -> int:
        """Fails if the answers received so far are not in the order in which the messages were queued.

        Only the order counts, for each charge point by itself; messages without an answer are left out.

        Args:
            messages: the result of a sending keyword.

        Returns:
            How many answers were looked at.

        Raises:
            WrongAnswers: some are out of order; shows the first few.

        Example:
        ```robotframework
        ${sent}    Queue Generated Messages    5000    charge_points=1
        Wait Until Queue Is Empty    timeout=30s
        Answers Should Be In Order    ${sent}
        ```
        """
        report = self.get_answer_report(messages, alias=alias)
        others = report.violations().keys() - {"out of order"}
        _judge(report, "Not every answer is in its place", set(others))
        return len(report.answered)


def _log(report: AnswerReport, summary: str | None = None) -> None:
    logger.info("\n".join([summary or report.summary, *report.details()]))


def _show_tolerated(report: AnswerReport) -> None:
    """Say in the test's message which refusals have another code than the strict table; the test may still pass."""
    if not report.other_code or EXECUTION_CONTEXTS.current is None:
        return
    codes = Counter((str(each.answer.code), str(each.message.expected_code)) for each in report.other_code)
    texts = [f"{count} x {given} where the table has {wanted}" for (given, wanted), count in codes.most_common()]
    BuiltIn().set_test_message(
        f"Tolerated, refused with another code: {examples(texts, most=4, room=400)}.", append=True
    )


def _judge(report: AnswerReport, failure: str, ignored: set[str]) -> None:
    """Fail when there is a violation of another kind than those in `ignored`."""
    if kinds := [what for what, found in report.violations().items() if found and what not in ignored]:
        text = "\n".join([f"{failure}: {report.explain(ignored)}", *report.details()])
        raise WrongAnswers(text, violations=kinds)
