"""The model of OCPP 2.0.1. Use cases are those of part 2 of its specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from ocpp_resilience.ocpp.model.base import Model, World, compared, unless_one_of
from ocpp_resilience.ocpp.model.behaviour import AfterTheEnd, OnBusyConnector, UnknownTransaction
from ocpp_resilience.ocpp.model.exchange import Exchange
from ocpp_resilience.ocpp.model.observed import Observed, VariableName
from ocpp_resilience.ocpp.model.register import Register, first_reading, last_reading
from ocpp_resilience.ocpp.model.values import ENERGY, Allowed, Instant, OneOf, watt_hours

MOST_MISSING = 1000
"""Maximum number of missing sequence numbers that are compared; a system need not remember all of them."""
MOST_DIGITS = 40
"""Powers of ten beyond which a reading is no register's."""
PRIORITIES = range(-9, 10)
LEFT_TO_THE_SYSTEM = ("stop_time", "stopped_reason", "reason", "meter_stop")
"""Fields of a transaction that a system ends, or may end, by itself."""


@dataclass(slots=True)
class _Transaction:
    """A charging session. Its stored state follows from the set of its events, in any order of arrival.

    Attributes:
        fields: what is kept of it, but for `missing`.
        seen: the sequence numbers of its events.
        told: of a field that several events may tell, the sequence number of the one that tells it.
        started: the sequence number of its Started.
        register: the readings in its events.
    """

    fields: dict[str, Allowed]
    seen: frozenset[int] = frozenset()
    told: dict[str, int] = field(default_factory=dict)
    started: int | None = None
    register: Register = field(default_factory=Register)

    def copy(self) -> _Transaction:
        return _Transaction(dict(self.fields), self.seen, dict(self.told), self.started, self.register)

    @property
    def ended(self) -> bool:
        return "end" in self.told

    @property
    def connector(self) -> str | None:
        """Its place, as far as its events name it."""
        evse, number = self.fields["evse"], self.fields["connector_id"]
        return f"{evse}:{number}" if isinstance(evse, int) and isinstance(number, int) else None

    def kept(self) -> dict[str, Allowed]:
        """All fields."""
        begin = 0 if self.started is None else self.started
        missing = [each for each in range(begin, max(self.seen, default=0)) if each not in self.seen]
        return self.fields if len(missing) > MOST_MISSING else self.fields | {"missing": missing}

    def tell(self, name: str, number: int, **fields: Allowed) -> None:
        """Event `number` sets these fields, unless a later event has set them."""
        if number > self.told.get(name, -1):
            self.told[name] = number
            self.fields |= fields


@dataclass(slots=True)
class _World(World):
    """One state that a charge point may be in.

    Attributes:
        running: the id of the transaction on each connector.
        transactions: by id.
        variables: the device model.
    """

    running: dict[str, str] = field(default_factory=dict)
    transactions: dict[str, _Transaction] = field(default_factory=dict)
    variables: dict[VariableName, dict[str, Allowed]] = field(default_factory=dict)

    def copy(self) -> _World:
        return _World(
            dict(self.point),
            {number: dict(fields) for number, fields in self.connectors.items()},
            dict(self.running),
            {id_: each.copy() for id_, each in self.transactions.items()},
            dict(self.variables),
        )

    def records(self) -> Iterator[dict[str, Allowed]]:
        yield self.point
        yield from (self.connectors[each] for each in sorted(self.connectors))
        yield from (self.transactions[each].fields for each in sorted(self.transactions))

    def is_shaped_as(self, other: _World) -> bool:
        if self.running != other.running or self.variables != other.variables:
            return False
        if self.connectors.keys() != other.connectors.keys() or self.transactions.keys() != other.transactions.keys():
            return False
        pairs = ((each, other.transactions[id_]) for id_, each in self.transactions.items())
        return all(
            (one.seen, one.told, one.started, one.register) == (two.seen, two.told, two.started, two.register)
            for one, two in pairs
        )

    def transactions_kept(self) -> Iterator[tuple[str, dict[str, Allowed]]]:
        yield from ((id_, each.kept()) for id_, each in self.transactions.items())

    def running_on(self, connector: str) -> tuple[bool, str | None]:
        return connector in self.running, self.running.get(connector)


class Model201(Model[_World]):
    """The allowed answers to charge points and the expected state, for any number of charge points.

    Args:
        behaviour: what the system does where the specification leaves a choice.
    """

    version: ClassVar[str] = "ocpp2.0.1"
    has_variables: ClassVar[bool] = True

    def new_world(self) -> _World:
        """The state before the first message."""
        return _World()

    def effects(self) -> Mapping[str, Callable[[_World, Exchange], bool]]:
        """See `Model.effects`."""
        return {
            "BootNotification": self._boot,
            "FirmwareStatusNotification": self._firmware,
            "LogStatusNotification": self._log,
            "NotifyReport": self._report,
            "StatusNotification": self._status,
            "TransactionEvent": self._event,
        }

    def implied_problems(self, exchange: Exchange) -> list[str]:
        """See `Model.implied_problems`."""
        answer = exchange.answer
        problems = []
        if (verdict := answer.get("idTokenInfo")) is not None:
            problems += unless_one_of("idTokenInfo.status", verdict["status"], self.behaviour.authorization)
            problems += _priority_problems("idTokenInfo.", verdict)
        elif exchange.action == "TransactionEvent" and "idToken" in exchange.payload:
            problems.append("idTokenInfo: missing, although an idToken was given")
        return problems + _priority_problems("", answer)

    def _boot(self, world: _World, exchange: Exchange) -> bool:
        """Use case B01."""
        if isinstance(exchange.answer, Mapping) and exchange.answer.get("status") != "Accepted":
            return True
        station = exchange.payload["chargingStation"]
        world.point |= {
            "vendor": station["vendorName"],
            "model": station["model"],
            "serial": station.get("serialNumber"),
            "firmware": station.get("firmwareVersion"),
            "boot_time": self.span(exchange),
        }
        return True

    def _firmware(self, world: _World, exchange: Exchange) -> bool:
        """Use case L01."""
        world.point["firmware_status"] = exchange.payload["status"]
        return True

    def _log(self, world: _World, exchange: Exchange) -> bool:
        """Use case N01."""
        world.point["diagnostics_status"] = exchange.payload["status"]
        return True

    def _status(self, world: _World, exchange: Exchange) -> bool:
        """Use case G01. EVSE 0 is the charge point itself."""
        payload = exchange.payload
        if payload["evseId"] == 0:
            world.point["status"] = payload["connectorStatus"]
            return True
        connector = world.connectors.setdefault(f"{payload['evseId']}:{payload['connectorId']}", {"error_code": None})
        connector |= {"status": payload["connectorStatus"], "updated_at": Instant(payload["timestamp"])}
        return True

    def _report(self, world: _World, exchange: Exchange) -> bool:
        """Use case B07. A report may come in several parts, and a later one replaces the variables that it names
        again."""
        for report in exchange.payload.get("reportData", ()):
            for attribute in report["variableAttribute"]:
                world.variables[_name_of(report, attribute)] = {
                    "value": attribute.get("value"),
                    "mutability": attribute.get("mutability", "ReadWrite"),
                }
        return True

    # ---------------------------------------------------------------- transactions

    def _event(self, world: _World, exchange: Exchange) -> bool:
        """Use cases E01 to E15. An event counts once by transaction and sequence number, whenever it comes."""
        payload = exchange.payload
        id_ = payload["transactionInfo"]["transactionId"]
        known = world.transactions.get(id_)
        if known is None:
            if payload["eventType"] != "Started" and self.behaviour.unknown_transaction is UnknownTransaction.IGNORE:
                return True
        elif not self._counts(known, payload["seqNo"]):
            return True
        transaction = _new_transaction(id_, exchange.charge_point) if known is None else known
        before = None if known is None or known.ended else known.connector
        self._take_in(transaction, payload)
        world.transactions[id_] = transaction
        now = None if transaction.ended else transaction.connector
        if before != now or known is None:
            self._move(world, id_, before, now, exchange)
        return True

    def _counts(self, transaction: _Transaction, number: int) -> bool:
        if number in transaction.seen or (transaction.started is not None and number < transaction.started):
            return False
        behind = number > max(transaction.seen)
        return not (behind and transaction.ended and self.behaviour.after_the_end is AfterTheEnd.IGNORE)

    def _take_in(self, transaction: _Transaction, payload: Mapping[str, Any]) -> None:
        """The values of an event belong to its sequence number, not to its arrival."""
        number, kind, info = payload["seqNo"], payload["eventType"], payload["transactionInfo"]
        fields, values = transaction.fields, payload.get("meterValue", ())
        if kind == "Started":
            transaction.started = number
            energy = first_reading(values, _energy)
            fields |= {
                "start_time": Instant(payload["timestamp"]),
                "meter_start": OneOf((0, None)) if energy is None else energy,
            }
        elif transaction.started is None and number < min(transaction.seen, default=number + 1):
            fields["start_time"] = Instant(payload["timestamp"])
        transaction.seen |= {number}
        fields["seq_no"] = max(transaction.seen)
        fields["offline"] += bool(payload.get("offline", False))
        if evse := payload.get("evse"):
            transaction.tell("evse", number, evse=evse["id"])
            if "connectorId" in evse:
                transaction.tell("connector_id", number, connector_id=evse["connectorId"])
        if token := payload.get("idToken"):
            kept = {"idToken": token["idToken"], "type": token["type"]}
            transaction.tell("id_token", number, id_token=kept, id_tag=token["idToken"])
        if "remoteStartId" in info:
            transaction.tell("remote_start_id", number, remote_start_id=info["remoteStartId"])
        if "chargingState" in info:
            transaction.tell("charging_state", number, charging_state=info["chargingState"])
        transaction.register = transaction.register.read(values, _energy, self.behaviour.meter_current)
        if kind == "Ended":
            # A reason that is not given is a local one (use case E06).
            reason = info.get("stoppedReason", OneOf(("Local", None)))
            fields |= {"status": "completed", "stop_time": Instant(payload["timestamp"])}
            fields |= {"stopped_reason": reason, "reason": reason}
            transaction.tell("end", number)
            energy = last_reading(values, _energy)
            if energy is not None:
                transaction.tell("meter_stop", number, meter_stop=energy)
        read = transaction.register.energy
        fields["meter_current"] = fields["meter_start"] if read is None else read
        if transaction.ended and "meter_stop" not in transaction.told:
            fields["meter_stop"] = read

    def _move(self, world: _World, id_: str, before: str | None, now: str | None, exchange: Exchange) -> None:
        """Note where a transaction runs."""
        if before is not None and world.running.get(before) == id_:
            del world.running[before]
            world.connectors[before]["updated_at"] = self.span(exchange)
        if now is None:
            return
        other = world.running.get(now)
        if other is not None and other != id_ and self.behaviour.busy_connector is not OnBusyConnector.KEEP:
            ends = self.behaviour.busy_connector is OnBusyConnector.END
            fields = world.transactions[other].fields
            fields["status"] = "completed" if ends else OneOf(("active", "completed"))
            for name in LEFT_TO_THE_SYSTEM:
                fields.pop(name, None)
        world.running[now] = id_
        world.connectors.setdefault(now, {"status": None, "error_code": None})["updated_at"] = self.span(exchange)

    # ---------------------------------------------------------------- state

    def differences(self, world: _World, observed: Observed) -> list[str]:
        """See `Model.differences`."""
        found = super().differences(world, observed)
        if observed.variables is not None:
            kept = observed.fields.get("variable", ("value", "mutability"))
            for name, expected in sorted(world.variables.items()):
                found += compared(f"variable {name}", expected, observed.variables.get(name), kept)
            extra = sorted(set(observed.variables) - set(world.variables))
            found += [f"variable {name} is kept, and no report was about it" for name in extra]
        return found


def _new_transaction(id_: str, charge_point: str) -> _Transaction:
    return _Transaction(
        {
            "id": id_,
            "charge_point_id": charge_point,
            # What no event has told is not there, or the value that stands for nothing.
            "connector_id": OneOf((0, None)),
            "id_tag": OneOf(("", None)),
            "meter_start": OneOf((0, None)),
            "meter_stop": None,
            "stop_time": None,
            "reason": None,
            "status": "active",
            "offline": 0,
            "charging_state": None,
            "evse": None,
            "id_token": None,
            "remote_start_id": None,
            "stopped_reason": None,
        }
    )


def _name_of(report: Mapping[str, Any], attribute: Mapping[str, Any]) -> VariableName:
    component, variable = report["component"], report["variable"]
    evse = component.get("evse", {})
    return VariableName(
        component["name"],
        component.get("instance", ""),
        str(evse.get("id", "")),
        str(evse.get("connectorId", "")),
        variable["name"],
        variable.get("instance", ""),
        attribute.get("type", "Actual"),
    )


def _energy(sample: Mapping[str, Any]) -> Allowed | None:
    """The reading of the energy register in Wh (section 2.46); `None` for a sample of something else."""
    if sample.get("measurand", ENERGY) != ENERGY or "phase" in sample:
        return None
    unit = sample.get("unitOfMeasure", {})
    name, multiplier = unit.get("unit", "Wh"), unit.get("multiplier", 0)
    value = Decimal(str(sample["value"]))
    if name not in {"Wh", "kWh"} or not value.is_finite() or abs(value.adjusted() + multiplier) > MOST_DIGITS:
        return None
    return watt_hours(value.scaleb(multiplier + (3 if name == "kWh" else 0)))


def _priority_problems(where: str, answer: Mapping[str, Any]) -> list[str]:
    """A charging priority is from -9 to 9 (section 1.60 of the messages); the schema does not say so."""
    priority = answer.get("chargingPriority")
    if priority is None or priority in PRIORITIES:
        return []
    return [f"{where}chargingPriority: {priority} is not from -9 to 9"]
