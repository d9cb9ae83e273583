"""Random charging sessions of every shape that OCPP 2.0.1 and 2.1 allow, for tests of the effects of messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp import sessions
from ocpp_resilience.ocpp.sessions import Attempts, Repeated, Script, Step
from ocpp_resilience.ocpp.v201 import ID_TOKEN, SAMPLES, Transaction, id_token, meter_value

TRANSACTION_ACTIONS = ("TransactionEvent",)
"""Those without which there is no session."""
ID_TOKENS = ("TAG-1", "TAG-2", "tag-1", "04A1B2C3D4E5F6778899")
STATUSES = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")
CHARGING_STATES = ("Charging", "EVConnected", "SuspendedEV", "SuspendedEVSE", "Idle")
REASONS = ("EmergencyStop", "EVDisconnected", "ImmediateReset", "Local", "Other", "PowerLoss", "Reboot", "Remote")
OTHER_SAMPLES: tuple[dict[str, Any], ...] = (
    {"value": 230.1, "measurand": "Voltage", "unitOfMeasure": {"unit": "V"}, "phase": "L1-N"},
    {"value": 16.0, "measurand": "Current.Import", "unitOfMeasure": {"unit": "A"}, "phase": "L2"},
    {"value": 11.5, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W", "multiplier": 3}},
    {"value": 57, "measurand": "SoC", "unitOfMeasure": {"unit": "Percent"}, "location": "EV"},
    {"value": 99999, "measurand": "Energy.Active.Import.Register", "phase": "L1"},
    {"value": 88888, "measurand": "Energy.Active.Export.Register"},
    {"value": 77, "measurand": "Energy.Active.Import.Interval"},
)
"""Samples that say nothing of the energy register."""


@dataclass(slots=True)
class _Charging:
    """A transaction as its charge point knows it.

    Attributes:
        events: those that were sent.
        held: those that happened and are sent later, or never.
    """

    transaction: Transaction
    evse: dict[str, int]
    token: str
    meter: int
    events: list[Step] = field(default_factory=list)
    held: list[Step] = field(default_factory=list)


class SessionScript(sessions.SessionScript):
    """The random messages of one charge point."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._running: dict[int, _Charging] = {}
        # Those that were not over yet when another one began on their EVSE.
        self._displaced: list[_Charging] = []
        self._ended: list[_Charging] = []
        self._used: set[str] = set()

    def run(self) -> Script:
        """The script."""
        yield self._supported([self._boot(), *(self._status(number) for number in range(self._connectors + 1))])
        for _ in range(self._rounds):
            yield self._supported(self._steps())
        for charging in [*self._displaced, *self._running.values()]:
            if self._chance.random() < 0.7:
                yield self._supported([*self._ends(charging), self._status(charging.evse["id"], "Available")])
            elif self._chance.random() < 0.4:
                yield self._supported(self._last_readings(charging))

    def _steps(self) -> list[Step]:
        chance, steps = self._chance, list[Step]()
        for _ in range(chance.randint(2, 6)):
            idle = [number for number in self._numbers() if number not in self._running]
            running = list(self._running.values())
            dice = chance.random()
            if idle and dice < 0.3:
                steps += self._starts(chance.choice(idle))
            elif running and dice < 0.34:
                # The end of the one that runs there was lost, or comes later.
                steps += self._starts(chance.choice(running).evse["id"])
            elif self._displaced and dice < 0.42:
                steps += self._while_charging(chance.choice(self._displaced))
            elif running and dice < 0.65:
                steps += self._while_charging(chance.choice(running))
            elif self._ended and dice < 0.7:
                steps += self._after_the_end(chance.choice(self._ended))
            elif dice < 0.74:
                steps += self._unknown()
            else:
                steps.append(self._something_else())
        return steps

    # ---------------------------------------------------------------- transactions

    def _new_id(self) -> str:
        """An id that is new for this charge point; others may have the same."""
        chance = self._chance
        foreign = self._neighbours.foreign(self.charge_point, chance) if chance.random() < 0.2 else None
        made = str(foreign) if foreign is not None else ""
        while not made or made in self._used:
            number = f"{chance.getrandbits(128):032x}"
            made = chance.choice((f"TX-{number[:4]}", str(chance.randrange(10_000)), number, f"tx {number[:20]} ä/1"))
        self._used.add(made)
        self._neighbours.transactions.append((made, self.charge_point))
        return made

    def _event(self, charging: _Charging, kind: str, trigger: str, **fields: Any) -> Step:
        return charging.transaction.event(kind, trigger, self._now(), **fields)

    def _perhaps_offline(self, charging: _Charging, kind: str, trigger: str, **fields: Any) -> Step:
        """An event that may have happened without a connection."""
        charging.transaction.offline = self._chance.random() < 0.25
        event = self._event(charging, kind, trigger, **fields)
        charging.transaction.offline = False
        return event

    def _starts(self, evse: int) -> list[Step]:
        chance = self._chance
        token = chance.choice(ID_TOKENS)
        charging = _Charging(
            transaction=Transaction(connector=evse, id_tag=token, id=self._new_id()),
            evse={"id": evse, "connectorId": chance.choice((1, 1, 2))},
            token=token,
            meter=chance.choice((0, 1, chance.randrange(2_000_000))),
        )
        if evse in self._running:
            self._displaced.append(self._running[evse])
        self._running[evse] = charging
        fields: dict[str, Any] = {"evse": dict(charging.evse), "transactionInfo": {"chargingState": "EVConnected"}}
        if chance.random() < 0.7:
            fields["meterValue"] = [meter_value(charging.meter, self._now(), "Transaction.Begin")]
        if chance.random() < 0.6:
            fields["idToken"] = id_token(token)
            fields["transactionInfo"]["chargingState"] = "Charging"
        if chance.random() < 0.2:
            fields["transactionInfo"]["remoteStartId"] = chance.randrange(1, 2**31)
        start = self._perhaps_offline(
            charging, "Started", chance.choice(("Authorized", "CablePluggedIn", "RemoteStart")), **fields
        )
        if chance.random() < 0.1:
            charging.held.append(start)
            return self._while_charging(charging)
        return self._told(charging, [start])

    def _told(self, charging: _Charging, steps: Sequence[Step]) -> list[Step]:
        """The steps, some of them twice."""
        told: list[Step] = []
        for step in steps:
            told.append(step)
            charging.events.append(step)
            if self._chance.random() < 0.2:
                told.append(step)
        return told

    def _while_charging(self, charging: _Charging) -> list[Step]:
        chance = self._chance
        dice = chance.random()
        if dice < 0.45:
            return self._told(charging, [self._updated(charging)])
        if dice < 0.6:
            return self._offline(charging)
        if dice < 0.7:
            # It happened, and is told later, or never.
            charging.held.append(self._updated(charging))
            return []
        if dice < 0.8 and charging.held:
            return self._told(charging, [charging.held.pop(chance.randrange(len(charging.held)))])
        if dice < 0.85 and charging.events:
            return [chance.choice(charging.events)]
        steps = self._ends(charging)
        if chance.random() < 0.4:
            steps += self._after_the_end(charging)
        return steps

    def _last_readings(self, charging: _Charging) -> list[Step]:
        """Readings of a transaction that goes on: of one instant, written in two ways, and of an earlier one."""
        return [
            self._event(charging, "Updated", "MeterValuePeriodic", meterValue=[meter_value(meter, taken)])
            for taken, meter in self._of_one_instant(charging.meter)
        ]

    def _updated(self, charging: _Charging) -> Step:
        chance = self._chance
        if charging.events and chance.random() < 0.25:
            state = chance.choice(CHARGING_STATES)
            fields: dict[str, Any] = {"transactionInfo": {"chargingState": state}}
            if chance.random() < 0.4:
                fields["idToken"] = id_token(charging.token)
            return self._event(charging, "Updated", "ChargingStateChanged", **fields)
        charging.meter += chance.randrange(0, 9_000)
        return self._event(charging, "Updated", "MeterValuePeriodic", meterValue=self._readings(charging.meter))

    def _offline(self, charging: _Charging) -> list[Step]:
        """Events that happened without a connection come together, in any order."""
        charging.transaction.offline = True
        steps = [self._updated(charging) for _ in range(self._chance.randint(2, 4))]
        charging.transaction.offline = False
        self._chance.shuffle(steps)
        return self._told(charging, steps)

    def _ends(self, charging: _Charging) -> list[Step]:
        chance = self._chance
        if charging in self._displaced:
            self._displaced.remove(charging)
        elif self._running.get(charging.evse["id"]) is charging:
            del self._running[charging.evse["id"]]
        self._ended.append(charging)
        charging.meter += chance.randrange(0, 9_000)
        fields: dict[str, Any] = {"transactionInfo": {"chargingState": "Idle"}}
        if chance.random() < 0.7:
            fields["transactionInfo"]["stoppedReason"] = chance.choice(REASONS)
        if chance.random() < 0.6:
            fields["idToken"] = id_token(charging.token)
        if chance.random() < 0.7:
            fields["meterValue"] = [meter_value(charging.meter, self._now(), "Transaction.End")]
        return self._told(charging, [self._perhaps_offline(charging, "Ended", "EVDeparted", **fields)])

    def _after_the_end(self, charging: _Charging) -> list[Step]:
        """Events that come when the end has come, and those that nothing can come of."""
        chance = self._chance
        if charging.held and chance.random() < 0.6:
            return self._told(charging, [charging.held.pop()])
        dice = chance.random()
        if dice < 0.4 and charging.events:
            return [chance.choice(charging.events)]
        number = charging.transaction.seq_no
        try:
            # Above the end nothing counts.
            charging.meter += 99
            kind = chance.choice(("Updated", "Ended"))
            return [self._event(charging, kind, "Trigger", meterValue=[meter_value(charging.meter, self._now())])]
        finally:
            charging.transaction.seq_no = number

    def _unknown(self) -> list[Step]:
        """An event of a transaction without a Started event."""
        chance = self._chance
        transaction = Transaction(connector=1, id_tag="", id=self._new_id())
        transaction.seq_no = chance.choice((1, 2, 7))
        charging = _Charging(transaction, {"id": chance.randint(1, self._connectors), "connectorId": 1}, "TAG-1", 4_711)
        kind = chance.choice(("Updated", "Ended"))
        values = [meter_value(charging.meter, self._now())]
        return [self._event(charging, kind, "MeterValuePeriodic", meterValue=values)]

    def _readings(self, meter: int) -> list[dict[str, Any]]:
        chance = self._chance
        values = []
        for number in range(chance.randint(1, 3)):
            register: dict[str, Any] = {"value": meter + number}
            if chance.random() < 0.3:
                register = {"value": (meter + number) / 1000, "unitOfMeasure": {"unit": "kWh"}}
            elif chance.random() < 0.4:
                unit, multiplier, value = chance.choice(_scaled(meter + number))
                register = {"value": value, "unitOfMeasure": {"unit": unit, "multiplier": multiplier}}
            elif chance.random() < 0.3:
                register["unitOfMeasure"] = {"unit": "Wh"}
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
        return values

    # ---------------------------------------------------------------- everything else

    def _something_else(self) -> Step:
        chance = self._chance
        dice = chance.random()
        if dice < 0.35:
            return self._status(chance.randint(0, self._connectors))
        if dice < 0.45:
            return self._boot()
        if dice < 0.55:
            status = chance.choice(("Downloaded", "DownloadFailed", "Downloading", "Installing", "Installed", "Idle"))
            return "FirmwareStatusNotification", {"status": status}
        if dice < 0.65:
            return "LogStatusNotification", {"status": chance.choice(("Idle", "Uploaded", "Uploading"))}
        if dice < 0.8:
            return self._report()
        if dice < 0.85:
            evse = chance.randint(0, self._connectors)
            return "MeterValues", {"evseId": evse, "meterValue": self._readings(4_711)}
        action = chance.choice(("Authorize", "DataTransfer", "Heartbeat", "NotifyEvent", "SecurityEventNotification"))
        return action, SAMPLES[action](rfc3339())

    def _boot(self) -> Step:
        chance = self._chance
        station = {"vendorName": chance.choice(("ACME", "Vörlag")), "model": f"M-{chance.randrange(9)}"}
        for name in ("serialNumber", "firmwareVersion"):
            if chance.random() < 0.5:
                station[name] = f"{name[:3]}-{chance.randrange(1000)}"
        return "BootNotification", {"reason": "PowerUp", "chargingStation": station}

    def _status(self, evse: int, status: str | None = None) -> Step:
        chance = self._chance
        connector = chance.choice((1, 1, 2)) if evse else 0
        place = {"evseId": evse, "connectorId": connector}
        return "StatusNotification", {
            "timestamp": self._now(),
            "connectorStatus": status or chance.choice(STATUSES),
            **place,
        }

    def _report(self) -> Step:
        chance = self._chance
        reports = []
        for _ in range(chance.randint(1, 4)):
            component: dict[str, Any] = {"name": chance.choice(("EVSE", "Connector", "OCPPCommCtrlr", "Ä/B"))}
            variable: dict[str, Any] = {"name": chance.choice(("Available", "Power", "a b"))}
            if chance.random() < 0.4:
                component["instance"] = chance.choice(("1", "left"))
            if chance.random() < 0.4:
                component["evse"] = {"id": chance.randint(1, 2)}
                if chance.random() < 0.5:
                    component["evse"]["connectorId"] = 1
            if chance.random() < 0.4:
                variable["instance"] = chance.choice(("1", "a/b"))
            attribute: dict[str, Any] = {"value": str(chance.randrange(1000))}
            if chance.random() < 0.4:
                attribute["type"] = chance.choice(("Actual", "Target", "MaxSet"))
            if chance.random() < 0.4:
                attribute["mutability"] = chance.choice(("ReadOnly", "ReadWrite", "WriteOnly"))
            reports.append({"component": component, "variable": variable, "variableAttribute": [attribute]})
        return "NotifyReport", {"requestId": 1, "generatedAt": self._now(), "seqNo": 0, "reportData": reports}


def _scaled(energy: int) -> Sequence[tuple[str, int, float]]:
    """Unit, multiplier and value of a reading in Wh, in several ways."""
    return (
        ("Wh", 3, energy / 1000),
        ("Wh", -2, energy * 100),
        ("Wh", 0, energy),
        ("kWh", -3, energy),
        ("kWh", 3, energy / 1_000_000),
        ("kWh", 0, energy / 1000),
    )


def repeated() -> Repeated:
    """A session with repeated messages."""
    transaction = Transaction(connector=1, id_tag=ID_TOKEN)
    start: Step = transaction.start(1000, rfc3339())
    answer = yield start
    for meter in (1500, 1750):
        yield transaction.meter_values(meter, rfc3339())
    yield transaction.stop(2000, rfc3339())
    return start, answer


def attempts(owners: Sequence[str]) -> Attempts:
    """Events for transactions that are not the sender's to change: ids are unique for their charge point alone."""
    over = [Transaction(connector=1, id_tag=ID_TOKEN) for _ in owners]
    running = [Transaction(connector=2, id_tag=ID_TOKEN) for _ in owners]
    for steps in (
        [each.start(1000, rfc3339()) for each in over],
        [each.stop(2000, rfc3339()) for each in over],
        [each.start(1000, rfc3339()) for each in running],
    ):
        yield [(owner, step) for owner, step in zip(owners, steps, strict=True)]
    made: list[tuple[str, Step]] = []
    for place, owner in enumerate(owners):
        neighbour = (place + 1) % len(owners)
        for other in (running[neighbour], over[neighbour], over[place], Transaction(connector=2, id_tag=ID_TOKEN)):
            attempt = Transaction(connector=2, id_tag=ID_TOKEN, id=other.id)
            attempt.seq_no = 3
            made.append((owner, attempt.meter_values(987_654, rfc3339())))
            made.append((owner, attempt.stop(987_654, rfc3339())))
    return made
