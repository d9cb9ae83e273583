"""Keywords that put invalid messages on the queue."""

from __future__ import annotations

from pathlib import Path

from robot.api import logger

from ocpp_resilience.errors import LacksCapability, UsageError
from ocpp_resilience.ocpp import Version
from ocpp_resilience.profile import version_of_run
from ocpp_resilience.robot.data_files import data_file
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted
from ocpp_resilience.transport.invalid_cases import InvalidCase, load_cases, message_file
from ocpp_resilience.transport.invalid_generated import MAX_MESSAGE_BYTES, generate_invalid
from ocpp_resilience.transport.messages import SentMessage, SentMessages
from ocpp_resilience.transport.volume import new_seed
from RedisQueueLibrary.base import QueueComponent, log_all_sent, log_sent, points


class InvalidMessageKeywords(QueueComponent):
    """Cases from files, and generated ones."""

    @keyword(tags=("queue", "getter", "invalid"))
    def load_invalid_messages(
        self,
        file: str | None = None,
        *,
        requirement: str | None = None,
        kind: str | None = None,
        protocol: str | None = None,
    ) -> list[InvalidCase]:
        """Reads a file of invalid messages and returns its cases.

        Each case has fresh ids whenever the file is read. Its attributes: `id`, `title`, `requirement`, `kind`, `code`
        (that it has to be refused with), `reason`, `raw`, `charge_point_id`, `message_id`, `answerable`,
        `answer_message_id`.

        Args:
            file: the path of the file, or its name in the folder `resources` beside the suites, else that of one that
                comes with the library; by default the cases of the OCPP version, such as `invalid_messages_2.json`.
            requirement: take only the cases of this requirement, for example `R17.1`.
            kind: take only the cases of this kind, for example `malformed_json`.
            protocol: the OCPP version that they are for, such as `ocpp2.0.1`; by default that of the variable
                `PROTOCOL` of the run, else 1.6.

        Raises:
            UsageError: the file cannot be used, or has no such case; names file, case and field.

        Example:
        ```robotframework
        ${cases}    Load Invalid Messages    requirement=R17.1
        FOR    ${case}    IN    @{cases}
            ${sent}    Queue Invalid Message    ${case}
            No Answer Should Arrive For    ${sent}    duration=0s
        END
        ```
        """
        version = version_of_run(protocol)
        return load_cases(_find(file, version), ids=self._ids, requirement=requirement, kind=kind, version=version)

    @keyword(tags=("queue", "send", "invalid"))
    def queue_invalid_message(self, case: InvalidCase, *, alias: str = "queue") -> SentMessage:
        """Queues the message of a case exactly as it is, and returns a record of it.

        Args:
            case: one of those that `Load Invalid Messages` returned.

        Returns:
            The record; `answerable` and `expected_code` are those of the case.

        Raises:
            LacksCapability: the target does not support the action of the case; the test is skipped.
            QueueUnavailable: Redis did not acknowledge it.

        Example:
        ```robotframework
        ${cases}    Load Invalid Messages    requirement=R17.3
        ${sent}    Queue Invalid Message    ${cases}[0]
        Message Should Be Refused    ${sent}    code=NotImplemented
        ```
        """
        if not isinstance(case, InvalidCase):
            raise UsageError(f"Expected a case of `Load Invalid Messages`, not {case!r}.")
        client = self._queues.get(alias)
        message = case.message(client.message_formats, client.body)
        if message is None:
            raise LacksCapability(
                f"The target does not accept messages such as {case} (message_format and queue in its profile)."
            )
        if not client.supports(message.action, code=message.expected_code):
            client.need_actions(message.action or "")
            raise LacksCapability(f"The target handles {message.action} (actions in its profile), so {case} is valid.")
        (sent,) = client.send([message])
        RECORDER.cases_taken(case.file, [case.id])
        log_sent(client, sent)
        return sent

    @keyword(tags=("queue", "send", "invalid"))
    def queue_cases_from_file(
        self,
        file: str | None = None,
        *,
        requirement: str | None = None,
        kind: str | None = None,
        case: str | None = None,
        valid_behind: bool = False,
        missing_ok: bool = False,
        alias: str = "queue",
    ) -> SentMessages:
        """Queues all cases of a file, in its order, and returns records of them.

        Cases of an action or a form (envelope, flat) that the target does not support are left out, and the log names
        them.

        Args:
            file: the path of the file, or its name in the folder `resources` beside the suites, else that of one that
                comes with the library; by default the cases of the OCPP version, such as `invalid_messages_2.json`.
            requirement: take only the cases of this requirement.
            kind: take only the cases of this kind.
            case: take only the case of this name.
            valid_behind: whether a valid Heartbeat follows each case: of the same charge point, or of a new one where
                the case names none.
            missing_ok: whether it is no matter that the target supports none of them; nothing is queued then.

        Returns:
            All messages in the order queued; `invalid` and `valid` are the two parts.

        Raises:
            UsageError: the file cannot be used, or has no such case.
            LacksCapability: the target supports none of them, and `missing_ok` is not set; the test is skipped.
            QueueUnavailable: Redis did not acknowledge all of them; the message says how many.

        Example:
        ```robotframework
        ${sent}    Queue Cases From File    requirement=R17.2
        All Messages Should Be Refused    ${sent}    timeout=10s
        ```
        """
        client = self._queues.get(alias)
        cases = load_cases(
            _find(file, client.version), ids=self._ids, requirement=requirement, kind=kind, version=client.version
        )
        messages: list[SentMessage] = []
        left_out: list[str] = []
        for each in cases:
            if case not in {None, each.id}:
                continue
            message = each.message(client.message_formats, client.body)
            if message is None or not client.supports(message.action, code=message.expected_code):
                # It would be refused for its action, or as no message at all, and not for its error.
                left_out.append(each.id)
                continue
            messages.append(message)
            if valid_behind:
                messages.append(
                    client.build("Heartbeat", {}, charge_point=each.charge_point_id or self._ids.charge_point())
                )
        RECORDER.cases_taken(str(_find(file, client.version)), [case.id for case in cases])
        if left_out:
            logger.info(f"Left out, since the target does not support their action or form: {', '.join(left_out)}.")
        if not messages and not missing_ok:
            raise LacksCapability(
                f"The target takes none of these messages: all {counted(len(cases), 'case')} are of an action or a "
                f"form that it does not support (actions and message_format in its profile)."
            )
        sent = client.send(messages)
        log_all_sent(client, sent)
        return sent

    @keyword(tags=("queue", "getter", "invalid"))
    def get_case_names(
        self,
        file: str | None = None,
        *,
        requirement: str | None = None,
        kind: str | None = None,
        alias: str = "queue",
    ) -> list[str]:
        """Returns the names of the cases of a file that the target accepts, in the file's order.

        Args:
            file: the path of the file, or the name of one of the project's `resources`; by default the cases of the
                OCPP version.
            requirement: take only the cases of this requirement.
            kind: take only the cases of this kind.

        Raises:
            UsageError: the file cannot be used, or has no such case.

        Example:
        ```robotframework
        @{names}    Get Case Names    requirement=R17.1
        ${sent}    Queue Cases From File    requirement=R17.1    case=${names}[0]
        ```
        """
        client = self._queues.get(alias)
        cases = load_cases(
            _find(file, client.version), ids=self._ids, requirement=requirement, kind=kind, version=client.version
        )
        messages = [(each.id, each.message(client.message_formats, client.body)) for each in cases]
        return [
            name
            for name, message in messages
            if message is not None and client.supports(message.action, code=message.expected_code)
        ]

    @keyword(tags=("queue", "getter", "invalid"))
    def get_discarded_percent(self, messages: SentMessages, *, alias: str = "queue") -> float:
        """Returns the percentage of invalid messages that were not accepted: no CALLRESULT has come to them.

        For a system without a queue, which has no list of dead letters either. Wait for the answers first.

        Args:
            messages: the messages; valid ones among them are left out.

        Example:
        ```robotframework
        ${sent}    Queue Cases From File    requirement=R17.1    valid_behind=True
        All Messages Should Be Answered    ${sent.valid}
        ${percent}    Get Discarded Percent    ${sent}
        ```
        """
        client = self._queues.get(alias)
        invalid = messages.invalid
        client.refresh(invalid.charge_points)
        accepted = len(client.report(invalid).accepted)
        return 100 * (1 - accepted / invalid.count) if invalid.count else 100.0

    @keyword(tags=("queue", "getter", "invalid"))
    def get_invalid_message_kinds(
        self, requirement: str, *, not_sent: bool = False, file: str | None = None, protocol: str | None = None
    ) -> list[str]:
        """Returns the kinds of invalid messages that a file has for a requirement, in the order of the file.

        Args:
            requirement: the id, for example `R17.1`.
            not_sent: only those with a case that no test of this run has sent so far; all of them where each was sent.
            file: the path of the file, or its name in the folder `resources` beside the suites, else that of one that
                comes with the library; by default the cases of the OCPP version.
            protocol: the OCPP version, as for `Load Invalid Messages`.

        Raises:
            UsageError: the file cannot be used, or has no case of the requirement.

        Example:
        ```robotframework
        @{kinds}    Get Invalid Message Kinds    R17.1
        FOR    ${kind}    IN    @{kinds}
            Queue Cases From File    requirement=R17.1    kind=${kind}
        END
        ```
        """
        version = version_of_run(protocol)
        path = _find(file, version)
        cases = load_cases(path, ids=self._ids, requirement=requirement, version=version)
        kinds = list(dict.fromkeys(case.kind for case in cases))
        left = {case.kind for case in RECORDER.cases_left(str(path)) if case.requirement == requirement}
        return [each for each in kinds if each in left] or kinds if not_sent else kinds

    @keyword(tags=("queue", "send", "invalid", "load"))
    def queue_generated_invalid_messages(
        self,
        count: int = 1000,
        *,
        valid_between: int = 0,
        charge_points: int | list[str] = 50,
        seed: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        alias: str = "queue",
    ) -> SentMessages:
        """Queues many different invalid messages, with valid ones in between, and returns records of all of them.

        Each invalid message is a valid one that was broken in one place: bytes that are not JSON, a missing field, a
        wrong type, a value out of range, a frame of the wrong shape, too many bytes, and so on. The same seed breaks
        the same places; ids and times differ.

        Args:
            count: how many invalid messages.
            valid_between: how many valid ones, evenly spread; each is of the same charge point as the invalid one
                before it, and one comes last.
            charge_points: how many new charge points send them, or a list of ids.
            max_message_bytes: the size limit of the system under test; some messages are just above it.

        Returns:
            All messages in the order queued; `invalid` and `valid` are the two parts, `codes` has the number of
            messages by expected code, `seed` is the seed.

        Raises:
            UsageError: a number cannot be used.
            QueueUnavailable: Redis did not acknowledge all of them; the message says how many.

        Example:
        ```robotframework
        ${sent}    Queue Generated Invalid Messages    count=1000    valid_between=100    seed=7
        All Messages Should Be Answered    ${sent.valid}    timeout=30s
        All Messages Should Be Refused    ${sent.invalid}
        ```
        """
        client = self._queues.get(alias)
        chosen = new_seed() if seed is None else seed
        made = generate_invalid(
            count,
            points(charge_points, self._ids),
            seed=chosen,
            new_message_id=self._ids.message,
            valid_between=valid_between,
            message_format=client.message_format,
            forms=client.message_formats,
            body=client.body,
            version=client.version,
            actions=client.actions,
            max_message_bytes=max_message_bytes,
        )
        sent = client.send(made, seed=chosen)
        log_all_sent(client, sent)
        return sent


def _find(file: str | None, version: Version) -> Path:
    return data_file(file or message_file(version))
