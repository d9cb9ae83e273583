"""Readings of the energy register, each of which counts once for its transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from server.store.models import Transaction, unix_seconds

DEFAULT_MEASURAND = "Energy.Active.Import.Register"
DEFAULT_CONTEXT = "Sample.Periodic"
DEFAULT_LOCATION = "Outlet"
"""The meaning of a sample that does not say (OCPP 1.6 section 7.43, OCPP 2.0.1 part 2 section 2.46)."""
LARGEST_ENERGY = 2**31 - 1

EnergyOf = Callable[[dict[str, Any]], int | None]
"""The energy in Wh that a sample reads; `None` if it reads anything else."""


def with_readings(transaction: Transaction, meter_values: list[dict[str, Any]], energy_of: EnergyOf) -> Transaction:
    """The transaction with the newest reading of its energy register; itself if `meter_values` add none."""
    changes = newest_reading(transaction, meter_values, energy_of)
    return replace(transaction, **changes) if changes else transaction


def newest_reading(transaction: Transaction, meter_values: list[dict[str, Any]], energy_of: EnergyOf) -> dict[str, Any]:
    """The fields of the transaction that `meter_values` change."""
    time = "" if transaction.meter_time is UNSET else transaction.meter_time
    readings = [] if transaction.meter_readings is UNSET else list(transaction.meter_readings)
    energy = None
    for meter_value in meter_values:
        taken = meter_value["timestamp"]
        newer = taken != time
        if newer and time:
            # Texts may differ and name one instant.
            instant, latest = unix_seconds(taken), unix_seconds(time)
            if instant < latest:
                continue
            newer = instant != latest or instant == 0.0
        for sample in meter_value["sampledValue"]:
            value = energy_of(sample)
            if value is None:
                continue
            reading = f"{sample.get('context', DEFAULT_CONTEXT)} {sample.get('location', DEFAULT_LOCATION)}"
            if not newer and reading in readings:
                continue
            if newer:
                time, readings, newer = taken, [], False
            readings.append(reading)
            energy = value
    if energy is None:
        return {}
    return {"meter_current": energy, "meter_time": time, "meter_readings": readings}


def last_energy(meter_values: list[dict[str, Any]], energy_of: EnergyOf) -> int | None:
    """The last reading of the energy register in `meter_values`, in Wh."""
    energy = None
    for meter_value in meter_values:
        for sample in meter_value["sampledValue"]:
            value = energy_of(sample)
            energy = energy if value is None else value
    return energy
