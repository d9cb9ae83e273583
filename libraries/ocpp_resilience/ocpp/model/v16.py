"""The model of OCPP 1.6. Sections are those of its specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.model.behaviour import Behaviour, KeptFrom, MeterCurrent, OnBusyConnector, RepeatedStart
from ocpp_resilience.ocpp.model.exchange import Exchange, Outcome
from ocpp_resilience.ocpp.model.observed import Observed, Record
from ocpp_resilience.ocpp.model.values import Allowed, Instant, OneOf, Within, allows, moment, shown
from ocpp_resilience.ocpp.validation import validate_answer
from ocpp_resilience.text import counted

VERSION = "ocpp1.6"
MOST_WORLDS = 256
"""So many states may be allowed for a charge point; with more, too much is unknown to judge it."""
FOREVER = float("inf")
ENERGY = "Energy.Active.Import.Register"
LARGEST_READING = 2**31
SCORE_TOLERANCE = 0.001

REQUIRED: dict[str, tuple[str, ...]] = {
    "BootNotification": ("chargePointVendor", "chargePointModel"),
    "DiagnosticsStatusNotification": ("status",),
    "FirmwareStatusNotification": ("status",),
    "MeterValues": ("connectorId", "meterValue"),
    "StartTransaction": ("connectorId", "idTag", "meterStart", "timestamp"),
    "StatusNotification": ("connectorId", "errorCode", "status"),
    "StopTransaction": ("transactionId", "meterStop", "timestamp"),
}
"""Fields that decide the effects of a message. The short form of messages may omit them with undefined results; a
charge point with such a message is judged by its answers alone."""


@dataclass(slots=True)
class _Transaction:
    """A charging session.

    Attributes:
        id: `None` while the id is unknown.
        content: connector, id tag, meter start and timestamp, which tell a repeated start from a new one.
        fields: its stored fields.
        counted: the readings that were taken in.
        newest: the newest timestamp of a reading.
    """

    id: int | None
    content: tuple[Any, ...]
    fields: dict[str, Allowed]
    counted: frozenset[tuple[Any, ...]] = frozenset()
    newest: float = -FOREVER

    @property
    def active(self) -> bool:
        return bool(self.fields["status"] == "active")

    def copy(self) -> _Transaction:
        return _Transaction(self.id, self.content, dict(self.fields), self.counted, self.newest)


@dataclass(slots=True)
class _World:
    """One state that a charge point may be in.

    Attributes:
        point: the stored fields of the charge point; empty before its first message.
        connectors: the stored fields of each connector, except its transaction.
        running: the transaction on each connector, as an index of `transactions`.
        transactions: in the order of their starts.
    """

    point: dict[str, Allowed] = field(default_factory=dict)
    connectors: dict[int, dict[str, Allowed]] = field(default_factory=dict)
    running: dict[int, int] = field(default_factory=dict)
    transactions: list[_Transaction] = field(default_factory=list)

    def copy(self) -> _World:
        return _World(
            dict(self.point),
            {number: dict(fields) for number, fields in self.connectors.items()},
            dict(self.running),
            [each.copy() for each in self.transactions],
        )

    def with_id(self, transaction_id: object) -> int | None:
        """The place of the transaction with this id."""
        # The newest are asked for most.
        for place in range(len(self.transactions) - 1, -1, -1):
            if self.transactions[place].id == transaction_id:
                return place
        return None

    def records(self) -> Iterator[dict[str, Allowed]]:
        yield self.point
        yield from self.connectors.values()
        yield from (each.fields for each in self.transactions)

    def differs_in_times_only(self, other: _World) -> bool:
        """Whether the two are the same but for when things happened."""
        if self.running != other.running or list(self.connectors) != list(other.connectors):
            return False
        mine, theirs = ([(each.id, each.content, each.counted) for each in w.transactions] for w in (self, other))
        if mine != theirs:
            return False
        return all(_same_but_times(one, two) for one, two in zip(self.records(), other.records(), strict=True))

    def merge_times(self, other: _World) -> None:
        """Allow the times of the other too."""
        for mine, theirs in zip(self.records(), other.records(), strict=True):
            for name, value in mine.items():
                if isinstance(value, Within):
                    mine[name] = value.or_within(theirs[name])


def _same_but_times(one: Mapping[str, Allowed], other: Mapping[str, Allowed]) -> bool:
    return one.keys() == other.keys() and all(
        value == other[name] or (isinstance(value, Within) and isinstance(other[name], Within))
        for name, value in one.items()
    )


class Model16:
    """The allowed answers to charge points and the expected state, for any number of charge points.

    Args:
        behaviour: the system's choices where the specification leaves one.
    """

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self._worlds: dict[str, list[_World]] = {}
        self._owners: dict[int, tuple[str, tuple[Any, ...]]] = {}
        self._unjudged: dict[str, str] = {}
        self._retired: set[str] = set()
        self._effects: dict[str, Callable[[_World, Exchange], bool]] = {
            "BootNotification": self._boot,
            "DiagnosticsStatusNotification": self._diagnostics,
            "FirmwareStatusNotification": self._firmware,
            "MeterValues": self._meter_values,
            "StartTransaction": self._start,
            "StatusNotification": self._status,
            "StopTransaction": self._stop,
        }

    @property
    def charge_points(self) -> list[str]:
        """Charge points whose state can be judged."""
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
        """Start anew with a charge point; its transactions keep their ids."""
        self._worlds.pop(charge_point, None)
        self._unjudged.pop(charge_point, None)
        self._retired.discard(charge_point)

    def forget_all(self) -> None:
        """Start anew with every charge point; transactions keep their ids."""
        self._worlds.clear()
        self._unjudged.clear()
        self._retired.clear()

    def transaction_ids(self, charge_point: str) -> list[int]:
        """The transactions of a charge point with known ids."""
        worlds = self._worlds.get(charge_point, [])
        return sorted({each.id for world in worlds for each in world.transactions if each.id is not None})

    def connectors(self, charge_point: str) -> list[int]:
        """The connectors of which something may be kept."""
        return sorted({number for world in self._worlds.get(charge_point, []) for number in world.connectors})

    # ---------------------------------------------------------------- messages

    def take(self, exchange: Exchange) -> list[str]:
        """Process the next exchange of a charge point; returns the problems of its answer, one in each line."""
        problems = self.answer_problems(exchange) if exchange.outcome is Outcome.ANSWERED else []
        if exchange.charge_point in self._retired:
            return problems
        if exchange.outcome is not Outcome.REFUSED and any(
            name not in exchange.payload for name in REQUIRED.get(exchange.action, ())
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
        worlds = before or [_World()]
        if exchange.outcome is Outcome.UNKNOWN:
            applied = [world.copy() for world in worlds]
            kept = [*worlds, *(world for world in applied if self._apply(world, exchange))]
        else:
            kept = [world for world in worlds if self._apply(world, exchange)]
            if not kept:
                problems.append(self._contradiction(worlds[0], exchange))
                self.leave_out(exchange.charge_point, problems[-1])
        kept = _merged(kept)
        if len(kept) > MOST_WORLDS:
            self.leave_out(exchange.charge_point, f"more than {MOST_WORLDS} states are allowed")
        self._worlds[exchange.charge_point] = kept
        return problems

    def answer_problems(self, exchange: Exchange) -> list[str]:
        """Problems of a CALLRESULT by itself: violations of its schema, and impossible values."""
        try:
            problems = validate_answer(VERSION, exchange.action, exchange.answer)
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
            problems += _unless_one_of("status", answer["status"], behaviour.registration)
            if answer["interval"] <= 0 and answer["status"] == "Accepted":
                problems.append(f"interval: {answer['interval']} is not above 0")
        elif exchange.action == "DataTransfer":
            problems += _unless_one_of("status", answer["status"], behaviour.data_transfer)
        elif (
            exchange.action == "StopTransaction"
            and behaviour.verdict_at_stop
            and "idTag" in exchange.payload
            and "idTagInfo" not in answer
        ):
            problems.append("idTagInfo: missing, although an idTag was given")
        if "idTagInfo" in answer:
            problems += _unless_one_of("idTagInfo.status", answer["idTagInfo"]["status"], behaviour.authorization)
        return problems

    def _contradiction(self, world: _World, exchange: Exchange) -> str:
        given = exchange.answer.get("transactionId") if isinstance(exchange.answer, Mapping) else None
        owner = self._owners.get(given) if isinstance(given, int) else None
        content = _content(exchange.payload)
        if (place := self._earlier(world, content)) is not None:
            same = world.transactions[place].id
            return f"transactionId: {given} for a repeated start, which had got {same} before"
        if owner is not None:
            return f"transactionId: {given} was given to a start of {owner[0]} before"
        return f"transactionId: {given} cannot be"

    def _apply(self, world: _World, exchange: Exchange) -> bool:
        """Change the world as the message does; whether its answer is possible there."""
        effect = self._effects.get(exchange.action)
        possible = effect is None or effect(world, exchange)
        self._seen(world, exchange, certain=not exchange.maybe_elsewhere)
        return possible

    def _span(self, exchange: Exchange) -> Within:
        tolerance = self.behaviour.clock_tolerance
        known = exchange.outcome is Outcome.ANSWERED
        return Within(exchange.began - tolerance, exchange.ended + tolerance if known else FOREVER)

    def _seen(self, world: _World, exchange: Exchange, *, certain: bool) -> None:
        span = self._span(exchange)
        if not certain:
            if "last_seen" in world.point:
                world.point["last_seen"] = span.or_within(world.point["last_seen"])
            return
        world.point["id"] = exchange.charge_point
        world.point["last_seen"] = span

    def _boot(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.2."""
        if isinstance(exchange.answer, Mapping) and exchange.answer.get("status") != "Accepted":
            return True
        payload = exchange.payload
        world.point |= {
            "vendor": payload["chargePointVendor"],
            "model": payload["chargePointModel"],
            "serial": payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber"),
            "firmware": payload.get("firmwareVersion"),
            "boot_time": self._span(exchange),
        }
        return True

    def _diagnostics(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.4."""
        world.point["diagnostics_status"] = exchange.payload["status"]
        return True

    def _firmware(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.5."""
        world.point["firmware_status"] = exchange.payload["status"]
        return True

    def _status(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.9. Connector 0 is the charge point itself."""
        payload = exchange.payload
        if payload["connectorId"] == 0:
            world.point["status"] = payload["status"]
            return True
        timestamp = payload.get("timestamp")
        world.connectors.setdefault(payload["connectorId"], {}).update(
            status=payload["status"],
            error_code=payload["errorCode"],
            updated_at=self._span(exchange) if timestamp is None else Instant(timestamp),
        )
        return True

    def _start(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.8."""
        payload, connector = exchange.payload, exchange.payload["connectorId"]
        content = _content(payload)
        answered = exchange.outcome is Outcome.ANSWERED and isinstance(exchange.answer, Mapping)
        given = exchange.answer.get("transactionId") if answered else None
        earlier = self._earlier(world, content)
        if earlier is not None:
            known = world.transactions[earlier]
            if given is None or known.id == given:
                return True
            if known.id is not None or self._is_anothers(given, exchange.charge_point, content):
                return False
            known.id = known.fields["id"] = given
            self._owners[given] = exchange.charge_point, content
            return True
        if given is not None:
            if world.with_id(given) is not None or self._is_anothers(given, exchange.charge_point, content):
                return False
            self._owners[given] = exchange.charge_point, content
        before = world.running.get(connector)
        if before is not None:
            self._start_on_busy_connector(world.transactions[before])
        fields = {
            "id": given,
            "charge_point_id": exchange.charge_point,
            "connector_id": connector,
            "id_tag": payload["idTag"],
            "start_time": Instant(payload["timestamp"]),
            "meter_start": payload["meterStart"],
            "meter_current": payload["meterStart"],
            "status": "active",
            "stop_time": None,
            "meter_stop": None,
            "reason": None,
        }
        world.running[connector] = len(world.transactions)
        world.transactions.append(_Transaction(given, content, fields))
        world.connectors.setdefault(connector, {"status": None, "error_code": None})["updated_at"] = self._span(
            exchange
        )
        return True

    def _is_anothers(self, transaction_id: int, charge_point: str, content: tuple[Any, ...]) -> bool:
        return self._owners.get(transaction_id, (charge_point, content)) != (charge_point, content)

    def _start_on_busy_connector(self, running: _Transaction) -> None:
        if self.behaviour.busy_connector is OnBusyConnector.END:
            running.fields |= {"status": "completed"}
        elif self.behaviour.busy_connector is OnBusyConnector.ANY:
            running.fields |= {"status": OneOf(("active", "completed"))}

    def _earlier(self, world: _World, content: tuple[Any, ...]) -> int | None:
        """The transaction of an equal start, as far as the system recognises it."""
        if self.behaviour.repeated_start is RepeatedStart.NEW:
            return None
        only_running = self.behaviour.repeated_start is RepeatedStart.RUNNING
        for place in range(len(world.transactions) - 1, -1, -1):
            each = world.transactions[place]
            if each.content == content and (not only_running or world.running.get(content[0]) == place):
                return place
        return None

    def _meter_values(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.7. The transaction is the one named, else the one that runs on the connector."""
        payload = exchange.payload
        if "transactionId" in payload:
            place = world.with_id(payload["transactionId"])
        else:
            place = world.running.get(payload["connectorId"])
        if place is not None and world.transactions[place].active:
            self._read(world.transactions[place], payload["meterValue"])
        return True

    def _read(self, transaction: _Transaction, meter_values: Sequence[Mapping[str, Any]]) -> None:
        """Take in the readings of the energy register; each counts once."""
        for meter_value in meter_values:
            at = moment(meter_value["timestamp"]) or 0.0
            for sample in meter_value["sampledValue"]:
                energy = _energy(sample)
                if energy is None:
                    continue
                # A missing field has its default (section 7.33), which makes no other reading.
                identity = at, sample.get("location", "Outlet"), sample.get("context", "Sample.Periodic")
                if identity in transaction.counted:
                    continue
                transaction.counted |= {identity}
                current = transaction.fields["meter_current"]
                if (self.behaviour.meter_current is MeterCurrent.NEWEST and at < transaction.newest) or (
                    self.behaviour.meter_current is MeterCurrent.HIGHEST
                    and isinstance(current, int)
                    and isinstance(energy, int)
                    and energy < current
                ):
                    continue
                transaction.newest = max(transaction.newest, at)
                transaction.fields["meter_current"] = energy

    def _stop(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.10. It cannot be refused; a transaction that is unknown, another's or over stays as it is."""
        payload = exchange.payload
        place = world.with_id(payload["transactionId"])
        if place is None or not world.transactions[place].active:
            return True
        transaction = world.transactions[place]
        transaction.fields |= {
            "status": "completed",
            "stop_time": Instant(payload["timestamp"]),
            "meter_stop": payload["meterStop"],
            "meter_current": payload["meterStop"],
            # A stop without a reason is a local one (section 7.36).
            "reason": payload.get("reason", OneOf(("Local", None))),
        }
        connector = transaction.fields["connector_id"]
        if world.running.get(connector) == place:
            del world.running[connector]
            world.connectors[connector]["updated_at"] = self._span(exchange)
        return True

    # ---------------------------------------------------------------- state

    def state_problems(self, charge_point: str, observed: Observed) -> list[str]:
        """Differences between the stored and the expected state; empty for a state that the exchanges allow.

        Where several states are allowed, the differences are those to the one that fits best.
        """
        worlds = self._worlds.get(charge_point)
        if charge_point in self._unjudged or not worlds:
            return []
        found = min((self._differences(world, observed) for world in worlds), key=len)
        if not found or len(worlds) == 1:
            return [f"{charge_point}: {each}" for each in found]
        note = f" (the best fit of {counted(len(worlds), 'allowed state')})"
        return [f"{charge_point}: {each}{note}" for each in found]

    def _differences(self, world: _World, observed: Observed) -> list[str]:
        found: list[str] = []
        fields = observed.fields
        booted = "boot_time" in world.point
        kept = booted or self.behaviour.kept_from is KeptFrom.MESSAGE
        if "charge_point" in fields and (kept or observed.point is not None):
            found += _compared("charge point", world.point, observed.point, fields["charge_point"])
        ids = {each.id for each in world.transactions if each.id is not None}
        unknown = [each for each in world.transactions if each.id is None]
        if "connector" in fields:
            for number, expected in world.connectors.items():
                record = observed.connectors.get(number)
                found += _compared(f"connector {number}", expected, record, fields["connector"])
                if record is not None and "transaction_id" in fields["connector"]:
                    found += _running(world, number, record.get("transaction_id"), ids)
            found += [
                f"connector {number} is kept, and no message was about it"
                for number in observed.connectors
                if number not in world.connectors
            ]
        if "transaction" in fields:
            for each in world.transactions:
                if each.id is not None:
                    record = observed.transactions.get(each.id)
                    found += _compared(f"transaction {each.id}", each.fields, record, fields["transaction"])
        if observed.listed is not None:
            found += _index_differences(world, observed, ids, unknown)
        if observed.connectors_listed is not None:
            found += _set_differences("connector", set(world.connectors), set(observed.connectors_listed), "listed")
        if observed.known is not None and kept and observed.known is not bool(world.point):
            found.append("is not in the list of charge points" if world.point else "is in the list of charge points")
        return found


def _compared(name: str, expected: Mapping[str, Allowed], record: Record | None, kept: Any) -> list[str]:
    if not expected:
        return [] if record is None else [f"{name} is kept, and no message was about it"]
    if record is None:
        return [f"{name} is not kept"]
    return [
        f"{name}: {field_name} is {record.get(field_name)!r}, expected {shown(value)}"
        for field_name, value in expected.items()
        if field_name in kept and not allows(value, record.get(field_name))
    ]


def _running(world: _World, connector: int, kept: Any, ids: set[int]) -> list[str]:
    place = world.running.get(connector)
    expected = None if place is None else world.transactions[place].id
    if place is not None and expected is None:
        right = isinstance(kept, int) and kept not in ids
        return [] if right else [f"connector {connector}: transaction_id is {kept!r}, expected a new transaction"]
    right = kept == expected and type(kept) is type(expected)
    return [] if right else [f"connector {connector}: transaction_id is {kept!r}, expected {expected!r}"]


def _index_differences(world: _World, observed: Observed, ids: set[int], unknown: Sequence[_Transaction]) -> list[str]:
    listed = observed.listed or {}
    found = [f"transaction {each} is in no index" for each in sorted(ids) if each not in listed]
    extra = sorted(set(listed) - ids)
    if len(extra) > len(unknown):
        found.append(f"transactions {', '.join(map(str, extra))} are indexed, and {len(unknown)} of them were started")
    elif len(extra) < len(unknown):
        found.append(f"{counted(len(unknown) - len(extra), 'started transaction')} with unknown ids are in no index")
    for each in world.transactions:
        start = moment(str(each.fields["start_time"]))
        score = listed.get(each.id) if each.id is not None else None
        if score is not None and start is not None and abs(score - start) > SCORE_TOLERANCE:
            found.append(f"transaction {each.id} has the score {score}, expected its start time {start}")
    if observed.active is not None:
        must = {each.id for each in world.transactions if each.active and each.id is not None}
        may = {each.id for each in world.transactions if isinstance(each.fields["status"], OneOf)} | set(extra)
        seen = set(observed.active)
        found += _set_differences("transaction", must, seen - may, "active")
    return found


def _set_differences(what: str, expected: set[Any], seen: set[Any], word: str) -> list[str]:
    return [
        *(f"{what} {each} is not {word}" for each in sorted(expected - seen)),
        *(f"{what} {each} is {word}, expected not" for each in sorted(seen - expected)),
    ]


def _merged(worlds: list[_World]) -> list[_World]:
    """The same states, each once; those that differ in times only become one that allows both."""
    if len(worlds) == 1:
        return worlds
    kept: list[_World] = []
    for world in worlds:
        same = next((each for each in kept if each.differs_in_times_only(world)), None)
        if same is None:
            kept.append(world)
        else:
            same.merge_times(world)
    return kept


def _content(payload: Mapping[str, Any]) -> tuple[Any, ...]:
    text = str(payload["timestamp"])
    return payload["connectorId"], payload["idTag"], payload["meterStart"], moment(text) or text


def _energy(sample: Mapping[str, Any]) -> Allowed | None:
    """The reading of the energy register in Wh; `None` for a sample of something else, or that is no number."""
    if sample.get("measurand", ENERGY) != ENERGY or "phase" in sample or sample.get("format") == "SignedData":
        return None
    unit = sample.get("unit", "Wh")
    if unit not in {"Wh", "kWh"}:
        return None
    try:
        value = Decimal(sample["value"]) * (1000 if unit == "kWh" else 1)
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value) >= LARGEST_READING:
        return None
    if value == int(value):
        return int(value)
    return OneOf((int(value), round(value)))


def _unless_one_of(name: str, value: object, allowed: Sequence[str]) -> list[str]:
    return [] if value in allowed else [f"{name}: {value} is not {' or '.join(allowed)}"]
