"""Test 16: replies that are lost on each connection that writes, and a Redis that has forgotten."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from catalogue import defect
from failover_defects import AMNESIA
from queue_defects import replaced
from redis.exceptions import RedisError

from server.correlation import commands
from server.correlation.commands import CommandsUnavailable
from server.gateway import command_queue, request_publisher, response_delivery
from server.gateway.gateway import Gateway
from server.gateway.session import Session
from server.gateway.session_registry import SessionRegistry
from server.processor import request_queue
from server.redis.script import Script
from server.store import redis_store
from server.store.errors import StateUnavailable

LOST = "A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice"
ONCE = "A Command Or A Stored Key Whose Reply Is Lost Happens Once At Most"
SCRIPTS = "Scripts That Redis Forgets Under Traffic Are Sent Again"
SILENT = "Idle Charge Points Are Registered Again After Redis Has Lost Its Data"


@defect("R16.9", LOST, says=r"OCPP-J was violated|R16\.9 fleet: required == 0")
def a_push_whose_reply_is_lost_is_made_again() -> None:
    """A gateway queues messages a second time when it does not know whether it has."""
    request_publisher._push = Script(
        request_publisher._PUSH.replace("if last >= tonumber(ARGV[1]) then return 0 end", "")
    )


@defect("R16.9", LOST, says=r"OCPP-J was violated|R16\.9 fleet: required == 0|has not become healthy")
def a_push_whose_reply_is_lost_is_given_up() -> None:
    """A gateway takes a push without a reply for one that was not made, and refuses its messages."""
    sound = request_publisher.RequestPublisher._push

    async def push(self: request_publisher.RequestPublisher) -> None:
        try:
            await sound(self)
        except RedisError:
            if self._uncertain:
                batch, self._batch = self._batch, []
                self._uncertain = False
                self._on_refused([entry for entry in batch if entry.message_id is not None])
            raise

    request_publisher.RequestPublisher._push = push


@defect("R16.9", LOST, says=r"[1-9]\d* without an answer", longest_wait=30.0)
def answers_are_taken_before_they_are_sent() -> None:
    """A gateway takes answers out of the list when it reads them: a reply that is lost takes them along."""
    text = replaced(
        response_delivery._TAKE,
        "        budget = budget - bytes\n",
        "        budget = budget - bytes\n        if #batch > 0 then redis.call('LTRIM', list, 0, -#batch - 1) end\n",
    )
    response_delivery._take = Script(replaced(text, "if sent > 0 then take_out(", "if false then take_out("))
    delivery = response_delivery.ResponseDelivery
    delivery.offer = lambda self, session, *_, **__: self.wake(session)


@defect("R16.9", ONCE, says=r"Received 1 times, expected 0.* wrong_commands: required == 0")
def callers_are_promised_that_nothing_was_sent() -> None:
    """A caller whose command Redis has not confirmed is told that nothing was sent."""
    sound = commands.Commands._not_sent

    def not_sent(self: commands.Commands, sending: Any, problem: Exception) -> None:
        sound(self, sending, CommandsUnavailable(f"Redis does not answer; nothing was sent ({problem})"))

    commands.Commands._not_sent = not_sent


@defect("R16.9", ONCE, says=r"Received 2 times, expected.* wrong_commands: required == 0")
def commands_are_registered_again_without_a_reply() -> None:
    """A command whose registration got no reply is registered once more, and sent again."""
    command_queue.MOST_CARRIED_OUT = 0
    sound = commands._round

    async def again(wire: Any, keys: Any, arguments: Any) -> Any:
        try:
            return await sound(wire, keys, arguments)
        except RedisError:
            return await sound(wire, keys, arguments)

    commands._round = again


@defect("R16.9", ONCE, says=r"HTTP status of storing a key afterwards: .*503 != 200")
def a_store_that_lost_a_reply_stays_broken() -> None:
    """After a reply that was lost, the store of the HTTP API refuses everything."""
    sound = redis_store.RedisStateStore._send
    broken: list[StateUnavailable] = []

    async def send(self: redis_store.RedisStateStore, *arguments: Any) -> Any:
        if broken:
            raise broken[0]
        try:
            return await sound(self, *arguments)
        except StateUnavailable as error:
            broken.append(error)
            raise

    redis_store.RedisStateStore._send = send


# ------------------------------------------------------------------ Redis has forgotten


@defect("R16.13", SCRIPTS, says=r"[1-9]\d* without an answer", longest_wait=30.0)
def the_gateway_gives_up_when_its_script_is_gone() -> None:
    """A gateway whose script Redis has forgotten drops what it was about to queue."""
    sound = request_publisher._push

    async def once(wire: Any, keys: Any, arguments: Any) -> Any:
        async def execute(*words: Any) -> Any:
            if words[0] == "EVAL":
                if known:
                    return []
                known.append(True)
            return await wire.execute(*words)

        return await sound.run(execute, keys, arguments)

    known: list[bool] = []
    request_publisher._push = once


@defect(
    "R16.13",
    SCRIPTS,
    says=r"[1-9]\d* (lost|answered twice|without an answer)|R16\.13 (lost|applied_twice): required == 0",
)
def messages_are_lost_when_scripts_are_gone() -> None:
    """The commit whose script Redis has forgotten is taken for done, and its messages for processed."""
    sound = request_queue._commit
    known: list[bool] = []

    async def commit(wire: Any, keys: Any, arguments: Any) -> Any:
        async def execute(*words: Any) -> Any:
            if words[0] == "EVAL":
                if known:
                    await wire.execute("RPOP", keys[0], arguments[3])
                known.append(True)
            return await wire.execute(*words)

        return await sound.run(execute, keys, arguments)

    request_queue._commit = commit


@defect("R16.13", SCRIPTS, says=r"storing a key, its script forgotten: .*503 != 200")
def the_store_gives_up_when_its_script_is_gone() -> None:
    """The store of the HTTP API sends its script once; a key is refused when Redis has forgotten it."""
    sound = redis_store._write
    known: list[bool] = []

    async def run(execute: Any, keys: Any, arguments: Any) -> Any:
        if not known:
            known.append(True)
            return await sound.run(execute, keys, arguments)
        return await execute("EVALSHA", sound._digest, len(keys), *keys, *arguments)

    redis_store._write = SimpleNamespace(run=run)


@defect("R16.13", SILENT, says=r"is listed 0 times as connected.* unknown_again: required == 0", longest_wait=30.0)
def idle_sessions_expire() -> None:
    """A gateway tells Redis of its sessions once; those that Redis has lost are told again when something is sent."""
    sound = SessionRegistry.connected

    def connected(self: SessionRegistry, session: Session) -> None:
        if not session.announced or (session.connection.heard > 0 and session.call is not None):
            sound(self, session)

    SessionRegistry.connected = connected


@defect("R16.13", AMNESIA, says=r"is not connected|was not answered within|connection was ended")
def a_session_that_expired_costs_the_connection() -> None:
    """A charge point whose session Redis has lost is disconnected."""

    def unknown(self: Gateway, session: Session) -> None:
        self._sessions.close(session, 1011, "the session is gone")

    Gateway._unknown = unknown
