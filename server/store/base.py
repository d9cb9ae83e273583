"""The interface of a state store, whatever its backend, and its errors.

Every method raises a `StateError` that names key and operation. Its type decides the next step:

- `StateUnavailable`: the store cannot be reached or takes no commands. Nothing was written, unless the connection broke
  in the middle: read before trying again.
- `StateTimeout`: no answer in time. It may have been written: read before trying again.
- `StateReadOnly`, `StateOutOfMemory`: the store answers but takes no writes. Nothing was written.
- `StateConflict`: somebody else wrote. Nothing was written: read, and decide again.
- `StateTooLarge`: the record is over the limit. Nothing was sent.
- `StateNotFound`: there is no such record.
- `CorruptState`: what is stored is no such record. Nothing was written, and no part of it is handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from server.errors import CorruptState, StateError
from server.store.models import ChargePoint, ConfigurationKey, Connector, Transaction, Variable

__all__ = [
    "CorruptState",
    "StateConflict",
    "StateError",
    "StateNotFound",
    "StateOutOfMemory",
    "StateReadOnly",
    "StateStore",
    "StateTimeout",
    "StateTooLarge",
    "StateUnavailable",
]


class StateUnavailable(StateError):
    """The store cannot be reached, or does not accept commands (still loading, busy, wrong password)."""


class StateTimeout(StateError):
    """There was no answer in time; whether something was written is not known."""


class StateReadOnly(StateError):
    """The store answers and refuses writes: it is a replica, or has no room."""


class StateOutOfMemory(StateError):
    """The store answers and has no room."""


class StateConflict(StateError):
    """The record is not the one that was read, or kept changing through every attempt."""


class StateNotFound(StateError):
    """There is no such record."""

    def __init__(self, key: str, why: str = "there is no such record", operation: str = "read") -> None:
        super().__init__(key, why, operation)


class StateTooLarge(StateError):
    """A record is larger than the store takes.

    Attributes:
        size: its size in bytes.
        limit: the largest allowed.
    """

    def __init__(self, key: str, operation: str, *, size: int, limit: int) -> None:
        super().__init__(key, f"{size} bytes are over the limit of {limit}", operation)
        self.size = size
        self.limit = limit


class StateStore(Protocol):
    """Charge points, connectors, transactions and configuration; safe for any number of concurrent users.

    `get_…` raises `StateNotFound` where there is nothing. `save_…` creates a record, or replaces one that still has the
    version that the given record carries (`StateConflict` otherwise), and returns the record as written, its version
    one higher. `update_…` reads, applies a function to the record and writes; it starts again when somebody else was
    quicker, so no update is lost. The function may be called several times and must do nothing else. `delete_…` removes
    everything that hangs on the record and says whether there was anything.
    """

    async def get_charge_point(self, charge_point_id: str) -> ChargePoint:
        """Read a charge point."""

    async def save_charge_point(self, record: ChargePoint) -> ChargePoint:
        """Create or replace a charge point."""

    async def update_charge_point(
        self, charge_point_id: str, function: Callable[[ChargePoint], ChargePoint]
    ) -> ChargePoint:
        """Change a charge point."""

    async def delete_charge_point(self, charge_point_id: str) -> bool:
        """Remove a charge point, its connectors, its transactions and its configuration."""

    async def list_charge_points(self, *, problems: list[CorruptState] | None = None) -> list[ChargePoint]:
        """Every charge point, by id; corrupt ones are added to `problems`, or raised without that argument."""

    async def get_connector(self, charge_point_id: str, connector_id: int | str) -> Connector:
        """Read a connector."""

    async def save_connector(self, charge_point_id: str, connector_id: int | str, record: Connector) -> Connector:
        """Create or replace a connector."""

    async def update_connector(
        self, charge_point_id: str, connector_id: int | str, function: Callable[[Connector], Connector]
    ) -> Connector:
        """Change a connector."""

    async def delete_connector(self, charge_point_id: str, connector_id: int | str) -> bool:
        """Remove a connector."""

    async def list_connectors(
        self, charge_point_id: str, *, problems: list[CorruptState] | None = None
    ) -> dict[int | str, Connector]:
        """A charge point's connectors by their id, in order; corrupt ones as with `list_charge_points`."""

    async def new_transaction_id(self) -> int:
        """An id that no other transaction has or will have."""

    async def get_transaction(self, transaction_id: int | str, charge_point_id: str = "") -> Transaction:
        """Read a transaction; an id that is text needs its charge point, here and below."""

    async def save_transaction(self, record: Transaction) -> Transaction:
        """Create or replace a transaction, and keep the indexes."""

    async def update_transaction(
        self, transaction_id: int | str, function: Callable[[Transaction], Transaction], charge_point_id: str = ""
    ) -> Transaction:
        """Change a transaction, and keep the indexes; its id and charge point stay."""

    async def delete_transaction(self, transaction_id: int | str, charge_point_id: str = "") -> bool:
        """Remove a transaction."""

    async def list_transactions(
        self,
        charge_point_id: str | None = None,
        *,
        active: bool | None = None,
        problems: list[CorruptState] | None = None,
    ) -> list[Transaction]:
        """Transactions, of one charge point or all, oldest start first; only the active ones, or only the others."""

    async def get_variables(
        self, charge_point_id: str, *, problems: list[CorruptState] | None = None
    ) -> dict[str, Variable]:
        """Read the device model of a charge point; corrupt attributes as with `list_charge_points`."""

    async def get_configuration(
        self, charge_point_id: str, *, problems: list[CorruptState] | None = None
    ) -> dict[str, ConfigurationKey]:
        """Read the whole configuration of a charge point; corrupt keys as with `list_charge_points`."""

    async def save_configuration(self, charge_point_id: str, record: Mapping[str, ConfigurationKey]) -> None:
        """Replace the whole configuration of a charge point; an empty one removes it."""

    async def get_configuration_key(self, charge_point_id: str, key: str) -> ConfigurationKey:
        """Read one configuration key."""

    async def save_configuration_key(self, charge_point_id: str, key: str, record: ConfigurationKey) -> None:
        """Write one configuration key, whether or not it was there; the others stay."""

    async def update_configuration_key(
        self, charge_point_id: str, key: str, function: Callable[[ConfigurationKey], ConfigurationKey]
    ) -> ConfigurationKey:
        """Change one configuration key."""

    async def delete_configuration_key(self, charge_point_id: str, key: str) -> bool:
        """Remove one configuration key."""

    async def delete_configuration(self, charge_point_id: str) -> bool:
        """Remove the whole configuration of a charge point."""

    async def list_configurations(self) -> list[str]:
        """Ids of the charge points that have a configuration."""
