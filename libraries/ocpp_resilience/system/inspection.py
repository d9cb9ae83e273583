"""The inspection of a system under test: commands that wait for their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ocpp_resilience import http_client
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.http_client import pick, shorten
from ocpp_resilience.profile import Target

SLACK = 0.1
"""Seconds by which ages may differ: the system gives them rounded."""


@dataclass(frozen=True)
class Pending:
    """A command that waits.

    Attributes:
        message_id: the id of its CALL.
        charge_point: the charge point.
        age: how long it waits, in seconds.
        action: its OCPP action; `None` if the inspection does not give it.
        timeout: how long its answer is waited for, in seconds; `None` likewise.
    """

    message_id: str
    charge_point: str
    age: float
    action: str | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Waiting:
    """A command that waits, as its sender knows it.

    Attributes:
        message_id: the id of its CALL.
        charge_point: the charge point.
        action: its OCPP action.
        least, most: for how long it waited when the system was asked, in seconds.
        timeout: how long the system waits for its answer, in seconds; `None` if that is not known.
    """

    message_id: str
    charge_point: str
    action: str
    least: float
    most: float
    timeout: float | None

    @property
    def may_be_over(self) -> bool:
        """Whether its time may have been up when the system was asked."""
        return self.timeout is None or self.most > self.timeout - SLACK

    def differences(self, entry: Pending) -> list[str]:
        """What an inspection says wrongly of it."""
        found = []
        if entry.charge_point != self.charge_point:
            found.append(f"{self.message_id} is listed for {entry.charge_point}, expected {self.charge_point}")
        if entry.action is not None and entry.action != self.action:
            found.append(f"{self.message_id} is listed as {entry.action}, expected {self.action}")
        if not self.least - SLACK <= entry.age <= self.most + SLACK:
            expected = f"expected {self.least:.1f} to {self.most:.1f} s"
            found.append(f"{self.message_id} is listed with an age of {entry.age:.1f} s, {expected}")
        if entry.timeout is not None and self.timeout is not None and abs(entry.timeout - self.timeout) > SLACK:
            found.append(
                f"{self.message_id} is listed with a timeout of {entry.timeout:g} s, expected {self.timeout:g} s"
            )
        return found


@dataclass(frozen=True)
class Correlations:
    """Pending commands, and totals.

    Attributes:
        pending: how many commands wait for their answers.
        oldest: those that wait longest, the oldest first.
        totals: the counters since the start of the system, by name.
    """

    pending: int
    oldest: list[Pending]
    totals: dict[str, int]

    def problems(self, waiting: Sequence[Waiting], others: int) -> list[str]:
        """Wrong entries of `oldest`, which has to list those that wait longest as they are.

        Args:
            waiting: commands that wait.
            others: how many more wait, of which nothing is known.
        """
        known = {each.message_id: each for each in waiting}
        unknown = [entry.message_id for entry in self.oldest if entry.message_id not in known]
        found = [f"{each} is listed as pending and is no command that waits" for each in unknown[others:]]
        if self.pending and not self.oldest:
            found.append(f"none of the {self.pending} pending commands is listed")
        for entry in self.oldest:
            if entry.message_id in known:
                found += known.pop(entry.message_id).differences(entry)
        youngest = min((entry.age for entry in self.oldest), default=0.0)
        found += [
            f"{each.message_id} waits for {each.least:.1f} s at least and is not listed, one of {youngest:.1f} s is"
            for each in known.values()
            if self.oldest and each.least > youngest + SLACK and not each.may_be_over
        ]
        return found

    def since(self, mark: Correlations) -> dict[str, int]:
        """The increase of each counter since `mark`."""
        return {name: count - mark.totals.get(name, 0) for name, count in self.totals.items()}


def inspect_correlations(url: str, target: Target, *, token: str = "") -> Correlations:
    """Ask the system at `url` for its correlations.

    Raises:
        UsageError: the target has no such inspection.
        ServiceError: there was no answer.
        ExpectationFailed: the answer is none that can be used.
    """
    path = target.http.correlations
    if path is None:
        raise UsageError(f"Target '{target.name}' has no HTTP path for 'correlations' (http in {target.source}).")
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    reply = http_client.get(host, int(port), path, timeout=target.timeouts.http, headers=headers)
    if reply.status != 200:
        raise ExpectationFailed(f"GET {reply.url} answered {reply.status} instead of 200: {shorten(reply.body)}")
    document = reply.json()
    field = target.http.inspection_field
    return read(document if field is None else pick(document, field), target, reply.url)


def read(data: Any, target: Target, url: str) -> Correlations:
    """The correlations in the data of an inspection.

    Raises:
        ExpectationFailed: something is missing.
    """
    names = target.commands.inspection
    pending, oldest, totals = (pick(data, name) for name in (names.pending, names.oldest, names.totals))
    if not isinstance(pending, int) or not isinstance(oldest, list) or not isinstance(totals, dict):
        raise ExpectationFailed(
            f"GET {url} has to give a number at '{names.pending}', a list at '{names.oldest}' and counters at "
            f"'{names.totals}'; it gives {str(data)[:300]}"
        )
    entries = [
        Pending(
            message_id=str(pick(entry, names.message_id)),
            charge_point=str(pick(entry, names.charge_point_id)),
            age=float(pick(entry, names.age) or 0),
            action=None if names.action is None else str(pick(entry, names.action)),
            timeout=None if names.timeout is None else float(pick(entry, names.timeout) or 0),
        )
        for entry in oldest
    ]
    return Correlations(pending, entries, {str(name): int(count) for name, count in totals.items()})
