"""Behaviours of charge points: generators that yield one CALL after the other and receive the answer's payload.

A script yields a `Step`, or one of the marks `HOLD` and `RECONNECT`, and is sent the payload of the CALLRESULT, or
`None` after a refusal or an unknown outcome. It ends cleanly when `stopping` returns true: a running transaction is
stopped first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Generator
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ledger.records import event_of
from ocpp_resilience.load.plan import Plan, Profile
from ocpp_resilience.ocpp import Version, ocpp_version
from ocpp_resilience.ocpp.version import Call, Transaction


class Step(NamedTuple):
    """A CALL that a script asks for.

    Attributes:
        action: its action.
        payload: its payload as JSON.
        leaves_trace: whether its effect is looked for in the state.
        event: what it is to its transaction, as JSON, for a TransactionEvent (see `ledger.records.Event`).
    """

    action: str
    payload: bytes
    leaves_trace: bool = False
    event: str = ""


HOLD = Step("", b"hold")
"""Wait until all charge points of the process are here."""
RECONNECT = Step("", b"reconnect")
"""Close the connection and open another one."""

Script: TypeAlias = Generator[Step, dict[str, Any] | None, None]

ID_TAG = "LOAD-TAG"


class Words:
    """The messages of a load's charge points in an OCPP version, made once.

    Attributes:
        boot: a charge point has started.
        report: its device model, behind the boot, in versions that have one.
        heartbeat, authorize, data: single messages.
        status: by status.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        phrases = version.phrases
        self.boot = _step(phrases.boot("Resilience", "Load"))
        self.report = [
            _step(Call(action, version.sample(action))) for action in ("NotifyReport",) if action in version.samples
        ]
        self.heartbeat = Step("Heartbeat", b"{}")
        self.authorize = _step(phrases.authorize(ID_TAG))
        self.status = {status: _step(phrases.status(1, status)) for status in ("Available", "Charging")}
        self.data = Step("DataTransfer", b'{"vendorId":"Resilience","messageId":"load"}')

    def transaction(self) -> Transaction:
        """A new transaction."""
        return self.version.transaction(connector=1, id_tag=ID_TAG)

    def actions(self, profile: Profile) -> tuple[str, ...]:
        """The messages of charge points by profile."""
        named = (self.version.named(action) for action in _ACTIONS[profile])
        reports = (step.action for step in self.report if profile in {Profile.SESSION, Profile.MIX})
        return tuple(dict.fromkeys((*named, *reports)))


@cache
def words_of(subprotocol: str) -> Words:
    """The messages of the version with this subprotocol."""
    return Words(ocpp_version(subprotocol))


def _step(call: Call, *, leaves_trace: bool = False) -> Step:
    event = event_of(*call)
    described = "" if event is None else msgspec.json.encode(event).decode()
    return Step(call.action, msgspec.json.encode(call.payload), leaves_trace, described)


MIX = {"heartbeat": 60, "status": 14, "data": 10, "authorize": 8, "session": 2}
"""Weights of the next activity of a charge point of the mix; a session has eight or more messages."""
PERSISTENT_SESSIONS = 20
"""The weight of a session in a persistent load, which is there to see starts and stops repeated."""


class Session(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A charging session as the charge point knows it.

    Attributes:
        cp: charge point id.
        connector, id_tag: the connector, and the id tag of the driver.
        meter_start, meter_stop: energy register in Wh; the stop value only once the stop was sent.
        start_id, stop_id: message ids of start and stop.
        transaction_id: the id that the server gave, or in OCPP 2.x the charge point; `None` before it is known.
        meter_values: how many meter values were answered.
        stopped: whether the stop was answered.
    """

    cp: str
    connector: int = 1
    id_tag: str = ID_TAG
    meter_start: int = 0
    meter_stop: int | None = None
    start_id: str = ""
    stop_id: str = ""
    transaction_id: int | str | None = None
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
        """The stop of the transaction is about to be sent."""
        raise NotImplementedError


def heartbeat(actor: Actor, plan: Plan, _chance: random.Random) -> Script:
    """Heartbeats only."""
    words = words_of(plan.version)
    while not actor.stopping:
        yield words.heartbeat


def churn(actor: Actor, plan: Plan, _chance: random.Random) -> Script:
    """A few messages on each connection."""
    words = words_of(plan.version)
    while not actor.stopping:
        for number in range(plan.per_connection):
            yield words.boot if number == 0 else words.heartbeat
            if actor.stopping:
                return
        yield RECONNECT


def one_session(actor: Actor, plan: Plan, chance: random.Random) -> Script:
    """A charging session, from Authorize to the free connector; the meter only goes up."""
    words = words_of(plan.version)
    meter = chance.randrange(100_000)
    session = Session(cp=actor.id, meter_start=meter)
    yield words.authorize
    if actor.stopping:
        return
    transaction = words.transaction()
    start = _step(transaction.start(meter, rfc3339()), leaves_trace=True)
    answer = yield start
    while answer is None and plan.persistent:
        if actor.refused:
            # That start must never take effect: the new one differs from it in its meter, in OCPP 2.x also in its id.
            meter += 1
            session.meter_start = meter
            transaction = words.transaction()
            start = _step(transaction.start(meter, rfc3339()), leaves_trace=True)
        answer = yield start
    session.start_id = actor.last_message_id
    if answer is None or not transaction.started(answer):
        return
    session.transaction_id = transaction.id
    actor.charging(session)
    yield words.status["Charging"]
    if plan.together:
        yield HOLD
    for _ in range(plan.meter_values):
        if actor.stopping:
            break
        meter += chance.randrange(1, 500)
        values = _step(transaction.meter_values(meter, rfc3339()))
        answer = yield values
        while answer is None and plan.persistent and values.event:
            # An event that is never told would be missing for ever.
            answer = yield values
        session.meter_values += answer is not None
    meter += chance.randrange(1, 500)
    session.meter_stop = meter
    actor.charged()
    stop = _step(transaction.stop(meter, rfc3339()), leaves_trace=True)
    answer = yield stop
    while answer is None and plan.persistent:
        answer = yield stop
    session.stop_id = actor.last_message_id
    session.stopped = answer is not None
    yield words.status["Available"]


def sessions(actor: Actor, plan: Plan, chance: random.Random) -> Script:
    """A boot, then charging sessions one after the other."""
    yield from _starting(plan)
    number = 0
    while not actor.stopping and (plan.sessions is None or number < plan.sessions):
        yield from one_session(actor, plan, chance)
        number += 1


def _starting(plan: Plan) -> Script:
    """A boot, and the report of the device model where the version has one."""
    words = words_of(plan.version)
    for step in (words.boot, *words.report):  # noqa: UP028 - a tuple takes no answers
        yield step


def mix(actor: Actor, plan: Plan, chance: random.Random) -> Script:
    """A working day: mostly heartbeats and notifications, now and then a charging session."""
    yield from _starting(plan)
    words = words_of(plan.version)
    single = {
        "heartbeat": words.heartbeat,
        "status": words.status["Available"],
        "data": words.data,
        "authorize": words.authorize,
    }
    chances = MIX | ({"session": PERSISTENT_SESSIONS} if plan.persistent else {})
    needs = {name: step.action for name, step in single.items()} | {"session": words.version.transaction_actions[0]}
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
            answer = None if step.action in lacking else (yield step)
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
_ACTIONS: dict[Profile, tuple[str, ...]] = {
    Profile.HEARTBEAT: ("Heartbeat",),
    Profile.SESSION: (*_OF_A_SESSION, "StopTransaction"),
    Profile.MIX: (*_OF_A_SESSION, "StopTransaction", "Heartbeat", "DataTransfer"),
    Profile.CHURN: ("BootNotification", "Heartbeat"),
}
"""The messages of charge points by profile, as OCPP 1.6 calls them."""
