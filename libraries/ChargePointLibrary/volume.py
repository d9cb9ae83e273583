"""Keywords with which many charge points act at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from robot.api import logger

from ChargePointLibrary.base import ANSWER_TIMEOUT, ConnectingComponent
from ocpp_resilience import background
from ocpp_resilience.charge_points.frame_cases import (
    FrameCase,
    FrameReport,
    frame_file,
    generated_frames,
    load_frames,
    send_frames,
)
from ocpp_resilience.charge_points.many import Exchange, Session, all_succeeded, charge, exchange, together
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.charge_points.varied import RepeatedSessions, charge_by_script, charge_repeatedly
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.report import series
from ocpp_resilience.robot.data_files import data_file
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted, shortened
from ocpp_resilience.transport.invalid_generated import MAX_MESSAGE_BYTES
from ocpp_resilience.transport.volume import new_seed


class Volume(ConnectingComponent):
    """Messages and sessions of many charge points."""

    @keyword(tags=("charge point", "send", "load"))
    def send_call_from_all(
        self,
        action: str,
        charge_points: Sequence[str] | None = None,
        *,
        each: int = 1,
        payload: Mapping[str, Any] | None = None,
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> Exchange:
        """Sends a message from many charge points at the same time, and returns the outcome of all messages.

        Nothing is judged here; `All Calls Should Be Answered` does that.

        Args:
            action: the action.
            each: how many messages each charge point sends; it waits for each answer before it sends the next.
            payload: fields of the payload, on top of sensible ones.
            timeout: the longest wait for each answer.

        Returns:
            `sent`, `answered`, `refused`, `unanswered`, `codes`, `problems`, `seconds`, `rate` (answers per second),
            `median`, `p99` and `slowest` (milliseconds), `answers` and `summary`.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    1000
        ${exchange}    Send Call From All    Heartbeat    ${ids}    each=10
        All Calls Should Be Answered    ${exchange}
        ```
        """
        points = self.chosen(charge_points)
        if not points or each < 1:
            raise UsageError("Nothing to send: at least one charge point and one message each are required.")
        made: Exchange = background.run(exchange, points, action, payload, each=each, limit=timeout.total_seconds())
        logger.info(f"{action} of {counted(len(points), 'charge point')}: {made.summary}.")
        return made

    @keyword(tags=("charge point", "check", "load"))
    def all_calls_should_be_answered(self, exchange: Exchange) -> None:
        """Fails unless every message of an exchange was answered with a CALLRESULT that the protocol allows.

        Args:
            exchange: the result of `Send Call From All`.

        Raises:
            ExpectationFailed: some were not; the message shows the number, and the first one.

        Example:
        ```robotframework
        ${exchange}    Send Call From All    Heartbeat
        All Calls Should Be Answered    ${exchange}
        ```
        """
        if exchange.answered != exchange.sent or exchange.problems:
            shown = " ".join(exchange.problems[:5])
            raise ExpectationFailed(f"{exchange.summary}. The first: {shown}")

    @keyword(tags=("charge point", "send", "load"))
    def boot_all(self, charge_points: Sequence[str] | None = None, *, timeout: timedelta = ANSWER_TIMEOUT) -> Exchange:
        """Sends a BootNotification from many charge points at the same time, and fails unless all are answered.

        Args:
            timeout: the longest wait for each answer.

        Returns:
            As `Send Call From All`.

        Raises:
            ExpectationFailed: some were not answered; the message shows the number, and the first one.

        Example:
        ```robotframework
        Connect Charge Points    1000
        ${boots}    Boot All
        ```
        """
        made: Exchange = self.send_call_from_all("BootNotification", charge_points, timeout=timeout)
        self.all_calls_should_be_answered(made)
        return made

    @keyword(tags=("charge point", "send", "invalid"))
    def send_invalid_frames(
        self,
        file: str | None = None,
        *,
        kind: str | None = None,
        repeat: int = 1,
        gateway: str = "gateway",
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> FrameReport:
        """Sends all invalid frames of a file, each on a separate connection, and returns the outcome of each.

        In front of each frame and behind it, a valid Heartbeat is sent; where the connection was closed, after a new
        connection. Nothing is judged here but that a sound charge point is served.

        Args:
            file: the path of the file, or its name in the folder `resources` beside the suites, else that of one that
                comes with the library; by default the cases of the OCPP version, such as `invalid_frames_2.json`.
            kind: take only the cases of this kind, for example `websocket`.
            repeat: how many times each is sent, at the same time.
            timeout: the longest wait for a connection and for an answer.

        Returns:
            `count`, `wrong` (frames with another reaction than the expected one, or without an answer to the next valid
            message), `intolerable` (frames that fail by the tolerant oracle, too), `unanswered`, `reactions` and
            `summary`.

        Raises:
            ExpectationFailed: a charge point could not connect, or its first message was not answered.
            UsageError: the file cannot be used; names case and field.

        Example:
        ```robotframework
        ${report}    Send Invalid Frames    kind=websocket
        Should Be Empty    ${report.wrong}    ${report.summary}
        ```
        """
        if repeat < 1:
            raise UsageError(f"repeat is {repeat}, at least 1 is required.")
        version = self._gateways.get(gateway).version
        path = data_file(file or frame_file(version))
        cases = [case for _ in range(repeat) for case in load_frames(path, kind=kind, version=version)]
        report = self._send_frames(cases, len(cases), gateway, timeout)
        RECORDER.cases_taken(str(path), [case.id for case in cases])
        return report

    @keyword(tags=("charge point", "getter", "invalid"))
    def get_invalid_frame_kinds(
        self, *, not_sent: bool = False, file: str | None = None, gateway: str = "gateway"
    ) -> list[str]:
        """Returns the kinds of invalid frames that a file has, in its order.

        Args:
            not_sent: only those with a case that no test of this run has sent so far.
            file: the path of the file, or its name in the folder `resources` beside the suites, else that of one that
                comes with the library; by default the cases of the OCPP version, such as `invalid_frames_2.json`.

        Raises:
            UsageError: the file cannot be used; names case and field.

        Example:
        ```robotframework
        @{kinds}    Get Invalid Frame Kinds    not_sent=True
        FOR    ${kind}    IN    @{kinds}
            Send Invalid Frames    kind=${kind}
        END
        ```
        """
        version = self._gateways.get(gateway).version
        path = data_file(file or frame_file(version))
        kinds = list(dict.fromkeys(case.kind for case in load_frames(path, version=version)))
        left = {case.kind for case in RECORDER.cases_left(str(path))}
        return [each for each in kinds if each in left] if not_sent else kinds

    @keyword(tags=("charge point", "send", "invalid", "load"))
    def send_generated_invalid_frames(
        self,
        count: int = 1000,
        *,
        charge_points: int = 50,
        seed: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        gateway: str = "gateway",
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> FrameReport:
        """Sends many different invalid frames from many charge points at the same time, and returns the outcomes.

        Each is a valid message that was broken in one place by chance, as `Queue Generated Invalid Messages` of
        RedisQueueLibrary breaks them. Behind each frame its charge point sends a valid Heartbeat, after a new
        connection where it was closed. The same seed breaks the same places.

        Args:
            count: how many frames.
            charge_points: how many new charge points send them, taking turns.
            max_message_bytes: the size limit of the system under test; some frames are just above it.
            timeout: the longest wait for a connection and for an answer.

        Returns:
            As `Send Invalid Frames`.

        Raises:
            ExpectationFailed: a charge point could not connect, or its first message was not answered.

        Example:
        ```robotframework
        ${report}    Send Generated Invalid Frames    1000    charge_points=100    seed=7
        Should Be Empty    ${report.wrong}    ${report.summary}
        ```
        """
        if count < 1 or charge_points < 1:
            raise UsageError(f"{count} frames of {charge_points} charge points: at least 1 of each is needed.")
        chosen = new_seed() if seed is None else seed
        logger.info(f"Seed: {chosen}.")
        target = self._gateways.get(gateway).target
        cases = generated_frames(
            count,
            seed=chosen,
            ids=self._ids,
            max_message_bytes=max_message_bytes,
            version=target.version,
            actions=target.handled,
        )
        return self._send_frames(cases, min(count, charge_points), gateway, timeout)

    def _send_frames(self, cases: list[FrameCase], points: int, gateway: str, timeout: timedelta) -> FrameReport:
        where = self._gateways.get(gateway)
        made = [ChargePoint(self._ids.charge_point(), where) for _ in range(points)]
        sent: FrameReport = background.run(send_frames, made, cases, limit=timeout.total_seconds())
        report = replace(sent, strict=where.target.strict)
        wrong = {id(each) for each in report.wrong}
        for reaction in report.reactions:
            if id(reaction) not in wrong:
                logger.debug(f"{reaction}")
            else:
                logger.info(f"WRONG: {reaction}. {reaction.case.reason} {shortened(str(reaction.case.data))}")
        series.keep_divergences((each.case.id, each.case.expected(), each.seen) for each in report.divergences)
        logger.info(f"{report.summary}.")
        return report

    @keyword(tags=("charge point", "send", "load", "transaction"))
    def charge_whole_sessions(
        self,
        charge_points: Sequence[str] | None = None,
        *,
        energy: int = 1000,
        meter_values: int = 3,
        boot: bool = True,
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> list[Session]:
        """Runs complete charging sessions of many charge points at the same time, and returns the sessions.

        Args:
            energy: energy of each session, in Wh.
            meter_values: how many MeterValues each sends.
            boot: whether each begins with a BootNotification.
            timeout: the longest wait for each answer.

        Returns:
            The sessions, as `Charge Whole Session` returns them.

        Raises:
            ExpectationFailed: some sessions did not come to their end; the message says how many and why.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    50
        ${sessions}    Charge Whole Sessions    ${ids}    meter_values=10
        ```
        """
        limit = timeout.total_seconds()
        points = self.chosen(charge_points)
        results = background.run(
            together,
            points,
            lambda point: charge(
                point,
                connector=1,
                id_tag="TEST-TAG",
                meter_start=1000,
                energy=energy,
                meter_values=meter_values,
                boot=boot,
                limit=limit,
            ),
        )
        sessions: list[Session] = all_succeeded(results, "charging sessions did not end")
        logger.info(f"{counted(len(sessions), 'session')} charged, slowest {max(s.seconds for s in sessions):.2f} s.")
        return sessions

    @keyword(tags=("charge point", "send", "load", "transaction"))
    def charge_varied_sessions(
        self,
        charge_points: Sequence[str] | None = None,
        *,
        rounds: int = 8,
        seed: int | None = None,
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> Exchange:
        """Runs random charging sessions of many charge points at the same time, in every way that OCPP allows.

        They send the messages of `Queue Varied Sessions` of RedisQueueLibrary: several connectors, repeated starts,
        readings in Wh and kWh, second stops, stops and readings for transactions of others.

        Args:
            rounds: number of messages of each.
            seed: of the random messages; chosen and logged if not given.
            timeout: the longest wait for each answer.

        Returns:
            As `Send Call From All`.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    20
        ${exchange}    Charge Varied Sessions    ${ids}
        All Calls Should Be Answered    ${exchange}
        ```
        """
        chosen = new_seed() if seed is None else seed
        logger.info(f"Seed: {chosen}.")
        limit = timeout.total_seconds()
        made: Exchange = background.run(charge_by_script, self.chosen(charge_points), rounds, chosen, limit=limit)
        logger.info(f"{made.summary}.")
        return made

    @keyword(tags=("charge point", "send", "load", "transaction"))
    def charge_sessions_with_repeated_messages(
        self, charge_points: Sequence[str] | None = None, *, timeout: timedelta = ANSWER_TIMEOUT
    ) -> RepeatedSessions:
        """Lets many charge points repeat each message of a session, and returns how the answers compare.

        A StartTransaction, two MeterValues and a StopTransaction are each sent three times: with the same message id
        over a new connection after the answer was there, with the same message id over a new connection without
        waiting for an answer, and under a new message id.

        Args:
            timeout: the longest wait for each answer.

        Returns:
            `sent_again` (how many messages), `other_answers` (those that were not answered as the first time, each with
            both answers) and `summary`.

        Raises:
            ExpectationFailed: a message was not answered at all, or a charge point could not connect again.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    10
        ${repeated}    Charge Sessions With Repeated Messages    ${ids}
        Should Be Empty    ${repeated.other_answers}
        ```
        """
        limit = timeout.total_seconds()
        made: RepeatedSessions = background.run(charge_repeatedly, self.chosen(charge_points), limit=limit)
        logger.info(f"{made.summary}.")
        return made
