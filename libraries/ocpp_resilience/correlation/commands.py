"""Commands through the HTTP API of a system under test, one or a thousand at the same time."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, overload
from urllib.parse import quote

import aiohttp

from ocpp_resilience import background
from ocpp_resilience.errors import LacksCapability, UsageError
from ocpp_resilience.http_client import pick, shorten
from ocpp_resilience.profile import CommandRequest, Target, fill_template
from ocpp_resilience.profile.sections import Accepted
from ocpp_resilience.profile.templates import placeholders
from ocpp_resilience.text import counted, did_you_mean
from ocpp_resilience.waiting import in_words, wait_until

MOST_CONNECTING = 100
"""Connections that are made at the same moment: more than fit into a server's backlog would be tried again late."""

LOOKS_PER_SECOND = 200
"""So often results are asked for by all commands together, where the system only accepts a command at first."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two such looks of a command."""

MARGIN_SECONDS = 15.0
"""Seconds that the client waits beyond a command's own timeout before it gives up."""


TIMED_OUT = 408
REFUSED = 400
"""The status of a command that the system cannot use as it is."""
OF_EVERY_COMMAND = ("charge_point_id", "timeout")
"""What keywords fill in for every command; not fields of it."""


@dataclass(eq=False, kw_only=True)
class Command:
    """One command and its outcome.

    Attributes:
        charge_point: the recipient.
        action: the OCPP action.
        mark: the text that identifies its answer; `None` if the action has no field for one.
        timeout: how long the system was asked to wait for the answer, in seconds; `None` leaves it to the system.
        method: the HTTP method.
        path: the HTTP path.
        query: the parameters of the query.
        body: the JSON body.
        echo: where the answer carries the mark.
        status: the HTTP status; `None` while there is none.
        success: the field `success` of the response.
        reason: why it failed, in the system's words.
        data: the charge point's answer.
        problem: why there was no HTTP answer.
        connected: whether the system could be asked at all.
        seconds: from sending until the caller had the answer.
        done: whether the caller has a response.
    """

    charge_point: str
    action: str
    mark: str | None
    timeout: float | None
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    echo: str | None = None
    status: int | None = None
    reason: str = ""
    success: bool | None = None
    data: Any = None
    problem: str | None = None
    connected: bool = True
    seconds: float | None = None
    done: bool = False
    sent_at: float | None = None

    @property
    def answered(self) -> bool:
        """Whether the caller got an answer of the charge point: a 200."""
        return self.status == 200

    @property
    def own_answer(self) -> bool:
        """Whether that answer is the one to this very command; without a mark, whether there is one at all."""
        if not self.answered:
            return False
        if self.mark is None or self.echo is None:
            return True
        echoed = pick(self.data, self.echo)
        return echoed == self.mark or (isinstance(echoed, list) and echoed == [self.mark])

    def certainly_not_sent(self, target: Target) -> bool:
        """Whether the caller can be sure that the charge point has not got it and never will."""
        if not self.connected:
            return True
        if self.status is None or self.answered:
            return False
        wrong = 400 <= self.status < 500 and self.status != TIMED_OUT
        return wrong or any(text in self.reason for text in target.commands.not_sent)

    def __str__(self) -> str:
        outcome = self.problem or (f"{self.status} {self.reason}".strip() if self.done else "no answer yet")
        return f"{self.action} to {self.charge_point} ({self.mark or 'no mark'}): {outcome}"


class Commands:
    """Commands that were sent together.

    Attributes:
        future: the sending, while it lasts.
    """

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands = list(commands)
        self.future: Future[None] | None = None

    @overload
    def __getitem__(self, index: int) -> Command: ...
    @overload
    def __getitem__(self, index: slice) -> Commands: ...
    def __getitem__(self, index: int | slice) -> Command | Commands:
        return Commands(self._commands[index]) if isinstance(index, slice) else self._commands[index]

    def __len__(self) -> int:
        return len(self._commands)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands)

    @property
    def count(self) -> int:
        """Number of commands."""
        return len(self._commands)

    @property
    def done(self) -> int:
        """Number of callers with a response."""
        return sum(each.done for each in self._commands)

    @property
    def waiting(self) -> int:
        """Number of callers without a response."""
        return self.count - self.done

    @property
    def answered(self) -> int:
        """Number of commands that a charge point's answer ended."""
        return sum(each.answered for each in self._commands)

    @property
    def own_answers(self) -> int:
        """Number of callers that got the answer to their own command."""
        return sum(each.own_answer for each in self._commands)

    @property
    def mixed_up(self) -> int:
        """Number of callers that got the answer to another command."""
        return self.answered - self.own_answers

    @property
    def percent_answered(self) -> float:
        """Percentage of callers that got their own answer."""
        return 100 * self.own_answers / self.count if self.count else 100.0

    @property
    def statuses(self) -> dict[int | None, int]:
        """HTTP status to how many got it; `None` for those without an answer."""
        return dict(Counter(each.status for each in self._commands))

    @property
    def slowest(self) -> float:
        """The seconds of the one that took longest."""
        return max((each.seconds for each in self._commands if each.seconds is not None), default=0.0)

    @property
    def quickest(self) -> float:
        """The seconds until the first caller had its outcome."""
        return min((each.seconds for each in self._commands if each.seconds is not None), default=0.0)

    @property
    def charge_points(self) -> list[str]:
        """The charge points that the commands are for, each once, in order."""
        return list(dict.fromkeys(each.charge_point for each in self._commands))

    @property
    def summary(self) -> str:
        """One line: the number of commands by outcome, and an example that did not get its own answer."""
        told = ", ".join(
            f"{count} x {f'HTTP {status}' if status else 'no answer'}"
            for status, count in sorted(self.statuses.items(), key=lambda entry: entry[0] or 0)
        )
        text = (
            f"{counted(self.count, 'command')}: {self.own_answers} with their own answer, "
            f"{self.mixed_up} mixed up ({told})"
        )
        if odd := next((each for each in self._commands if not each.own_answer), None):
            text += f"; for example {odd}"
        return text

    def __str__(self) -> str:
        return self.summary


@dataclass(frozen=True)
class NotJson:
    """A body that is no JSON.

    Attributes:
        body: as it came.
    """

    body: bytes


class CommandClient:
    """Sends commands to one system under test; its connections live on the background loop.

    Args:
        url: the base of the HTTP API, without a slash at the end.
        target: the format of the requests.
        token: the API token; empty for none.
        run: a text that no other run uses; marks begin with it.
    """

    def __init__(self, url: str, target: Target, *, token: str = "", run: str = "run") -> None:
        self.url = url.rstrip("/")
        self.target = target
        self.token = token
        self._run = run
        self._made = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None
        self._running: list[Commands] = []
        self._looking = 0
        self._turns: dict[str, asyncio.Semaphore] = {}

    def make(
        self,
        action: str,
        charge_point: str,
        *,
        timeout: float | None = None,
        fields: Mapping[str, Any] | None = None,
        mark: str | None = None,
    ) -> Command:
        """Make a command, with a mark of its own if the action has room for one and none was given.

        A command that the OCPP version calls otherwise than OCPP 1.6 may have its name of 1.6: GetConfiguration is sent
        as GetVariables in OCPP 2.0.1. Its fields are those of the version.

        Args:
            action: the OCPP action.
            charge_point: the recipient.
            timeout: how long the system is to wait for the answer, in seconds; `None` leaves it to the system.
            fields: the fields of the command.
            mark: the text that tells its answer from others; one of its own if not given.

        Raises:
            LacksCapability: the target has no such command; the test is skipped.
            UsageError: the OCPP version has no such command, or the profile no such field of it.
        """
        action = self.target.version.named(action)
        request = self._request(action)
        values: dict[str, Any] = dict(fields or {})
        known = self.fields(action)
        if unknown := next((each for each in values if each not in known), None):
            raise UsageError(
                f"{action} has no field '{unknown}' in the profile of target '{self.target.name}'"
                f"{did_you_mean(unknown, known)} Allowed: {', '.join(known) or 'none'} (commands.requests.{action} in "
                f"{self.target.source})."
            )
        if request.mark is None:
            mark = None
        else:
            name, _, path = request.mark.partition(".")
            if name in values:
                mark = str(pick(values, request.mark))
            else:
                mark = mark or f"{self._run}-{next(self._made)}"
                values[name] = self._marked(action, name, path, mark) if path else mark
        values["charge_point_id"] = charge_point
        if self.target.commands.timeout is not None:
            timeout = self.target.commands.timeout
        elif timeout is not None:
            values["timeout"] = int(timeout) if float(timeout).is_integer() else timeout
        path = fill_template(request.path, {**values, "charge_point_id": quote(charge_point, safe="")})
        query = fill_template(request.query, values)
        return Command(
            charge_point=charge_point,
            action=action,
            mark=mark,
            timeout=timeout,
            method=request.method,
            path=path,
            query={name: str(value) for name, value in query.items()},
            body=fill_template(request.body, values),
            echo=request.echo,
        )

    def fields(self, action: str) -> list[str]:
        """The fields of a command that the profile has a place for."""
        request = self._request(action)
        names = placeholders([request.path, request.query, request.body])
        return [each for each in names if each not in OF_EVERY_COMMAND]

    def usual_fields(self, action: str) -> dict[str, Any]:
        """Valid fields of a command, as its OCPP version has them, those that the profile has a place for."""
        known = self.target.version.commands
        given = known[action].fields if action in known else {}
        mark = self._request(action).mark
        # The field that tells answers apart gets a text of its own.
        return {
            name: value
            for name, value in given.items()
            if name in self.fields(action) and (name != mark or isinstance(value, str))
        }

    def _marked(self, action: str, name: str, path: str, mark: str) -> Any:
        """The field `name` of a valid command, with a mark at `path` in it."""
        value = copy.deepcopy(self.target.version.commands[action].fields[name])
        *steps, last = path.split(".")
        holder = pick(value, ".".join(steps)) if steps else value
        holder[int(last) if isinstance(holder, list) else last] = mark
        return value

    def _request(self, action: str) -> CommandRequest:
        requests = self.target.commands.requests
        if action not in requests:
            known = self.target.version
            from_charge_points = {*known.samples} - {*known.commands}
            kind = LacksCapability if action in {*known.schemas.actions} - from_charge_points else UsageError
            raise kind(
                f"Target '{self.target.name}' has no command '{action}' (allowed: {', '.join(requests) or 'none'}; "
                f"commands.requests in {self.target.source})."
            )
        return requests[action]

    def start(self, commands: Iterable[Command]) -> Commands:
        """Send commands at the same time without waiting; each records its own outcome."""
        batch = Commands(commands)
        batch.future = background.start(self._send_all, batch)
        self._running = [*self.running, batch]
        return batch

    def collect(self, batch: Commands, *, timeout: float) -> Commands:
        """Wait until every caller of `batch` has an outcome.

        Raises:
            WaitTimeout: some were not; the message names it.
        """

        def failure() -> str:
            one = batch.count == 1
            who = "The caller has" if one else f"{batch.waiting} of {batch.count} callers have"
            return f"{who} no outcome; {batch[0] if one else batch.summary}"

        wait_until(
            lambda: True if batch.waiting == 0 else None,
            timeout=timeout,
            failure=failure,
            longest_pause=0.02,
        )
        return batch

    async def _send_all(self, batch: Commands) -> None:
        if self._session is None:
            self._session = self.session(_Connector(limit=0, keepalive_timeout=1))
        session = self._session
        try:
            async with asyncio.TaskGroup() as tasks:
                for command in batch:
                    tasks.create_task(self._send_in_turn(session, command))
        finally:
            for command in batch:
                if not command.done:
                    command.problem, command.done = "the caller went away", True

    async def _send_in_turn(self, session: aiohttp.ClientSession, command: Command) -> None:
        """Send a command as soon as its charge point may receive another one (`commands.at_once`)."""
        most = self.target.commands.at_once
        if most is None:
            await self.send(session, command)
            return
        async with self._turns.setdefault(command.charge_point, asyncio.Semaphore(most)):
            await self.send(session, command)

    def session(self, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
        """An HTTP session over this connector, with the token; the caller closes it."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        # Settings in the environment of the test run (a proxy) are ignored.
        session = aiohttp.ClientSession(connector=connector, headers=headers, trust_env=False)
        # Otherwise a GET is repeated after a broken connection, and the charge point would get two commands. aiohttp
        # has no public setting for that.
        session._retry_connection = False  # noqa: SLF001
        return session

    async def send(self, session: aiohttp.ClientSession, command: Command) -> None:
        """Send a command over a session and wait until its caller has an outcome; an error is an outcome, too."""
        limit = self.target.commands.waits(command.timeout) + MARGIN_SECONDS
        began = command.sent_at = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                status, document = await self._ask(session, command.method, command.path, command.query, command.body)
                self._take(command, status, document)
                accepted = self.target.commands.accepted
                if accepted is not None and status == accepted.status:
                    await self._look_for_result(session, command, document, accepted)
        except TimeoutError:
            command.status = None
            command.problem = f"no HTTP answer within {in_words(limit)}"
            if self.target.commands.accepted is not None:
                command.problem = f"no result within {in_words(limit)}{f'; {command.reason}' if command.reason else ''}"
        except (aiohttp.ClientError, OSError) as error:
            command.status = None
            command.connected = not isinstance(error, aiohttp.ClientConnectorError)
            command.problem = f"no HTTP answer: {error or type(error).__name__}"
        command.seconds = time.monotonic() - began
        command.done = True

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, path: str, query: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        async with session.request(
            method,
            self.url + path,
            params=query or None,
            json=body,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as reply:
            text = await reply.read()
        try:
            return reply.status, json.loads(text)
        except ValueError:
            return reply.status, NotJson(text)

    def _take(self, command: Command, status: int, document: Any) -> None:
        names = self.target.commands
        command.status = status
        if isinstance(document, NotJson):
            command.reason = f"the body is not JSON: {shorten(document.body)}"
        elif isinstance(document, dict):
            command.success = document.get("success")
            command.reason = str(pick(document, names.message) or "")
            command.data = pick(document, names.data)

    async def _look_for_result(
        self, session: aiohttp.ClientSession, command: Command, document: Any, accepted: Accepted
    ) -> None:
        """Ask for the result of an accepted command until it is over."""
        command_id = pick(document, accepted.id) if isinstance(document, dict) else None
        if command_id is None:
            command.reason = f"the answer has no '{accepted.id}' (commands.accepted.id): {document}"
            return
        path = fill_template(accepted.path, {"command_id": quote(str(command_id), safe="")})
        # Nobody was told anything yet: an answer to the command itself is none of the charge point.
        command.status, command.data = None, None
        self._looking += 1
        try:
            while True:
                await asyncio.sleep(min(max(SHORTEST_PAUSE, self._looking / LOOKS_PER_SECOND), LONGEST_PAUSE))
                status, result = await self._ask(session, "GET", path, {}, None)
                if status >= 400 or not isinstance(result, dict):
                    command.status, command.reason = status, f"GET {path} gives no result: {result}"
                    return
                state = str(pick(result, accepted.state))
                command.reason = str(pick(result, accepted.message) or "")
                if state in accepted.pending:
                    continue
                if state not in accepted.statuses:
                    known = ", ".join((*accepted.pending, *accepted.statuses))
                    command.problem = f"the result has the unknown state '{state}' (commands.accepted has: {known})"
                    return
                command.status = accepted.statuses[state]
                command.data = pick(result, accepted.data)
                return
        finally:
            self._looking -= 1

    @property
    def running(self) -> list[Commands]:
        """Commands that were started together, with waiting callers."""
        return [each for each in self._running if each.waiting]

    def abandon(self, batch: Commands) -> None:
        """Let the callers of `batch` go away: their connections are closed.

        Raises:
            UsageError: it was not started here.
        """
        if batch.future is None:
            raise UsageError("Only commands of one `Start Commands` can be abandoned together.")
        batch.future.cancel()
        self.collect(batch, timeout=5)

    def close(self) -> None:
        """Cancel waiting commands and close the connections."""
        for batch in self._running:
            if batch.future is not None and not batch.future.done():
                batch.future.cancel()
        background.run(self._close, timeout=10)

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Connector(aiohttp.TCPConnector):
    """Makes no more than `MOST_CONNECTING` connections at the same moment."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._connecting = asyncio.Semaphore(MOST_CONNECTING)

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        async with self._connecting:
            return await super()._create_connection(*args, **options)
