"""The parts of a load in keywords: a profile is the behaviour of charge points, a schedule their timing."""

from __future__ import annotations

from typing import Any

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.load.plan import Arrivals, Model, Profile, Stage


class LoadProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The behaviour of charge points; see the attributes of `Plan`."""

    activity: Profile = Profile.HEARTBEAT
    sessions: int | None = None
    meter_values: int = 4
    together: bool = False
    persistent: bool = False
    commands: bool = False
    per_connection: int = 5

    def fields(self) -> dict[str, Any]:
        """The fields of a plan."""
        found = msgspec.structs.asdict(self)
        return {"profile": found.pop("activity"), **found}


class LoadSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The timing of charge points. With a `rate` the model is open, without one it is closed.

    Attributes:
        rate: messages a second of all charge points together.
        to_rate: the rate at the end, for a ramp.
        spike: the rate in the middle third.
        seconds: the length; closed: the longest.
        messages: closed: of each charge point.
        pause: closed: seconds between an answer and the next message.
        arrivals, blackout_at, drain, lateness: see `Plan`.
    """

    rate: float | None = None
    to_rate: float | None = None
    spike: float | None = None
    seconds: float | None = None
    messages: int | None = None
    pause: float | None = None
    arrivals: Arrivals = Arrivals.EVEN
    blackout_at: float | None = None
    drain: bool = True
    lateness: float | None = None

    def check(self) -> None:
        """Raise an error for arguments that exclude each other.

        Raises:
            UsageError: the message names the arguments.
        """
        if self.rate is not None and self.seconds is None:
            raise UsageError("A load with a rate needs a duration.")
        if self.rate is not None and (self.messages is not None or self.pause is not None):
            raise UsageError("messages and pause belong to a load without a rate.")
        if self.rate is None and (self.to_rate is not None or self.spike is not None):
            raise UsageError("to_rate and spike need a rate.")
        if self.lateness is not None and (self.rate is None or self.lateness <= 0):
            raise UsageError(f"lateness is {self.lateness:g} s; allowed is more than 0 s, in a load with a rate.")
        if self.to_rate is not None and self.spike is not None:
            raise UsageError("A load has a ramp (to_rate) or a spike, not both.")

    def fields(self) -> dict[str, Any]:
        """The fields of a plan."""
        common = {"arrivals": self.arrivals, "blackout_at": self.blackout_at, "drain": self.drain}
        if self.rate is None:
            closed = {"messages": self.messages, "seconds": self.seconds, "pause": self.pause or 0.0}
            return {"model": Model.CLOSED, **closed, **common}
        return {
            "model": Model.OPEN,
            "stages": self._stages(self.rate, self.seconds or 0.0),
            **common,
            "lateness": self.lateness,
        }

    def _stages(self, rate: float, length: float) -> list[Stage]:
        if self.spike is None:
            return [Stage(length, rate, self.to_rate)]
        third = length / 3
        return [Stage(third, rate), Stage(third, self.spike), Stage(third, rate)]
