"""The model of OCPP 1.6. Sections are those of its specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from ocpp_resilience.ocpp.model.base import Model, World, as_number, perhaps_written, unless_one_of, written
from ocpp_resilience.ocpp.model.behaviour import Behaviour, KeptFrom, OnBusyConnector, RepeatedStart
from ocpp_resilience.ocpp.model.exchange import Exchange, Outcome
from ocpp_resilience.ocpp.model.register import Register
from ocpp_resilience.ocpp.model.values import ENERGY, Allowed, Instant, OneOf, moment, watt_hours

VERSION = "ocpp1.6"

REQUIRED: dict[str, tuple[str, ...]] = {
    "BootNotification": ("chargePointVendor", "chargePointModel"),
    "DiagnosticsStatusNotification": ("status",),
    "FirmwareStatusNotification": ("status",),
    "MeterValues": ("connectorId", "meterValue"),
    "StartTransaction": ("connectorId", "idTag", "meterStart", "timestamp"),
    "StatusNotification": ("connectorId", "errorCode", "status"),
    "StopTransaction": ("transactionId", "meterStop", "timestamp"),
}


LEFT_TO_THE_SYSTEM = ("stop_time", "meter_stop", "meter_current", "reason", "version")
"""Fields of a transaction that a system ends, or may end, by itself."""


@dataclass(slots=True)
class _Transaction:
    """A charging session.

    Attributes:
        id: `None` while the id is unknown.
        content: connector, id tag, meter start and timestamp, which tell a repeated start from a new one.
        fields: its stored fields.
        register: the readings of it.
    """

    id: int | None
    content: tuple[Any, ...]
    fields: dict[str, Allowed]
    register: Register

    @property
    def active(self) -> bool:
        return bool(self.fields["status"] == "active")

    def copy(self) -> _Transaction:
        return _Transaction(self.id, self.content, dict(self.fields), self.register)


@dataclass(slots=True)
class _World(World):
    """One state that a charge point may be in.

    Attributes:
        running: the transaction on each connector, as an index of `transactions`.
        transactions: in the order of their starts.
    """

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

    def is_shaped_as(self, other: _World) -> bool:
        if self.running != other.running or list(self.connectors) != list(other.connectors):
            return False
        mine, theirs = ([(each.id, each.content, each.register) for each in w.transactions] for w in (self, other))
        return mine == theirs

    def transactions_kept(self) -> Iterator[tuple[int | None, dict[str, Allowed]]]:
        yield from ((each.id, each.fields) for each in self.transactions)

    def running_on(self, connector: int) -> tuple[bool, int | None]:
        place = self.running.get(connector)
        return place is not None, None if place is None else self.transactions[place].id


class Model16(Model[_World]):
    """The allowed answers to charge points and the expected state, for any number of charge points.

    Args:
        behaviour: the system's choices where the specification leaves one.
    """

    version: ClassVar[str] = VERSION
    required: ClassVar[Mapping[str, tuple[str, ...]]] = REQUIRED
    counts_writes: ClassVar[bool] = True
    transaction_id_of = connector_id_of = staticmethod(as_number)

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self._owners: dict[int, tuple[str, tuple[Any, ...]]] = {}

    def new_world(self) -> _World:
        """The state before the first message."""
        return _World()

    def effects(self) -> Mapping[str, Callable[[_World, Exchange], bool]]:
        """See `Model.effects`."""
        return {
            "BootNotification": self._boot,
            "DiagnosticsStatusNotification": self._diagnostics,
            "FirmwareStatusNotification": self._firmware,
            "LogStatusNotification": self._log,
            "MeterValues": self._meter_values,
            "SignedFirmwareStatusNotification": self._signed_firmware,
            "StartTransaction": self._start,
            "StatusNotification": self._status,
            "StopTransaction": self._stop,
        }

    def implied_problems(self, exchange: Exchange) -> list[str]:
        """See `Model.implied_problems`."""
        answer = exchange.answer
        if "idTagInfo" in answer:
            return unless_one_of("idTagInfo.status", answer["idTagInfo"]["status"], self.behaviour.authorization)
        if exchange.action == "StopTransaction" and self.behaviour.verdict_at_stop and "idTag" in exchange.payload:
            return ["idTagInfo: missing, although an idTag was given"]
        return []

    def contradiction(self, world: _World, exchange: Exchange) -> str:
        """See `Model.contradiction`."""
        given = exchange.answer.get("transactionId") if isinstance(exchange.answer, Mapping) else None
        owner = self._owners.get(given) if isinstance(given, int) else None
        content = _content(exchange.payload)
        if (place := self._earlier(world, content)) is not None:
            same = world.transactions[place].id
            return f"transactionId: {given} for a repeated start, which was answered {same} before"
        if owner is not None:
            return f"transactionId: {given} was given to a start of {owner[0]} before"
        return f"transactionId: {given} cannot be"

    def _boot(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.2."""
        if isinstance(exchange.answer, Mapping) and exchange.answer.get("status") != "Accepted":
            return True
        payload = exchange.payload
        if self.behaviour.kept_from is KeptFrom.BOOT and "boot_time" not in world.point:
            world.point.pop("version", None)
        world.point |= {
            "vendor": payload["chargePointVendor"],
            "model": payload["chargePointModel"],
            "serial": payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber"),
            "firmware": payload.get("firmwareVersion"),
            "boot_time": self.span(exchange),
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

    def _log(self, world: _World, exchange: Exchange) -> bool:
        """Use case N01 of the security extension; it leaves open whether it tells of the diagnostics of section 4.4."""
        return _perhaps(world.point, "diagnostics_status", exchange)

    def _signed_firmware(self, world: _World, exchange: Exchange) -> bool:
        """Use case L01 of the security extension, as `_log`."""
        return _perhaps(world.point, "firmware_status", exchange)

    def _status(self, world: _World, exchange: Exchange) -> bool:
        """Section 4.9. Connector 0 is the charge point itself."""
        payload = exchange.payload
        if payload["connectorId"] == 0:
            world.point["status"] = payload["status"]
            return True
        timestamp = payload.get("timestamp")
        connector = world.connectors.setdefault(payload["connectorId"], {})
        connector.update(
            status=payload["status"],
            error_code=payload["errorCode"],
            updated_at=self.span(exchange) if timestamp is None else Instant(timestamp),
        )
        written(connector, exchange)
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
        written(fields, exchange)
        world.running[connector] = len(world.transactions)
        world.transactions.append(_Transaction(given, content, fields, Register(energy=payload["meterStart"])))
        kept = world.connectors.setdefault(connector, {"status": None, "error_code": None})
        kept["updated_at"] = self.span(exchange)
        written(kept, exchange)
        return True

    def _is_anothers(self, transaction_id: int, charge_point: str, content: tuple[Any, ...]) -> bool:
        return self._owners.get(transaction_id, (charge_point, content)) != (charge_point, content)

    def _start_on_busy_connector(self, running: _Transaction) -> None:
        if self.behaviour.busy_connector is OnBusyConnector.KEEP:
            perhaps_written(running.fields)
            return
        ends = self.behaviour.busy_connector is OnBusyConnector.END
        running.fields["status"] = "completed" if ends else OneOf(("active", "completed"))
        for name in LEFT_TO_THE_SYSTEM:
            running.fields.pop(name, None)

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
            transaction = world.transactions[place]
            before = transaction.register.energy
            transaction.register = transaction.register.read(
                payload["meterValue"], _energy, self.behaviour.meter_current
            )
            transaction.fields["meter_current"] = transaction.register.energy
            if transaction.register.energy == before:
                perhaps_written(transaction.fields)
            else:
                written(transaction.fields, exchange)
        return True

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
        written(transaction.fields, exchange)
        connector = transaction.fields["connector_id"]
        if world.running.get(connector) == place:
            del world.running[connector]
            world.connectors[connector]["updated_at"] = self.span(exchange)
            written(world.connectors[connector], exchange)
        return True


def _perhaps(point: dict[str, Allowed], name: str, exchange: Exchange) -> bool:
    """A status that a system may keep as that field or not; where there is none yet, the field is left open."""
    if (known := point.get(name)) is not None:
        earlier = known.values if isinstance(known, OneOf) else (known,)
        point[name] = OneOf((*earlier, exchange.payload["status"]))
    return True


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
        value = Decimal(sample["value"])
    except InvalidOperation:
        return None
    return watt_hours(value * (1000 if unit == "kWh" else 1))
