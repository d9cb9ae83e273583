"""The errors of the state store, as keywords report them."""

from __future__ import annotations

from enum import StrEnum

from ocpp_resilience.errors import ResilienceError
from server.store.errors import (
    CorruptState,
    StateConflict,
    StateError,
    StateNotFound,
    StateOutOfMemory,
    StateReadOnly,
    StateTimeout,
    StateTooLarge,
    StateUnavailable,
)


class StateErrorKind(StrEnum):
    """The kinds of failure, each with its own error."""

    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    READ_ONLY = "read_only"
    OUT_OF_MEMORY = "out_of_memory"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    NOT_FOUND = "not_found"
    CORRUPT = "corrupt"
    OTHER = "other"


_KINDS: dict[type[StateError], StateErrorKind] = {
    StateUnavailable: StateErrorKind.UNAVAILABLE,
    StateTimeout: StateErrorKind.TIMEOUT,
    StateReadOnly: StateErrorKind.READ_ONLY,
    StateOutOfMemory: StateErrorKind.OUT_OF_MEMORY,
    StateConflict: StateErrorKind.CONFLICT,
    StateTooLarge: StateErrorKind.TOO_LARGE,
    StateNotFound: StateErrorKind.NOT_FOUND,
    CorruptState: StateErrorKind.CORRUPT,
}


def kind_of(error: StateError) -> StateErrorKind:
    """The kind of an error of the store."""
    return _KINDS.get(type(error), StateErrorKind.OTHER)


class StateFailure(ResilienceError):
    """The state store refused an operation, or could not carry it out.

    Attributes:
        kind: which failure it was.
        key: the Redis key.
        operation: the failed operation.
    """

    def __init__(self, error: StateError) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.kind = kind_of(error)
        self.key = error.key
        self.operation = error.operation
