"""What a fault proxy can be told to do: Toxiproxy's toxics, and faults that know Redis' protocol."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ocpp_resilience.errors import UsageError

Stream = Literal["upstream", "downstream"]
"""`upstream` is from the client to the server, `downstream` is back."""

ATTRIBUTES: dict[str, dict[str, int]] = {
    "latency": {"latency": 0, "jitter": 0},
    "bandwidth": {"rate": 0},
    "slow_close": {"delay": 0},
    "timeout": {"timeout": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 0, "size_variation": 0, "delay": 0},
    "limit_data": {"bytes": 0},
}
"""Toxiproxy's toxics, their attributes and what these are when not given. Units are Toxiproxy's: milliseconds, KB/s
(1,000 bytes), bytes, and microseconds for the delay of the slicer."""


class Refused(UsageError):
    """A request to the proxy's HTTP API cannot be carried out.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Toxic(msgspec.Struct, kw_only=True):
    """One toxic, in the fields of Toxiproxy's API.

    Attributes:
        name: unique in its proxy.
        type: one of `ATTRIBUTES`.
        stream: the direction that it works on.
        toxicity: the share of connections that it works on, 0 to 1.
        attributes: see `ATTRIBUTES`.
    """

    name: str = ""
    type: str = ""
    stream: Stream = "downstream"
    toxicity: float = 1.0
    attributes: dict[str, int | float] = {}

    def checked(self) -> Toxic:
        """This toxic with its name and all of its attributes.

        Raises:
            Refused: there is no such toxic, or a value cannot be used.
        """
        known = ATTRIBUTES.get(self.type)
        if known is None:
            raise Refused(f"invalid toxic type '{self.type}'; there are {', '.join(ATTRIBUTES)}")
        if unknown := sorted(self.attributes.keys() - known.keys()):
            raise Refused(f"{self.type} has no attribute '{unknown[0]}'; it has {', '.join(known)}")
        if not 0 <= self.toxicity <= 1:
            raise Refused(f"toxicity has to be from 0 to 1, not {self.toxicity}")
        if below := sorted(name for name, value in self.attributes.items() if value < 0):
            raise Refused(f"{below[0]} must not be below 0")
        return Toxic(
            name=self.name or f"{self.type}_{self.stream}",
            type=self.type,
            stream=self.stream,
            toxicity=self.toxicity,
            attributes=known | self.attributes,
        )


class RespFault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A fault at chosen requests of Redis' protocol; this proxy's own, Toxiproxy has nothing like it.

    Attributes:
        name: unique in its proxy.
        command: the command, `*` for any.
        keys: glob patterns; the request has to have a key for each of them.
        occurrence: which of the matching requests is the first to be hit, from 1; with `after` only those that Redis
            ran count.
        times: how many are hit in a row, 0 for all that follow.
        probability: the share of these that is hit, 0 to 1.
        when: `before` the request reaches Redis, or `after` Redis ran it and before the client has the reply. What
            Redis did not run, as its reply says (`resp.was_run`: NOSCRIPT, EXECABORT, …), is passed over.
        action: `cut` closes the connection, `drop` swallows the request or the reply, `delay` holds it back, `error`
            puts an error reply in its place.
        delay: milliseconds, for `delay`.
        error: the text of the error reply, for `error`.
        cut_after: with `cut` and `after`, the share of the reply that still gets through, 0 to below 1.
        seen: how many requests have matched so far; with `after`, those that Redis ran.
        hits: how many of them were hit.
        not_run: how many more matched and were not run; only with `after`.
    """

    name: str = "resp"
    command: str = "*"
    keys: list[str] = []
    occurrence: int = 1
    times: int = 1
    probability: float = 1.0
    when: Literal["before", "after"] = "after"
    action: Literal["cut", "drop", "delay", "error"] = "cut"
    delay: float = 0
    error: str = "ERR injected fault"
    cut_after: float = 0
    seen: int = 0
    hits: int = 0
    not_run: int = 0

    def checked(self) -> RespFault:
        """This fault, not seen yet.

        Raises:
            Refused: a value cannot be used.
        """
        if self.occurrence < 1 or self.times < 0 or self.delay < 0:
            raise Refused("occurrence starts at 1; times and delay must not be below 0")
        if not 0 <= self.probability <= 1 or not 0 <= self.cut_after < 1:
            raise Refused("probability has to be from 0 to 1, and cut_after from 0 to below 1")
        if "\r" in self.error or "\n" in self.error:
            raise Refused("error has to be one line")
        self.seen = self.hits = self.not_run = 0
        return self


def decode(raw: bytes, kind: Any) -> Any:
    """JSON as `kind`.

    Raises:
        Refused: it is none.
    """
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise Refused(f"bad request body: {error}") from None
