"""Counts, times and ledger entries of a generating process."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from pathlib import Path

import msgspec

from ocpp_resilience.ledger.records import FORMAT
from ocpp_resilience.load.plan import Model, Plan
from ocpp_resilience.load.result import LoadTotals, Part, Second, Times, spread_of_histogram
from ocpp_resilience.load.scripts import Session, Step

TIMES = ("latency", "queueing", "service", "connecting", "reconnecting", "lag")
SHOWN_INVALID = 5
"""So many invalid answers are kept whole, for people."""
SHOWN_CHARACTERS = 300
UNREADABLE = "unreadable"
"""In the ledger, the message id of messages without one."""


def as_json(text: object) -> str:
    """A value as JSON, for a ledger line."""
    return msgspec.json.encode(text).decode()


class LedgerLines:
    """Ledger lines (see `ocpp_resilience.ledger`), written with as little work as possible.

    Args:
        path: the file; `None` writes nothing.
        seed: the seed of the load.
        commands: charge points note each command that they carry out, so that a missing one is seen.
        effects: starts and stops of transactions have to leave a trace in the state.
    """

    def __init__(self, path: str | None, seed: int, *, commands: bool, effects: bool) -> None:
        self._file = Path(path).open("ab", buffering=0) if path else None  # noqa: SIM115 - closed by `end`
        self._writer = f"load.{secrets.token_hex(4)}"
        self._lines: list[str] = []
        self._effects = effects
        self.on = self._file is not None
        if self.on:
            observes = ',"expect":"effect","via":"command"' if commands else ""
            self._lines.append(
                f'{{"op":"begin","t":{time.time():.6f},"writer":"{self._writer}","format":{FORMAT},"seed":{seed}'
                f"{observes}}}\n"
            )
            self.flush()

    def invoke(self, cp: str, message_id: str, sequence: int, step: Step) -> None:
        """A message is about to be sent. `cp` is JSON here and below."""
        more = ',"expect":"both"' if self._effects and step.leaves_trace else ""
        if step.event:
            more += f',"event":{step.event}'
        self._lines.append(
            f'{{"op":"invoke","t":{time.time():.6f},"cp":{cp},"id":"{message_id}","seq":{sequence},'
            f'"action":"{step.action}","via":"websocket"{more}}}\n'
        )

    def acknowledged(self, cp: str, message_id: str) -> None:
        """A CALLRESULT came in time."""
        about = f'"t":{time.time():.6f},"cp":{cp},"id":"{message_id}"'
        self._lines.append(f'{{"op":"ok",{about}}}\n{{"op":"answer",{about},"kind":"result"}}\n')

    def failed(self, cp: str, message_id: str, code: str) -> None:
        """A CALLERROR came in time."""
        about = f'"t":{time.time():.6f},"cp":{cp},"id":"{message_id}"'
        what = as_json(code)
        self._lines.append(f'{{"op":"fail",{about},"what":{what}}}\n')
        self._lines.append(f'{{"op":"answer",{about},"kind":"error","what":{what}}}\n')

    def unknown(self, cp: str, message_id: str, reason: str) -> None:
        """Record a message with an unknown outcome."""
        self._lines.append(
            f'{{"op":"unknown","t":{time.time():.6f},"cp":{cp},"id":"{message_id}","what":{as_json(reason)}}}\n'
        )

    def answer(self, cp: str, message_id: str, kind: str, what: str | None = None) -> None:
        """Some other answer was seen: `result`, `error` or `invalid`."""
        more = "" if what is None else f',"what":{as_json(what)}'
        self._lines.append(
            f'{{"op":"answer","t":{time.time():.6f},"cp":{cp},"id":{as_json(message_id)},"kind":"{kind}"{more}}}\n'
        )

    def carried_out(self, cp: str, key: str) -> None:
        """A command was carried out; its key names it."""
        self._lines.append(
            f'{{"op":"effect","t":{time.time():.6f},"cp":{cp},"id":{as_json(key)},"what":"carried out"}}\n'
        )

    def flush(self) -> None:
        """Write the buffered records."""
        if self._file is not None and self._lines:
            waiting = memoryview("".join(self._lines).encode())
            self._lines.clear()
            while waiting:
                waiting = waiting[self._file.write(waiting) :]

    def end(self) -> None:
        """Everything that was sent has an outcome by now."""
        if self._file is not None:
            self._lines.append(f'{{"op":"end","t":{time.time():.6f},"writer":"{self._writer}"}}\n')
            self.flush()
            self._file.close()
            self._file = None


class Recorder:
    """Counts, times and ledger of one generating process.

    Args:
        plan: the plan of the process.

    Attributes:
        part: the measurements; complete after `finish`.
        times: times by name, see `Part.times`.
        ledger: the ledger.
        failures: failures by kind.
        connected, charging: charge points that are connected, and that have an active transaction, now.
    """

    def __init__(self, plan: Plan) -> None:
        self.part = Part(sessions=[], seconds=[], times={}, ledgers=[plan.ledger] if plan.ledger else [])
        self.ledger = LedgerLines(plan.ledger, plan.seed, commands=plan.commands, effects=plan.effects)
        self.times = {name: Times() for name in TIMES}
        self.failures: Counter[str] = Counter()
        self.connected = 0
        self.charging = 0
        self._fewest = 0
        self._refused: Counter[str] = Counter()
        self._invalid: Counter[str] = Counter()
        self._limits: Counter[str] = Counter()
        self._open = plan.model is Model.OPEN
        self._shared = plan.own[1] > 1
        self._this_second = Second(second=0)
        # Times of the running second; they join the others when it is over.
        self._newest = {name: Times() for name in ("latency", "service")}
        self._cpu_at_start = 0.0

    # --- messages

    def sent(self, cp: str, message_id: str, sequence: int, step: Step) -> None:
        """A message is sent now."""
        self.part.sent += 1
        self._this_second.sent += 1
        if self.ledger.on:
            self.ledger.invoke(cp, message_id, sequence, step)

    def timed(self, due: float, sent_at: float, at: float) -> None:
        """Record the time of an answer to a message, any answer, with the due time."""
        self._newest["service"].add(at - sent_at)
        if self._open:
            self._newest["latency"].add(at - due)
            self.times["queueing"].add(sent_at - due)

    def answered(self, cp: str, message_id: str) -> None:
        """A valid CALLRESULT came in time."""
        self.part.answered += 1
        self._this_second.answered += 1
        if self.ledger.on:
            self.ledger.acknowledged(cp, message_id)

    def refused(self, cp: str, message_id: str, code: str) -> None:
        """A CALLERROR came in time."""
        self._refused[code] += 1
        self._this_second.errors += 1
        if self.ledger.on:
            self.ledger.failed(cp, message_id, code)

    def invalid(self, cp: str, message_id: str | None, kind: str, text: str, *, answers: bool) -> None:
        """Something came that no server may send.

        Args:
            cp: the charge point that it came to.
            message_id: its message id, if it has one.
            kind: the kind of error, one of a few.
            text: the whole message, or the exact error.
            answers: whether it ends the outstanding message.
        """
        self._invalid[kind] += 1
        self.part.answered_invalid += answers
        self._this_second.errors += answers
        if len(self.part.invalid_examples) < SHOWN_INVALID:
            self.part.invalid_examples.append(f"{kind}: {text[:SHOWN_CHARACTERS]}")
        if self.ledger.on:
            if answers and message_id is not None:
                self.ledger.unknown(cp, message_id, f"invalid answer: {kind}")
            self.ledger.answer(cp, UNREADABLE if message_id is None else message_id, "invalid", kind)

    def surplus(self, cp: str, message_id: str, *, error: bool, late: bool) -> None:
        """An answer came late, or to nothing that was asked."""
        if late:
            self.part.late += 1
        else:
            self.part.unexpected += 1
        if self.ledger.on:
            self.ledger.answer(cp, message_id, "error" if error else "result")

    def unknown(self, cp: str, message_id: str, reason: str) -> None:
        """The outcome of a message is not known."""
        self.failures[f"unanswered: {reason}"] += 1
        self._this_second.errors += 1
        if self.ledger.on:
            self.ledger.unknown(cp, message_id, reason)

    def limit(self, what: str) -> None:
        """Record that this machine, or this process, could not keep to the plan."""
        self._limits[what] += 1

    # --- charge points

    def opened(self) -> None:
        """A WebSocket was opened."""
        self.connected += 1
        self.part.connections += 1
        self.part.most_connected = max(self.part.most_connected, self.connected)

    def closed(self) -> None:
        """A WebSocket was closed."""
        self.connected -= 1
        self._fewest = min(self._fewest, self.connected)

    def all_connected(self, charge_points: int) -> None:
        """The charge points had their time to connect."""
        self.part.charge_points = charge_points
        self.part.connected_at_start = self._fewest = self.connected

    def charges(self, session: Session) -> None:
        """A transaction is active."""
        self.part.sessions.append(session)
        self.charging += 1
        self.part.most_charging = max(self.part.most_charging, self.charging)

    def charged(self) -> None:
        """A transaction is about to be stopped."""
        self.charging -= 1

    # --- the run as a whole

    def begin(self, at: float) -> None:
        """Sending begins."""
        self.part.began = at
        self._cpu_at_start = time.process_time()

    def spent(self, at: float) -> LoadTotals:
        """Totals of sent and received messages so far; the difference of two covers the time in between."""
        lag, service, newest = self.times["lag"], self.times["service"], self._newest["service"]
        for times in (lag, newest):
            times.count()
        return LoadTotals(
            at=at,
            answered=self.part.answered,
            lag=lag.total,
            lags=int(lag.histogram.get_total_count()),
            service=service.total + newest.total,
            services=int(service.histogram.get_total_count() + newest.histogram.get_total_count()),
            cpu=time.process_time(),
        )

    def close_second(self) -> None:
        """A second is over: write the ledger, and count the times."""
        self.ledger.flush()
        times = self._newest["latency" if self._open else "service"]
        times.count()
        spread = spread_of_histogram(times.histogram, times.total)
        second = self._this_second
        second.p50, second.p99, second.max = spread.p50, spread.p99, spread.max
        second.histogram = times.encode() if self._shared and spread.samples else ""
        self.part.seconds.append(second)
        self._this_second = Second(second=second.second + 1)
        for name, newest in self._newest.items():
            self.times[name].merge(newest)
        self.times["queueing"].count()
        self.times["lag"].count()

    def sending_ended(self, at: float) -> None:
        """The last answer has come."""
        self.part.ended = at
        elapsed = max(at - self.part.began, 1e-9)
        self.part.cpu_share = (time.process_time() - self._cpu_at_start) / elapsed
        if not self._open:
            self.part.due = self.part.sent

    def finish(self, error: BaseException | None) -> Part:
        """Finish recording; returns the result."""
        self.close_second()
        part = self.part
        part.fewest_connected = self._fewest
        part.connected_at_end = self.connected
        part.refused, part.failures = dict(self._refused), dict(self.failures)
        part.invalid, part.limits = dict(self._invalid), dict(self._limits)
        if not self._open:
            # Without a schedule a message is due when it is sent.
            self.times["latency"] = self.times["service"]
        part.times = {name: (times.encode(), times.total) for name, times in self.times.items()}
        part.error = f"{type(error).__name__}: {error}" if error else None
        self.ledger.end()
        return part

    @property
    def refusals(self) -> int:
        """Messages that were refused so far."""
        return self._refused.total()

    @property
    def invalid_messages(self) -> int:
        """Messages that no server may send, so far."""
        return self._invalid.total()
