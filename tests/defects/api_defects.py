"""Tests 13 and 15: what the HTTP API, the metrics and the registry say of the state, and stored configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from catalogue import defect
from effect_defects import SOCKETS, changed_records
from msgspec.structs import replace
from starlette.exceptions import HTTPException

from server import api
from server.api import http, service
from server.gateway import session as sessions
from server.gateway import session_registry
from server.gateway.call_queue import CallQueue
from server.gateway.session_registry import SessionRegistry
from server.metrics import Metrics
from server.processor.processor import Processor
from server.redis.script import Script
from server.store.models import ConfigurationKey, Connector, Transaction
from server.store.redis_store import RedisStateStore
from server.store.view import Changes, StateView

LISTS = "The HTTP API Lists And Filters The Stored State"
COUNTS = "Metrics And Health Count The Queued Messages"
DEAD = "A Processor That Dies Is Replaced And The Order Is Kept"
WHO = "Connected Charge Points Are Reported Everywhere"
CHANGES = "A Charge Point That Changes Its Version Is Known By The New One"
KILLED = "The Server Is Killed Under Traffic And Loses Nothing"
HEARTBEATS = "Charge Points Stay Connected And Their Heartbeats Are Answered Without Redis"
STORED = "Configuration That Is Stored Over HTTP Is Kept And Read"
PROGRAMS = "Programs That Write Different Keys Of One Configuration Lose Nothing"
BESIDE = "A Program And The System Write One Charge Point And Lose Nothing"


def rewritten(name: str, old: str, new: str) -> None:
    """Change a script of the session registry."""
    text = getattr(session_registry, name.upper())
    assert old in text
    setattr(session_registry, name, Script(text.replace(old, new)))


# ------------------------------------------------------------------ lists, filters, single records


@defect("R13.8", LISTS, says=r"is in \S*status=completed, expected not.* wrong_over_http: required == 0")
def the_filter_by_status_is_not_looked_at() -> None:
    """Whatever status is asked for, all transactions of the charge point are listed."""
    sound = RedisStateStore.list_transactions

    async def everything(self: RedisStateStore, charge_point_id: str | None = None, **options: Any) -> Any:
        return await sound(self, charge_point_id, **options | {"active": None})

    RedisStateStore.list_transactions = everything


@defect("R13.8", LISTS, says=r"not in the order of their starts.* wrong_over_http: required == 0")
def the_newest_transaction_is_listed_first() -> None:
    """Transactions are listed in the opposite order."""
    sound = RedisStateStore.list_transactions

    async def newest_first(self: RedisStateStore, *arguments: Any, **options: Any) -> Any:
        return (await sound(self, *arguments, **options))[::-1]

    RedisStateStore.list_transactions = newest_first


@defect("R13.8", LISTS, says=r"over HTTP, .*connector \d+ (is not kept|is not listed).* wrong_over_http: required == 0")
def the_last_connector_is_not_listed() -> None:
    """The list of connectors ends before the last one."""
    sound = RedisStateStore.list_connectors

    async def all_but_one(self: RedisStateStore, *arguments: Any, **options: Any) -> dict[int | str, Connector]:
        found = await sound(self, *arguments, **options)
        return dict(list(found.items())[:-1]) if len(found) > 1 else found

    RedisStateStore.list_connectors = all_but_one


@defect("R13.8", LISTS, says=r"GET \S+ answered 200, expected 404.* wrong_over_http: required == 0")
def missing_records_are_empty_ones() -> None:
    """Unknown charge points, connectors and transactions are answered with 200 and nothing."""
    sound = http.answer

    async def found(operation: Any, request: Any, token: str) -> Any:
        try:
            return await sound(operation, request, token)
        except HTTPException as refused:
            if refused.status_code != 404:
                raise
            return http.Json({"success": True, "message": "", "data": None})

    api.answer = found


@defect("R13.8", LISTS, says=r"GET \S+ answered 200, expected 400.* wrong_over_http: required == 0")
def filters_that_are_none_are_passed_over() -> None:
    """A parameter that does not exist, or a value that is none, is left out."""
    sound = http._query

    def lenient(operation: Any, request: Any) -> dict[str, Any]:
        try:
            return sound(operation, request)
        except HTTPException:
            return {}

    http._query = lenient


@defect("R13.8", LISTS, says=r"meter_current \d+, and the list \d+.* wrong_over_http: required == 0")
def lists_show_the_meter_of_the_start() -> None:
    """In lists, the current reading is that of the start."""
    sound = RedisStateStore.list_transactions

    async def of_the_start(self: RedisStateStore, *arguments: Any, **options: Any) -> list[Transaction]:
        return [replace(each, meter_current=each.meter_start) for each in await sound(self, *arguments, **options)]

    RedisStateStore.list_transactions = of_the_start


# ------------------------------------------------------------------ metrics and depths


@defect("R13.1", COUNTS, says=r"processed by the metrics, expected \d+.* miscounted: required == 0")
def messages_are_counted_by_batch() -> None:
    """The counter of processed messages goes up by one for each action in a batch."""
    sound = Metrics.processed
    Metrics.processed = lambda self, action, count: sound(self, action, min(count, 1))


@defect("R13.1", COUNTS, says=r"set aside by the metrics, expected \d+.* miscounted: required == 0")
def every_invalid_message_has_one_code_in_the_metrics() -> None:
    """The counter of invalid messages has one error code for all of them."""
    sound = Metrics.invalid
    Metrics.invalid = lambda self, code: sound(self, "InternalError")


@defect("R13.1", DEAD, says=r"say.* that 0 messages wait, expected 5000.* miscounted: required == 0")
def the_depth_is_that_of_the_owner_only() -> None:
    """A processor that stands by says that nothing waits."""
    Processor.depth = property(lambda self: self.queue.depth if self.owner else 0)


@defect("R13.1", COUNTS, says=r"gives a time that differs by -\d+\.\d s.* miscounted: required == 0")
def health_gives_the_time_of_the_start() -> None:
    """The time in the health document is that of the start of the server."""
    started = service.now()
    service.now = lambda: started.replace(started[:4], "2020")


# ------------------------------------------------------------------ who is connected


@defect("R15.1", WHO, says=r"connected_at is '\S+', expected a time with zone.* wrong_connections: required == 0")
def sessions_begin_at_local_time() -> None:
    """The time of connecting has no zone."""
    sessions.now = lambda: datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


@defect("R15.1", WHO, says=r"is_online is True, expected False.* wrong_connections: required == 0")
def charge_points_that_left_stay_online() -> None:
    """The record of a charge point says for ever that it is online."""
    rewritten("_announce", "mark(ARGV[6] .. id, false)", "")


@defect("R15.1", WHO, says=r"is_online is False, expected True.* wrong_connections: required == 0")
def a_takeover_marks_the_charge_point_offline() -> None:
    """The end of an older connection is taken for the end of the charge point's."""
    rewritten(
        "_announce",
        "    reply[#reply + 1] = taken",
        "    if ARGV[i] == 'disconnect' then mark(ARGV[6] .. id, false) end\n    reply[#reply + 1] = taken",
    )


@defect("R15.1", WHO, says=r"is listed as connected, but has disconnected.* wrong_connections: required == 0")
def sessions_outlive_their_connection_by_half_a_minute() -> None:
    """The session of a charge point that has left is not removed, and expires."""
    rewritten(
        "_announce",
        "        redis.call('DEL', key)\n        redis.pcall('SREM', KEYS[1], id)\n        mark",
        "        mark",
    )


@defect("R15.1", WHO, says=r"The metrics say that \d+ charge points are connected.* wrong_connections: required == 0")
def connections_are_only_counted_up() -> None:
    """The gauge of connections counts every connection that there has been."""
    sound = Metrics.gauge
    sound_open = sessions.Session.__init__
    opened: list[None] = []

    def init(self: sessions.Session, *arguments: Any, **named: Any) -> None:
        opened.append(None)
        sound_open(self, *arguments, **named)

    def gauge(self: Metrics, name: str, text: str, value: Any, **named: Any) -> None:
        sound(self, name, text, (lambda: len(opened)) if name == "ocpp_connections" else value, **named)

    sessions.Session.__init__ = init
    Metrics.gauge = gauge


# ------------------------------------------------------------------ events of connections


def event_with(change: Callable[[str, sessions.Session], dict[str, Any]]) -> None:
    """Change fields of the events of connects and disconnects."""
    sound = SessionRegistry._event

    def event(self: SessionRegistry, kind: str, session: sessions.Session) -> bytes:
        return msgspec.json.encode(msgspec.json.decode(sound(self, kind, session)) | change(kind, session))

    SessionRegistry._event = event


@defect("R15.1", WHO, says=r"has the time at which it connected, or an earlier one.* wrong_connections: required == 0")
def disconnects_have_the_time_of_the_connect() -> None:
    """The event of a disconnect carries the time at which the connection began."""
    event_with(lambda _, session: {"timestamp": session.connected_at})


@defect(
    "R15.1",
    WHO,
    says=r"the connect event of \S+ has the time \S+, expected a time with zone.* wrong_connections: required",
)
def events_have_times_without_a_zone() -> None:
    """The times in events are local, without their zone."""
    event_with(lambda *_: {"timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")})


@defect("R15.1", WHO, says=r"ends a connection that no event has begun.* wrong_connections: required == 0")
def disconnects_name_another_gateway() -> None:
    """The event of a disconnect names the charge point where the gateway belongs."""
    event_with(lambda kind, session: {"ws_server_id": session.charge_point_id} if kind == "disconnect" else {})


@defect("R15.1", WHO, says=r"an event on \S+ has no field event like 'connect'.* wrong_connections: required == 0")
def disconnects_are_announced_as_connects() -> None:
    """The event of a disconnect goes to the channel of connects."""
    rewritten("_announce", "redis.call('PUBLISH', KEYS[3], ARGV[i + 7])", "redis.call('PUBLISH', KEYS[2], ARGV[i + 7])")


@defect("R15.1", WHO, says=r"the last event of \S+ says that it has disconnected|events say that \S+ has disconnected")
def a_takeover_is_announced_as_a_disconnect() -> None:
    """The end of the older of two connections is announced as the charge point's, behind the newer one's connect."""
    rewritten(
        "_announce",
        "    reply[#reply + 1] = taken",
        "    if ARGV[i] == 'disconnect' and taken == 0 then redis.call('PUBLISH', KEYS[3], ARGV[i + 7]) end\n"
        "    reply[#reply + 1] = taken",
    )


@defect("R15.1", WHO, says=r"was told twice.* wrong_connections: required == 0")
def connects_are_announced_twice() -> None:
    """Each connect is published twice."""
    once = "redis.call('PUBLISH', KEYS[2], ARGV[i + 7])"
    rewritten("_announce", once, f"{once}\n            {once}")


# ------------------------------------------------------------------ versions and configuration


@defect("R13.8", SOCKETS, says=r"version is \d+, expected \d+.* wrong_fields: required == 0")
def readings_leave_the_version_as_it_is() -> None:
    """The version of a transaction does not count the readings that changed it."""
    changed_records("MeterValues", Transaction, lambda record, _call: replace(record, version=record.version - 1))


@defect("R13.8", SOCKETS, says=r"charge point: version is 1, expected.* wrong_fields: required == 0")
def charge_points_are_always_the_first_version() -> None:
    """The record of a charge point is written with version 1 every time."""
    sound = StateView.changes

    def first(self: StateView) -> Changes:
        known = self._get
        self._get = lambda key, kind: replace(found, version=0) if (found := known(key, kind)) else found
        return sound(self)

    StateView.changes = first


@defect(
    "R15.3", STORED, says=r"NumberOfConnectors is '2', expected '2' \(read-only\).* differing_fields: required == 0"
)
def read_only_keys_are_stored_as_others() -> None:
    """That a key is read-only is not stored."""
    sound = RedisStateStore.save_configuration_key

    async def writable(self: RedisStateStore, point: str, key: str, record: ConfigurationKey) -> None:
        await sound(self, point, key, replace(record, readonly=False))

    RedisStateStore.save_configuration_key = writable


@defect("R15.3", STORED, says=r"HeartbeatInterval is '300', expected.* differing_fields: required == 0")
def a_key_is_stored_once() -> None:
    """A key that exists keeps its value, and the caller is told that it was changed."""
    sound = RedisStateStore.save_configuration_key

    async def once(self: RedisStateStore, point: str, key: str, record: ConfigurationKey) -> None:
        if not await self._client.hexists(self._keys.configuration(point), key):
            await sound(self, point, key, record)

    RedisStateStore.save_configuration_key = once


@defect("R15.4", PROGRAMS, says=r"lost_updates: required == 0 updates", timing=True)
def a_key_is_stored_with_all_the_others() -> None:
    """Storing a key reads the whole configuration and writes all of it."""

    async def whole(self: RedisStateStore, point: str, key: str, record: ConfigurationKey) -> None:
        known: Mapping[str, ConfigurationKey] = {}
        if await self._client.exists(self._keys.configuration(point)):
            known = await self.get_configuration(point)
        await self.save_configuration(point, {**known, key: record})

    RedisStateStore.save_configuration_key = whole


@defect("R15.4", BESIDE, says=r"lost_updates: required == 0 updates", timing=True)
def the_processor_writes_stale_records() -> None:
    """A commit does not look whether the records are still what was read."""
    sound = StateView.changes
    StateView.changes = lambda self: sound(self)._replace(conditions=[])


# ------------------------------------------------------------------ what time and ends make of who is connected


@defect("R16.8", KILLED, says=r"is_online is True, expected False.* ghosts: required == 0")
def charge_points_of_a_killed_server_stay_online() -> None:
    """Charge points whose session has expired are taken off the list, and their records say that they are online."""
    rewritten("_mend", "mark(ARGV[5] .. id, false)", "")


@defect("R16.8", KILLED, says=r"is_online is True, expected False.* ghosts: required == 0")
def expired_sessions_are_never_looked_for() -> None:
    """Nobody looks for charge points that are in the set and have no session."""

    async def mend(_: SessionRegistry) -> None:
        return

    SessionRegistry._mend = mend


@defect(
    "R16.6", HEARTBEATS, says=r"last_activity is \S+ s after its connect, expected 1 s.* wrong_activity: required == 0"
)
def the_last_activity_is_that_of_connecting() -> None:
    """A session is renewed, and its last activity stays as it was."""
    rewritten("_renew", "        redis.call('HSET', ARGV[i], 'last_activity', ARGV[i + 3])\n", "")


@defect(
    "R16.6", HEARTBEATS, says=r"last_activity is \S+ s after its connect, expected 1 s.* wrong_activity: required == 0"
)
def heartbeats_of_an_outage_are_no_activity() -> None:
    """Heartbeats that the gateway answers itself do not count as a sign of life."""
    take = CallQueue.answer_heartbeat
    sound = SessionRegistry._renew
    heard: dict[Any, float] = {}

    def answer(self: CallQueue, session: sessions.Session, message_id: str) -> None:
        heard.setdefault(session, session.since)
        take(self, session, message_id)

    async def renew(self: SessionRegistry) -> None:
        pings = {session: session.connection.heard for session in self._live() if session in heard}
        for session in pings:
            session.connection.heard = heard[session]
        try:
            await sound(self)
        finally:
            for session, last in pings.items():
                session.connection.heard = max(session.connection.heard, last)

    CallQueue.answer_heartbeat = answer
    SessionRegistry._renew = renew


@defect("R15.1", CHANGES, says=r"protocol is 'ocpp1\.6' after a boot in 'ocpp2\.0\.1'")
def the_version_is_that_of_the_first_message() -> None:
    """The record of a charge point keeps the version that it was made with."""
    seen = StateView.apply

    def apply(self: StateView, charge_point_id: str, *rest: Any, protocol: str, **more: Any) -> None:
        known = self.charge_point(charge_point_id)
        seen(self, charge_point_id, *rest, protocol=known.protocol if known.version else protocol, **more)

    StateView.apply = apply


@defect("R15.1", CHANGES, says=r"protocol is 'ocpp2\.\S+' after a boot in 'ocpp1\.6'")
def the_version_never_falls() -> None:
    """The record of a charge point keeps the highest version that it has spoken."""
    seen = StateView.apply

    def apply(self: StateView, charge_point_id: str, *rest: Any, protocol: str, **more: Any) -> None:
        known = self.charge_point(charge_point_id).protocol
        seen(self, charge_point_id, *rest, protocol=max(known, protocol), **more)

    StateView.apply = apply
