"""The errors of a state store.

Every method of it raises a `StateError` that names key and operation. Its type decides the next step:

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

from server.errors import CorruptState, StateError

__all__ = [
    "CorruptState",
    "StateConflict",
    "StateError",
    "StateNotFound",
    "StateOutOfMemory",
    "StateReadOnly",
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
