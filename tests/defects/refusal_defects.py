"""Test 16: Redis refuses writes, or is away, and the server says otherwise, or does not end."""

from __future__ import annotations

import contextlib
from typing import Any

from catalogue import defect
from connection_defects import CONNECTED, PARTIAL
from fleet_defects import LONG, LONGEST_ANSWER
from redis.exceptions import RedisError, ResponseError

from server import app
from server.api import service, state
from server.api.http import Json, Operation
from server.gateway.call_queue import CallQueue
from server.gateway.gateway import Gateway
from server.gateway.session import Entry
from server.ocpp import frames
from server.processor.processor import Processor
from server.redis.link import RedisLink
from server.store.errors import StateError
from server.store.redis_store import RedisStateStore

STOPPED = "The Server Is Stopped Under Traffic And Loses Nothing"
ENDS = "The Server Ends In Order Without Redis"

REFUSED = r"^(read-only|out of memory|no replicas|failed snapshot|disk full)\b.*"


@defect("R16.7", PARTIAL, says=r"health was healthy.* R16\.7 wrong_health: required == 0", timing=True)
def a_redis_that_refuses_is_a_healthy_one() -> None:
    """An error reply of Redis does not count as a failure: health says healthy while no write is taken."""
    sound = RedisLink.failed

    def failed(self: RedisLink, error: RedisError, by: str) -> None:
        if not isinstance(error, ResponseError):
            sound(self, error, by)

    RedisLink.failed = failed


@defect("R16.7", PARTIAL, says=r"(health was healthy|answered 200, expected 503).* R16\.7 wrong_health", timing=True)
def one_part_that_works_makes_the_whole_healthy() -> None:
    """A success of any part of the server ends the failure of all: what only reads is well while no write is taken."""
    sound = RedisLink.succeeded

    def succeeded(self: RedisLink, by: str) -> None:
        self._failing.clear()
        sound(self, by)

    RedisLink.succeeded = succeeded


@defect("R16.7", PARTIAL, says=r"ready check was answered 200, expected 503.* wrong_health: required == 0", timing=True)
def it_is_ready_as_soon_as_it_listens() -> None:
    """The ready check is answered 200 whatever becomes of Redis."""
    sound = service.operations

    async def ready(_given: Any) -> Any:
        return Json({"ready": True})

    def operations(parts: Any) -> list[Operation]:
        return [
            Operation("GET", each.path, each.summary, ready, plain=True) if each.path == "/health/ready" else each
            for each in sound(parts)
        ]

    service.operations = operations


@defect(
    "R16.7", PARTIAL, says=r"whose write Redis refused was answered 200.* false_success: required == 0", timing=True
)
def refused_writes_are_reported_as_stored() -> None:
    """A write over HTTP that Redis refuses is answered with success."""
    sound = RedisStateStore.save_configuration_key

    async def save(self: RedisStateStore, *arguments: Any) -> None:
        with contextlib.suppress(StateError):
            await sound(self, *arguments)

    RedisStateStore.save_configuration_key = save
    state.need_redis = lambda _link: None


@defect("R16.6", LONG, says=r"R16\.6 (fleet: required == 0|refusals: required >= 1)", longest_wait=LONGEST_ANSWER)
def calls_that_cannot_be_queued_are_answered_as_done() -> None:
    """A CALL that is given up, since Redis is away, is answered as if it had been processed."""

    def give_up(self: CallQueue, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.session is not None and entry.message_id is not None:
                entry.session.connection.push(frames.result_frame(entry.message_id, {}))
                self.done(entry.session, entry.message_id)

    CallQueue.give_up = give_up


@defect("R16.6", CONNECTED, says=r"R16\.6 miscounted_reconnects: required == 0")
def outages_are_not_counted() -> None:
    """The health document says that Redis has never come back."""
    sound = RedisLink.succeeded

    def succeeded(self: RedisLink, by: str) -> None:
        sound(self, by)
        self.reconnects = 0

    RedisLink.succeeded = succeeded


@defect("R16.8", STOPPED, says=r"Still registered: .* R16\.8 sessions_left: required == 0")
def sessions_outlive_a_server_that_ends() -> None:
    """A gateway that ends in order leaves its sessions in the registry until they expire."""
    sound = Gateway._close

    async def close(self: Gateway, server: Any) -> None:
        self._registry.disconnected = lambda _session: None
        await sound(self, server)

    Gateway._close = close


@defect("R16.8", ENDS, says=r"R16\.8 shutdown: required < 5 s|did not (end|exit)|was killed")
def sigterm_waits_until_redis_answers() -> None:
    """A server that is told to end while its Redis is away goes on with its messages for 30 s."""
    app.SHUTDOWN_SECONDS_AWAY = 30.0
    sound = Processor.stop

    def stop(self: Processor) -> None:
        if self._link.healthy:
            sound(self)

    Processor.stop = stop


@defect("R16.8", ENDS, says=r"exited with (status )?1|status 1")
def ending_without_redis_is_a_failure() -> None:
    """A server that is told to end before it has ever reached its Redis exits with status 1."""
    sound = app.App.run

    async def run(self: app.App) -> None:
        await sound(self)
        if self.link.since is None or not self.link._was_connected:
            raise SystemExit(1)

    app.App.run = run
