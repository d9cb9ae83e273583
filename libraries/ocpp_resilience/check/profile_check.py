"""Tries a profile part by part against its system: parts that work, that fail, and that are not declared.

Each part is tried as the suites would use it, with charge points of the check's own, which are removed again. Parts
that the profile does not declare are left out; `capabilities` must not name any that the system lacks.
"""

from __future__ import annotations

import contextlib
import enum
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from ocpp_resilience import background, http_client
from ocpp_resilience.charge_points.gateway import Gateway
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.check import drafts
from ocpp_resilience.check.drafts import Draft
from ocpp_resilience.clock import rfc3339
from ocpp_resilience.correlation.commands import Command, CommandClient
from ocpp_resilience.correlation.gateway_stand_in import Answering, GatewayStandIn
from ocpp_resilience.errors import (
    ExpectationFailed,
    ProgramNotStarted,
    ResilienceError,
    ServiceError,
    UsageError,
    WaitTimeout,
)
from ocpp_resilience.ids import Ids
from ocpp_resilience.processes import tail
from ocpp_resilience.profile.sections import Capability, CommandRequest, QueueKind
from ocpp_resilience.profile.target import Target
from ocpp_resilience.profile.templates import fill, placeholders
from ocpp_resilience.redis.connection import connect, shown_url
from ocpp_resilience.redis.services import RedisService, ServiceKind, create_service
from ocpp_resilience.redis.snapshot import compare
from ocpp_resilience.state.reading import key_of, read
from ocpp_resilience.system.inspection import inspect_correlations
from ocpp_resilience.system.server import Health, OcppServer
from ocpp_resilience.text import did_you_mean
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.announcements import Announcements
from ocpp_resilience.transport.answers import Answer
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.dead_letters import DeadLetterFilter
from ocpp_resilience.transport.messages import MessageFormat, SentMessage, raw
from ocpp_resilience.transport.queue_keys import QueueKeys
from ocpp_resilience.waiting import in_words, wait_until

START_REDIS = 15.0
REDIS_SCHEMES = ("redis", "rediss", "unix")
ANSWERED = 10.0
"""Seconds that a caller may wait for more than the time that the system was given for the answer."""
SILENCE = 1.0
"""Seconds without an answer after which a charge point that was not announced counts as not listened to."""
NOTICED = 10.0
"""Seconds within which a system says that Redis is away."""
LEFT_BEHIND = 5.0
"""Time limit in seconds for the removal of the keys that the check wrote."""
MARKS = {"transaction": ("id_tag", "charge_point_id"), "charge_point": ("vendor", "model")}
"""The fields by which a record of a kind is recognised."""
CONNECTOR, ID_TAG, METER = 1, "TEST-TAG", 1000
"""Those of the transaction that the check starts."""
BROKEN = b'{"invalid": "malformed_json"'
PARTS = (
    "health",
    "queue",
    "announcement",
    "actions",
    "state",
    "log",
    "dead letters",
    "metrics",
    "processor inspection",
    "correlation inspection",
    "commands",
    "answered command",
    "gateway",
    "keys",
    "outage",
    "stop",
)
"""Parts that are tried once the system has started, in this order."""


class Verdict(enum.Enum):
    """The result of trying a part."""

    WORKS = "works"
    FAILS = "does not work"
    NOT_DECLARED = "not declared"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Finding:
    """One part of a profile.

    Attributes:
        part: its name.
        verdict: the result.
        sentence: the observation, and advice.
        draft: a correction of the profile, as far as the observation suggests one.
    """

    part: str
    verdict: Verdict
    sentence: str
    draft: Draft = field(default_factory=dict)


class Undeclared(ResilienceError):
    """The profile says nothing of a part."""


class Untried(ResilienceError):
    """A part could not be tried, which is no mistake of the profile."""


class Checker:
    """Tries the parts of one profile.

    Args:
        target: the profile.
        redis_url: the Redis to use; a private one if not given, or that of a system that runs already.
        only: the parts to try, besides those that everything needs; all if not given.
    """

    def __init__(self, target: Target, redis_url: str | None = None, only: Collection[str] = ()) -> None:
        self.target = target
        self._redis_url = redis_url or (target.running.redis_url if target.running else None)
        self._only = only
        self._service: RedisService | None = None
        self._open = contextlib.ExitStack()
        self._ids = Ids()
        self._keys_before: set[tuple[int, str]] = set()
        self._points: list[str] = []
        self._refused: list[str] = []
        self._unanswered: tuple[str, str, bool] | None = None
        self._looked_for: tuple[str, dict[str, str | int], dict[str, Any]] | None = None
        self._said_without_redis: tuple[int, str | None] | None = None
        self._sizes: dict[str, int] = {}

    def run(self) -> Iterator[Finding]:
        """Try one part after the other; each finding comes as soon as it is known."""
        with self._open:
            yield from self._tries((("redis", self._redis), ("start", self._start), ("ready", self._ready)))

    def _tries(self, first: tuple[tuple[str, Callable[[], str]], ...]) -> Iterator[Finding]:
        rest = [
            (part, getattr(self, f"_{part.replace(' ', '_')}"))
            for part in PARTS
            if not self._only or part in self._only
        ]
        for part, attempt in first:
            finding = self._try(part, attempt)
            yield finding
            if finding.verdict is Verdict.FAILS:
                yield from (Finding(name, Verdict.NOT_TRIED, f"{part} does not work") for name, _ in rest)
                return
        self._before = self.client.snapshot(values=False)
        self._keys_before = drafts.all_keys(self._url)
        findings = {}
        for part, attempt in rest:
            findings[part] = self._try(part, attempt)
            yield findings[part]
        if not self._only:
            yield self._capabilities(findings)

    def _try(self, part: str, attempt: Callable[[], str]) -> Finding:
        try:
            return Finding(part, Verdict.WORKS, attempt())
        except Undeclared as reason:
            return Finding(part, Verdict.NOT_DECLARED, str(reason))
        except Untried as reason:
            return Finding(part, Verdict.NOT_TRIED, _one_line(str(reason)))
        except ResilienceError as error:
            return Finding(part, Verdict.FAILS, _one_line(str(error)), self._draft(part))

    def _draft(self, part: str) -> Draft:
        """A correction for a part that does not work; none if its object no longer exists."""
        try:
            return self._drafted(part)
        except (ResilienceError, RedisError, OSError, ValueError):
            return {}

    def _drafted(self, part: str) -> Draft:
        match part:
            case "ready" | "health":
                return drafts.of_health(self.target, self.server.get)
            case "queue" | "actions" if self._refused:
                handled = [each for each in self.target.handled if each not in self._refused]
                several = isinstance(self.target.actions, dict)
                return {"actions": {self.target.version.subprotocol: handled} if several else handled}
            case "queue" | "announcement" | "actions" | "state" if self._unanswered is not None:
                message_id, point, waits_there = self._unanswered
                if waits_there:
                    return drafts.of_reading(self._url, self.target)
                return drafts.of_answer(self._url, self.target, message_id, point)
            case "announcement":
                return {"announcement": {"required": False}}
            case "state" if self._looked_for is not None:
                return self._draft_of_record(*self._looked_for)
            case "log":
                return drafts.of_log(self.target, self._written_since())
            case "keys":
                left = drafts.all_keys(self._url) - self._keys_before
                return drafts.of_left_keys(left, self._points)
            case "outage" if self._said_without_redis is not None:
                status, said = self._said_without_redis
                changes = {"degraded": said, "degraded_status": status}
                now = {"degraded": self.target.http.degraded, "degraded_status": self.target.http.degraded_status}
                return {"http": {name: value for name, value in changes.items() if value not in {None, now[name]}}}
        return {}

    def _draft_of_record(self, kind: str, ids: dict[str, str | int], known: dict[str, Any]) -> Draft:
        raw = self._raw_record(kind, ids)
        if raw is None:
            return drafts.of_kept(self._url, self.target, kind, ids, [str(known[name]) for name in MARKS[kind]])
        draft = drafts.of_record(self.target, kind, raw, known)
        described = getattr(self.target.state, kind)
        said = http_client.pick(raw, described.fields.get("status", "status"))
        if kind == "transaction" and not draft and isinstance(said, str):
            return {"state": {kind: {"values": {"status": {said: "active"}}}}}
        return draft

    def _raw_record(self, kind: str, ids: dict[str, str | int]) -> dict[str, Any] | None:
        """A record as the system keeps it."""
        described = getattr(self.target.state, kind)
        if described.path is not None:
            document = self.server.get(fill(described.path, ids)).json()
            document = document if described.data is None else http_client.pick(document, described.data)
            return document if isinstance(document, dict) else None
        client = connect(self._url, database=self.target.redis.databases.state)
        try:
            name = key_of(self.target, kind, ids)
            key = name.encode()
            if client.type(name) == b"hash":
                kept = client.hgetall(key)
                return {field.decode(): value.decode("utf-8", "replace") for field, value in kept.items()}
            document = json.loads(client.get(key) or b"null")
            return document if isinstance(document, dict) else None
        finally:
            client.close()

    def _written_since(self) -> dict[str, str]:
        process = self.server.process
        files = {"stdout": process.stdout, "stderr": process.stderr}
        return {name: tail(file, start=self._sizes.get(name, 0)) for name, file in files.items()}

    def _redis(self) -> str:
        where = "given"
        if self._redis_url is None:
            self._service = service = create_service(ServiceKind.EMBEDDED, "Redis")
            self._open.callback(service.close)
            service.start(START_REDIS)
            self._redis_url, where = service.url(), "private"
        self.client = self._open_queue(Announcements.of(self.target))
        self._open.callback(self._close_queue)
        databases = self.target.redis.databases
        return f"{where}, at {self.client.address}; database {databases.queue} (queue) and {databases.state} (state)"

    def _open_queue(self, announcements: Announcements | None) -> QueueClient:
        databases = self.target.redis.databases
        return QueueClient(
            # A database in the URL would be taken for that of the queue.
            urlsplit(self._url)._replace(path="").geturl(),
            QueueKeys.of(self.target),
            ids=self._ids,
            queue_database=databases.queue,
            state_database=databases.state if databases.state != databases.queue else None,
            message_format=self._formats()[0],
            message_formats=self._formats(),
            announcements=announcements,
            target=self.target,
        ).open()

    @property
    def _url(self) -> str:
        return self._redis_url or ""

    def _close_queue(self) -> None:
        try:
            self.client.remove_data(timeout=2)
        finally:
            self.client.close()

    def _formats(self) -> list[MessageFormat]:
        return [MessageFormat(form) for form in self.target.forms]

    def _start(self) -> str:
        self.server = OcppServer("checked", self.target)
        self._open.callback(self.server.close)
        self.server.configure(self._url, {})
        try:
            took = self.server.start()
        except ProgramNotStarted as error:
            raise ServiceError(
                f"{error} Name a program that is there, by its path or as it is found by PATH, and a folder that is "
                f"there (start.command, start.directory)."
            ) from None
        except WaitTimeout as error:
            raise ServiceError(
                f"{error}\nSay by what it is known to listen (ready.record, ready.port or ready.log), and how long "
                f"that may take (timeouts.start)."
            ) from None
        if self.client.through_gateway:
            self.client.connect_to_gateway(self.server.gateway_url)
        how = "runs already" if self.target.running else f"listens after {in_words(took)}"
        return f"{how}, at {self.server.url}" if self.server.has_http else f"{how}, without an HTTP API"

    def _ready(self) -> str:
        http = self.target.http
        if http.ready is None and http.health is None:
            raise Undeclared("it counts as ready as soon as it listens (http.ready, http.health)")
        began = time.monotonic()
        self.server.wait_until_ready()
        return f"{http.ready or http.health} answered that after {in_words(time.monotonic() - began)}"

    def _keys(self) -> str:
        """Whether all that the parts above made the system keep can be removed by the names in the profile."""
        self.client.remove_data(timeout=2)
        ignore = self.client.keys.own

        def left() -> list[str]:
            return compare(self._before, self.client.snapshot(values=False), ignore=ignore).added

        with contextlib.suppress(WaitTimeout):
            wait_until(lambda: None if left() else True, timeout=LEFT_BEHIND, failure=str)
        if found := left():
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise ExpectationFailed(
                f"keys of the parts above are left behind: {', '.join(found[:3])}{more}; name them in "
                f"redis.keys, since the suites remove only named keys and fail on others"
            )
        return "the parts above do not leave keys behind"

    def _health(self) -> str:
        if self.target.http.health is None:
            raise Undeclared("http.health is null")
        document, said = self.server.health(), self.server.health_status()
        field = self.target.http.health_field
        found = http_client.pick(document, field)
        if said != Health.HEALTHY.value:
            raise ExpectationFailed(
                f"'{field}' is {found!r}, and http.healthy is {self.target.http.healthy!r}: {document}"
            )
        return f"'{field}' is {found!r}; without Redis it has to be {self.target.http.degraded!r}"

    def _queue(self) -> str:
        times = []
        for form in self._formats():
            for action in ("BootNotification", "Heartbeat"):
                answer = self._answered(action, self._ids.charge_point(), form)
                times.append(f"{form.value} {action} after {in_words(answer.seconds or 0)}")
        return f"answered: {', '.join(times)}"

    def _actions(self) -> str:
        """Each declared action by a message; a refusal says that the system does not know the action."""
        point = self._ids.charge_point()
        self._answered("BootNotification", point)
        refused = []
        for action in self.target.handled:
            try:
                self._answered(action, point)
            except ExpectationFailed as failure:
                refused.append(str(failure))
                self._refused.append(action)
        if refused:
            count = f"{len(refused)} of {len(self.target.handled)}"
            raise ExpectationFailed(f"{count} declared actions are refused or not answered, for example: {refused[0]}")
        lacking = self.target.lacking
        without = f"; not declared: {', '.join(lacking)}" if lacking else ""
        return f"{len(self.target.handled)} answered{without}"

    def _answered(self, action: str, point: str, form: MessageFormat | None = None, **fields: object) -> Answer:
        message = self._message(action, point, form, **fields)
        self._unanswered = None
        self._points.append(point)
        self.client.send([message])
        try:
            return waits.should_be_answered(self.client, message, self.target.timeouts.answer)
        except WaitTimeout as late:
            waits_there = not self.client.through_gateway and self.client.length() > 0
            self._unanswered = message.message_id or "", point, waits_there
            raise WaitTimeout(f"{action}: {self._hint(point)}", waited=late.waited, last_seen=late.last_seen) from None

    def _hint(self, point: str) -> str:
        """Why a message may have had no answer."""
        if self.client.through_gateway:
            path = self.target.gateway_path(point)
            return f"nothing arrived on the WebSocket {path}{self.client.problem}: is that the path, is a boot needed?"
        if self.client.length():
            return (
                f"it is still on '{self.target.redis.keys.requests}' in database "
                f"{self.target.redis.databases.queue}: is the system reading there?"
            )
        answers = (self.target.redis.keys.responses or "").replace("{charge_point_id}", point)
        return (
            f"it was taken, but nothing arrived on '{answers}': is that the name, is the message format right, has the "
            f"connection to be announced (announcement.required)?"
        )

    def _message(self, action: str, point: str, form: MessageFormat | None = None, **fields: object) -> SentMessage:
        payload = {**self.target.version.sample(action), **fields}
        form = form or self._formats()[0]
        return self.client.build(action, payload, charge_point=point, message_format=form)

    def _announcement(self) -> str:
        if not self.target.announcement.required:
            raise Undeclared("charge points are answered without (announcement.required is false)")
        # Without any answer at all, silence proves nothing.
        self._answered("Heartbeat", self._ids.charge_point())
        # The answer above came for a charge point that had been announced; this one was not.
        quiet = self._open_queue(None)
        try:
            message = self._message("Heartbeat", self._ids.charge_point())
            quiet.send([message])
            waits.wait_for_answer(quiet, message, SILENCE)
        except WaitTimeout:
            announcement, keys = self.target.announcement, self.target.redis.keys
            declared = (announcement.session, keys.session), (announcement.connect, keys.control_connect)
            places = " and ".join(f"'{place}'" for fields, place in declared if fields)
            return f"on {places}; without it nothing is answered"
        finally:
            quiet.remove_data(timeout=2)
            quiet.close()
        raise ExpectationFailed("a charge point that was not announced is answered, too (announcement.required)")

    def _state(self) -> str:
        if self.target.state.transaction is None:
            raise Undeclared("state.transaction is null")
        point = self._ids.charge_point()
        self._answered("BootNotification", point)
        version = self.target.version
        began = rfc3339()
        action, payload = version.transaction(connector=CONNECTOR, id_tag=ID_TAG).start(METER, began)
        answer = self._answered(action, point, **payload).payload
        if (number := version.phrases.transaction_id(payload, answer)) is None:
            raise ExpectationFailed(f"the answer to {action} has no transactionId: {answer}")
        texts = [self._kept("transaction", began, transaction_id=number, charge_point_id=point)]
        if self.target.state.charge_point is not None:
            texts.append(self._kept("charge_point", began, charge_point_id=point))
        return "; ".join(texts)

    def _kept(self, kind: str, began: str, **ids: str | int) -> str:
        known: dict[str, dict[str, Any]] = {
            "transaction": {
                "id": ids.get("transaction_id"),
                "charge_point_id": self._points[-1],
                "connector_id": CONNECTOR,
                "id_tag": ID_TAG,
                "meter_start": METER,
                "start_time": began,
            },
            "charge_point": {
                "id": ids.get("charge_point_id"),
                # Those of the sample of a boot.
                "vendor": "Acceptance",
                "model": "Test",
            },
        }
        self._looked_for = kind, dict(ids), known[kind]
        (record,) = read(self.target, kind, [ids], redis_url=self._url, get=self.server.get)
        described = getattr(self.target.state, kind)
        where = fill(described.path, ids) if described.path else key_of(self.target, kind, ids)
        if record is None:
            raise ExpectationFailed(f"no {kind.replace('_', ' ')} is at {where} after the messages that create one")
        later = {"stop_time", "meter_stop", "reason"}
        if missing := [name for name in described.fields if name not in record and name not in later]:
            theirs = ", ".join(f"{name} ('{described.fields[name]}')" for name in missing)
            raise ExpectationFailed(f"the record at {where} has no {theirs} (state.{kind}.fields)")
        if kind == "transaction" and record.get("status", "active") != "active":
            raise ExpectationFailed(
                f"the status of a running transaction is {record['status']!r} (state.transaction.values.status)"
            )
        return f"{kind.replace('_', ' ')}: {len(record)} fields at {where}"

    def _log(self) -> str:
        if Capability.LOG_RECORDS not in self.target.capabilities:
            raise Undeclared("the capability log_records is not declared")
        mark = self.server.records.position()
        process = self.server.process
        for name, file in (("stdout", process.stdout), ("stderr", process.stderr)):
            self._sizes[name] = file.stat().st_size if file.exists() else 0
        self.client.send([raw(BROKEN)])
        try:
            found = self.server.records.wait_for(
                {"event": "invalid_message"}, timeout=self.target.timeouts.answer, since=mark
            )
        except WaitTimeout:
            written = self.server.records.matching(since=mark)
            stream = self.target.log.stream.value
            seen = f"nothing was written to its {stream} (log.stream)"
            if written:
                more = f", and {len(written) - 1} more" if len(written) > 1 else ""
                seen = f"it wrote {str(written[0].get('text') or written[0])[:200]!r}{more}"
            if self.target.log.format == "text":
                what = "log.records"
            elif written and all(each.get("event") is None for each in written):
                what = f"log.fields.event: no line is a JSON object with '{self.target.log.fields.event}'"
            else:
                what = f"log.events.invalid_message: none says '{self.target.log.events.invalid_message}'"
            raise ExpectationFailed(f"no record of an invalid message was recognised ({what}); {seen}") from None
        record = found[0]
        named = ", ".join(f"{name}={record[name]}" for name in ("code", "reason") if record.get(name) is not None)
        if not named:
            raise ExpectationFailed(f"the record of an invalid message has no code and no reason: {record}")
        return f"an invalid message is recognised: {named}"

    def _dead_letters(self) -> str:
        if self.target.redis.keys.dead_letters is None:
            raise Undeclared("redis.keys.dead_letters is null")
        mark = self.client.mark_dead_letters()
        self.client.send([raw(BROKEN)])
        found = waits.dead_letter_should_exist(self.client, DeadLetterFilter(), mark, self.target.timeouts.answer)
        return f"an invalid message is on '{self.target.redis.keys.dead_letters}' with code {found.code}"

    def _metrics(self) -> str:
        if self.target.http.metrics is None:
            raise Undeclared("http.metrics is null")
        return f"{len(self.server.metrics())} samples at {self.target.http.metrics}"

    def _processor_inspection(self) -> str:
        if self.target.http.processor is None:
            raise Undeclared("http.processor is null")
        return f"{self.target.http.processor} has {', '.join(self.server.inspection())}"

    def _correlation_inspection(self) -> str:
        if self.target.http.correlations is None:
            raise Undeclared("http.correlations is null")
        seen = inspect_correlations(self.server.url, self.target)
        return f"{seen.pending} pending at {self.target.http.correlations}, counters {', '.join(seen.totals)}"

    def _commands(self) -> str:
        requests = self.target.commands.requests
        if not requests:
            raise Undeclared("commands.requests is empty")
        unknown = self._reason_of_an_unknown_path()
        client = CommandClient(self.server.url, self.target, run=self._ids.token)
        told = []
        try:
            for action in self._spoken(requests):
                command = client.make(action, self._ids.charge_point(), timeout=1, fields=client.usual_fields(action))
                client.collect(client.start([command]), timeout=10)
                self._judge_command(command, unknown)
                told.append(f"{action} {command.status}")
        finally:
            client.close()
        return f"asked for charge points that are not there: {', '.join(told)}"

    def _spoken(self, requests: Mapping[str, CommandRequest]) -> list[str]:
        """The requests that are commands of the OCPP version, with fields of it; a profile may have some of others."""
        spoken = [action for action, request in requests.items() if self._is_spoken(action, request)]
        if not spoken:
            raise Undeclared(f"commands.requests has none of {self.target.version.name}")
        return spoken

    def _is_spoken(self, action: str, request: CommandRequest) -> bool:
        command = self.target.version.commands.get(action)
        if command is None:
            return False
        named = set(placeholders([request.query, request.body])) - {"charge_point_id", "timeout"}
        return not named or not named.isdisjoint(command.fields)

    def _answered_command(self) -> str:
        """A command to a charge point of the check's simulated gateway, which answers immediately."""
        requests, session = self.target.commands.requests, self.target.announcement.session
        if not requests:
            raise Undeclared("commands.requests is empty")
        if not session:
            raise Undeclared("announcement.session is empty: the check cannot stand in for a gateway")
        # An answer with a mark is known for its own.
        spoken = self._spoken(requests)
        action = next((name for name in spoken if requests[name].mark), spoken[0])
        point = self._ids.charge_point()
        self.client.adopt([point])
        client = CommandClient(self.server.url, self.target, run=self._ids.token)
        stand_in = GatewayStandIn(self._url, self.target)
        try:
            stand_in.announce([point], answering=Answering.AT_ONCE)
            limit = self.target.timeouts.answer
            command = client.make(action, point, timeout=limit, fields=client.usual_fields(action))
            client.collect(client.start([command]), timeout=2 * limit + ANSWERED)
            received = [each for each in stand_in.received if each.charge_point == point]
        finally:
            client.close()
            stand_in.close()
        if not command.own_answer:
            where = self.target.key("responses", charge_point_id=point)
            came = f"it arrived on '{where}' and was answered" if received else f"nothing arrived on '{where}'"
            raise ExpectationFailed(
                f"{command}: {came}; the session was announced at '{self.target.key('session', charge_point_id=point)}'"
            )
        return f"{action} {command.status} {in_words(command.seconds or 0)} after it was sent, with its own answer"

    def _reason_of_an_unknown_path(self) -> str:
        with contextlib.suppress(ExpectationFailed):
            document = self.server.get("/no/such/path/as/this").json()
            return str(document.get(self.target.commands.message) or "") if isinstance(document, dict) else ""
        return ""

    def _judge_command(self, command: Command, unknown: str) -> None:
        where = f"{command.action}: {command.method} {command.path}"
        if command.status is None:
            raise ExpectationFailed(f"{where}: {command.problem}")
        if command.status == 405 or (command.status == 404 and command.reason in {"", unknown}):
            raise ExpectationFailed(f"{where} is answered {command.status}, as a path that does not exist")
        if command.status in {400, 422}:
            raise ExpectationFailed(f"{where} is refused with {command.status}: {command.reason}")
        if command.success is not False and command.status < 300:
            raise ExpectationFailed(f"{where} is answered {command.status} for a charge point that is not there")

    def _gateway(self) -> str:
        if self.target.gateway.path is None:
            raise Undeclared("gateway.path is null")
        point = ChargePoint(self._ids.charge_point(), Gateway(self.server.gateway_url, self.target))
        self.client.adopt([point.id])
        limit = self.target.timeouts.answer

        async def boot() -> str:
            await point.connect(limit=limit)
            try:
                answer = await point.call(
                    "BootNotification", self.target.version.sample("BootNotification"), limit=limit
                )
                return str(answer.payload)
            finally:
                await point.disconnect()

        answer = background.run(boot, timeout=3 * limit)
        return f"{point.gateway.url_of(point.id)}: a BootNotification is answered {answer[:80]}"

    def _outage(self) -> str:
        """Check the health of the system while its Redis is down, and its recovery afterwards."""
        http, service, ready = self.target.http, self._service, self.target.timeouts.ready
        if http.health is None:
            raise Undeclared("http.health is null")
        if service is None:
            raise Undeclared("a given Redis is left unchanged")
        service.stop(START_REDIS)
        try:
            noticed = self.server.wait_for_health(Health.DEGRADED, min(NOTICED, ready))
        except ServiceError as error:
            raise Untried(f"it exited when Redis stopped, which the suites judge: {error}") from None
        except WaitTimeout:
            with contextlib.suppress(ResilienceError, ValueError):
                reply = self.server.get(http.health)
                document = reply.json()
                said = http_client.pick(document, http.health_field) if isinstance(document, dict) else None
                self._said_without_redis = (
                    reply.status,
                    said if isinstance(said, str) and said != http.healthy else None,
                )
            raise
        finally:
            service.start(START_REDIS)
            if not self.server.process.alive:
                self.server.start()
        back = self.server.wait_for_health(Health.HEALTHY, ready)
        self._answered("Heartbeat", self._ids.charge_point())
        return (
            f"it says {http.degraded!r} {in_words(noticed)} after Redis has stopped, and {http.healthy!r} "
            f"{in_words(back)} after it is back; messages are answered again"
        )

    def _stop(self) -> str:
        if self.target.running is not None:
            raise Undeclared("a running system is left unchanged")
        ended = self.server.stop()
        by = self.target.start.stop_signal.value if self.target.start else "SIGTERM"
        return f"ended {in_words(ended.took)} after {by} with status {ended.status}"

    def _capabilities(self, findings: dict[str, Finding]) -> Finding:
        """Compare the declared capabilities with the observed ones."""
        shown_by = {
            Capability.QUEUE: "queue",
            Capability.HEALTH: "health",
            Capability.METRICS: "metrics",
            Capability.LOG_RECORDS: "log",
            Capability.DEAD_LETTERS: "dead letters",
            Capability.PROCESSOR_INSPECTION: "processor inspection",
            Capability.CORRELATION_INSPECTION: "correlation inspection",
            Capability.COMMANDS: "commands",
            Capability.GATEWAY: "gateway",
            Capability.STATE: "state",
        }
        if self.target.queue.kind is QueueKind.NONE:
            # What it says of messages was found over WebSockets.
            del shown_by[Capability.QUEUE]
        declared = self.target.capabilities
        wrong = [each.value for each in declared if each in shown_by and not _works(findings[shown_by[each]])]
        unused = [each.value for each, part in shown_by.items() if each not in declared and _works(findings[part])]
        untried = [each.value for each in declared if each not in shown_by]
        better = [each.value for each in declared if each.value not in wrong] + unused
        draft: Draft = {"capabilities": better} if wrong or unused else {}
        if wrong:
            sentence = f"declared, and does not work: {', '.join(wrong)}"
            return Finding("capabilities", Verdict.FAILS, sentence, draft)
        texts = [f"{len(declared) - len(untried)} declared work"]
        if untried:
            texts.append(f"only the suites try {', '.join(untried)}")
        if unused:
            texts.append(f"works but is not declared, so its tests are skipped: {', '.join(unused)}")
        return Finding("capabilities", Verdict.WORKS, "; ".join(texts), draft)


def _works(finding: Finding) -> bool:
    return finding.verdict is Verdict.WORKS


def _one_line(text: str) -> str:
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())


def check(target: Target, redis_url: str | None = None, only: Collection[str] = ()) -> Iterator[Finding]:
    """Try every part of a profile.

    Args:
        target: the profile.
        redis_url: the Redis to use; a private one if not given, or that of a system that runs already.
        only: the parts to try, besides those that everything needs; all if not given.

    Raises:
        UsageError: the Redis is not that of a system that runs already, or there is no such part.
    """
    if unknown := sorted(set(only) - set(PARTS)):
        raise UsageError(
            f"There is no part '{unknown[0]}' (allowed: {', '.join(PARTS)}){did_you_mean(unknown[0], PARTS)}"
        )
    if redis_url is not None and urlsplit(redis_url).scheme not in REDIS_SCHEMES:
        raise UsageError(f"'{shown_url(redis_url)}' is not a Redis URL; allowed is redis://host:port/db.")
    if target.running is not None and redis_url not in {None, target.running.redis_url}:
        raise UsageError(f"Target '{target.name}' is already running; its Redis is {target.running.redis_url}.")
    return Checker(target, redis_url, only).run()


__all__ = ["Finding", "ServiceError", "Verdict", "check"]
