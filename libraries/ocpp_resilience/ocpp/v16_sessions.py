"""Random charging sessions of every shape that OCPP 1.6 allows, for tests of the effects of messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp import sessions
from ocpp_resilience.ocpp.sessions import Answers, Attempts, Repeated, Script, Step
from ocpp_resilience.ocpp.v16 import ID_TAG, VERSION, meter_value
from ocpp_resilience.ocpp.version import LARGEST_INTEGER, TransactionId

TRANSACTION_ACTIONS = ("StartTransaction", "MeterValues", "StopTransaction")
"""Those without which there is no session."""
ID_TAGS = ("TAG-1", "TAG-2", "tag-1", "04A1B2C3D4E5F6778899")
STATUSES = (
    "Available",
    "Preparing",
    "Charging",
    "SuspendedEV",
    "SuspendedEVSE",
    "Finishing",
    "Reserved",
    "Unavailable",
)
REASONS = ("EmergencyStop", "EVDisconnected", "HardReset", "Local", "Other", "PowerLoss", "Reboot", "Remote")
OTHER_SAMPLES: tuple[dict[str, str], ...] = (
    {"value": "230.1", "measurand": "Voltage", "unit": "V", "phase": "L1-N"},
    {"value": "16.0", "measurand": "Current.Import", "unit": "A", "phase": "L2"},
    {"value": "11.5", "measurand": "Power.Active.Import", "unit": "kW"},
    {"value": "57", "measurand": "SoC", "unit": "Percent", "location": "EV"},
    {"value": "99999", "measurand": "Energy.Active.Import.Register", "unit": "Wh", "phase": "L1"},
    {"value": "88888", "measurand": "Energy.Active.Export.Register", "unit": "Wh"},
    {"value": "77", "measurand": "Energy.Active.Import.Interval", "unit": "Wh"},
    {"value": "4.2", "measurand": "Energy.Reactive.Import.Register", "unit": "kvarh"},
)
"""Samples that say nothing of the energy register."""


@dataclass(slots=True)
class _Charging:
    """A transaction as its charge point knows it."""

    id: int
    connector: int
    meter: int
    start: dict[str, Any]


class SessionScript(sessions.SessionScript):
    """The random messages of one charge point."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._running: dict[int, _Charging] = {}
        # Those that were not over yet when another one began on their connector.
        self._displaced: list[_Charging] = []
        self._ended: list[_Charging] = []
        self._last_values: dict[str, Any] = {}

    def run(self) -> Script:
        """The script."""
        yield self._supported([self._boot(), self._status(0), *(self._status(number) for number in self._numbers())])
        for _ in range(self._rounds):
            steps = self._supported(self._steps())
            answers = yield steps
            self._learn(steps, answers)
        # Chance alone would leave out one of the differences in some runs.
        idle = [number for number in self._numbers() if number not in self._running]
        if self._ended and idle:
            steps = self._supported(
                [("StartTransaction", self._nearly_the_same(self._chance.choice(self._ended).start, idle))]
            )
            answers = yield steps
            self._learn(steps, answers)
        for charging in [*self._displaced, *self._running.values()]:
            if self._chance.random() < 0.7:
                yield self._supported([self._stop(charging), self._status(charging.connector, "Available")])
            elif self._chance.random() < 0.4:
                yield self._supported(self._last_readings(charging))

    def _steps(self) -> list[Step]:
        chance, steps = self._chance, list[Step]()
        for _ in range(chance.randint(2, 6)):
            # After a start without an answer, nothing is known about its connector.
            told = {step[1]["connectorId"] for step in steps if step[0] == "StartTransaction"}
            idle = [number for number in self._numbers() if number not in self._running and number not in told]
            running = [each for each in self._running.values() if each.connector not in told]
            dice = chance.random()
            if idle and dice < 0.3:
                steps += self._starts(chance.choice(idle))
            elif running and dice < 0.34:
                # The stop of the one that runs there was lost, or comes later.
                steps += self._starts(chance.choice(running).connector)
            elif self._displaced and dice < 0.42:
                steps += self._while_displaced(chance.choice(self._displaced))
            elif running and dice < 0.65:
                steps += self._while_charging(chance.choice(running))
            elif self._ended and dice < 0.68:
                steps.append(("StartTransaction", dict(chance.choice(self._ended).start)))
            elif self._ended and idle and dice < 0.72:
                steps.append(("StartTransaction", self._nearly_the_same(chance.choice(self._ended).start, idle)))
            elif dice < 0.79:
                steps += self._not_its_own()
            else:
                steps.append(self._something_else())
        return steps

    def _starts(self, connector: int) -> list[Step]:
        meter = self._chance.choice((0, 1, self._chance.randrange(2_000_000)))
        start = {
            "connectorId": connector,
            "idTag": self._chance.choice(ID_TAGS),
            "meterStart": meter,
            "timestamp": self._now(),
        }
        steps: list[Step] = [("StartTransaction", start)]
        if self._chance.random() < 0.3:
            steps.append(("StartTransaction", dict(start)))
        if self._chance.random() < 0.3:
            # Readings behind a start whose answer is not there yet go to the transaction on the connector.
            steps.append(self._meter_values(connector, None, meter))
        return steps

    def _nearly_the_same(self, start: dict[str, Any], idle: Sequence[int]) -> dict[str, Any]:
        """A start at the time of an earlier one, and another transaction: one other thing is not the same."""
        chance, connector = self._chance, start["connectorId"]
        elsewhere = [number for number in idle if number != connector]
        if connector not in idle:
            return start | {"connectorId": chance.choice(elsewhere)}
        others: list[dict[str, Any]] = [
            {"idTag": chance.choice([tag for tag in ID_TAGS if tag != start["idTag"]])},
            {"meterStart": start["meterStart"] + 1},
            *({"connectorId": number} for number in elsewhere[:1]),
        ]
        return start | chance.choice(others)

    def _while_charging(self, charging: _Charging) -> list[Step]:
        dice = self._chance.random()
        if dice < 0.6:
            named = None if self._chance.random() < 0.3 else charging.id
            charging.meter += self._chance.randrange(0, 9_000)
            return [self._meter_values(charging.connector, named, charging.meter)]
        if dice < 0.7:
            return [("StartTransaction", dict(charging.start))]
        stop = self._stop(charging)
        steps = [stop]
        if self._chance.random() < 0.4:
            steps.append(("StopTransaction", {**stop[1], "meterStop": charging.meter + 77, "reason": "Other"}))
        if self._chance.random() < 0.4:
            steps.append(self._meter_values(charging.connector, charging.id, charging.meter + 99))
        return steps

    def _while_displaced(self, charging: _Charging) -> list[Step]:
        """Messages of a transaction whose connector has another one by now."""
        if self._chance.random() < 0.5:
            charging.meter += self._chance.randrange(0, 9_000)
            return [self._meter_values(charging.connector, charging.id, charging.meter)]
        return [self._stop(charging)]

    def _stop(self, charging: _Charging) -> Step:
        if charging in self._displaced:
            self._displaced.remove(charging)
        elif self._running.get(charging.connector) is charging:
            del self._running[charging.connector]
        self._ended.append(charging)
        charging.meter += self._chance.randrange(0, 9_000)
        stop: dict[str, Any] = {
            "transactionId": charging.id,
            "meterStop": charging.meter,
            "timestamp": self._now(),
        }
        if self._chance.random() < 0.7:
            stop["reason"] = self._chance.choice(REASONS)
        if self._chance.random() < 0.6:
            stop["idTag"] = charging.start["idTag"]
        if self._chance.random() < 0.3:
            sample = {"value": str(charging.meter + 5), "context": "Transaction.End"}
            stop["transactionData"] = [{"timestamp": stop["timestamp"], "sampledValue": [sample]}]
        return "StopTransaction", stop

    def _meter_values(self, connector: int, transaction: TransactionId | None, meter: int) -> Step:
        chance = self._chance
        values = []
        if self._last_values and chance.random() < 0.15:
            return "MeterValues", self._last_values
        for number in range(chance.randint(1, 3)):
            register: dict[str, str] = {"value": str(meter + number)}
            if chance.random() < 0.3:
                register |= {"value": f"{(meter + number) / 1000:.3f}", "unit": "kWh"}
            elif chance.random() < 0.5:
                register |= {"unit": "Wh"}
            if chance.random() < 0.5:
                register["measurand"] = "Energy.Active.Import.Register"
            if chance.random() < 0.5:
                register["context"] = chance.choice(("Sample.Periodic", "Sample.Clock", "Trigger"))
            samples = [register, *chance.sample(OTHER_SAMPLES, chance.randint(0, 2))]
            chance.shuffle(samples)
            # Some were taken earlier, and come late.
            earlier = self._clock - timedelta(seconds=chance.randrange(1, 900))
            taken = rfc3339(earlier) if chance.random() < 0.2 else self._now()
            values.append({"timestamp": taken, "sampledValue": samples})
        payload: dict[str, Any] = {"connectorId": connector, "meterValue": values}
        if transaction is not None:
            payload["transactionId"] = transaction
            self._last_values = payload
        return "MeterValues", payload

    def _last_readings(self, charging: _Charging) -> list[Step]:
        """Readings of a transaction that goes on: of one instant, written in two ways, and of an earlier one."""
        return [
            (
                "MeterValues",
                {
                    "connectorId": charging.connector,
                    "transactionId": charging.id,
                    "meterValue": [{"timestamp": taken, "sampledValue": [{"value": str(meter)}]}],
                },
            )
            for taken, meter in self._of_one_instant(charging.meter)
        ]

    def _not_its_own(self) -> list[Step]:
        """Stops and readings for a transaction that is another's, over, or that there never was."""
        chance = self._chance
        ended = chance.choice(self._ended).id if self._ended else None
        foreign = self._neighbours.foreign(self.charge_point, chance)
        number = chance.choice([each for each in (ended, foreign, 2**31 - 1, 0, -1) if each is not None])
        if chance.random() < 0.5:
            stop = {"transactionId": number, "meterStop": 4_711, "timestamp": self._now(), "reason": "PowerLoss"}
            return [("StopTransaction", stop)]
        return [self._meter_values(chance.choice(self._numbers()), number, 4_711)]

    def _something_else(self) -> Step:
        chance = self._chance
        dice = chance.random()
        if dice < 0.4:
            return self._status(chance.randint(0, self._connectors))
        if dice < 0.5:
            return self._boot()
        if dice < 0.6:
            status = chance.choice(("Downloaded", "DownloadFailed", "Downloading", "Installing", "Installed", "Idle"))
            return "FirmwareStatusNotification", {"status": status}
        if dice < 0.7:
            return "DiagnosticsStatusNotification", {"status": chance.choice(("Idle", "Uploaded", "Uploading"))}
        action = chance.choice(("Authorize", "DataTransfer", "Heartbeat"))
        return action, VERSION.sample(action) | ({"idTag": chance.choice(ID_TAGS)} if action == "Authorize" else {})

    def _boot(self) -> Step:
        chance = self._chance
        boot = {"chargePointVendor": chance.choice(("ACME", "Vörlag")), "chargePointModel": f"M-{chance.randrange(9)}"}
        for name in ("chargePointSerialNumber", "chargeBoxSerialNumber", "firmwareVersion", "iccid", "meterType"):
            if chance.random() < 0.5:
                boot[name] = f"{name[:3]}-{chance.randrange(1000)}"
        return "BootNotification", boot

    def _status(self, connector: int, status: str | None = None) -> Step:
        chance = self._chance
        error = "NoError" if chance.random() < 0.7 else chance.choice(("GroundFailure", "OtherError", "WeakSignal"))
        chosen = status or ("Faulted" if error != "NoError" else chance.choice(STATUSES))
        payload: dict[str, Any] = {"connectorId": connector, "errorCode": error, "status": chosen}
        if chance.random() < 0.5:
            payload["timestamp"] = self._now()
        if chance.random() < 0.3:
            payload |= {"info": "by chance", "vendorErrorCode": "E-1", "vendorId": "org.example"}
        return "StatusNotification", payload

    def _learn(self, steps: Sequence[Step], answers: Answers) -> None:
        for (action, payload), answer in zip(steps, answers, strict=True):
            number = answer.get("transactionId") if answer else None
            if action == "StartTransaction" and isinstance(number, int):
                connector, meter = payload["connectorId"], payload["meterStart"]
                if not any(each.id == number for each in (*self._running.values(), *self._displaced, *self._ended)):
                    if connector in self._running:
                        self._displaced.append(self._running[connector])
                    self._running[connector] = _Charging(number, connector, meter, payload)
                    self._neighbours.transactions.append((number, self.charge_point))


def repeated() -> Repeated:
    """A session with repeated messages."""
    start = {"connectorId": 1, "idTag": ID_TAG, "meterStart": 1000, "timestamp": rfc3339()}
    transaction = (yield "StartTransaction", start).get("transactionId")
    for meter in (1500, 1750):
        value = meter_value(meter, rfc3339())
        yield "MeterValues", {"connectorId": 1, "transactionId": transaction, "meterValue": [value]}
    stop = {"transactionId": transaction, "idTag": ID_TAG, "meterStop": 2000, "timestamp": rfc3339()}
    yield "StopTransaction", stop
    # What was lost on the way may come again when all is over.
    return ("StartTransaction", start), {"transactionId": transaction}


def attempts(owners: Sequence[str]) -> Attempts:
    """Stops and readings for transactions that are not the sender's to change."""

    def start(connector: int) -> Step:
        return "StartTransaction", VERSION.sample("StartTransaction") | {"connectorId": connector}

    def stop(transaction: Any, **fields: Any) -> Step:
        return "StopTransaction", VERSION.sample("StopTransaction") | {"transactionId": transaction, **fields}

    def ids(answers: Answers) -> list[Any]:
        return [answer.get("transactionId", 0) if answer else 0 for answer in answers]

    over = ids((yield [(each, start(1)) for each in owners]))
    yield [(each, stop(transaction)) for each, transaction in zip(owners, over, strict=True)]
    running = ids((yield [(each, start(2)) for each in owners]))
    made: list[tuple[str, Step]] = []
    for place, owner in enumerate(owners):
        neighbour = (place + 1) % len(owners)
        for transaction in (running[neighbour], over[neighbour], over[place], LARGEST_INTEGER):
            values = {"connectorId": 2, "transactionId": transaction, "meterValue": [meter_value(987_654, rfc3339())]}
            made.append((owner, ("MeterValues", values)))
            made.append((owner, stop(transaction, meterStop=987_654, reason="Other", idTag=ID_TAG)))
    return made
