"""Test 16: Redis goes away, comes back, and the server is killed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from catalogue import defect
from queue_defects import replaced, take_at_most_once
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from server.api import control
from server.correlation.commands import Commands
from server.correlation.mailbox import Mailbox
from server.gateway.call_queue import TRY_AGAIN, CallQueue
from server.gateway.gateway import Gateway
from server.gateway.response_delivery import ResponseDelivery
from server.gateway.session import Entry, Session
from server.gateway.session_registry import SessionRegistry
from server.ocpp import frames
from server.ocpp.v16.actions import ACTIONS
from server.processor import request_queue
from server.processor.processor import Processor
from server.processor.request_queue import Committed, RequestQueue
from server.redis import link as redis_link
from server.redis.link import RedisLink
from server.redis.script import Script

LOST_CONNECTION = "A Lost Connection To Redis Is Restored"
KILLED = "The Server Is Killed Under Traffic And Loses Nothing"
HEALTH = "Health Says Degraded While Redis Is Away And Healthy When It Is Back"
NO_REDIS = "The Server Starts Without Redis And Connects When It Appears"
HANGS = "The Server Starts While Redis Hangs And Connects When It Answers"
WRONG_PASSWORD = "The Server Starts With The Wrong Password And Connects When It Is Right"
CONNECTED = "Charge Points Stay Connected And Their Heartbeats Are Answered Without Redis"
REFUSED = "Commands Are Refused Clearly And At Once Without Redis"
HALF_OPEN = "A Half-Open Connection To Redis Is Dropped And Restored"
PARTIAL = "Every Partial Failure Is Survived And Recovered From"
SAFE_GHOSTS = "Charge Points With TLS Whose Connection Died Leave No Ghost"
GHOSTS = "Charge Points Whose Connection Died Leave No Ghost"
BAD_NETWORK = "The Network Before The Gateway Fails And Nothing Is Lost"


def at_failure(act: Callable[[RedisLink, RedisError], None]) -> None:
    """Do something more when a round trip has failed."""
    sound = RedisLink.failed

    def failed(self: RedisLink, error: RedisError, by: str) -> None:
        sound(self, error, by)
        act(self, error)

    RedisLink.failed = failed


def give_up(when: Callable[[RedisLink, RedisError], bool]) -> None:
    """Never try again after such a failure."""
    sound = RedisLink.recover

    async def recover(self: RedisLink, error: RedisError, by: str, *wires: Any) -> None:
        if when(self, error):
            self.failed(error, by)
            await asyncio.Event().wait()
        await sound(self, error, by, *wires)

    RedisLink.recover = recover


@defect("R16.3", LOST_CONNECTION, says=r"Server 'server' exited with status 1\.")
def exits_when_redis_goes() -> None:
    """The first error of Redis ends the process."""
    at_failure(lambda link, _: os._exit(1) if link._was_connected else None)


@defect("R16.3", LOST_CONNECTION, says=r"No answer to Heartbeat .* the queue .* holds [1-9]\d* messages? ")
def never_reconnects() -> None:
    """After an error the processor waits for ever."""
    give_up(lambda _link, _error: True)


@defect(
    "R16.3",
    LOST_CONNECTION,
    says=r"No answer to Heartbeat .* the queue .* holds \d+ messages? \(waited 30 seconds\)|reconnect_time: required",
    longest_wait=60,
    timing=True,
)
def takes_45_seconds_to_reconnect() -> None:
    """The pause between two attempts is 45 seconds at least."""
    redis_link.FIRST_PAUSE = redis_link.LONGEST_PAUSE = 90.0


@defect("R16.6", HEALTH, says=r"R16\.6 degraded: required == 100 %")
def health_says_healthy_without_redis() -> None:
    """Health does not notice that Redis is away."""
    RedisLink.healthy = property(lambda self: True, lambda self, value: None)


@defect(
    "R16.8",
    KILLED,
    says=r"[1-9]\d* lost.* R16\.8 lost: required == 0|R16\.8 sessions_left: required == 0 .* measured 10 ",
    timing=True,
)
def lost_at_kill_9() -> None:
    """Messages leave the list when they are taken, and die with the process that handles them."""
    take_at_most_once()


@defect(
    "R16.9",
    "A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice",
    says=r"0 lost, [1-9]\d* answered twice",
    timing=True,
)
def applied_twice_after_a_lost_commit_reply() -> None:
    """Answers are written first, and the messages are taken off the list by a second command."""
    request_queue._commit = Script(replaced(request_queue._COMMIT, "redis.call('LTRIM', KEYS[1], 0, -count - 1)\n", ""))
    sound = RequestQueue.commit

    async def commit(self: RequestQueue, batch: Any, *work: Any) -> Any:
        result = await sound(self, batch, *work)
        if isinstance(result, Committed):
            await self._wire.execute("LTRIM", self._keys.requests, 0, -len(batch.messages) - 1)
            return Committed(await self.peek(), result.failed)
        return result

    RequestQueue.commit = commit


@defect(
    "R16.8",
    "The Server Is Stopped Under Traffic And Loses Nothing",
    says=r"[1-9]\d* lost.* R16\.8 lost: required == 0|R16\.8 sessions_left: required == 0 .* measured 10 ",
    timing=True,
)
def sigterm_loses() -> None:
    """SIGTERM ends the process in the middle of a batch that is off the list already."""
    take_at_most_once()
    Processor.stop = lambda self: os._exit(0)


@defect("R16.1", NO_REDIS, says=r"Server 'early'(: it)? exited with status 1\.")
def exits_at_start_without_redis() -> None:
    """A server that finds no Redis when it starts ends at once."""
    at_failure(lambda link, _: None if link._was_connected else os._exit(1))


@defect("R16.1", NO_REDIS, says=r"cpu_without_redis: required < 5 %", timing=True)
def spins_without_redis() -> None:
    """There is no pause between two attempts to connect."""
    redis_link.FIRST_PAUSE = redis_link.LONGEST_PAUSE = 0.0


@defect("R16.1", NO_REDIS, says=r"\d+ log records of one outage .* at most 5 are allowed", timing=True)
def floods_its_log_without_redis() -> None:
    """Every attempt to connect is logged."""
    redis_link.LOG_EVERY = redis_link.LOG_CHANGES_EVERY = 0.0


@defect("R16.2", NO_REDIS, says=r"No answer to Heartbeat .* the queue .* holds 1 message")
def tries_to_connect_once() -> None:
    """A server that finds no Redis when it starts stays up, and never tries again."""
    give_up(lambda link, _error: not link._was_connected)


@defect("R16.1", WRONG_PASSWORD, says=r"No answer to Heartbeat .* the queue .* holds 1 message")
def gives_up_at_a_wrong_password() -> None:
    """A password that is refused once is not tried again."""
    give_up(lambda _link, error: isinstance(error, AuthenticationError))


@defect("R16.2", HANGS, says=r"No answer to Heartbeat .* the queue .* holds 1 message")
def gives_up_at_a_redis_that_hangs() -> None:
    """A Redis that takes the connection and does not answer is not tried again."""
    give_up(lambda link, error: isinstance(error, RedisTimeoutError) and not link._was_connected)


@defect(
    "R16.4",
    "Five Short Outages Under Traffic Lose Nothing",
    says=r"[1-9]\d* (lost|still on the queue).* the queue .* holds [1-9]\d* messages",
    timing=True,
)
def survives_three_outages() -> None:
    """After the third outage the server does not connect again."""
    give_up(lambda link, _error: link.reconnects >= 3)


@defect(
    "R16.5",
    "After Outages Of Every Kind Everything Works And The Ledger Is Clean",
    says=r"Not answered as before: DataTransfer\..* broken_operations: required == 0",
    timing=True,
)
def one_operation_stays_broken() -> None:
    """After an outage, DataTransfer is not answered as before."""
    broken: list[bool] = []
    at_failure(lambda link, _: broken.append(True) if link._was_connected else None)
    sound = ACTIONS["DataTransfer"].handle

    def transfer(call: Any, view: Any) -> Any:
        if broken:
            raise RuntimeError("stale")
        return sound(call, view)

    ACTIONS["DataTransfer"].handle = transfer


@defect("R16.6", CONNECTED, says=r"0 refused, 50 unanswered.* heartbeats_answered: required == 100 %")
def reconnects_and_no_longer_subscribes() -> None:
    """After an outage, gateways are no longer woken for answers, and do not look for them."""

    async def listen(self: Mailbox) -> None:
        try:
            await self._wire.execute("SUBSCRIBE", *self._channels)
            self._link.succeeded("mailbox")
            self._on_subscribed()
            self._on_answers()
            await self._hear()
        except RedisError:
            await asyncio.Event().wait()

    async def sweep(self: ResponseDelivery) -> int:
        await self._wire.execute("PING")
        return 0

    Mailbox._listen, ResponseDelivery._sweep = listen, sweep


@defect("R16.6", CONNECTED, says=r"50 refused, 0 unanswered.* heartbeats_answered: required == 100 %")
def heartbeats_are_refused_while_degraded() -> None:
    """Without Redis a Heartbeat gets a CALLERROR like any other message."""

    def heartbeat(self: CallQueue, session: Session, message_id: str) -> None:
        self._refuse(session, message_id, TRY_AGAIN, "unavailable")

    CallQueue.answer_heartbeat = heartbeat


@defect(
    "R16.6",
    CONNECTED,
    says=r"50 unanswered.*(closed|not connected|connection).* heartbeats_answered: required == 100 %",
)
def hangs_up_when_redis_goes() -> None:
    """Without Redis every charge point is disconnected."""
    sound = Gateway.__init__

    def init(self: Gateway, *arguments: Any, **options: Any) -> None:
        sound(self, *arguments, **options)

        def hang_up(link: RedisLink, _error: RedisError) -> None:
            for session in self._sessions.live() if link._was_connected else ():
                self._sessions.close(session, 1013, "try again later")

        at_failure(hang_up)

    Gateway.__init__ = init


@defect("R16.6", REFUSED, says=r"The caller has no outcome; GetConfiguration")
def commands_wait_for_redis() -> None:
    """Without Redis the caller of a command waits until its time is up."""
    sound = Commands.send

    async def send(self: Commands, *arguments: Any, **options: Any) -> Any:
        while not self._link.healthy:  # noqa: ASYNC110 - the link has no event
            await asyncio.sleep(0.1)
        return await sound(self, *arguments, **options)

    Commands.send = send
    control.need_redis = lambda _link: None


@defect("R16.7", HALF_OPEN, says=r"No answer to Heartbeat .* the queue .* holds 1 message")
def waits_for_a_reply_for_ever() -> None:
    """A connection that has gone silent is never given up."""
    sound = redis_link.RedisWire.__init__

    def init(self: Any, url: str, **_: Any) -> None:
        sound(self, url, reply_timeout=3600.0)

    redis_link.RedisWire.__init__ = init


@defect("R16.7", PARTIAL, says=r"^read-only for .*: Server 'other' exited with status 1\b", timing=True)
def dies_when_redis_is_read_only() -> None:
    """A write that is refused ends the process."""
    at_failure(lambda _, error: os._exit(1) if isinstance(error, ReadOnlyError) else None)


@defect("R16.12", GHOSTS, says=r"R16\.12 ghosts: required == 0 .* measured 5 ")
def silent_charge_points_are_never_pinged() -> None:
    """A connection that died without a word stays for ever."""
    Gateway._ping = lambda *_: None


@defect("R16.12", SAFE_GHOSTS, says=r"R16\.12 ghosts: required == 0 .* measured 5 ")
def charge_points_with_tls_are_never_pinged() -> None:
    """A connection with TLS that died without a word stays for ever."""
    sound = Gateway._ping

    def ping(self: Gateway, session: Session, clock: float) -> None:
        if session.connection.transport.get_extra_info("ssl_object") is None:
            sound(self, session, clock)

    Gateway._ping = ping


@defect("R16.12", GHOSTS, says=r"R16\.12 ghosts: required == 0 .* measured [1-9]")
def sessions_stay_registered_when_their_connection_is_closed() -> None:
    """The registry is not told of the end of a session."""
    SessionRegistry.disconnected = lambda *_: None


@defect("R16.12", BAD_NETWORK, says=r"R16\.12 lost: required == 0 .* measured [1-9]")
def stops_of_charge_points_that_came_back_are_lost() -> None:
    """On a second connection of a charge point the gateway answers StopTransaction and does not queue it."""
    sound = CallQueue.take
    first: dict[str, Session] = {}

    def take(self: CallQueue, session: Session, entry: Entry) -> None:
        came_back = first.setdefault(session.charge_point_id, session) is not session
        if came_back and b'"StopTransaction"' in entry.raw and entry.message_id is not None:
            session.connection.push(frames.result_frame(entry.message_id, {}))
        else:
            sound(self, session, entry)

    CallQueue.take = take


# --- times without Redis ----------------------------------------------------------------------------------------------


def heartbeats_say(time_of: Callable[[Session], str]) -> None:
    """Change the time in the gateway's own answers to Heartbeats."""

    def answer(_self: CallQueue, session: Session, message_id: str) -> None:
        session.connection.push(frames.result_frame(message_id, {"currentTime": time_of(session)}))

    CallQueue.answer_heartbeat = answer


@defect("R16.6", CONNECTED, says=r"currentTime: \S+ is (\d\.\d s behind the times in earlier answers|not a time)")
def heartbeats_say_when_the_charge_point_connected() -> None:
    """Without Redis, the answer to a Heartbeat has the time at which the connection began."""
    heartbeats_say(lambda session: session.connected_at)


@defect("R16.6", CONNECTED, says=r"currentTime: \S+ is (\d\.\d s behind the times in earlier answers|not a time)")
def heartbeats_say_when_redis_was_lost() -> None:
    """Without Redis, the answer to a Heartbeat has the time at which that began."""
    lost: list[str] = []
    sound = RedisLink.failed

    def failed(self: RedisLink, error: RedisError, by: str) -> None:
        sound(self, error, by)
        lost[:] = [self.since or redis_link.now()]

    RedisLink.failed = failed
    heartbeats_say(lambda _session: lost[0] if lost else redis_link.now())


@defect("R16.6", CONNECTED, says=r"currentTime: \S+ is \d\.\d s behind the times in earlier answers")
def the_clock_of_heartbeats_runs_slowly() -> None:
    """Without Redis, the time in the answers to Heartbeats runs at a third of the speed, and is never far off."""
    first: list[float] = []

    def slow(_session: Session) -> str:
        first.append(time.time())
        told = first[0] + (first[-1] - first[0]) / 3
        return datetime.fromtimestamp(told, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    heartbeats_say(slow)


@defect("R16.6", CONNECTED, says=r"The health document dates the last change of Redis \d+\.\d s before it happened")
def health_tells_of_the_outage_when_it_is_over() -> None:
    """When Redis is there again, the health document goes on to name the time at which it was lost."""
    sound = RedisLink.succeeded

    def succeeded(self: RedisLink, by: str) -> None:
        since = self.since
        sound(self, by)
        self.since = since or self.since

    RedisLink.succeeded = succeeded


@defect("R16.6", CONNECTED, says=r"The health document dates the last change of Redis \d+\.\d s before it happened")
def health_tells_of_redis_since_the_start() -> None:
    """The health document always names the first time at which Redis was there."""
    first: list[str | None] = []
    succeeded, failed = RedisLink.succeeded, RedisLink.failed

    def keep(self: RedisLink) -> None:
        if self.healthy and not first:
            first.append(self.since)
        self.since = first[0] if first else self.since

    def succeed(self: RedisLink, by: str) -> None:
        succeeded(self, by)
        keep(self)

    def fail(self: RedisLink, error: RedisError, by: str) -> None:
        failed(self, error, by)
        keep(self)

    RedisLink.succeeded, RedisLink.failed = succeed, fail


@defect("R16.6", CONNECTED, says=r"dates the last change of Redis \d+\.\d s after the server had noticed it")
def health_tells_of_the_last_attempt() -> None:
    """During an outage the health document names the time of the last attempt to reach Redis."""
    sound = RedisLink.failed

    def failed(self: RedisLink, error: RedisError, by: str) -> None:
        sound(self, error, by)
        self.since = redis_link.now()

    RedisLink.failed = failed
