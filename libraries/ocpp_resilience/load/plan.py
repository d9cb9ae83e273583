"""The plan of a load: charge points, messages, schedule and duration."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from enum import StrEnum
from urllib.parse import quote

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.version import DEFAULT_VERSION, ocpp_versions


class Model(StrEnum):
    """Models of a load: conditions under which the next message is sent."""

    CLOSED = "closed"
    """A charge point sends its next message a pause after the answer to the last one: a slow server slows the load."""
    OPEN = "open"
    """Messages are due on a schedule, independent of the answers; latency counts from the due time."""


class Profile(StrEnum):
    """Behaviours of a charge point."""

    HEARTBEAT = "heartbeat"
    SESSION = "session"
    MIX = "mix"
    CHURN = "churn"


class Arrivals(StrEnum):
    """Distributions of the arrivals of the open model."""

    EVEN = "even"
    POISSON = "poisson"


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the schedule of the open model.

    Attributes:
        seconds: its length.
        rate: messages a second of the whole fleet, at its beginning.
        to_rate: at its end, if it is a ramp; `rate` if not given.
    """

    seconds: float
    rate: float
    to_rate: float | None = None

    @property
    def messages(self) -> float:
        """Number of messages in the stage."""
        return self.seconds * (self.rate + self.last_rate) / 2

    @property
    def last_rate(self) -> float:
        """The rate at its end."""
        return self.rate if self.to_rate is None else self.to_rate

    def when(self, number: float) -> float:
        """After how many seconds of the stage this many messages are due: the integral of the rate, solved for time."""
        slope = (self.last_rate - self.rate) / self.seconds
        if abs(slope) < 1e-12:
            return number / self.rate
        return (math.sqrt(max(0.0, self.rate**2 + 2 * slope * number)) - self.rate) / slope


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A load.

    Attributes:
        url: of the gateway, `ws://host:port/path/{charge_point_id}`.
        charge_points: how many.
        id_pattern: their ids; `{}` or `{:03d}` takes the number.
        first_number: the number of the first one.
        subprotocol: the offered subprotocol (OCPP-J 1.6, section 3.1.2).
        profile: the behaviour of the charge points.
        model: when they do it.
        messages: closed model: messages of each charge point; `None`: until `seconds` are over.
        seconds: closed model: the longest time in seconds; `None` without a limit.
        pause: closed model: seconds between an answer and the next message.
        stages: open model: the schedule.
        arrivals: open model: evenly spaced, or a Poisson process.
        seed: of everything that is left to chance.
        sessions: profile session: charging sessions of each charge point; `None` as many as there is time for.
        meter_values: profile session: MeterValues of each session.
        together: profile session, closed model: all charge points wait until each has a transaction.
        persistent: profiles session and mix: messages that start or stop a transaction are repeated, under another
            message id, until answered (OCPP 1.6, section 3.7.1); as the same transaction unless it was refused. The mix
            has ten times as many sessions then.
        commands: charge points answer commands, and write down in the ledger which were carried out: each key that a
            GetConfiguration asks for is a trace.
        per_connection: profile churn: messages on one connection.
        blackout_at: seconds after the start at which all connections are cut, for all to connect again at once.
        lacking: actions that the server does not support: they are left out.
        timeout: seconds after which an answer no longer counts.
        connect_timeout: seconds for all to be connected before the start.
        connect_at_once: connections opened at the same time before the start.
        local_addresses: addresses of this machine that connections come from, in turn; one address has ports for about
            28,000 connections to one port. Without any, the system chooses.
        slip: open model: stop when a message is this many seconds overdue (looking for the capacity).
        drain: open model: at the end, send overdue messages; else they count as not sent.
        lateness: open model: seconds that the generator may be late (99th percentile) where only the rate counts that
            it offered, and response times do not; 25 ms, and a processor core that is not used up, if not given.
        ledger: file to which every message is written, `None` without.
        effects: the ledger requires a trace in the state for starts and stops of transactions.
        own: this process sends for the charge points `own[0]`, `own[0] + own[1]`, … of the fleet.
    """

    url: str
    charge_points: int = 50
    id_pattern: str = "LOAD-CP-{:03d}"
    first_number: int = 1
    subprotocol: str = "ocpp1.6"
    profile: Profile = Profile.HEARTBEAT
    model: Model = Model.CLOSED
    messages: int | None = None
    seconds: float | None = None
    pause: float = 0.0
    stages: list[Stage] = []
    arrivals: Arrivals = Arrivals.EVEN
    seed: int = 1
    sessions: int | None = None
    meter_values: int = 4
    together: bool = False
    persistent: bool = False
    commands: bool = False
    per_connection: int = 5
    blackout_at: float | None = None
    lacking: list[str] = []
    timeout: float = 30.0
    connect_timeout: float = 30.0
    connect_at_once: int = 100
    local_addresses: list[str] = []
    slip: float | None = None
    drain: bool = True
    lateness: float | None = None
    ledger: str | None = None
    effects: bool = False
    own: tuple[int, int] = (0, 1)

    def check(self) -> None:
        """Raise an error for a plan that cannot be run.

        Raises:
            UsageError: the message names the field and the allowed values.
        """
        if not self.url.startswith(("ws://", "wss://")):
            raise UsageError(f"The load needs a URL that starts with ws:// or wss://, not '{self.url}'.")
        if "{charge_point_id}" not in self.url:
            raise UsageError(f"The load needs a URL with {{charge_point_id}} in it, not '{self.url}'.")
        if self.charge_points < 1:
            raise UsageError(f"charge_points is {self.charge_points}; allowed is 1 or more.")
        try:
            if self.id_pattern.format(1) == self.id_pattern.format(2):
                raise IndexError
        except (IndexError, ValueError, KeyError):
            raise UsageError(
                f"id_pattern is '{self.id_pattern}'; it needs one place for the number, such as {{:03d}}."
            ) from None
        if self.model is Model.CLOSED and not (self.messages or self.seconds or self.sessions):
            raise UsageError("The closed model needs a limit: messages, sessions or seconds.")
        if self.model is Model.OPEN and not self.stages:
            raise UsageError("The open model needs a rate and a duration.")
        for stage in self.stages:
            if stage.seconds <= 0 or stage.rate < 0 or stage.last_rate < 0 or stage.messages <= 0:
                raise UsageError(f"A stage of {stage.seconds} s at {stage.rate} msg/s sends no messages.")

    @property
    def length(self) -> float:
        """The length of the schedule in seconds."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def version(self) -> str:
        """The OCPP version whose schemas answers are checked against; the default for other subprotocols."""
        return self.subprotocol if self.subprotocol in ocpp_versions() else DEFAULT_VERSION

    def url_of(self, cp: str) -> str:
        """The URL of a charge point; its id is percent-encoded."""
        return self.url.replace("{charge_point_id}", quote(cp, safe=""))

    def ids(self) -> list[str]:
        """The ids of the whole fleet."""
        return [self.id_pattern.format(self.first_number + number) for number in range(self.charge_points)]

    def schedule(self) -> Iterator[float]:
        """Due times in seconds after the start, ascending; message i belongs to charge point i modulo `charge_points`.

        A Poisson process with a changing rate is a unit one whose time is stretched by the integral of the rate.
        """
        chance = random.Random(self.seed)  # noqa: S311 - a schedule, no secret
        number = chance.expovariate(1.0) if self.arrivals is Arrivals.POISSON else 0.0
        began = before = 0.0
        for stage in self.stages:
            end = before + stage.messages
            while number < end - 1e-9:
                yield began + stage.when(number - before)
                number += chance.expovariate(1.0) if self.arrivals is Arrivals.POISSON else 1.0
            before = end
            began += stage.seconds
