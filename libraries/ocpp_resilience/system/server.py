"""A server under test as a child process: started as its target profile says, seen through HTTP and its log."""

from __future__ import annotations

import enum
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from ocpp_resilience import http_client
from ocpp_resilience.errors import (
    ExpectationFailed,
    LacksCapability,
    NotPossibleHere,
    ServiceError,
    UsageError,
    WaitTimeout,
)
from ocpp_resilience.guardian import run_guarded
from ocpp_resilience.http_client import Reply
from ocpp_resilience.ports import HOST, free_port, wait_until_refused
from ocpp_resilience.processes import ChildProcess, Exit
from ocpp_resilience.profile import CommandRequest, SettingValue, Stream, Target, fill_template
from ocpp_resilience.profile.sections import PORTS, Running
from ocpp_resilience.profile.templates import fill
from ocpp_resilience.redis.connection import CA_VARIABLE
from ocpp_resilience.redis.services import of_the_system
from ocpp_resilience.robot.variables import chosen_for_the_run
from ocpp_resilience.system.companions import Companions
from ocpp_resilience.system.container_process import ContainerProcess
from ocpp_resilience.system.log_records import LogRecords
from ocpp_resilience.system.metrics import Sample, parse_metrics
from ocpp_resilience.system.running_system import RunningSystem
from ocpp_resilience.waiting import seconds, wait_until

T = TypeVar("T")

QUOTED = 300
"""Characters of a health document in a message."""


REFUSED = 400
"""HTTP statuses from here on are refusals."""


class Health(enum.Enum):
    """States that a server reports: at work, or alive without Redis."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"


class OcppServer:
    """A server under test; after a restart its log continues.

    Args:
        alias: the name that the test gave it.
        target: its profile, which describes how it is started.
    """

    def __init__(self, alias: str, target: Target) -> None:
        self.alias = alias
        self.target = target
        self.name = f"Server '{alias}'"
        self.process = _process_of(self.name, target)
        log = target.log
        self.records = LogRecords(
            self.process.stdout if log.stream is Stream.STDOUT else self.process.stderr,
            fields=msgspec.structs.asdict(log.fields),
            events=msgspec.structs.asdict(log.events),
            patterns=[(record.event, record.pattern) for record in log.records],
        )
        self.companions = Companions(self.name, target)
        self._redis_url = ""
        self._settings: dict[str, SettingValue] = {}
        self._environment: dict[str, str] = {}
        self._host = HOST
        self._http_port: int | None = None
        self._ws_port: int | None = None
        self._given_ports: dict[str, int] = {}
        self._start_time: float | None = None
        self._ended_on_purpose = True
        self._earlier_crashes = 0
        self._crashes_before = 0

    def configure(self, redis_url: str, settings: Mapping[str, SettingValue]) -> None:
        """Set the Redis URL and additional environment variables of the next start."""
        if self.target.running is not None:
            self._check_use(self.target.running, redis_url, settings)
        self._redis_url = redis_url
        self._settings = self._authority_of(redis_url) | dict(settings)

    def _authority_of(self, redis_url: str) -> dict[str, SettingValue]:
        """What the server needs to check the certificate of its Redis as the tests do: the run's `REDIS_CA`."""
        authority = chosen_for_the_run(CA_VARIABLE) if redis_url.startswith("rediss") else None
        if authority is None:
            return {}
        return {name: fill(text, {"authority": authority}) for name, text in self.target.security.redis_tls.items()}

    @property
    def redis_url(self) -> str:
        """The Redis that it was last configured for."""
        return self._redis_url

    def start(self, timeout: timedelta | float | None = None) -> float:
        """Start it and wait until it reports its ports; returns the seconds that this took.

        Args:
            timeout: the longest wait; the profile's if not given.

        Raises:
            ServiceError: it cannot be started, or ended while starting.
            WaitTimeout: it did not listen in time; it was killed then.
        """
        self._crashes_before = self.crashes_in_all
        self._earlier_crashes = self.crashes
        self._http_port = self._ws_port = self._start_time = None
        self._ended_on_purpose = False
        began = time.monotonic()
        if isinstance(self.process, RunningSystem):
            self._find_running(self.process)
            self._start_time = time.monotonic() - began
            return self._start_time
        values = self._placeholders()
        # A container starts from the variables of its image.
        inherited = {} if isinstance(self.process, ContainerProcess) else os.environ
        self._environment = self.target.start_environment(values, self._settings, inherited)
        since = self.records.position()
        limit = self.target.timeouts.start if timeout is None else seconds(timeout)
        self.companions.start(values, self._environment, limit)
        self.process.start(
            self.target.start_command(values),
            environment=self._environment,
            working_directory=self.target.start_directory(values),
        )
        try:
            wait_until(
                lambda: self._listens(since, values),
                timeout=limit,
                failure=lambda: f"{self.name} did not say that it listens",
                longest_pause=0.01,
            )
        except WaitTimeout as late:
            self.process.kill()
            message = f"{late} and was killed.\n{self.process.output_tail()}"
            raise WaitTimeout(message, waited=late.waited, last_seen=late.last_seen) from None
        except BaseException:  # a test timeout is one
            if self.process.alive:
                self.process.kill()
            raise
        self._start_time = time.monotonic() - began
        return self._start_time

    def _check_use(self, running: Running, redis_url: str, settings: Mapping[str, SettingValue]) -> None:
        if settings:
            raise NotPossibleHere(
                f"Target '{self.target.name}' is already running and cannot be given settings: "
                f"{', '.join(sorted(settings))}."
            )
        if _address(redis_url) != _address(running.redis_url):
            raise UsageError(
                f"Target '{self.target.name}' is already running with {running.redis_url}, not {redis_url}. "
                f"Use the same Redis for the suites: --variable REDIS:external with REDIS_URL={running.redis_url}"
            )

    def _find_running(self, system: RunningSystem) -> None:
        """See that it is where the profile says.

        Raises:
            ServiceError: its HTTP port takes no connection.
        """
        system.started = True
        if not system.alive:
            system.started = False
            raise ServiceError(f"{self.name} does not run: nothing listens at {system.http.geturl()}.")
        if system.http.hostname:
            self._host, self._http_port = system.http.hostname, system.http_port

    @property
    def measured(self) -> ChildProcess:
        """The process for measurements of memory and processor time.

        Raises:
            NotPossibleHere: it is not a child of the test run.
        """
        if isinstance(self.process, (ContainerProcess, RunningSystem)):
            how = "in a container" if isinstance(self.process, ContainerProcess) else "already"
            raise NotPossibleHere(f"{self.name} runs {how}: its memory and processor time are not measured.")
        return self.process

    def _placeholders(self) -> dict[str, str | int]:
        host, port = _address(self._redis_url)
        values: dict[str, str | int] = {
            "alias": self.alias,
            "redis_url": of_the_system(self._redis_url),
            "redis_host": host,
            "redis_port": port,
        }
        for name in PORTS:
            if self.target.uses_placeholder(name):
                # The same ports at each start, so that charge points can reconnect.
                values[name] = self._given_ports.setdefault(name, free_port())
        return values

    def _listens(self, since: int, values: Mapping[str, str | int]) -> bool | None:
        ready = self.target.ready
        given = {name: int(values[name]) for name in ("http_port", "ws_port") if name in values}
        if ready.record is None:
            self._http_port = given.get("http_port")
            self._ws_port = self._gateway_port(None, given)
            try:
                if ready.log is not None and not self.process.wrote(ready.log, stream=self._log_file):
                    raise ServiceError(f"{self.name} has not written '{ready.log}'.")
                if ready.port is not None:
                    port = int(fill(str(ready.port), values))
                    socket.create_connection((HOST, port), timeout=self.target.timeouts.http).close()
                elif ready.path is not None:
                    if self.get(ready.path, timeout=self.target.timeouts.http).status >= REFUSED:
                        return None
                elif self._http_port is None and "ws_port" not in given:
                    pass
                elif self._http_port is None:
                    socket.create_connection((HOST, given["ws_port"]), timeout=self.target.timeouts.http).close()
                else:
                    self.get(self.target.http.health or "/", timeout=self.target.timeouts.http)
            except (ServiceError, OSError):
                self._fail_if_exited("while starting")
                return None
            return True
        found = self.records.matching({"event": self._event(ready.record)}, since=since)
        if not found:
            self._fail_if_exited("while starting")
            return None
        self._http_port = self._port(found[0], ready.http_port) or given.get("http_port")
        self._ws_port = self._gateway_port(self._port(found[0], ready.ws_port), given)
        return True

    @property
    def _log_file(self) -> Path:
        return self.process.stdout if self.target.log.stream is Stream.STDOUT else self.process.stderr

    def _gateway_port(self, said: int | None, given: Mapping[str, int]) -> int | None:
        """The address of the gateway: the reported one, the given port, or the address of the HTTP API.

        A JSON record without such a port means that there is no gateway.
        """
        port = said or given.get("ws_port")
        could_say = self.target.ready.record is not None and self.target.log.format == "json"
        return self._http_port if port is None and self.target.gateway.path is not None and not could_say else port

    def _event(self, theirs: str) -> str:
        """The name that the records use for an event which the profile gives in the system's own words."""
        events: dict[str, str] = msgspec.structs.asdict(self.target.log.events)
        return next((ours for ours, name in events.items() if name == theirs), theirs)

    def _port(self, record: dict[str, Any], field: str) -> int | None:
        port = record.get(field)
        if port is None:
            return None
        if not isinstance(port, int) or not 0 < port <= 65535:
            raise ServiceError(f"{self.name} reported {field}={port!r} when ready, which is not a port.")
        return port

    def _fail_if_exited(self, when: str = "") -> None:
        if not self.process.alive:
            raise ServiceError(self.exited(when))

    def exited(self, when: str = "", *, seen: str = "") -> str:
        """A message that it exited, with the end of its output; `seen` is the earlier observation."""
        if self.process.alive and (companion := self.companions.ended) is not None:
            return f"{companion.name} exited with status {companion.exit_status}.\n{companion.output_tail()}"
        what = f"{self.name} exited with status {self.process.exit_status} {when}".rstrip()
        # The line alone has to state the problem.
        # A program that was killed on purpose could not say anything about it.
        killed = self._ended_on_purpose and self.process.exit_status == -signal.SIGKILL
        last = "" if killed else self.process.last_words()
        said = f" Its last words: {last}." if last else ""
        noticed = f" {seen.splitlines()[0]}" if seen.strip() else ""
        return f"{what}.{said}{noticed}\n{self.process.output_tail()}"

    def ended_by_itself(self, seen: str = "") -> str:
        """A description of its unexpected exit; empty if it has not exited."""
        return self.exited(seen=seen) if self._has_crashed else ""

    @property
    def has_http(self) -> bool:
        """Whether the address of its HTTP API is known."""
        return self._http_port is not None

    @property
    def http_port(self) -> int:
        """The address of its HTTP API.

        Raises:
            ServiceError: it has none, or has not reported it.
        """
        if self._http_port is None:
            raise ServiceError(f"{self.name} has not reported the port of its HTTP API.")
        return self._http_port

    @property
    def url(self) -> str:
        """The base of its HTTP API, without a slash at the end."""
        return f"http://{self._host}:{self.http_port}"

    @property
    def ws_port(self) -> int | None:
        """The address of its WebSocket gateway, `None` without a gateway."""
        return self._ws_port

    @property
    def gateway_url(self) -> str:
        """The base of its WebSocket gateway, without a path.

        Raises:
            ServiceError: it has not reported the port of its gateway.
        """
        if isinstance(self.process, RunningSystem) and self.process.gateway_url is not None:
            return self.process.gateway_url.rstrip("/")
        if self._ws_port is None:
            raise ServiceError(f"{self.name} has not reported the port of its WebSocket gateway.")
        return f"ws://{HOST}:{self._ws_port}"

    @property
    def start_time(self) -> float:
        """Seconds from the last start until it listened.

        Raises:
            ServiceError: it does not listen.
        """
        if self._start_time is None:
            raise ServiceError(f"{self.name} has not been started successfully.")
        return self._start_time

    @property
    def crashes(self) -> int:
        """Number of unexpected exits."""
        return self._earlier_crashes + int(self._has_crashed)

    @property
    def crashes_in_all(self) -> int:
        """Number of unexpected exits after the start, forgiven ones included."""
        return self._crashes_before + int(self._has_crashed and self._start_time is not None)

    @property
    def _has_crashed(self) -> bool:
        if self._start_time is not None and self.companions.ended:
            return True
        return self.process.started and not self.process.alive and not self._ended_on_purpose

    def forgive_crashes(self) -> None:
        """Count crashes from 0 again."""
        self._crashes_before = self.crashes_in_all
        self._earlier_crashes = 0
        self._ended_on_purpose = self._ended_on_purpose or not self.process.alive

    def stop(self, timeout: timedelta | float | None = None) -> Exit:
        """End it in order, with the signal that the target wants for that.

        Raises:
            ServiceError: it does not run.
            WaitTimeout: it did not end in time; it was killed then.
        """
        # A process that has ended already ended by itself.
        self._ended_on_purpose = self.process.alive
        start = self.target.start
        if command := self.target.stop_command(self._placeholders() if start else {}):
            return self._stop_by(command, self.target.timeouts.stop if timeout is None else seconds(timeout))
        by = signal.SIGTERM if start is None else signal.Signals[start.stop_signal]
        return self.process.stop(self.target.timeouts.stop if timeout is None else timeout, by=by)

    def _stop_by(self, command: list[str], limit: float) -> Exit:
        began = time.monotonic()
        try:
            done = run_guarded(command, env=self._environment, timeout=limit)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceError(f"{self.name} could not be stopped by {command[0]}: {error}") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise ServiceError(f"{self.name} could not be stopped: {command[0]} exited with {done.returncode}: {said}")
        status = self.process.wait_for_exit(max(began + limit - time.monotonic(), 0.1))
        return Exit(status=status, took=time.monotonic() - began)

    def kill(self) -> Exit:
        """End it with SIGKILL and see that its port is closed."""
        self._ended_on_purpose = self.process.alive
        ended = self.process.kill()
        if self._http_port is not None:
            wait_until_refused(self.name, self._http_port)
        return ended

    def pause(self) -> None:
        """Make it stand still (SIGSTOP)."""
        self.process.pause()

    def resume(self, timeout: timedelta | float) -> None:
        """Let it run on and wait until its HTTP API answers.

        Raises:
            ServiceError: it is not paused.
            WaitTimeout: it does not answer.
        """
        if not self.process.paused:
            raise ServiceError(f"{self.name} is not paused.")
        self.process.resume()
        if self.target.http.health is not None and self._http_port is not None:
            self.wait_for(
                lambda: str(self.get(self._path("health")).status),
                timeout,
                lambda: "does not answer although it was resumed",
            )

    def close(self) -> None:
        """End it and its companions, and remove their logs."""
        try:
            self.process.close()
        finally:
            self.companions.close()

    def get(self, path: str, *, timeout: float | None = None) -> Reply:
        """Send GET to a path of its HTTP API.

        Raises:
            ServiceError: there was no answer; the message says so if it exited.
        """
        limit = self.target.timeouts.http if timeout is None else timeout
        try:
            return http_client.get(self._host, self.http_port, path, timeout=limit, headers=self._headers())
        except ServiceError:
            if self.process.started:
                self._fail_if_exited()
            raise

    def ask(self, request: CommandRequest, values: Mapping[str, Any]) -> Reply:
        """Make a request that the profile describes.

        Args:
            request: its method, path, query and body, with placeholders.
            values: the placeholders' values.

        Raises:
            ServiceError: there was no answer; says so if it exited.
        """
        quoted = {name: quote(str(value), safe="") for name, value in values.items()}
        path = str(fill_template(request.path, quoted))
        if request.query:
            path += f"?{urlencode(fill_template(request.query, values))}"
        body = None if request.body is None else fill_template(request.body, values)
        limit = self.target.timeouts.http
        try:
            return http_client.ask(
                request.method, self._host, self.http_port, path, timeout=limit, headers=self._headers(), body=body
            )
        except ServiceError:
            if self.process.started:
                self._fail_if_exited()
            raise

    def _headers(self) -> dict[str, str]:
        setting = self.target.http.token_setting
        token = self._environment.get(setting, "") if setting else ""
        return {"Authorization": f"Bearer {token}"} if token else {}

    def wait_until_ready(self, timeout: timedelta | float | None = None) -> None:
        """Wait until it says that it is ready for work: by its ready check, else by its health.

        A system that has neither is ready when it listens.

        Args:
            timeout: the longest wait; the profile's if not given.

        Raises:
            WaitTimeout: it did not become ready.
            ServiceError: it exited.
        """
        http = self.target.http
        limit = self.target.timeouts.ready if timeout is None else timeout
        if http.ready is None:
            if http.health is not None:
                self.wait_for_health(Health.HEALTHY, limit)
            return
        path, seen = http.ready, ""

        def probe() -> bool | None:
            nonlocal seen
            reply = self.get(path)
            seen = f", {path} answered {reply.status}: {http_client.shorten(reply.body)}"
            return True if reply.status == 200 else None

        self.wait_for(probe, limit, lambda: f"is not ready for work{seen}")

    def health(self) -> dict[str, Any]:
        """Its health document.

        Raises:
            ExpectationFailed: the answer is something else.
        """
        return self._document("health", self.target.http.degraded_status)

    def health_status(self) -> str:
        """`healthy` or `degraded`; any other status of the system in quotation marks.

        Raises:
            ExpectationFailed: the answer is something else, or has not got the field.
        """
        return self._status_of(self.health())

    def _status_of(self, document: Mapping[str, Any]) -> str:
        http = self.target.http
        if (found := http_client.pick(document, http.health_field)) is None:
            raise ExpectationFailed(f"{http.health} has no '{http.health_field}' (http.health_field): {document}")
        said = str(found)
        return {http.healthy: Health.HEALTHY.value, http.degraded: Health.DEGRADED.value}.get(said, repr(said))

    def inspection(self) -> dict[str, Any]:
        """The status of its processor."""
        document = self._document("processor")
        field = self.target.http.inspection_field
        data = document if field is None else document.get(field)
        if not isinstance(data, dict):
            raise ExpectationFailed(f"The inspection of {self.name} has no object in '{field}': {document}")
        return data

    def metrics(self) -> list[Sample]:
        """The samples of its metrics."""
        reply = self._ok("metrics")
        try:
            return parse_metrics(reply.body.decode("utf-8", "replace"))
        except ValueError as error:
            raise ExpectationFailed(f"GET {reply.url} gives no Prometheus metrics: {error}") from None

    def time_health(self) -> float:
        """The seconds that its health document took.

        Raises:
            ExpectationFailed: the answer was not 200.
        """
        return self._ok("health").took

    def wait_for_health(self, expected: Health, timeout: timedelta | float) -> float:
        """Wait until its health is as expected; returns the seconds that this took."""
        began = time.monotonic()
        seen, document = "", {}

        def probe() -> float | None:
            nonlocal seen, document
            document = self.health()
            seen = self._status_of(document)
            return time.monotonic() - began if seen == expected.value else None

        def failure() -> str:
            if not seen:
                return f"has not become {expected.value}"
            # Why it is degraded is in what it says.
            quoted = f" and says {_quoted(document)}" if seen == Health.DEGRADED.value else ""
            return f"has not become {expected.value}, it is {self.explained(seen)}{quoted}"

        return self.wait_for(probe, timeout, failure)

    def explained(self, said: str) -> str:
        """The result of `health_status`; an unknown status is shown with the profile's words for the known ones."""
        if said in {each.value for each in Health}:
            return said
        http = self.target.http
        return f"{said}: neither http.healthy, {http.healthy!r}, nor http.degraded, {http.degraded!r}"

    def wait_until_well(self, timeout: timedelta | float) -> float:
        """Wait until it is healthy, or ready if it has no health check; returns the seconds."""
        if self.target.http.health is not None:
            return self.wait_for_health(Health.HEALTHY, timeout)
        began = time.monotonic()
        self.wait_until_ready(timeout)
        return time.monotonic() - began

    def wait_for(self, probe: Callable[[], T | None], timeout: timedelta | float, failure: Callable[[], str]) -> T:
        """Wait until `probe` gets an answer from the server that is not `None`; an exit of the server ends the wait.

        Args:
            probe: looks once.
            timeout: the longest wait.
            failure: the missing event, in words that follow the server's name.

        Raises:
            WaitTimeout: it did not happen in time.
            ServiceError: the server exited.
        """
        unanswered = ""

        def attempt() -> T | None:
            nonlocal unanswered
            try:
                found = probe()
            except (ServiceError, ExpectationFailed) as error:
                self._fail_if_exited()
                unanswered = f"; {error}".removesuffix(".")
                return None
            unanswered = ""
            return found

        return wait_until(attempt, timeout=timeout, failure=lambda: f"{self.name} {failure()}{unanswered}")

    def _path(self, name: str) -> str:
        path = getattr(self.target.http, name)
        if path is None:
            raise LacksCapability(
                f"Target '{self.target.name}' has no HTTP path for '{name}' (http in {self.target.source})."
            )
        return str(path)

    def _ok(self, name: str, *others: int) -> Reply:
        reply = self.get(self._path(name))
        allowed = dict.fromkeys((200, *others))
        if reply.status not in allowed:
            raise ExpectationFailed(
                f"GET {reply.url} answered {reply.status} instead of {' or '.join(map(str, allowed))}: "
                f"{http_client.shorten(reply.body)}"
            )
        return reply

    def _document(self, name: str, *others: int) -> dict[str, Any]:
        reply = self._ok(name, *others)
        document = reply.json()
        if not isinstance(document, dict):
            raise ExpectationFailed(f"GET {reply.url} gives no JSON object: {http_client.shorten(reply.body)}")
        return document


def _quoted(document: Mapping[str, Any]) -> str:
    return http_client.shorten(msgspec.json.encode(document), QUOTED)


def _process_of(name: str, target: Target) -> ChildProcess | RunningSystem:
    """The way to run the system, from its profile."""
    if target.running is not None:
        return RunningSystem(name, target.running, target.directory)
    if target.start is not None and target.start.image is not None:
        return ContainerProcess(name, target.start.image)
    return ChildProcess(name)


def _address(redis_url: str) -> tuple[str, int]:
    """Host and port in a Redis URL, of several sentinels the first; `localhost` is 127.0.0.1."""
    parts = urlsplit(redis_url)
    parts = parts._replace(netloc=parts.netloc.partition(",")[0])
    host = parts.hostname or ""
    return HOST if host == "localhost" else host, parts.port or 6379
