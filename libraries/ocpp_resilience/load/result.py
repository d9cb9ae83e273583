"""The result of a load: counts while it runs, and final figures of one process or several."""

from __future__ import annotations

import math
import statistics
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from ocpp_resilience.evidence.measure.times import Spread
from ocpp_resilience.load.scripts import Session
from ocpp_resilience.text import counted

with warnings.catch_warnings():
    # Its packed structures do not name their layout, which Python 3.14 deprecates; ours here is the default.
    warnings.filterwarnings("ignore", message="Due to '_pack_'", category=DeprecationWarning)
    from hdrh.histogram import HdrHistogram

LONGEST = 3_600_000_000
"""The longest time that a histogram holds, in microseconds: an hour."""

LAG_LIMIT_MS = 25.0
"""A generator that sends 1 % of its messages later than this after they could be sent does not keep its schedule."""
CPU_LIMIT = 0.95
"""A generator that uses more of its core than this measures itself."""


class Times:
    """Times in an HdrHistogram with three significant digits, 1 microsecond to 1 hour.

    Times are gathered in a list, which costs next to nothing, and counted from time to time.
    """

    def __init__(self, histogram: HdrHistogram | None = None) -> None:
        self.histogram = histogram or HdrHistogram(1, LONGEST, 3)
        self._gathered: list[float] = []
        self.add = self._gathered.append
        """Take in a time in seconds."""
        self.total = 0.0
        """The sum of what was counted, in seconds."""

    def count(self) -> None:
        """Add the buffered counts."""
        if self._gathered:
            self.total += sum(self._gathered)
            frequencies = Counter([int(seconds * 1_000_000) or 1 for seconds in self._gathered])
            for value, number in frequencies.items():
                self.histogram.record_value(min(value, LONGEST), number)
            self._gathered.clear()

    def merge(self, other: Times) -> None:
        """Count the other's times too, and empty it."""
        other.count()
        self.histogram.add(other.histogram)
        self.total += other.total
        other.histogram.reset()
        other.total = 0.0

    def encode(self) -> str:
        """The histogram in its compressed form, for other processes."""
        self.count()
        return str(self.histogram.encode(), "ascii")


def spread_of_histogram(histogram: HdrHistogram, total: float | None = None) -> Spread:
    """The spread of a histogram in microseconds; `total` is the exact sum in seconds, where known."""
    samples = int(histogram.get_total_count())
    if not samples:
        return Spread()

    def at(percentile: float) -> float:
        return float(histogram.get_value_at_percentile(percentile)) / 1000

    mean = float(histogram.get_mean_value()) / 1000 if total is None else total * 1000 / samples
    return Spread(
        samples=samples,
        min=float(histogram.get_min_value()) / 1000,
        mean=mean,
        p50=at(50),
        p90=at(90),
        p95=at(95),
        p99=at(99),
        p99_9=at(99.9),
        max=float(histogram.get_max_value()) / 1000,
    )


class Second(msgspec.Struct, kw_only=True):
    """One second of the run, counted from its start.

    Attributes:
        second: which one, from 0.
        sent, answered, errors: messages.
        p50, p99, max: latency of those answered in it, in milliseconds.
        histogram: their latencies, encoded.
    """

    second: int
    sent: int = 0
    answered: int = 0
    errors: int = 0
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    histogram: str = ""


class LoadTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a generating process at one moment; all but `at` add up from its start.

    Attributes:
        at: when, by the machine's monotonic clock, in seconds.
        answered: messages.
        lag, lags: by how much the generator was late, in seconds, and how often that was looked at.
        service, services: time from sending to the answer, in seconds, of this many messages.
        cpu: its processor time in seconds.
    """

    at: float
    answered: int
    lag: float
    lags: int
    service: float
    services: int
    cpu: float


def cause_of_slip(before: LoadTotals, after: LoadTotals) -> str | None:
    """Why it is the generator's fault that a schedule slipped, from the last second before; `None` if it is not.

    An overdue message waits for an answer. The generator can be late twice in a round trip, when it sends and when it
    reads; where that could be more than half of the round trip, it is not the server that was measured.
    """
    lag = (after.lag - before.lag) / max(after.lags - before.lags, 1)
    trip = (after.service - before.service) / max(after.services - before.services, 1)
    busy = (after.cpu - before.cpu) / max(after.at - before.at, 1e-9)
    if busy > CPU_LIMIT:
        return f"a generating process used {100 * busy:.0f} % of its core when the schedule slipped"
    if 2 * lag > trip / 2:
        return (
            f"the generator was late by {1000 * lag:.0f} ms (mean) when the schedule slipped, which is too much for "
            f"round trips of {1000 * trip:.0f} ms"
        )
    return None


class Part(msgspec.Struct, kw_only=True):
    """The result of one process; times are encoded histograms with their exact sums, so that parts add up.

    Attributes:
        charge_points: how many it had.
        due: messages that were due before the end (open model), or sent (closed).
        due_in_time: open model: those of them that the generator handed out before the end of the schedule.
        sent, answered: messages; answered are valid CALLRESULTs in time.
        refused: CALLERRORs by code.
        answered_invalid: messages whose answer was invalid.
        invalid: messages of the server that OCPP-J or the schemas forbid, by kind.
        invalid_examples: the first few of them, with their kind.
        limits: exhausted resources of this machine or process, with counts.
        failures: other failures, by kind: `timeout`, `connection lost`, `connection refused: …`, `not sent`.
        late: answers after the timeout.
        unexpected: answers to nothing that was asked.
        commands: CALLs from the server.
        began, ended: of the sending, by the machine's monotonic clock, in seconds.
        thought: closed model: seconds that charge points paused, all together.
        slipped_at: seconds after the start at which the schedule slipped, if that ended the run.
        slip_rate: answers a second in the last second before the schedule slipped.
        slip_cause: why it was the generator that made it slip; `None` if it was not.
        connections: opened.
        connected_at_start, most_connected, fewest_connected, connected_at_end: charge points.
        most_charging: transactions active at once.
        recovered_after: seconds from the blackout until all were connected again; `None` if they never were.
        cpu_share: processor time of the process by the time of the run.
        times: `latency`, `queueing`, `service`, `connecting`, `reconnecting` and `lag`: histogram and sum.
        seconds: second by second.
        sessions: charging sessions.
        ledgers: files.
        error: the error that aborted the process.
    """

    charge_points: int = 0
    due: int = 0
    due_in_time: int = 0
    sent: int = 0
    answered: int = 0
    refused: dict[str, int] = {}
    answered_invalid: int = 0
    invalid: dict[str, int] = {}
    invalid_examples: list[str] = []
    limits: dict[str, int] = {}
    failures: dict[str, int] = {}
    late: int = 0
    unexpected: int = 0
    commands: int = 0
    began: float = 0.0
    ended: float = 0.0
    thought: float = 0.0
    slipped_at: float | None = None
    slip_rate: float | None = None
    slip_cause: str | None = None
    connections: int = 0
    connected_at_start: int = 0
    most_connected: int = 0
    fewest_connected: int = 0
    connected_at_end: int = 0
    most_charging: int = 0
    recovered_after: float | None = None
    cpu_share: float = 0.0
    times: dict[str, tuple[str, float]] = {}
    seconds: list[Second] = []
    sessions: list[Session] = []
    ledgers: list[str] = []
    error: str | None = None


class LoadResult(msgspec.Struct, kw_only=True):
    """The result of a load, all processes together.

    Attributes:
        profile, model: of the load.
        charge_points, due, due_in_time, sent, answered, refused, failures, late, unexpected, commands,
            answered_invalid, invalid, invalid_examples: see `Part`.
        duration: seconds from the start to the last answer.
        rate: answers a second.
        offered: messages due a second (open model), or sent (closed).
        latency: from when a message was due (open model) or sent (closed) to its answer.
        queueing: open model: from when it was due until it was sent, as long as another one was outstanding.
        service: from sending to the answer.
        connecting, reconnecting: time to an open WebSocket, before the start and after it.
        lag: by how much the generator was late by its own fault.
        little: closed model: mean latency and pause by charge points / rate; 1 where nothing was left out
            (Little's law). `None` for churn, where connecting takes its time too.
        slipped_at, slip_rate, connections, …: see `Part`.
        slip_causes: why it was the generator that made the schedule slip; empty if it was not.
        saturated: why the generator itself was the limit; empty if it was not.
        others: processor cores used on average by programs outside the test; `None` if not measured.
        processes: how many generated the load.
        files: where all of this is kept.
        scheduled: open model: length of the schedule in seconds.
        ended: when the last answer came, by the machine's monotonic clock, in seconds.
    """

    profile: str
    model: str
    charge_points: int
    due: int
    due_in_time: int
    sent: int
    answered: int
    refused: dict[str, int]
    failures: dict[str, int]
    late: int
    unexpected: int
    commands: int
    duration: float
    rate: float
    offered: float
    latency: Spread
    queueing: Spread
    service: Spread
    connecting: Spread
    reconnecting: Spread
    lag: Spread
    little: float | None
    slipped_at: float | None
    slip_rate: float | None
    slip_causes: list[str]
    connections: int
    connected_at_start: int
    most_connected: int
    fewest_connected: int
    connected_at_end: int
    most_charging: int
    recovered_after: float | None
    saturated: list[str]
    cpu_share: float
    processes: int
    seconds: list[Second]
    sessions: list[Session]
    ledgers: list[str]
    answered_invalid: int = 0
    invalid: dict[str, int] = {}
    invalid_examples: list[str] = []
    files: list[str] = []
    ended: float = 0.0
    others: float | None = None

    scheduled: float = 0.0
    at_the_limit: list[int] = []
    """Answers by second while the server was at its limit; see `Find Capacity`."""

    def add_saturated(self, load: LoadResult) -> None:
        """Include the result of a load at the server's limit, measured after this one's schedule had slipped."""
        self.at_the_limit = [second.answered for second in load.seconds[1:-1]]
        if load.cpu_share > CPU_LIMIT:
            self.slip_causes.append(f"a generating process used {100 * load.cpu_share:.0f} % of its core at the limit")
        if 2 * load.lag.mean > load.service.mean / 2:
            self.slip_causes.append(
                f"the generator was late by {load.lag.mean:.0f} ms (mean) at the limit, which is too much for round "
                f"trips of {load.service.mean:.0f} ms"
            )
        self.ended = load.ended

    @property
    def rate_on_schedule(self) -> float:
        """Open model: answers a second of the schedule; messages that came late make it no longer."""
        return self.answered / self.scheduled if self.scheduled else self.rate

    @property
    def offered_on_schedule(self) -> float:
        """Open model: messages that the generator did hand out, a second of the schedule."""
        return self.due_in_time / self.scheduled if self.scheduled else self.offered

    @property
    def capacity(self) -> float:
        """Answers a second at the limit (mean), where that was measured; else the most that was answered: before the
        schedule slipped, or in the best second."""
        if self.at_the_limit:
            return statistics.fmean(self.at_the_limit)
        return max(self.slip_rate or 0.0, float(self.best_second))

    @property
    def capacity_spread(self) -> float:
        """Uncertainty of `capacity` in percent (95 % confidence); infinite after a single measurement."""
        return round(spread_of(self.at_the_limit), 1)

    @property
    def capacity_unknown(self) -> str:
        """The reason why `capacity` is only a lower bound; empty if it is the limit of the server."""
        if self.slipped_at is None:
            return "all that was offered was answered in time"
        return "; ".join(self.slip_causes)

    @property
    def answered_percent(self) -> float:
        """Of the messages that were due, those that were answered, in percent."""
        return 100 * self.answered / self.due if self.due else 0.0

    @property
    def unanswered(self) -> int:
        """Messages that were sent and got no answer at all."""
        return self.sent - self.answered - self.answered_invalid - self.refusals

    @property
    def invalid_answers(self) -> int:
        """Messages of the server that OCPP-J or the schemas forbid."""
        return sum(self.invalid.values())

    @property
    def refusals(self) -> int:
        """Messages that were refused with a CALLERROR."""
        return sum(self.refused.values())

    @property
    def conclusive(self) -> bool:
        """Whether the figures say something about the server: the generator was not the limit."""
        return not self.saturated

    @property
    def best_second(self) -> int:
        """The most messages answered in one second."""
        return max((second.answered for second in self.seconds), default=0)

    @property
    def problems(self) -> str:
        """Failures by kind, in words."""
        kinds = {f"refused with {code}": number for code, number in self.refused.items()} | self.failures
        kinds |= {f"invalid: {kind}": number for kind, number in self.invalid.items()}
        return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())) or "none"

    @property
    def summary(self) -> str:
        """The whole in a few words."""
        text = (
            f"{self.answered} of {self.due} messages of {self.charge_points} charge points answered in "
            f"{self.duration:.2f} s, {self.rate:.0f} msg/s; latency {self.latency}; errors: {self.problems}"
        )
        if self.invalid_examples:
            text += f"; for example {self.invalid_examples[0]}"
        return f"{text}; INCONCLUSIVE: {'; '.join(self.saturated)}" if self.saturated else text

    def to_json(self) -> dict[str, Any]:
        """As data."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        data |= {"answered_percent": self.answered_percent, "problems": self.problems, "summary": self.summary}
        return data


def spread_of(samples: Sequence[float]) -> float:
    """Half of the confidence interval (95 %) of the mean of some samples, in percent of it."""
    if len(samples) < 2 or not any(samples):
        return math.inf
    # Student's t for 95 %, from above: 2.78 for five samples, 2.34 for ten (exactly 2.26).
    quantile = 2 + 3.1 / (len(samples) - 1)
    return 100 * quantile * statistics.stdev(samples) / math.sqrt(len(samples)) / statistics.fmean(samples)


def together(parts: Sequence[Part], *, profile: str, model: str, lateness: float | None = None) -> LoadResult:
    """The figures of all processes of a load: counts are added, histograms merged, percentiles taken of the whole.

    Args:
        parts: of the processes.
        profile: what charge points did.
        model: when they did it.
        lateness: seconds that the generator may be late where only the rate counts that it offered; see `Plan`.
    """
    spreads: dict[str, Spread] = {}
    for name in ("latency", "queueing", "service", "connecting", "reconnecting", "lag"):
        found = [part.times[name] for part in parts if name in part.times]
        whole = HdrHistogram(1, LONGEST, 3)
        for encoded, _ in found:
            whole.decode_and_add(encoded)
        spreads[name] = spread_of_histogram(whole, sum(total for _, total in found))
    refused: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    invalid: Counter[str] = Counter()
    for part in parts:
        refused.update(part.refused)
        failures.update(part.failures)
        invalid.update(part.invalid)
    duration = max(max(part.ended for part in parts) - min(part.began for part in parts), 1e-9)
    answered = sum(part.answered for part in parts)
    charge_points = sum(part.charge_points for part in parts)
    due = sum(part.due for part in parts)
    thought = sum(part.thought for part in parts)
    finished = spreads["service"].samples
    little = None
    if model == "closed" and profile != "churn" and finished:
        cycle = spreads["service"].mean / 1000 + thought / finished
        little = cycle / (charge_points * duration / finished)
    saturated = _saturated(spreads["lag"], parts, lateness)
    recovered = [part.recovered_after for part in parts if part.recovered_after is not None]
    slipped = [part.slipped_at for part in parts if part.slipped_at is not None]
    return LoadResult(
        profile=profile,
        model=model,
        charge_points=charge_points,
        due=due,
        due_in_time=sum(part.due_in_time for part in parts),
        sent=sum(part.sent for part in parts),
        answered=answered,
        refused=dict(refused),
        failures=dict(failures),
        late=sum(part.late for part in parts),
        unexpected=sum(part.unexpected for part in parts),
        commands=sum(part.commands for part in parts),
        duration=duration,
        rate=answered / duration,
        offered=due / duration,
        latency=spreads["latency"],
        queueing=spreads["queueing"],
        service=spreads["service"],
        connecting=spreads["connecting"],
        reconnecting=spreads["reconnecting"],
        lag=spreads["lag"],
        little=little,
        slipped_at=min(slipped, default=None),
        slip_rate=sum(part.slip_rate or 0.0 for part in parts) if slipped else None,
        slip_causes=[part.slip_cause for part in parts if part.slip_cause],
        connections=sum(part.connections for part in parts),
        connected_at_start=sum(part.connected_at_start for part in parts),
        most_connected=sum(part.most_connected for part in parts),
        fewest_connected=sum(part.fewest_connected for part in parts),
        connected_at_end=sum(part.connected_at_end for part in parts),
        most_charging=sum(part.most_charging for part in parts),
        recovered_after=max(recovered) if len(recovered) == len(parts) else None,
        saturated=saturated,
        cpu_share=max(part.cpu_share for part in parts),
        processes=len(parts),
        seconds=_seconds(parts),
        sessions=[session for part in parts for session in part.sessions],
        ended=max(part.ended for part in parts),
        ledgers=[ledger for part in parts for ledger in part.ledgers],
        answered_invalid=sum(part.answered_invalid for part in parts),
        invalid=dict(invalid),
        invalid_examples=[each for part in parts for each in part.invalid_examples],
    )


def _saturated(lag: Spread, parts: Sequence[Part], lateness: float | None) -> list[str]:
    most_late = LAG_LIMIT_MS if lateness is None else 1000 * lateness
    limits: Counter[str] = Counter()
    for part in parts:
        limits.update(part.limits)
    reasons = [f"{what} ({counted(number, 'time')})" for what, number in limits.items()]
    if lag.p99 > most_late:
        reasons.append(f"the generator was late by {lag.p99:.0f} ms (p99; allowed {most_late:.0f} ms)")
    busiest = max(part.cpu_share for part in parts)
    # A busy generator reads answers late, which matters to times only.
    if busiest > CPU_LIMIT and lateness is None:
        reasons.append(f"a generating process used {100 * busiest:.0f} % of its core")
    return reasons


def _seconds(parts: Sequence[Part]) -> list[Second]:
    by_number: dict[int, list[Second]] = {}
    for part in parts:
        for second in part.seconds:
            by_number.setdefault(second.second, []).append(second)
    merged = []
    for number in sorted(by_number):
        found = by_number[number]
        if len(found) == 1:
            merged.append(found[0])
            continue
        whole = HdrHistogram(1, LONGEST, 3)
        for second in found:
            if second.histogram:
                whole.decode_and_add(second.histogram)
        spread = spread_of_histogram(whole)
        merged.append(
            Second(
                second=number,
                sent=sum(each.sent for each in found),
                answered=sum(each.answered for each in found),
                errors=sum(each.errors for each in found),
                p50=spread.p50,
                p99=spread.p99,
                max=spread.max,
            )
        )
    return merged
