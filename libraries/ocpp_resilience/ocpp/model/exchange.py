"""The input of a model for one message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ocpp_resilience.ocpp.model.base import Model


class Outcome(StrEnum):
    """Outcomes of a CALL."""

    ANSWERED = "answered"
    """A CALLRESULT was seen: it was applied."""
    REFUSED = "refused"
    """A CALLERROR was seen, or it was certainly not sent: it must never be applied."""
    UNKNOWN = "unknown"
    """It is unknown whether it was applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A CALL of a charge point and its outcome.

    Attributes:
        charge_point: whose CALL it was.
        message_id: its message id.
        action: its action.
        payload: its payload.
        outcome: its outcome.
        answer: the payload of its CALLRESULT.
        began: when it was handed over, in seconds since 1970.
        ended: when its answer was seen, in seconds since 1970.
        maybe_elsewhere: whether the answer may come from a gateway that did not hand the CALL on, as that to a
            Heartbeat while Redis is away.
        repeats: how many times more it was sent, with the same message id, before its answer came: each may have been
            written.
        point_writes: how many times more the record of its charge point may have been written: for each connection that
            ended or began meanwhile, and for each refusal with InternalError before its answer.
    """

    charge_point: str
    message_id: str
    action: str
    payload: Mapping[str, Any]
    outcome: Outcome = Outcome.ANSWERED
    answer: Any = None
    began: float
    ended: float
    maybe_elsewhere: bool = False
    repeats: int = 0
    point_writes: int = 0

    def __str__(self) -> str:
        return f"{self.action} '{self.message_id}' of {self.charge_point}"


class History(Protocol):
    """Messages of one way into the system, with a model that is given them."""

    @property
    def model(self) -> Model[Any]:
        """The model, fed with the settled exchanges."""

    def settle(self) -> list[str]:
        """Feed the model with all exchanges up to now; returns the wrong answers."""
