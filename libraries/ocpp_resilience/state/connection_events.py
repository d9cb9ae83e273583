"""The events with which a gateway announces in Redis who connects and who disconnects, compared with who did."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.ocpp.model.values import Within, moment
from ocpp_resilience.profile import Target
from ocpp_resilience.profile.templates import PLACEHOLDER
from ocpp_resilience.redis.connection import open_client

CONNECT, DISCONNECT = "connect", "disconnect"
SUBSCRIBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """One event.

    Attributes:
        kind: `connect` or `disconnect`, by its channel.
        raw: as it was published.
        told: what stands in the places of the profile's placeholders, by their names.
        wrong: how it differs from the profile's template; empty if it does not.
    """

    kind: str
    raw: str
    told: Mapping[str, str] = field(default_factory=dict)
    wrong: str = ""

    @property
    def charge_point(self) -> str:
        """Whom it is about."""
        return self.told.get("charge_point_id", "")

    def __str__(self) -> str:
        return f"{self.kind} event of {self.charge_point}"


class ConnectionEvents:
    """Listens to both channels from the moment at which it is made.

    Args:
        target: names the channels and describes the events.
        redis_url: where they are published.
    """

    def __init__(self, target: Target, redis_url: str) -> None:
        self._target = target
        self._client: Any = open_client(redis_url, database=target.redis.databases.queue)
        self._channels = {target.key(f"control_{kind}"): kind for kind in (CONNECT, DISCONNECT)}
        self._subscription: Any = self._client.pubsub()
        self._subscription.subscribe(*self._channels)
        for _ in self._channels:
            if self._subscription.get_message(timeout=SUBSCRIBE_SECONDS) is None:
                raise ExpectationFailed(f"Redis did not confirm the subscription to {', '.join(self._channels)}.")
        self.events: list[ConnectionEvent] = []

    def close(self) -> None:
        """Listen no longer."""
        self._subscription.close()
        self._client.close()

    def problems(self, connected: Sequence[str], gone: Sequence[str], since: float) -> list[str]:
        """What the events so far say wrongly of these charge points.

        Args:
            connected: those that are connected.
            gone: those that were connected and are not any more.
            since: when the first of them connected, in seconds since 1970.
        """
        self._read()
        concerned = {*connected, *gone}
        found = [
            f"an event {each.wrong}: {each.raw}"
            for each in self.events
            if each.wrong and each.charge_point in {"", *concerned}
        ]
        tolerance = self._target.behaviour.clock_tolerance
        span = Within(since - tolerance, time.time() + tolerance)
        told: dict[str, list[ConnectionEvent]] = {each: [] for each in (*connected, *gone)}
        for event in self.events:
            if event.wrong or event.charge_point not in concerned:
                continue
            told[event.charge_point].append(event)
            if "timestamp" in event.told and not span.allows(event.told["timestamp"]):
                found.append(f"the {event} has the time {event.told['timestamp']}, expected {span}")
        for point, events in told.items():
            found += _sequence(point, events, is_connected=point in connected)
        return found

    def _read(self) -> None:
        while message := self._subscription.get_message(ignore_subscribe_messages=True, timeout=0.05):
            self.events.append(self._event(message["channel"].decode(), message["data"].decode(errors="replace")))

    def _event(self, channel: str, raw: str) -> ConnectionEvent:
        kind = self._channels[channel]
        template: Mapping[str, str] = getattr(self._target.announcement, kind)
        try:
            fields = json.loads(raw)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            return ConnectionEvent(kind, raw, wrong=f"on {channel} is no JSON object")
        told: dict[str, str] = {}
        wrong = ""
        for name, text in template.items():
            match = _matched(text, fields.get(name))
            if match is None:
                wrong = wrong or f"on {channel} has no field {name} like '{text}'"
            told |= match or {}
        return ConnectionEvent(kind, raw, told, wrong)


def _matched(template: str, value: object) -> dict[str, str] | None:
    """What stands in the places of the placeholders; `None` if `value` is not of this form."""
    names = PLACEHOLDER.findall(template)
    parts = [re.escape(part) for part in PLACEHOLDER.split(template)[::2]]
    match = re.fullmatch("(.+)".join(parts), value) if isinstance(value, str) else None
    return None if match is None else dict(zip(names, match.groups(), strict=True))


def _sequence(point: str, events: Sequence[ConnectionEvent], *, is_connected: bool) -> Iterator[str]:
    """What the events of one charge point, in their order, say wrongly of it."""
    connects = [each for each in events if each.kind == CONNECT]
    disconnects = [each for each in events if each.kind == DISCONNECT]
    if not connects:
        yield f"no event says that {point} has connected"
    elif is_connected and events[-1].kind == DISCONNECT:
        yield f"the last event of {point} says that it has disconnected, but it is connected"
    elif not is_connected and events[-1].kind == CONNECT:
        yield f"no event says that {point} has disconnected"
    for number, event in enumerate(connects):
        if event.told in [each.told for each in connects[:number]]:
            yield f"the {event} was told twice"
    if len(disconnects) > len(connects):
        yield f"{len(disconnects)} events say that {point} has disconnected, and {len(connects)} that it has connected"
    for event in disconnects:
        begun = [each for each in connects if _same_connection(each, event)]
        if not begun:
            yield f"the {event} ends a connection that no event has begun: {event.raw}"
        elif all(not _later(event, each) for each in begun):
            yield f"the {event} has the time at which it connected, or an earlier one: {event.raw}"


def _same_connection(one: ConnectionEvent, other: ConnectionEvent) -> bool:
    """Whether both name the same gateway and the same remote address, as far as both name them."""
    both = {"gateway", "remote_address", "protocol"} & one.told.keys() & other.told.keys()
    return all(one.told[name] == other.told[name] for name in both)


def _later(one: ConnectionEvent, other: ConnectionEvent) -> bool:
    """Whether `one` has a later time than `other`; also where one of them has none."""
    ended, began = moment(one.told.get("timestamp", "")), moment(other.told.get("timestamp", ""))
    return ended is None or began is None or ended > began
