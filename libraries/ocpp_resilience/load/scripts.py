"""Behaviours of charge points: generators that yield one CALL after the other and receive the answer's payload.

A script yields `(action, payload as JSON)`, or one of the marks `HOLD` and `RECONNECT`, and is sent the payload of the
CALLRESULT, or `None` after a refusal or an unknown outcome. It ends in order when `stopping` returns true: a running
transaction is stopped first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Generator
from typing import Any, TypeAlias

import msgspec

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.load.plan import Plan, Profile

HOLD = ("", b"hold")
"""Wait until all charge points of the process are here."""
RECONNECT = ("", b"reconnect")
"""Close the connection and open another one."""

Step: TypeAlias = tuple[str, bytes]
Script: TypeAlias = Generator[Step, dict[str, Any] | None, None]

ID_TAG = "LOAD-TAG"
BOOT = ("BootNotification", b'{"chargePointVendor":"Resilience","chargePointModel":"Load"}')
HEARTBEAT = ("Heartbeat", b"{}")
AUTHORIZE = ("Authorize", b'{"idTag":"LOAD-TAG"}')
STATUS = {
    status: ("StatusNotification", f'{{"connectorId":1,"errorCode":"NoError","status":"{status}"}}'.encode())
    for status in ("Available", "Charging")
}
DATA = ("DataTransfer", b'{"vendorId":"Resilience","messageId":"load"}')

MIX = {"heartbeat": 60, "status": 14, "data": 10, "authorize": 8, "session": 2}
"""Weights of the next activity of a charge point of the mix; a session has eight or more messages."""
PERSISTENT_SESSIONS = 20
"""The weight of a session in a persistent load, which is there to see starts and stops repeated."""


class Session(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A charging session as the charge point knows it.

    Attributes:
        cp: charge point id.
        connector, id_tag: the connector, and the id tag of the driver.
        meter_start, meter_stop: energy register in Wh; the stop value only once StopTransaction was sent.
        start_id, stop_id: message ids of StartTransaction and StopTransaction.
        transaction_id: the server's id; `None` before its answer.
        meter_values: how many MeterValues were answered.
        stopped: whether StopTransaction was answered.
    """

    cp: str
    connector: int = 1
    id_tag: str = ID_TAG
    meter_start: int = 0
    meter_stop: int | None = None
    start_id: str = ""
    stop_id: str = ""
    transaction_id: int | None = None
    meter_values: int = 0
    stopped: bool = False


class Actor:
    """The part of a charge point that a script sees."""

    id: str
    last_message_id: str = ""
    stopping: bool = False
    refused: bool = False
    """Whether the message before was answered with a CALLERROR."""

    def charging(self, session: Session) -> None:
        """A transaction is active."""
        raise NotImplementedError

    def charged(self) -> None:
        """StopTransaction is about to be sent."""
        raise NotImplementedError


def heartbeat(actor: Actor, _plan: Plan, _chance: random.Random) -> Script:
    """Heartbeats only."""
    while not actor.stopping:
        yield HEARTBEAT


def churn(actor: Actor, plan: Plan, _chance: random.Random) -> Script:
    """A few messages on each connection."""
    while not actor.stopping:
        for number in range(plan.per_connection):
            yield BOOT if number == 0 else HEARTBEAT
            if actor.stopping:
                return
        yield RECONNECT


def one_session(actor: Actor, plan: Plan, chance: random.Random) -> Script:
    """A charging session, from Authorize to the free connector; the meter only goes up."""
    meter = chance.randrange(100_000)
    session = Session(cp=actor.id, meter_start=meter)
    yield AUTHORIZE
    if actor.stopping:
        return
    start = _start(meter)
    answer = yield start
    while answer is None and plan.persistent:
        if actor.refused:
            # That start must never take effect: the new one differs from it in its meter.
            meter += 1
            session.meter_start = meter
            start = _start(meter)
        answer = yield start
    session.start_id = actor.last_message_id
    transaction = answer.get("transactionId") if answer else None
    if not isinstance(transaction, int):
        return
    session.transaction_id = transaction
    actor.charging(session)
    yield STATUS["Charging"]
    if plan.together:
        yield HOLD
    for _ in range(plan.meter_values):
        if actor.stopping:
            break
        meter += chance.randrange(1, 500)
        sample = {"value": str(meter), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
        value = {"timestamp": rfc3339(), "sampledValue": [sample]}
        values = {"connectorId": 1, "transactionId": transaction, "meterValue": [value]}
        answer = yield "MeterValues", msgspec.json.encode(values)
        session.meter_values += answer is not None
    meter += chance.randrange(1, 500)
    session.meter_stop = meter
    actor.charged()
    stop = {
        "transactionId": transaction,
        "idTag": ID_TAG,
        "meterStop": meter,
        "timestamp": rfc3339(),
        "reason": "Local",
    }
    answer = yield "StopTransaction", msgspec.json.encode(stop)
    while answer is None and plan.persistent:
        answer = yield "StopTransaction", msgspec.json.encode(stop)
    session.stop_id = actor.last_message_id
    session.stopped = answer is not None
    yield STATUS["Available"]


def _start(meter: int) -> Step:
    start = {"connectorId": 1, "idTag": ID_TAG, "meterStart": meter, "timestamp": rfc3339()}
    return "StartTransaction", msgspec.json.encode(start)


def sessions(actor: Actor, plan: Plan, chance: random.Random) -> Script:
    """A boot, then charging sessions one after the other."""
    yield BOOT
    number = 0
    while not actor.stopping and (plan.sessions is None or number < plan.sessions):
        yield from one_session(actor, plan, chance)
        number += 1


def mix(actor: Actor, plan: Plan, chance: random.Random) -> Script:
    """A working day: mostly heartbeats and notifications, now and then a charging session."""
    yield BOOT
    single = {"heartbeat": HEARTBEAT, "status": STATUS["Available"], "data": DATA, "authorize": AUTHORIZE}
    chances = MIX | ({"session": PERSISTENT_SESSIONS} if plan.persistent else {})
    needs = {name: action for name, (action, _) in single.items()} | {"session": "StartTransaction"}
    names = [name for name in chances if needs[name] not in plan.lacking]
    weights = [chances[name] for name in names]
    while not actor.stopping:
        name = chance.choices(names, weights)[0]
        if name in single:
            yield single[name]
        else:
            yield from one_session(actor, plan, chance)


def script_of(actor: Actor, plan: Plan, chance: random.Random) -> Script:
    """The behaviour of a charge point of this plan, without the actions that the server lacks."""
    script = SCRIPTS[plan.profile](actor, plan, chance)
    return _without(script, plan.lacking) if plan.lacking else script


def _without(script: Script, lacking: Collection[str]) -> Script:
    """Treat missing actions as refused."""
    answer = None
    try:
        while True:
            step = script.send(answer)
            answer = None if isinstance(step, tuple) and step[0] in lacking else (yield step)
    except StopIteration:
        return
    finally:
        script.close()


SCRIPTS: dict[Profile, Callable[[Actor, Plan, random.Random], Script]] = {
    Profile.HEARTBEAT: heartbeat,
    Profile.SESSION: sessions,
    Profile.MIX: mix,
    Profile.CHURN: churn,
}

_OF_A_SESSION = ("BootNotification", "Authorize", "StatusNotification", "StartTransaction", "MeterValues")
ACTIONS: dict[Profile, tuple[str, ...]] = {
    Profile.HEARTBEAT: ("Heartbeat",),
    Profile.SESSION: (*_OF_A_SESSION, "StopTransaction"),
    Profile.MIX: (*_OF_A_SESSION, "StopTransaction", "Heartbeat", "DataTransfer"),
    Profile.CHURN: ("BootNotification", "Heartbeat"),
}
"""The messages of charge points by profile."""
