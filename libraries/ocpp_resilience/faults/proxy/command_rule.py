"""A fault at chosen Redis commands, as the API has it."""

from __future__ import annotations

from typing import Literal

import msgspec

from ocpp_resilience.faults.proxy.requests import Refused


class CommandRule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A fault at chosen requests of Redis' protocol; this proxy's own, Toxiproxy has nothing like it.

    Attributes:
        name: unique in its proxy.
        command: the command, `*` for any; several are separated by `|`.
        keys: glob patterns; the request has to have a key for each of them.
        arguments: glob patterns; the request has to have an argument, key or not, for each of them.
        occurrence: which of the matching requests is the first to be hit, from 1; with `after` only those that Redis
            ran count.
        times: how many are hit in a row, 0 for all that follow.
        probability: the share of these that is hit, 0 to 1.
        when: `before` the request reaches Redis, or `after` Redis ran it and before the client has the reply. Commands
            that Redis refused, according to the reply (`resp.was_run`: NOSCRIPT, EXECABORT, …), are passed over.
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
    arguments: list[str] = []
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

    def checked(self) -> CommandRule:
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
