"""The protocol between a generating process and its starter: JSON lines on an inherited socket.

The starter sends the plan, then `StartSending`, and `Stop` if the load is to end early. The process sends its
`Progress` once a second and at each change of phase, and `Finished` at the end. It ends when the socket is closed.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.result import Part


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """The first message to a process: its share of the plan."""

    plan: Plan


class StartSending(msgspec.Struct, frozen=True, tag="go"):
    """Sending begins at this time of the machine's monotonic clock, in seconds."""

    at: float


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Begin nothing new, and finish running sessions."""


class Progress(msgspec.Struct, kw_only=True, tag="progress"):
    """The progress of a load.

    Attributes:
        phase: starting, connecting, connected, running or ended.
        seconds: since sending began.
        connected, charging: charge points, now.
        sent, answered, refused, invalid: messages so far; invalid are those that OCPP-J or the schemas forbid.
        failures: failures so far, by kind.
        last_second: messages answered in the last second.
        p99: of the last second, in milliseconds.
    """

    phase: str = "starting"
    seconds: float = 0.0
    connected: int = 0
    charging: int = 0
    sent: int = 0
    answered: int = 0
    refused: int = 0
    invalid: int = 0
    failures: dict[str, int] = {}
    last_second: int = 0
    p99: float = 0.0


class Finished(msgspec.Struct, tag="finished"):
    """The last message of a process: its result."""

    part: Part


ToProcess: TypeAlias = Begin | StartSending | Stop
FromProcess: TypeAlias = Progress | Finished

encode = msgspec.json.Encoder().encode
read_order = msgspec.json.Decoder(ToProcess).decode
read_report = msgspec.json.Decoder(FromProcess).decode


def line(message: ToProcess | FromProcess) -> bytes:
    """A message as it goes over the socket."""
    return encode(message) + b"\n"
