"""Keywords about the answer to one message, and the answers to one charge point."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import UsageError
from ocpp_resilience.report import series
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import shortened
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.answers import Answer
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.waiting import in_words
from RedisQueueLibrary.base import LOGGED_CHARACTERS, QueueComponent, one_message


class Answers(QueueComponent):
    """Single answers."""

    @keyword(tags=("queue", "getter", "answer"))
    def get_answers(self, charge_point: str, *, alias: str = "queue") -> list[Answer]:
        """Returns the answers to a charge point, the oldest first, without removing them.

        Args:
            charge_point: the charge point.

        Returns:
            Answers since this run first queued a message of this charge point; all of them if it never did.

        Example:
        ```robotframework
        @{answers}    Get Answers    ${boot.charge_point}
        Should Be Equal    ${answers[0].payload}[status]    Accepted
        ```
        """
        client = self._queues.get(alias)
        client.refresh([charge_point])
        return client.answers_of(charge_point)

    @keyword(tags=("queue", "wait", "answer"))
    def wait_for_answer(
        self,
        message: SentMessage | None = None,
        *,
        charge_point: str | None = None,
        message_id: str | None = None,
        timeout: timedelta | None = None,
        alias: str = "queue",
    ) -> Answer:
        """Waits for the answer to a message, a CALLERROR included, and returns it.

        Args:
            message: the result of a sending keyword; or name the message by the next two arguments.
            charge_point: whose message it is.
            message_id: its message id.
            timeout: the longest wait; if not given, the one that the target's profile allows (`timeouts.answer`).

        Returns:
            The answer: `kind.value` is CALLRESULT or CALLERROR, `payload` its fields, `code` and `description` those of
            a CALLERROR, `seconds` the time from queueing until it was seen.

        Raises:
            WaitTimeout: there was none in time; the message shows other answers, and whether Redis could be reached.
            UsageError: the message is not given, or it cannot be answered.

        Example:
        ```robotframework
        ${sent}    Queue Message    DataTransfer
        ${answer}    Wait For Answer    ${sent}
        Log    ${answer.payload}[status]
        ${answer}    Wait For Answer    charge_point=CP-001    message_id=b1
        ```
        """
        if (message is None) == (charge_point is None or message_id is None):
            raise UsageError("Give either a message that was queued, or charge_point and message_id.")
        if message is None:
            wanted = SentMessage(
                charge_point=charge_point,
                message_id=message_id,
                action=None,
                data=b"",
                answer_message_id=message_id,
                valid=None,
            )
        else:
            wanted = one_message(message)
        client = self._queues.get(alias)
        return _logged(waits.wait_for_answer(client, wanted, client.within(timeout)))

    @keyword(tags=("queue", "check", "answer"))
    def message_should_be_answered(
        self, message: SentMessage, *, timeout: timedelta | None = None, alias: str = "queue"
    ) -> Answer:
        """Fails unless a message is answered with a CALLRESULT in time.

        Args:
            message: the result of a sending keyword.
            timeout: the longest wait; if not given, the one that the target's profile allows (`timeouts.answer`).

        Returns:
            The answer, as `Wait For Answer` returns it.

        Raises:
            ExpectationFailed: it was refused; the message says with which code.
            WaitTimeout: there was no answer in time.

        Example:
        ```robotframework
        ${boot}    Queue Message    BootNotification
        ${answer}    Message Should Be Answered    ${boot}
        Should Be Equal    ${answer.payload}[status]    Accepted
        ```
        """
        client = self._queues.get(alias)
        return _logged(waits.should_be_answered(client, one_message(message), client.within(timeout)))

    @keyword(tags=("queue", "check", "answer"))
    def message_should_be_refused(
        self,
        message: SentMessage,
        *,
        code: str | None = None,
        timeout: timedelta | None = None,
        alias: str = "queue",
    ) -> Answer:
        """Fails unless a message is answered with a CALLERROR in time.

        Args:
            message: the result of a sending keyword.
            code: the error code that it has to have if the strict oracle decides (`oracle` in the target's profile);
                any if not given.
            timeout: the longest wait; if not given, the one that the target's profile allows (`timeouts.answer`).

        Returns:
            The answer, as `Wait For Answer` returns it.

        Raises:
            ExpectationFailed: it was accepted, or refused with another code.
            WaitTimeout: there was no answer in time.
            UsageError: no answer can be addressed for this message; see `No Answer Should Arrive For`.

        Example:
        ```robotframework
        ${sent}    Queue Message    MakeCoffee
        Message Should Be Refused    ${sent}    code=NotImplemented
        ```
        """
        client = self._queues.get(alias)
        exact = code if client.strict else None
        answer = _logged(waits.should_be_refused(client, one_message(message), exact, client.within(timeout)))
        if code is not None and answer.code != code:
            logger.info(f"The strict oracle expects {code}; the tolerant one decides (oracle in the target's profile).")
            series.keep_divergences([(str(message), code, str(answer.code))])
        return answer

    @keyword(tags=("queue", "check", "answer"))
    def charge_point_should_have_answers(
        self,
        charge_point: str,
        count: int,
        *,
        timeout: timedelta | None = None,
        alias: str = "queue",
    ) -> list[Answer]:
        """Fails unless a charge point has exactly this many answers.

        Args:
            charge_point: the charge point.
            count: how many; answers before this run's first message of this charge point do not count.
            timeout: the longest wait until there are this many; if not given, that of the target's profile.

        Returns:
            The answers, the oldest first.

        Raises:
            WaitTimeout: there were fewer until the end.
            ExpectationFailed: there are more.

        Example:
        ```robotframework
        Queue Raw Message    {"action": "Heartbeat", "chargePointId": "CP-001"}
        Charge Point Should Have Answers    CP-001    1
        ```
        """
        client = self._queues.get(alias)
        return waits.should_have_answers(client, charge_point, count, client.within(timeout))

    @keyword(tags=("queue", "check", "answer"))
    def no_answer_should_arrive_for(
        self, message: SentMessage, *, duration: timedelta = timedelta(seconds=1), alias: str = "queue"
    ) -> None:
        """Fails when something arrives that could be an answer to a message.

        For a message that no answer can be addressed for, that is any answer which belongs to no other message of this
        run. Once a later message of the same charge point was answered, nothing can come any more, and `duration=0s` is
        enough.

        Args:
            message: the result of a sending keyword.
            duration: how long to watch.

        Raises:
            ExpectationFailed: an answer arrived; shows it.

        Example:
        ```robotframework
        ${broken}    Queue Raw Message    {"invalid": "malformed_json"
        ${behind}    Queue Message    Heartbeat
        Message Should Be Answered    ${behind}
        No Answer Should Arrive For    ${broken}    duration=0s
        ```
        """
        waits.no_answer_should_arrive(self._queues.get(alias), one_message(message), duration)


def _logged(answer: Answer) -> Answer:
    after = "" if answer.seconds is None else f" after {in_words(answer.seconds)}"
    logger.info(f"{answer}{after}: {shortened(answer.text, LOGGED_CHARACTERS)}")
    return answer
