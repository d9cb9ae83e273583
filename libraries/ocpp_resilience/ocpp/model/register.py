"""The energy register of a transaction, as its readings tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ocpp_resilience.ocpp.model.base import FOREVER
from ocpp_resilience.ocpp.model.behaviour import MeterCurrent
from ocpp_resilience.ocpp.model.values import Allowed, moment

EnergyOf: TypeAlias = Callable[[Mapping[str, Any]], Allowed | None]
"""The reading of the energy register in Wh; `None` for a sample of something else, or that is no number."""


@dataclass(frozen=True, slots=True)
class Register:
    """The values read from the energy register.

    Attributes:
        counted: the readings that were taken in.
        newest: the newest timestamp of a reading.
        energy: what it shows; `None` before the first reading.
    """

    counted: frozenset[tuple[Any, ...]] = frozenset()
    newest: float = -FOREVER
    energy: Allowed | None = None

    def read(self, meter_values: Sequence[Mapping[str, Any]], energy_of: EnergyOf, shows: MeterCurrent) -> Register:
        """With further readings, each of which counts once."""
        counted, newest, energy = self.counted, self.newest, self.energy
        for meter_value in meter_values:
            at = moment(meter_value["timestamp"]) or 0.0
            for sample in meter_value["sampledValue"]:
                reading = energy_of(sample)
                if reading is None:
                    continue
                # What is not given has its default (1.6 section 7.33, 2.0.1 part 2 section 2.46): no other reading.
                identity = at, sample.get("location", "Outlet"), sample.get("context", "Sample.Periodic")
                if identity in counted:
                    continue
                counted |= {identity}
                if (shows is MeterCurrent.NEWEST and at < newest) or (
                    shows is MeterCurrent.HIGHEST
                    and isinstance(energy, int)
                    and isinstance(reading, int)
                    and reading < energy
                ):
                    continue
                newest = max(newest, at)
                energy = reading
        return Register(counted, newest, energy)


def first_reading(meter_values: Sequence[Mapping[str, Any]], energy_of: EnergyOf) -> Allowed | None:
    """The first reading of the register; `None` if there is none."""
    return next(_readings(meter_values, energy_of), None)


def last_reading(meter_values: Sequence[Mapping[str, Any]], energy_of: EnergyOf) -> Allowed | None:
    """The last reading of the register; `None` if there is none."""
    return next(iter([*_readings(meter_values, energy_of)][::-1]), None)


def _readings(meter_values: Sequence[Mapping[str, Any]], energy_of: EnergyOf) -> Any:
    for meter_value in meter_values:
        for sample in meter_value["sampledValue"]:
            if (reading := energy_of(sample)) is not None:
                yield reading
