"""Errors of charge points, with their details as fields."""

from __future__ import annotations

from ocpp_resilience.errors import ExpectationFailed


class ConnectFailed(ExpectationFailed):
    """The gateway did not accept a connection.

    Attributes:
        status: the HTTP status of the refusal; `None` if there was no HTTP answer.
    """

    def __init__(self, message: str, *, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class NotConnected(ExpectationFailed):
    """A charge point has no connection, or lost it before the answer came."""


class NoAnswer(ExpectationFailed):
    """A CALL was not answered in time."""


class CallRefused(ExpectationFailed):
    """A CALL was answered with a CALLERROR.

    Attributes:
        code: its error code.
        description: its description.
    """

    def __init__(self, message: str, *, code: str, description: str) -> None:
        super().__init__(message)
        self.code = code
        self.description = description
