"""Shared parts of the models of all versions: allowed states and answers, and the comparison with the stored state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Self, TypeVar

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.model.behaviour import Behaviour, KeptFrom
from ocpp_resilience.ocpp.model.exchange import Exchange, Outcome
from ocpp_resilience.ocpp.model.observed import Observed, Record
from ocpp_resilience.ocpp.model.values import Allowed, OneOf, Within, Writes, allows, moment, shown
from ocpp_resilience.ocpp.validation import validate_answer
from ocpp_resilience.text import counted

MOST_WORLDS = 256
"""So many states may be allowed for a charge point; with more, too much is unknown to judge it."""
FOREVER = float("inf")
SCORE_TOLERANCE = 0.001

SPANS = (Within, Writes)
"""Values that allow those of another state too, where nothing else differs."""

ConnectorId = int | str
TransactionId = int | str


@dataclass(slots=True)
class World(ABC):
    """One state that a charge point may be in.

    Attributes:
        point: what is kept of the charge point; empty before its first message.
        connectors: what is kept of each connector but its transaction.
    """

    point: dict[str, Allowed] = field(default_factory=dict)
    connectors: dict[Any, dict[str, Allowed]] = field(default_factory=dict)

    @abstractmethod
    def copy(self) -> Self:
        """A separate state."""

    @abstractmethod
    def records(self) -> Iterator[dict[str, Allowed]]:
        """The stored records of the charge point, its connectors and its transactions, in a fixed order."""

    @abstractmethod
    def is_shaped_as(self, other: Self) -> bool:
        """Whether the two have the same records, and anything that is not in a record is equal."""

    @abstractmethod
    def transactions_kept(self) -> Iterator[tuple[TransactionId | None, dict[str, Allowed]]]:
        """The transactions: id, `None` while it is unknown, and fields."""

    @abstractmethod
    def running_on(self, connector: Any) -> tuple[bool, TransactionId | None]:
        """Whether a transaction runs on a connector, and its id, `None` while it is unknown."""

    def differs_in_times_only(self, other: Self) -> bool:
        """Whether the two are the same but for when things happened, and how often records were written."""
        return self.is_shaped_as(other) and all(
            _same_but_times(one, two) for one, two in zip(self.records(), other.records(), strict=True)
        )

    def merge_times(self, other: Self) -> None:
        """Allow the times and versions of the other too."""
        for mine, theirs in zip(self.records(), other.records(), strict=True):
            for name, value in mine.items():
                if isinstance(value, SPANS):
                    mine[name] = value.or_within(theirs[name])


def _same_but_times(one: Mapping[str, Allowed], other: Mapping[str, Allowed]) -> bool:
    return one.keys() == other.keys() and all(
        value == other[name] or (isinstance(value, SPANS) and type(value) is type(other[name]))
        for name, value in one.items()
    )


W = TypeVar("W", bound=World)


class Model(ABC, Generic[W]):
    """The allowed answers to charge points and the expected state, for any number of charge points.

    Args:
        behaviour: what the system does where the specification leaves a choice.
    """

    version: ClassVar[str]
    """The subprotocol of the version."""
    required: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Fields that decide the effects of a message. The short form of messages may omit them with undefined results;
    a charge point with such a message is judged by its answers alone."""

    counts_writes: ClassVar[bool] = False
    """Whether the model knows how often a charge point's record is written."""
    has_variables: ClassVar[bool] = False
    """Whether the version has a device model."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self._worlds: dict[str, list[W]] = {}
        self._unjudged: dict[str, str] = {}
        self._retired: set[str] = set()
        self._clocks: dict[str, tuple[float, float]] = {}
        self._effects: Mapping[str, Callable[[W, Exchange], bool]] = self.effects()

    @abstractmethod
    def new_world(self) -> W:
        """The state before the first message."""

    @abstractmethod
    def effects(self) -> Mapping[str, Callable[[W, Exchange], bool]]:
        """Applies a message of an action to a state, and returns whether its answer is possible there."""

    @abstractmethod
    def implied_problems(self, exchange: Exchange) -> list[str]:
        """Impossible values of a CALLRESULT that its schema allows; see `answer_problems`."""

    def contradiction(self, _world: W, _exchange: Exchange) -> str:
        """Why an answer is possible in no allowed state, in words."""
        return "the answer contradicts an earlier one"

    @staticmethod
    def transaction_id_of(member: bytes) -> TransactionId:
        """The id of a transaction as an index has it."""
        return as_text(member)

    @staticmethod
    def connector_id_of(member: bytes) -> ConnectorId:
        """The id of a connector as an index has it."""
        return as_text(member)

    @property
    def charge_points(self) -> list[str]:
        """Charge points with a state that can be judged."""
        return [point for point in self._worlds if point not in self._unjudged]

    @property
    def unjudged(self) -> Mapping[str, str]:
        """Charge points whose state cannot be judged, each with the reason."""
        return self._unjudged

    def leave_out(self, charge_point: str, why: str) -> None:
        """Judge the answers of a charge point, but not its state."""
        if charge_point not in self._retired:
            self._unjudged.setdefault(charge_point, why)

    def retire(self, charge_point: str) -> None:
        """Stop judging the state of a charge point until it is forgotten."""
        self._worlds.pop(charge_point, None)
        self._unjudged.pop(charge_point, None)
        self._retired.add(charge_point)

    def forget(self, charge_point: str) -> None:
        """Start from scratch with a charge point; its transactions keep their ids."""
        self._worlds.pop(charge_point, None)
        self._unjudged.pop(charge_point, None)
        self._retired.discard(charge_point)

    def forget_all(self) -> None:
        """Start from scratch with every charge point; transactions keep their ids."""
        self._worlds.clear()
        self._unjudged.clear()
        self._retired.clear()

    def transaction_ids(self, charge_point: str) -> list[Any]:
        """The transactions of a charge point with known ids."""
        worlds = self._worlds.get(charge_point, [])
        return sorted({id_ for world in worlds for id_, _ in world.transactions_kept() if id_ is not None})

    def connectors(self, charge_point: str) -> list[Any]:
        """The connectors of which something may be kept."""
        return sorted({number for world in self._worlds.get(charge_point, []) for number in world.connectors})

    # ---------------------------------------------------------------- connections

    def connections(self, charge_point: str, count: int, *, online: bool | None) -> None:
        """Take in that a charge point has had this many connections, and whether it has one now.

        Args:
            charge_point: its id.
            count: how many it has had; the system may write each beginning and each end to its record.
            online: whether it is connected; `None` if the system may not have noticed yet.
        """
        for world in self._worlds.get(charge_point, []):
            if world.point:
                world.point["is_online"] = OneOf((True, False)) if online is None else online
                perhaps_written(world.point, 2 * count)

    # ---------------------------------------------------------------- messages

    def take(self, exchange: Exchange) -> list[str]:
        """Process the next exchange of a charge point; returns the problems of its answer, one in each line."""
        problems = self.answer_problems(exchange) if exchange.outcome is Outcome.ANSWERED else []
        problems = problems or self._clock_problems(exchange)
        if exchange.charge_point in self._retired:
            return problems
        if exchange.outcome is not Outcome.REFUSED and any(
            name not in exchange.payload for name in self.required.get(exchange.action, ())
        ):
            self.leave_out(exchange.charge_point, f"{exchange} lacks fields that its effects depend on")
        if exchange.charge_point in self._unjudged:
            self._worlds.pop(exchange.charge_point, None)
            return problems
        before = self._worlds.get(exchange.charge_point)
        if exchange.outcome is Outcome.REFUSED:
            for world in before or ():
                self._seen(world, exchange, certain=False)
            return problems
        worlds = before or [self.new_world()]
        if exchange.outcome is Outcome.UNKNOWN:
            applied = [world.copy() for world in worlds]
            kept = [*worlds, *(world for world in applied if self._apply(world, exchange))]
        else:
            # A charge point of which nothing else is known is kept if its message was handed on, and else not.
            handed_on = [world.copy() for world in worlds if exchange.maybe_elsewhere and not world.point]
            kept = [world for world in worlds if self._apply(world, exchange)]
            for world in handed_on:
                self._seen(world, exchange, certain=True)
            kept += handed_on
            if not kept:
                problems.append(self.contradiction(worlds[0], exchange))
                self.leave_out(exchange.charge_point, problems[-1])
        kept = _merged(kept)
        if len(kept) > MOST_WORLDS:
            self.leave_out(exchange.charge_point, f"more than {MOST_WORLDS} states are allowed")
        self._worlds[exchange.charge_point] = kept
        return problems

    def answer_problems(self, exchange: Exchange) -> list[str]:
        """Problems of a CALLRESULT by itself: violations of its schema, and impossible values."""
        try:
            problems = validate_answer(self.version, exchange.action, exchange.answer)
        except UsageError as unknown:
            return [f"a CALLRESULT to something that has none: {unknown}"]
        if problems:
            return problems
        answer: Mapping[str, Any] = exchange.answer
        behaviour = self.behaviour
        tolerance = behaviour.clock_tolerance
        if "currentTime" in answer:
            span = Within(exchange.began - tolerance, exchange.ended + tolerance)
            if not span.allows(answer["currentTime"]):
                problems.append(f"currentTime: {answer['currentTime']} is not {span}")
        if exchange.action == "BootNotification":
            problems += unless_one_of("status", answer["status"], behaviour.registration)
            if answer["interval"] <= 0 and answer["status"] == "Accepted":
                problems.append(f"interval: {answer['interval']} is not above 0")
        elif exchange.action == "DataTransfer":
            problems += unless_one_of("status", answer["status"], behaviour.data_transfer)
        return problems + self.implied_problems(exchange)

    def _clock_problems(self, exchange: Exchange) -> list[str]:
        """Whether the time in an answer fits the times in the earlier answers to the same charge point.

        Each answer bounds the difference between the system's clock and that of the tests, whatever that is. The clocks
        of a system's parts may differ by half of the tolerance.
        """
        if exchange.outcome is not Outcome.ANSWERED or "currentTime" not in exchange.answer:
            return []
        told = moment(exchange.answer["currentTime"])
        if told is None:
            return []
        least, most = told - exchange.ended, told - exchange.began
        known_least, known_most = self._clocks.get(exchange.charge_point, (-FOREVER, FOREVER))
        slow, fast = known_least - most, least - known_most
        if max(slow, fast) > self.behaviour.clock_tolerance / 2:
            wrong = f"{slow:.1f} s behind" if slow > fast else f"{fast:.1f} s ahead of"
            return [f"currentTime: {exchange.answer['currentTime']} is {wrong} the times in earlier answers"]
        self._clocks[exchange.charge_point] = max(known_least, least), min(known_most, most)
        return []

    def _apply(self, world: W, exchange: Exchange) -> bool:
        """Change the world as the message does; whether its answer is possible there."""
        effect = self._effects.get(exchange.action)
        possible = effect is None or effect(world, exchange)
        self._seen(world, exchange, certain=not exchange.maybe_elsewhere)
        return possible

    def span(self, exchange: Exchange) -> Within:
        """The time in which the system may have handled a message."""
        tolerance = self.behaviour.clock_tolerance
        known = exchange.outcome is Outcome.ANSWERED
        return Within(exchange.began - tolerance, exchange.ended + tolerance if known else FOREVER)

    def _seen(self, world: W, exchange: Exchange, *, certain: bool) -> None:
        span = self.span(exchange)
        if not certain:
            if "last_seen" in world.point:
                world.point["last_seen"] = span.or_within(world.point["last_seen"])
                perhaps_written(world.point, 1 + exchange.repeats + exchange.point_writes)
            return
        world.point["id"] = exchange.charge_point
        world.point["protocol"] = self.version
        world.point["last_seen"] = span
        world.point["is_online"] = True
        if self.counts_writes:
            written(world.point, exchange)
            if exchange.point_writes:
                perhaps_written(world.point, exchange.point_writes)

    # ---------------------------------------------------------------- state

    def state_problems(self, charge_point: str, observed: Observed) -> list[str]:
        """Differences between the stored and the expected state; empty for a state that the exchanges allow.

        Where several states are allowed, the differences are those to the one that fits best.
        """
        worlds = self._worlds.get(charge_point)
        if charge_point in self._unjudged or not worlds:
            return []
        found = min((self.differences(world, observed) for world in worlds), key=len)
        if not found or len(worlds) == 1:
            return [f"{charge_point}: {each}" for each in found]
        note = f" (the best fit of {counted(len(worlds), 'allowed state')})"
        return [f"{charge_point}: {each}{note}" for each in found]

    def differences(self, world: W, observed: Observed) -> list[str]:
        """Differences between the stored state and one allowed state."""
        found: list[str] = []
        fields = observed.fields
        booted = "boot_time" in world.point
        kept = booted or self.behaviour.kept_from is KeptFrom.MESSAGE
        if "charge_point" in fields and (kept or observed.point is not None):
            found += compared("charge point", world.point, observed.point, fields["charge_point"])
        transactions = list(world.transactions_kept())
        ids = {id_ for id_, _ in transactions if id_ is not None}
        if "connector" in fields:
            for number, expected in world.connectors.items():
                record = observed.connectors.get(number)
                found += compared(f"connector {number}", expected, record, fields["connector"])
                if record is not None and "transaction_id" in fields["connector"]:
                    found += _running(world, number, record.get("transaction_id"), ids)
            found += [
                f"connector {number} is kept, and no message was about it"
                for number in observed.connectors
                if number not in world.connectors
            ]
        if "transaction" in fields:
            for id_, expected in transactions:
                if id_ is not None:
                    record = observed.transactions.get(id_)
                    found += compared(f"transaction {id_}", expected, record, fields["transaction"])
        if observed.listed is not None:
            found += _index_differences(transactions, observed, ids)
        if observed.connectors_listed is not None:
            found += set_differences("connector", set(world.connectors), set(observed.connectors_listed), "listed")
        if observed.known is not None and kept and observed.known is not bool(world.point):
            found.append("is not in the list of charge points" if world.point else "is in the list of charge points")
        return found


def written(record: dict[str, Allowed], exchange: Exchange) -> None:
    """A message has changed the record, and with it the version."""
    known = record.get("version", Writes())
    certain = exchange.outcome is Outcome.ANSWERED
    once = known.after(exchange.began, exchange.ended, certain=certain)
    record["version"] = once.and_perhaps(exchange.repeats) if exchange.repeats else once


def perhaps_written(record: dict[str, Allowed], more: int = 1) -> None:
    """The record may have been written this many times more."""
    if "version" in record:
        record["version"] = record["version"].and_perhaps(more)


def as_text(member: bytes) -> str:
    """A member of an index."""
    return member.decode("utf-8", "backslashreplace")


def as_number(member: bytes) -> int | str:
    """A member of an index that is a number; the text if it is not one."""
    return int(member) if member.isdigit() else as_text(member)


def compared(name: str, expected: Mapping[str, Allowed], record: Record | None, kept: Any) -> list[str]:
    """Fields that differ between a stored and the expected record; an empty one is missing."""
    if not expected:
        return [] if record is None else [f"{name} is kept, and no message was about it"]
    if record is None:
        return [f"{name} is not kept"]
    return [
        f"{name}: {field_name} is {record.get(field_name)!r}, expected {shown(value)}"
        for field_name, value in expected.items()
        if field_name in kept and not allows(value, record.get(field_name))
    ]


def _running(world: World, connector: ConnectorId, kept: Any, ids: set[TransactionId]) -> list[str]:
    runs, expected = world.running_on(connector)
    if runs and expected is None:
        right = isinstance(kept, int) and kept not in ids
        return [] if right else [f"connector {connector}: transaction_id is {kept!r}, expected a new transaction"]
    right = kept == expected and type(kept) is type(expected)
    return [] if right else [f"connector {connector}: transaction_id is {kept!r}, expected {expected!r}"]


def _index_differences(
    transactions: Sequence[tuple[TransactionId | None, Mapping[str, Allowed]]],
    observed: Observed,
    ids: set[TransactionId],
) -> list[str]:
    listed = observed.listed or {}
    unknown = sum(id_ is None for id_, _ in transactions)
    found = [f"transaction {each} is in no index" for each in _in_order(ids) if each not in listed]
    extra = _in_order(set(listed) - ids)
    if len(extra) > unknown:
        found.append(f"transactions {', '.join(map(str, extra))} are indexed, and {unknown} of them were started")
    elif len(extra) < unknown:
        found.append(f"{counted(unknown - len(extra), 'started transaction')} with unknown ids are in no index")
    for id_, fields in transactions:
        start = moment(str(fields["start_time"]))
        score = listed.get(id_) if id_ is not None else None
        if score is not None and start is not None and abs(score - start) > SCORE_TOLERANCE:
            found.append(f"transaction {id_} has the score {score}, expected its start time {start}")
    if observed.active is not None:
        must = {id_ for id_, fields in transactions if fields["status"] == "active" and id_ is not None}
        sure = ("active", "completed")
        may = {id_ for id_, fields in transactions if fields["status"] not in sure} | set(extra)
        found += set_differences("transaction", must, set(observed.active) - may, "active")
    return found


def set_differences(what: str, expected: set[Any], seen: set[Any], word: str) -> list[str]:
    """Missing and surplus members of a set."""
    return [
        *(f"{what} {each} is not {word}" for each in _in_order(expected - seen)),
        *(f"{what} {each} is {word}, expected not" for each in _in_order(seen - expected)),
    ]


def _in_order(ids: set[Any]) -> list[Any]:
    """Sorted; ids of another type than expected are shown all the same."""
    return sorted(ids, key=lambda each: (isinstance(each, str), each))


def _merged(worlds: list[W]) -> list[W]:
    """The same states, each once; those that differ in times only become one that allows both."""
    if len(worlds) == 1:
        return worlds
    kept: list[W] = []
    for world in worlds:
        same = next((each for each in kept if each.differs_in_times_only(world)), None)
        if same is None:
            kept.append(world)
        else:
            same.merge_times(world)
    return kept


def unless_one_of(name: str, value: object, allowed: Sequence[str]) -> list[str]:
    """Says so where a value is not one of those allowed."""
    return [] if value in allowed else [f"{name}: {value} is not {' or '.join(allowed)}"]
