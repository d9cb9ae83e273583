"""The inspection of a system under test: commands that wait for their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ocpp_resilience import http_client
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.http_client import pick, shorten
from ocpp_resilience.profile import Target


@dataclass(frozen=True)
class Pending:
    """A command that waits.

    Attributes:
        message_id: the id of its CALL.
        charge_point: the charge point.
        age: how long it waits, in seconds.
    """

    message_id: str
    charge_point: str
    age: float


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
        )
        for entry in oldest
    ]
    return Correlations(pending, entries, {str(name): int(count) for name, count in totals.items()})
