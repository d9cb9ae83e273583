"""Shared parts of the server's tests: a server process, messages, the state in Redis, and a relay that cuts."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest.mock import Mock

import prepared
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.redis.services import EmbeddedRedis
from ocpp_resilience.waiting import wait_until
from server.app import App
from server.config import Settings
from server.gateway.session import Session
from server.gateway.websocket import Socket
from server.ocpp.v16.version import V16

T = TypeVar("T")

QUEUE = "ocpp:requests"
START_SECONDS = 60.0
"""The longest that a process may take to start on a machine that is busy with other things."""
SOON = 30.0
"""Timeout in seconds of an event that is bound to come. It is no requirement: a wait ends with its event, and on a
shared machine any process may be stopped for some seconds. Requirements in seconds are measured by the suites."""
PATIENCE = {"REDIS_TIMEOUT": "30s"}
"""Default settings of servers: a Redis that is silent for some seconds is no outage. Tests of an outage by silence
use `QUICK`."""
QUICK = {"REDIS_TIMEOUT": "2s"}
"""The server's default."""
LEASE = 60.0
"""Seconds that a processor in this process keeps the queue, so that only the test can take it away."""
NOW = "2026-01-15T10:30:00Z"


def until(condition: Callable[[], Any], what: str | Callable[[], str], *, timeout: float = SOON) -> Any:
    """Poll `condition` until it is true, and return its value."""
    return wait_until(
        lambda: condition() or None,
        timeout=timeout,
        failure=lambda: what() if callable(what) else what,
        longest_pause=0.02,
    )


# --- messages ---------------------------------------------------------------------------------------------------------


def call(charge_point_id: str, message_id: str, action: str = "Heartbeat", payload: Any = None) -> bytes:
    """A CALL in its envelope."""
    frame = [2, message_id, action, {} if payload is None else payload]
    return json.dumps({"charge_point_id": charge_point_id, "message_id": message_id, "payload": frame}).encode()


def flat(charge_point_id: str, action: str, message_id: str | None = None, **payload: Any) -> bytes:
    """A CALL in the short form."""
    frame = {"action": action, "chargePointId": charge_point_id}
    if message_id is not None:
        frame["messageId"] = message_id
    return json.dumps(frame | payload).encode()


def start_transaction(
    charge_point_id: str, message_id: str, connector: int = 1, meter: int = 0, timestamp: str = NOW
) -> bytes:
    """A start of a transaction, in its envelope."""
    payload = {"connectorId": connector, "idTag": "TAG", "meterStart": meter, "timestamp": timestamp}
    return call(charge_point_id, message_id, "StartTransaction", payload)


def stop_transaction(charge_point_id: str, message_id: str, transaction_id: int, meter: int = 10) -> bytes:
    """A complete StopTransaction."""
    payload = {"transactionId": transaction_id, "meterStop": meter, "timestamp": NOW}
    return call(charge_point_id, message_id, "StopTransaction", payload)


# --- Redis ------------------------------------------------------------------------------------------------------------


def connect(url: str) -> redis.Redis:
    """A client that tries once and gives up at last."""
    return redis.Redis.from_url(
        url, protocol=2, socket_timeout=SOON, socket_connect_timeout=SOON, retry=Retry(NoBackoff(), 0)
    )


def push(client: redis.Redis, messages: Iterable[bytes], queue: str = QUEUE) -> None:
    """Queue messages in their order."""
    waiting = list(messages)
    for start in range(0, len(waiting), 500):
        client.lpush(queue, *waiting[start : start + 500])


def answers(client: redis.Redis, charge_point_id: str) -> list[dict[str, Any]]:
    """The answers to a charge point, oldest first."""
    return [json.loads(raw) for raw in reversed(client.lrange(f"ocpp:responses:{charge_point_id}", 0, -1))]


def answered_ids(client: redis.Redis, charge_point_id: str) -> list[str]:
    """The message ids of a charge point's answers, oldest first."""
    return [answer["message_id"] for answer in answers(client, charge_point_id)]


def dead_letters(client: redis.Redis) -> list[dict[str, Any]]:
    """Oldest first."""
    return [json.loads(raw) for raw in reversed(client.lrange("ocpp:dead-letters", 0, -1))]


def state(client: redis.Redis, key: str) -> Any:
    """The JSON value under `ocpp:{key}`."""
    value = client.get(f"ocpp:{key}")
    return None if value is None else json.loads(value)


def wait_drained(client: redis.Redis, *, timeout: float = 2 * SOON) -> None:
    """Wait until nothing is queued: then everything is answered, since the commit does both."""
    until(lambda: client.llen(QUEUE) == 0, lambda: f"{client.llen(QUEUE)} messages are still queued", timeout=timeout)


# --- the server as a process ------------------------------------------------------------------------------------------


class PreparedChild(ChildProcess):
    """A child process that begins with the server's imports done."""

    def _open(self, command, environment, folder, stdout, stderr):  # type: ignore[no-untyped-def,override]
        return prepared.start(
            command, stdout=stdout, stderr=stderr, cwd=folder, env=environment, start_new_session=True
        )


class ServerProcess:
    """`python -m server` as a child process; it can be started again."""

    def __init__(self, name: str, redis_url: str, **settings: str) -> None:
        self.process = PreparedChild(f"Server '{name}'")
        self.redis_url = redis_url
        self.settings = {"SERVER_ID": name, **PATIENCE, **settings}
        self.http_port = 0
        self.ws_port: int | None = None
        self._offset = 0
        self._records: list[dict[str, Any]] = []

    def launch(self) -> None:
        """Start it and do not wait."""
        self.process.start(
            [sys.executable, "-m", "server"],
            environment={
                **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
                "REDIS_URL": self.redis_url,
                "HTTP_PORT": "0",
                "WS_PORT": "0",
                **self.settings,
            },
        )

    def start(self) -> ServerProcess:
        """Start it and wait until it listens."""
        before = len(self.records("ready"))
        self.launch()
        self.wait_ready(before)
        return self

    def wait_ready(self, before: int = 0) -> None:
        """Wait for the ready record that comes after `before` others."""

        def look() -> bool:
            assert self.process.alive, f"ended with {self.process.exit_status}: {self.process.output_tail()}"
            return len(self.records("ready")) > before

        until(look, lambda: f"no ready record. {self.process.output_tail()}", timeout=START_SECONDS)
        self.http_port = self.records("ready")[-1]["http_port"]
        self.ws_port = self.records("ready")[-1]["ws_port"]

    def records(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log records so far, or those of one event; a line that is no JSON object fails."""
        if self.process.stdout.exists():
            with self.process.stdout.open("rb") as log:
                log.seek(self._offset)
                new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._records += [json.loads(line) for line in whole.splitlines() if line.strip()]
        return [record for record in self._records if event is None or record["event"] == event]

    def get(
        self, path: str, *, token: str | None = None, method: str = "GET", timeout: float = SOON
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (JSON decoded where it says so) and headers (lower case) of one HTTP request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
            reply = connection.getresponse()
            body = reply.read()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            is_json = headers.get("content-type", "").startswith("application/json")
            return reply.status, json.loads(body) if is_json and body else body.decode(), headers
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        """The body of `/health`, which always has status 200."""
        status, body, _ = self.get("/health")
        assert status == 200
        return body

    def wait_healthy(self, *, timeout: float = SOON) -> None:
        """Wait until it says that Redis takes its commands."""
        until(lambda: self.health()["status"] == "healthy", lambda: f"health: {self.health()}", timeout=timeout)

    def inspect(self) -> dict[str, Any]:
        """The data of `/inspect/processor`."""
        return self.get("/inspect/processor")[1]["data"]

    @property
    def stderr(self) -> str:
        """Its standard error."""
        return self.process.stderr.read_text("utf-8", "replace") if self.process.stderr.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.alive
        os.kill(self.process.pid, number)


StartServer = Callable[..., ServerProcess]
StartRedis = Callable[..., EmbeddedRedis]


# --- a processor in this process --------------------------------------------------------------------------------------


@asynccontextmanager
async def app(url: str, name: str = "one", **settings: Any) -> AsyncIterator[App]:
    """The parts of a server, not running yet."""
    patient = {"redis_timeout": SOON, "lease_seconds": LEASE}
    made = App(Settings(redis_url=url, server_id=name, **patient | settings))
    try:
        yield made
    finally:
        await made.link.close()


@asynccontextmanager
async def running(made: App) -> AsyncIterator[asyncio.Task[None]]:
    """Its processor at work; stopped at the end, and then its exception is raised."""
    task = asyncio.create_task(made.processor.run())
    try:
        yield task
    finally:
        made.processor.stop()
        await asyncio.wait_for(task, SOON)


async def soon(condition: Callable[[], Any], what: str | Callable[[], str], *, within: float = SOON) -> Any:
    """`until` for tests with an event loop: the loop goes on meanwhile."""
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() >= deadline
        if found := condition():  # always once more after the time is up: this process may have stood still until then
            return found
        assert not late, what() if callable(what) else what
        await asyncio.sleep(0.002)


async def drained(client: redis.Redis, *, within: float = 2 * SOON) -> None:
    """Wait until nothing is queued."""
    await soon(
        lambda: client.llen(QUEUE) == 0, lambda: f"{client.llen(QUEUE)} messages are still queued", within=within
    )


async def upgraded(
    port: int, charge_point_id: str, **options: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket of a charge point as its bytes, after the opening handshake (RFC 6455 section 4.1).

    Args:
        port: the gateway's.
        charge_point_id: who connects.
        **options: of `asyncio.open_connection`.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    writer.write(
        f"GET /ocpp/{charge_point_id} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


# --- a relay that cuts ------------------------------------------------------------------------------------------------


@dataclass
class Cut:
    """One planned cut: at the next request that `matches`, before Redis gets it or once Redis has answered it.

    With `hold`, the request is kept back while the connection to the client is cut, until `release` is set: it then
    reaches Redis late.
    """

    matches: Callable[[list[bytes]], bool]
    after: bool = True
    hold: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    delivered: threading.Event = field(default_factory=threading.Event)
    request: list[bytes] = field(default_factory=list)
    reply: bytes = b""


class Relay:
    """A TCP relay to Redis that reads requests well enough to cut a connection at a chosen one.

    One request at a time: it is sent on, and its reply is sent back before the next one is read. The cut so falls
    exactly between.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._plan: Cut | None = None
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.commits = 0
        """Commits that took effect and whose reply got through."""
        self._start(self._accept)

    @property
    def url(self) -> str:
        """The address of the relay for clients of Redis."""
        return f"redis://127.0.0.1:{self.port}/0"

    def plan(self, cut: Cut) -> Cut:
        """Carry out `cut` at the next request that matches."""
        with self._lock:
            assert self._plan is None, "the cut before was not carried out"
            self._plan = cut
        return cut

    def close(self) -> None:
        """End all connections and threads."""
        self._closing = True
        with self._lock:
            if self._plan is not None:
                self._plan.release.set()
            open_sockets = [self._listener, *self._sockets]
        for one in open_sockets:
            _shut(one)
        for thread in self._threads:
            thread.join(SOON)
            assert not thread.is_alive()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(("127.0.0.1", self._upstream), SOON)
                upstream.settimeout(None)
            except OSError:
                client.close()
                continue
            for one in (client, upstream):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, upstream}
            self._start(self._serve, client, upstream)

    def _serve(self, client: socket.socket, upstream: socket.socket) -> None:
        try:
            with client.makefile("rb") as requests, upstream.makefile("rb") as back:
                unanswered = 0
                while (request := _read_value(requests)) is not None:
                    raw, words = request
                    cut = self._take_plan(words)
                    if cut is not None:
                        self._carry_out(cut, raw, words, client, upstream, back)
                        return
                    upstream.sendall(raw)
                    if [word.upper() for word in words] == [b"CLIENT", b"REPLY", b"SKIP"]:
                        unanswered = 2  # neither it nor the next request gets a reply
                    if unanswered:
                        unanswered -= 1
                        continue
                    if words[0].upper() == b"SUBSCRIBE":
                        # From here on Redis speaks whenever it likes.
                        self._start(self._pass_on, back, client)
                        while (request := _read_value(requests)) is not None:
                            upstream.sendall(request[0])
                        return
                    reply = _read_value(back)
                    if reply is None:
                        return
                    client.sendall(reply[0])
                    if is_commit(words) and b"committed" in reply[1]:
                        self.commits += 1
        except OSError:
            pass
        finally:
            for one in (client, upstream):
                _shut(one)
            with self._lock:
                self._sockets -= {client, upstream}

    @staticmethod
    def _pass_on(back: Any, client: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while (message := _read_value(back)) is not None:
                client.sendall(message[0])

    def _take_plan(self, words: list[bytes]) -> Cut | None:
        with self._lock:
            if self._plan is None or not self._plan.matches(words):
                return None
            cut, self._plan = self._plan, None
            return cut

    def _carry_out(  # noqa: PLR0917
        self, cut: Cut, raw: bytes, words: list[bytes], client: socket.socket, upstream: socket.socket, back: Any
    ) -> None:
        cut.request = words
        if cut.after:
            upstream.sendall(raw)
            reply = _read_value(back)
            cut.reply = reply[0] if reply else b""
        _shut(client)
        cut.done.set()
        if cut.hold:
            cut.release.wait(4 * SOON)
            upstream.sendall(raw)
            reply = _read_value(back)
            cut.reply = reply[0] if reply else b""
            cut.delivered.set()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def _read_value(stream: Any) -> tuple[bytes, list[bytes]] | None:
    """One RESP2 value: its bytes, and its strings in order (for a request: the words of the command)."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        return None
    kind, rest = line[:1], line[1:-2]
    if kind in {b"+", b"-", b":"}:
        return line, [rest]
    size = int(rest)
    if kind == b"$":
        if size < 0:
            return line, [b""]
        data = stream.read(size + 2)
        return (line + data, [data[:-2]]) if len(data) == size + 2 else None
    assert kind == b"*", line
    raw, words = [line], []
    for _ in range(max(size, 0)):
        value = _read_value(stream)
        if value is None:
            return None
        raw.append(value[0])
        words += value[1]
    return b"".join(raw), words


COMMIT_ARGUMENTS = 10
"""Number of arguments of the commit script, which no other script of the server's has."""


def is_commit(words: list[bytes]) -> bool:
    """Whether a request runs the commit script: EVALSHA or EVAL, script, 3 keys, and ten arguments."""
    return (
        words[0].upper() in {b"EVALSHA", b"EVAL"}
        and words[2] == b"3"
        and len(words) == 3 + 3 + COMMIT_ARGUMENTS
        and words[3] == QUEUE.encode()
    )


def session_of(charge_point_id: str) -> Session:
    """A session whose connection is never used."""
    return Session(charge_point_id, Mock(spec=Socket), "", version=V16, server_id="g")
