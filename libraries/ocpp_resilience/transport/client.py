"""A client of one queue: sends, inspects, reads answers, and removes the run's data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self

import redis

from ocpp_resilience.errors import ExpectationFailed, LacksCapability, UsageError, WaitTimeout
from ocpp_resilience.ids import Ids
from ocpp_resilience.ledger import Ledger
from ocpp_resilience.ocpp import Version, ocpp_version, ocpp_versions
from ocpp_resilience.profile import KEY_PLACEHOLDERS, Target
from ocpp_resilience.redis.connection import (
    AWAY,
    SOCKET_TIMEOUT,
    QueueUnavailable,
    RedisClient,
    RedisWatch,
    connect,
    database_in,
    is_away,
    is_local,
    nothing_ended,
    shown_url,
    was_refused,
)
from ocpp_resilience.redis.snapshot import KeySnapshot, take_snapshot
from ocpp_resilience.text import counted
from ocpp_resilience.transport.announcements import Announcements
from ocpp_resilience.transport.answers import Answer, AnswerKind
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.dead_letters import DeadLetter, DeadLetterMark, mark_of, read_dead_letter, since
from ocpp_resilience.transport.history import QueueHistory
from ocpp_resilience.transport.ledger import QueueLedger
from ocpp_resilience.transport.lists import ListRequests
from ocpp_resilience.transport.matching import AnswerReport, ExpectedAnswers, match
from ocpp_resilience.transport.messages import Message, MessageFormat, SentMessage, SentMessages, build, read
from ocpp_resilience.transport.opening import open_transport
from ocpp_resilience.transport.queue_keys import QueueKeys
from ocpp_resilience.transport.run_data import RemovedData, RunData
from ocpp_resilience.transport.sending import settle_unsent
from ocpp_resilience.transport.websocket import WebSocketTransport

GREETING_PAUSE = 30.0
"""Seconds without greetings after one that nobody answered."""
ANSWER_LIMIT = 5.0
"""Seconds to wait for an answer where no profile says how long."""


class QueueClient:
    """The way to one queue.

    Args:
        url: where Redis is.
        keys: the names of the keys.
        message_format: the form of messages for which no other is asked.
        message_formats: the forms that the system takes.
        ids: gives message ids and charge point ids; several clients of one run share it.
        queue_database: the database with the queue, where the URL names none.
        state_database: the database with the state, where that is another one than the queue's.
        socket_timeout: the longest wait for one reply, in seconds.
        announcements: how charge points are announced before their first message, where the system wants that.
        target: whose queue it is; without one, every action is taken for supported.
        wait_replicas: replicas that have to have a message before it counts as acknowledged.
    """

    def __init__(
        self,
        url: str,
        keys: QueueKeys,
        *,
        ids: Ids,
        message_format: MessageFormat = MessageFormat.ENVELOPE,
        message_formats: Sequence[MessageFormat] = tuple(MessageFormat),
        queue_database: int = 0,
        state_database: int | None = None,
        socket_timeout: float = SOCKET_TIMEOUT,
        announcements: Announcements | None = None,
        target: Target | None = None,
        wait_replicas: int = 0,
    ) -> None:
        named = database_in(url)
        if named is not None and queue_database not in {0, named}:
            raise UsageError(
                f"{shown_url(url)} names database {named}, but the queue of the target is in database "
                f"{queue_database} (redis.databases.queue): give the address without a database."
            )
        database = queue_database if named is None else named
        self.keys = keys
        self.address = shown_url(url)
        self.message_format = message_format
        self.message_formats = list(message_formats)
        self.ids = ids
        self._redis = connect(url, database=database, socket_timeout=socket_timeout)
        self._databases = [each for each in (database, state_database) if each is not None]
        same = state_database is None or state_database == database
        self._state = self._redis if same else connect(url, database=state_database, socket_timeout=socket_timeout)
        version = ocpp_version() if target is None else target.version
        template = None if target is None else target.queue.request
        self.body = Body(template, protocol=version.subprotocol)
        self._others = {number: connect(url, database=number, socket_timeout=socket_timeout) for number in keys.others}
        self.expected = ExpectedAnswers()
        self._sent = 0
        self._last_sent_at: float | None = None
        self._announcements = announcements
        self._greeted_in_vain = -GREETING_PAUSE
        self._target = target
        self.requests, self.answers = open_transport(self._redis, keys, target, self.body, wait_replicas=wait_replicas)
        self._data = RunData(
            keys,
            self.requests,
            self.answers,
            self.expected,
            queue=self._redis,
            state=self._state,
            others=self._others,
        )
        self.ended: Callable[[str], str] = nothing_ended
        self.ledger: QueueLedger | None = None
        self.history = QueueHistory(
            self._read_answers, version, None if target is None else target.behaviour, body=self.body
        )

    def open(self) -> Self:
        """Check that Redis is reachable, and begin to record the data of this run.

        Raises:
            QueueUnavailable: Redis cannot be reached, or refuses the user, the password or the database.
        """
        try:
            self._data.note_existing()
            self._redis.ping()
            self.answers.open()
        except redis.AuthenticationError as error:
            said = str(error).rstrip(".")
            raise self._refused(f"the user or the password is refused ({said})") from None
        except AWAY as error:
            raise self._unavailable("Opening the queue", error) from None
        except redis.ResponseError as error:
            numbers = " and ".join(str(number) for number in dict.fromkeys([*self._databases, *self.keys.others]))
            raise self._refused(f"{error} (databases: {numbers})") from None
        return self

    def _refused(self, why: str) -> QueueUnavailable:
        return QueueUnavailable(f"Redis at {self.address} cannot be used: {why}.")

    def within(self, timeout: timedelta | None) -> float:
        """Seconds to wait for an answer: those asked for, or those that the system may take."""
        if timeout is not None:
            return timeout.total_seconds()
        return ANSWER_LIMIT if self._target is None else self._target.timeouts.answer

    def need_actions(self, *actions: str) -> None:
        """Continue only if the system supports these actions.

        Raises:
            LacksCapability: it lacks one.
        """
        if self._target is not None:
            self._target.need_actions(*actions)

    @property
    def version(self) -> Version:
        """The OCPP version of the messages."""
        return ocpp_version() if self._target is None else self._target.version

    @property
    def strict(self) -> bool:
        """Whether the strict oracle decides the expected answers to invalid messages."""
        return self._target is None or self._target.strict

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions that the system handles."""
        return self.version.core if self._target is None else self._target.handled

    def supports(self, action: str | None, *, code: str | None = None) -> bool:
        """Whether a message of this action is one for the system.

        Args:
            action: the action; one that charge points never send is one for every system.
            code: the error code that the message has to be refused with, if any: where it is the one of an action that
                is not handled, the system must not handle the action.
        """
        if code == self.version.codes.unsupported_action:
            return action not in self.actions
        return action not in self.version.samples or action in self.actions

    def supported_mix(self, mix: Mapping[str, int]) -> dict[str, int]:
        """Of actions with their weights, those that the version has and the system supports, under their names there.

        Raises:
            LacksCapability: it supports none of them.
        """
        left: dict[str, int] = {}
        every = {action for version in ocpp_versions().values() for action in version.schemas.actions}
        of_other_versions = every.difference(self.version.schemas.actions)
        for action, weight in mix.items():
            named = self.version.named(action)
            if self.supports(named) and named not in of_other_versions:
                left[named] = left.get(named, 0) + weight
        if not left:
            self.need_actions(*(self.version.named(action) for action in mix))
        return left

    def close(self) -> None:
        """Close the connections, and a ledger that was not ended; nothing is removed."""
        if self.ledger is not None:
            self.ledger.close()
        if self._announcements is not None:
            with contextlib.suppress(*AWAY):
                self._announcements.disconnect(self._redis)
        self.answers.close()
        for client in (self._redis, self._state, *self._others.values()):
            client.close()

    def _unavailable(self, what: str, error: object) -> QueueUnavailable:
        return QueueUnavailable(f"{what} failed: Redis at {self.address} could not be reached: {error}")

    def watch(self) -> RedisWatch:
        """For waiting that outlives outages of Redis, and ends with the system."""
        return RedisWatch(self.address, ended=self.ended)

    def send(self, messages: Iterable[SentMessage], *, seed: int | None = None, partial: bool = False) -> SentMessages:
        """Put messages on the queue, in their order.

        Args:
            messages: the messages.
            seed: of their random choices.
            partial: whether it is no failure if Redis acknowledges only a part.

        Returns:
            The messages, each with its result.

        Raises:
            QueueUnavailable: Redis did not acknowledge all messages; the message has the numbers.
        """
        sent = SentMessages(messages, seed=seed)
        for message in sent:
            if message.open and not self.strict:
                message.leave_open()
            if self.through_gateway and message.charge_point is None:
                # On a WebSocket every message has a sender, which may get an answer with the id -1.
                message.charge_point, message.answerable = self.ids.charge_point(), None
            self._sent += 1
            message.number = self._sent
        try:
            self._data.begin(sent)
        except (*AWAY, redis.ResponseError) as error:
            if not is_away(error):
                raise
            if partial:
                settle_unsent(sent)
                return sent
            raise self._unavailable(f"Queueing {counted(sent.count, 'message')}", error) from None
        if self._announcements is not None:
            new = self._announcements.unknown(sent.charge_points)
            try:
                self._announcements.connect(self._redis, sent.charge_points)
            except (*AWAY, redis.ResponseError) as error:
                # A refusal, such as READONLY, is one of the failures that are caused on purpose, as it is for messages.
                if partial:
                    settle_unsent(sent)
                    return sent
                raise QueueUnavailable(
                    f"Charge points could not be announced through Redis at {self.address}: {error}"
                ) from None
            self._greet(new, partial=partial)
            # The greetings went first: the order of these counts from here.
            for message in sent:
                self._sent += 1
                message.number = self._sent
        problem = self._put(sent)
        if problem is not None and not partial:
            raise QueueUnavailable(
                f"Of {counted(sent.count, 'message')} for {self.place} Redis at {self.address} "
                f"acknowledged {sent.acknowledged}; {sent.unknown} may be queued, {sent.failed} are not: {problem}"
            )
        return sent

    def _greet(self, charge_points: Sequence[str], *, partial: bool) -> None:
        """Have each new charge point answered once before anything of it is judged.

        Systems take announcements beside the queue: what is sent right behind one may be for a charge point that nobody
        knows yet. Where nobody answers (the server is down, or stands still), the wait costs its time once in a while.
        """
        if not charge_points or partial or time.monotonic() < self._greeted_in_vain + GREETING_PAUSE:
            return
        limit = self.within(None)
        greetings = SentMessages(self.build("Heartbeat", {}, charge_point=point) for point in charge_points)
        for greeting in greetings:
            self._sent += 1
            greeting.number = self._sent
        if self._put(greetings) is not None:
            return

        def answered() -> bool | None:
            self.refresh(charge_points)
            return True if not self.report(greetings).lost else None

        try:
            RedisWatch(self.address, ended=self.ended).wait(
                answered, timeout=limit, failure=lambda: "not every announced charge point was answered"
            )
        except (WaitTimeout, ExpectationFailed):
            self._greeted_in_vain = time.monotonic()

    def _put(self, sent: SentMessages) -> str | None:
        """Put messages on the queue; returns the first error."""
        if self.ledger is not None:
            self.ledger.sending(sent)
        self.history.sending(sent)
        self.history.leave_out(self._data.foreign_points, "something was kept of it before this run")
        try:
            self.answers.expect(sent)
            problem = self.requests.push(list(sent))
        finally:
            if self.ledger is not None:
                self.ledger.sent(sent)
            if times := [each.sent_at for each in sent if each.sent_at is not None]:
                self._last_sent_at = max(times)
            self._data.took_place(each for each in sent if each.sent_at is not None)
        return problem

    def keep_ledger(self, ledger: Ledger) -> None:
        """Record sent messages and answers in `ledger` from now on; an earlier ledger is closed."""
        if self.ledger is not None:
            self.ledger.close()
        self.ledger = QueueLedger(ledger, self.expected, self.body)
        self.answers.observer = self.ledger.seen

    def end_ledger(self) -> QueueLedger:
        """Read all remaining answers, and end the ledger.

        Raises:
            UsageError: none is kept.
            QueueUnavailable: Redis cannot be reached; the ledger goes on.
        """
        if self.ledger is None:
            raise UsageError(f"No ledger of {self.place} is kept; call `Keep Ledger` first.")
        try:
            self.refresh(self.ledger.charge_points)
        except AWAY as error:
            raise self._unavailable("Reading the last answers for the ledger", error) from None
        ended, self.ledger, self.answers.observer = self.ledger, None, None
        ended.end()
        return ended

    @property
    def silence(self) -> float | None:
        """Seconds since a message was last handed to Redis; `None` if none ever was."""
        return None if self._last_sent_at is None else time.monotonic() - self._last_sent_at

    def length(self) -> int:
        """Number of messages that are queued, or taken and not acknowledged as far as that is visible."""
        return self.requests.length()

    @property
    def place(self) -> str:
        """The destination of messages, for error messages."""
        return "the charge points" if self.through_gateway else f"queue '{self.requests.place}'"

    def needs_waiting_messages(self) -> None:
        """Raise an error unless messages wait in the queue while no consumer runs.

        Raises:
            LacksCapability: they do not.
        """
        if not self.requests.keeps:
            raise LacksCapability(
                f"Messages do not wait on {self.place}: without a consumer they are lost (queue.kind in the profile)."
            )

    def connect_to_gateway(self, url: str) -> None:
        """Say where charge points connect; used only where messages go through their WebSockets."""
        if isinstance(self.requests, WebSocketTransport):
            self.requests.connect_to(url)

    @property
    def is_one_list(self) -> bool:
        """Whether requests are in one Redis list."""
        return isinstance(self.requests, ListRequests) and "{" not in self.keys.requests

    @property
    def through_gateway(self) -> bool:
        """Whether messages go through the WebSockets of charge points."""
        return isinstance(self.requests, WebSocketTransport)

    @property
    def problem(self) -> str:
        """Reasons why charge points do not send, as the end of an error message; empty without one."""
        problem = self.requests.problem if isinstance(self.requests, WebSocketTransport) else None
        return f"; {problem}" if problem else ""

    def build(
        self,
        action: str,
        payload: Mapping[str, Any],
        *,
        charge_point: str,
        message_id: str | None = None,
        message_format: MessageFormat | None = None,
    ) -> SentMessage:
        """Make the CALL `action` of `charge_point` in a form that the system takes.

        Raises:
            UsageError: the payload cannot be written in this form.
        """
        return build(
            action,
            payload,
            charge_point=charge_point,
            message_id=self.ids.message() if message_id is None else message_id,
            message_format=message_format or self.message_format,
            body=self.body,
        )

    def oldest(self, count: int) -> list[Message]:
        """The messages that are next, the oldest first; they stay where they are."""
        if count <= 0:
            return []
        return [read(entry, self.body) for entry in self.requests.oldest(count)]

    def follow(self, charge_point: str) -> None:
        """Follow a charge point's answers, including existing ones, if it is not followed yet."""
        if not self.answers.known(charge_point):
            self.answers.follow(charge_point)

    def refresh(self, charge_points: Iterable[str]) -> None:
        """Read new answers from the lists of these charge points."""
        points = list(charge_points)
        for point in points:
            self.follow(point)
        self.answers.refresh(points)

    def answers_of(self, charge_point: str) -> list[Answer]:
        """The answers to `charge_point` that were read so far, the oldest first; commands to it are left out."""
        return [each for each in self.answers.of(charge_point) if each.kind is not AnswerKind.CALL]

    def answer_to(self, message: SentMessage) -> Answer | None:
        """The answer to `message`, if it was read already."""
        if message.charge_point is None or message.answerable is False:
            return None
        point, wanted = message.charge_point, message.answer_message_id
        readable = (each for each in self.answers_of(point) if each.kind is not AnswerKind.UNREADABLE)
        if wanted is None:
            found = [each for each in readable if not self.expected.count(point, each.message_id)]
        else:
            found = [each for each in readable if each.message_id == wanted]
        return found[message.occurrence] if len(found) > message.occurrence else None

    def unexpected_answers(self) -> list[Answer]:
        """Answers, read so far, that belong to no message of this run."""
        found: list[Answer] = []
        for point in self.answers.charge_points:
            unclaimed = [
                each
                for each in self.answers_of(point)
                if each.kind is AnswerKind.UNREADABLE or not self.expected.count(point, each.message_id)
            ]
            found += unclaimed[self.expected.count(point, None) :]
        return found

    def report(self, messages: Iterable[SentMessage]) -> AnswerReport:
        """The outcomes of `messages`, from the answers read so far."""
        judged = SentMessages(messages)
        answers = {point: self.answers.of(point) for point in judged.charge_points}
        return match(judged, answers, self.expected, check=self.history.answer_problems)

    def final_report(self, messages: Iterable[SentMessage]) -> AnswerReport:
        """As `report`, at the end of waiting: messages that still wait on the queue are not lost."""
        judged = SentMessages(messages)
        report = self.report(judged)
        if report.lost and self.requests.keeps:
            lost = {each.data for each in report.lost}
            still: set[bytes] = set()

            def found(entry: bytes) -> bool:
                still.add(entry)
                return entry in lost

            with contextlib.suppress(*AWAY, redis.ResponseError):
                self.requests.waiting(found)
                # What was answered until this moment is not on the queue any more.
                self.refresh({each.charge_point for each in report.lost if each.charge_point is not None})
                report = self.report(judged)
            report.waiting = [each for each in report.lost if each.data in still]
            report.lost = [each for each in report.lost if each.data not in still]
        return report

    def _read_answers(self, charge_points: Sequence[str]) -> dict[str, list[Answer]]:
        try:
            self.refresh(charge_points)
        except AWAY as error:
            raise self._unavailable("Reading the last answers", error) from None
        return {point: self.answers.of(point) for point in charge_points}

    def _dead_letter_key(self) -> str:
        if self.keys.dead_letters is None:
            raise LacksCapability("This target has no list of dead letters (redis.keys.dead_letters in its profile).")
        return self.keys.dead_letters

    def mark_dead_letters(self) -> DeadLetterMark:
        """The place in the dead letters now; for a target without any, the beginning."""
        if self.keys.dead_letters is None:
            return mark_of([])
        return mark_of(self._redis.lrange(self.keys.dead_letters, 0, -1))

    def dead_letters(self, mark: DeadLetterMark | None = None) -> list[DeadLetter]:
        """The dead letters, the newest first; with `mark` only those that came after it."""
        entries = self._redis.lrange(self._dead_letter_key(), 0, -1)
        return [read_dead_letter(entry) for entry in (entries if mark is None else since(entries, mark))]

    def registered(self, charge_points: Iterable[str]) -> list[str]:
        """Those of the charge points that the registry of the system takes for connected.

        Raises:
            LacksCapability: the target profile names no key of the registry.
        """
        keys = None if self._target is None else self._target.redis.keys
        if keys is None or (keys.session is None and keys.connected is None):
            raise LacksCapability("This target has no registry of sessions (redis.keys.session, redis.keys.connected).")
        connected = set() if keys.connected is None else {_text(each) for each in self._redis.smembers(keys.connected)}
        session = keys.session
        return [
            point
            for point in charge_points
            if point in connected
            or (session is not None and self._redis.type(session.replace("{charge_point_id}", point)) != b"none")
        ]

    def unregister(self, charge_points: Iterable[str], *, listed: bool = False) -> None:
        """Remove the sessions of these charge points from the registry of the system.

        Args:
            charge_points: the charge points.
            listed: whether they stay in the set of the connected ones.

        Raises:
            LacksCapability: the target profile names no key of the registry.
        """
        points = list(charge_points)
        self.registered(points)  # or there is no registry
        keys = None if self._target is None else self._target.redis.keys
        for point in points:
            if keys is None:
                break
            if keys.session is not None:
                self._redis.delete(keys.session.replace("{charge_point_id}", point))
            if keys.connected is not None and not listed:
                self._redis.srem(keys.connected, point)

    def adopt(self, charge_points: Iterable[str]) -> None:
        """Make `remove_data` also remove the system's records of these charge points, which belong to this run."""
        self._data.adopt(charge_points)

    def discard_queued(self) -> int:
        """Remove the messages of this run that still wait on the queue; returns their number.

        Raises:
            QueueUnavailable: Redis cannot be reached.
        """
        try:
            return self._data.withdraw()
        except AWAY as error:
            raise self._unavailable("Removing the queued messages of this run", error) from None

    def remove_leftovers(self, *, timeout: float) -> RemovedData:
        """As `remove_data`, in the middle of a run: messages in progress are removed by a later call.

        Raises:
            QueueUnavailable: Redis cannot be reached.
        """
        points = self._data.own_points
        removed = self.remove_data(timeout=timeout)
        self.adopt(points)
        return removed

    def remove_data(self, *, timeout: float) -> RemovedData:
        """Remove the data of this run, announced charge points included; they are announced again when needed.

        Raises:
            QueueUnavailable: Redis cannot be reached.
        """
        try:
            removed = self._data.remove(timeout=timeout)
            self.history.removed()
            if self._announcements is not None:
                self._announcements.disconnect(self._redis)
            return removed
        except AWAY as error:
            raise self._unavailable("Removing the data of this run", error) from None

    @property
    def local_and_refused(self) -> bool:
        """Whether Redis ran on this machine and does not any more."""
        try:
            self._redis.ping()
        except AWAY as error:
            return is_local(self._redis) and was_refused(error)
        return False

    @property
    def wrote_something(self) -> bool:
        """Whether this run put something on the queue that was not removed again."""
        return self._data.exists

    def ignored(self, further: Iterable[str] | None = None) -> list[str]:
        """Patterns of keys that do not count in a comparison: the system's own, and `further` patterns or names."""
        patterns = list(self.keys.own)
        for each in further or ():
            if self._target is None or each not in KEY_PLACEHOLDERS:
                patterns.append(each)
            elif getattr(self._target.redis.keys, each) is not None:
                patterns.append(self._target.key_glob(each))
        return patterns

    def snapshot(self, *, values: bool) -> KeySnapshot:
        """All keys of the databases in use, with their types."""
        clients: list[RedisClient] = [self._redis] if self._state is self._redis else [self._redis, self._state]
        clients += [client for number, client in self._others.items() if number not in self._databases]
        return take_snapshot(clients, values=values)


def _text(member: str | bytes) -> str:
    return member.decode("utf-8", "replace") if isinstance(member, bytes) else member
