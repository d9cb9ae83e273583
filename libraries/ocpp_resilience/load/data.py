"""The default load: the file `load_test_data.json`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.struct_errors import explained

FILE_NAME = "load_test_data.json"


class ChargePoints(msgspec.Struct, frozen=True):
    """The fleet of the default load."""

    count: int
    largest_count: int
    id_pattern: str
    first_number: int


class Messages(msgspec.Struct, frozen=True):
    """The messages of the default load."""

    per_charge_point: int
    pause_ms: float
    rate_per_second: float


class LoadData(msgspec.Struct, frozen=True):
    """`load_test_data.json`, as far as the loads need it."""

    charge_points: ChargePoints
    messages: Messages


def read(file: Path) -> LoadData:
    """The default load.

    Raises:
        UsageError: the file cannot be used.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=LoadData)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{file}: {explained(error)}") from None
