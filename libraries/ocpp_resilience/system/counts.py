"""How much a system says that it has done and has to do: its metrics, and the depth in its health document."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.http_client import pick
from ocpp_resilience.ocpp.model.values import moment
from ocpp_resilience.profile import Target
from ocpp_resilience.system.metrics import Sample


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of a system at one moment; `None` for missing ones.

    Attributes:
        processed: messages that were processed, by action.
        invalid: messages that were set aside, by error code.
        connections: charge points that are connected.
        depth: messages that wait, by the metrics.
        health_depth: the same, by the health document.
        reconnects: how often Redis came back, by the health document.
        clock: the time in the health document, in seconds since 1970, less the time at which it was asked for.
        since: since when Redis is there, or away, by the health document: in seconds since 1970 by the clock of the
            tests, since both times in the document are by the same clock.
    """

    processed: Mapping[str, float] | None = None
    invalid: Mapping[str, float] | None = None
    connections: float | None = None
    depth: float | None = None
    health_depth: float | None = None
    reconnects: float | None = None
    clock: float | None = None
    since: float | None = None

    def clock_problems(self, tolerance: float) -> list[str]:
        """Whether the time in the health document is wrong by more than this many seconds."""
        if self.clock is None or abs(self.clock) <= tolerance:
            return []
        return [f"the health document gives a time that differs by {self.clock:.1f} s from that of the test"]

    def processed_since(self, mark: Counts, expected: Mapping[str, int], doubtful: int = 0) -> list[str]:
        """The counts of processed messages whose growth since `mark` is not as expected.

        Args:
            mark: the counts before.
            expected: how many there have to be, by action.
            doubtful: how many more there may be, since nobody can say whether they are valid.
        """
        return _growth("processed", self.processed, mark.processed, expected, doubtful)

    def invalid_since(self, mark: Counts, expected: Mapping[str, int], doubtful: int = 0) -> list[str]:
        """The same of messages that were set aside, by error code."""
        return _growth("set aside", self.invalid, mark.invalid, expected, doubtful)

    def depths(self, expected: int) -> list[str]:
        """Which depths are not as expected."""
        seen = {"the metrics": self.depth, "the health document": self.health_depth}
        return [
            f"{who} say{'s' * (who != 'the metrics')} that {value:g} messages wait, expected {expected}"
            for who, value in seen.items()
            if value is not None and value != expected
        ]


def counts_of(target: Target, samples: list[Sample], health: Mapping[str, object] | None) -> Counts:
    """The counts in metrics and health document.

    Args:
        target: names the metrics and fields.
        samples: the metrics.
        health: the health document; `None` if there is none.

    Raises:
        ExpectationFailed: a gauge or field that the profile names is not there, or no number.
    """
    names = target.http.counts
    counts = Counts(
        processed=_by_label(samples, names.processed, names.processed_label),
        invalid=_by_label(samples, names.invalid, names.invalid_label),
        connections=_gauge(samples, names.connections),
        depth=_gauge(samples, names.depth),
        health_depth=_number(health, names.health_depth),
        reconnects=_number(health, names.health_reconnects),
        clock=_clock(health, names.health_time),
    )
    since = _clock(health, names.health_since)
    if counts.clock is None or since is None:
        return counts
    return replace(counts, since=time.time() + since - counts.clock)


def _number(health: Mapping[str, object] | None, name: str | None) -> float | None:
    if health is None or name is None:
        return None
    found = pick(health, name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise ExpectationFailed(f"{name} of the health document is {found!r}, expected a number.")
    return float(found)


def _clock(health: Mapping[str, object] | None, name: str | None) -> float | None:
    if health is None or name is None:
        return None
    found = pick(health, name)
    seconds = moment(found) if isinstance(found, str) else None
    if seconds is None:
        raise ExpectationFailed(f"{name} of the health document is {found!r}, expected a time with zone.")
    return seconds - time.time()


def _by_label(samples: list[Sample], name: str | None, label: str) -> Mapping[str, float] | None:
    if name is None:
        return None
    totals: Counter[str] = Counter()
    for sample in samples:
        if sample.name == name:
            totals[sample.labels.get(label, "")] += sample.value  # type: ignore[assignment]
    return totals


def _gauge(samples: list[Sample], name: str | None) -> float | None:
    if name is None:
        return None
    values = [sample.value for sample in samples if sample.name == name]
    if not values:
        raise ExpectationFailed(f"There is no metric {name} (http.counts).")
    return sum(values)


def _growth(
    what: str,
    now: Mapping[str, float] | None,
    before: Mapping[str, float] | None,
    expected: Mapping[str, int],
    doubtful: int,
) -> list[str]:
    if now is None or before is None:
        return []
    grown = {name: now.get(name, 0) - before.get(name, 0) for name in {*now, *before, *expected}}
    return [
        f"{name}: {count:g} {what} by the metrics, expected {expected.get(name, 0)}"
        for name, count in sorted(grown.items())
        if not expected.get(name, 0) <= count <= expected.get(name, 0) + doubtful
    ]


@dataclass(slots=True)
class Miscounts:
    """The differences between metrics and health and the sent messages.

    Attributes:
        messages: how many messages were counted.
        problems: each number that differs, with both values.
    """

    messages: int = 0
    problems: list[str] = field(default_factory=list)
