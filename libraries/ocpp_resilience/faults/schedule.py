"""Faults at set times: read from a table, or made by chance from a seed, and carried out beside the test."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from robot.utils import timestr_to_secs

from ocpp_resilience.errors import ResilienceError, UsageError, WaitTimeout
from ocpp_resilience.faults.fault import InjectableFault
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.registry import FaultRegistry, arguments_of
from ocpp_resilience.robot.console import CONSOLE, time_left
from ocpp_resilience.robot.variables import robot_variable
from ocpp_resilience.waiting import in_words, seconds

Make = Callable[[str, str], InjectableFault]
"""Makes a fault from its name and the text behind it in a row, which may be empty."""

_AT = re.compile(r"at\s+(.+)", re.IGNORECASE)
_FOR = re.compile(r"(.+?)\s+for\s+(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One row of a schedule.

    Attributes:
        at: seconds from its start.
        action: the name of a fault, or one of the words that end faults (`start redis`, `heal all`).
        value: the text behind the name, for example `100 ms`.
        lasting: seconds until it is healed; `None` leaves it until something ends it.
    """

    at: float
    action: str
    value: str = ""
    lasting: float | None = None

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        until = "" if self.lasting is None else f" for {in_words(self.lasting)}"
        return f"at {self.at:.2f} s  {self.action}{value}{until}"


OCCASION_LIMIT = 10.0
"""Seconds that a fault that waits for its occasion gets beyond its time."""

ENDS: Mapping[str, tuple[str, ...]] = {
    "start redis": ("stop redis", "kill redis"),
    "resume redis": ("pause redis",),
    "connect": ("disconnect",),
    "start server": ("stop server", "kill server"),
    "resume server": ("pause server",),
    "heal all": (),
}
"""Actions that end faults, and which; `heal all` ends all."""


def read(cells: Sequence[str], registry: FaultRegistry) -> list[Row]:
    """A schedule from the cells of a table: `at 5 s`, `kill redis`, `at 8 s`, `start redis`.

    Args:
        cells: times and actions in turn; an action may end in `for 2 s`.
        registry: the faults that there are.

    Raises:
        UsageError: a time or an action is not understood.
    """
    if len(cells) % 2 or not cells:
        raise UsageError("A fault schedule has pairs of cells: `at 5 s`, then the action, for example `kill redis`.")
    rows = []
    for when, what in zip(cells[::2], cells[1::2], strict=True):
        found = _AT.fullmatch(when.strip())
        if found is None:
            raise UsageError(f"'{when}' is not a time of a fault schedule; expected a form such as `at 5 s`.")
        text, lasting = " ".join(what.split()), None
        if limited := _FOR.fullmatch(text):
            text, lasting = limited[1], _time(limited[2])
        if text.lower() in ENDS:
            action, value = text.lower(), ""
        else:
            try:
                action, value = registry.split(text)
            except UsageError as error:
                raise UsageError(f"{error} Actions that end faults: {', '.join(ENDS)}.") from None
            arguments_of(registry.get(action), value)
        rows.append(Row(_time(found[1]), action, value, lasting))
    return sorted(rows, key=lambda row: row.at)


def _time(text: str) -> float:
    try:
        return float(timestr_to_secs(text))
    except ValueError as error:
        raise UsageError(str(error)) from None


def by_chance(
    seed: int, count: int, faults: Sequence[str], *, lasting: tuple[float, float], pause: tuple[float, float]
) -> list[Row]:
    """A schedule of `count` faults, one after the other, the same for the same seed and faults.

    Args:
        seed: of all random choices.
        count: how many faults.
        faults: the names to choose from; each is used before one is used again.
        lasting: the shortest and the longest time that a fault lasts, in seconds.
        pause: the shortest and the longest time between two, in seconds.
    """
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    rows: list[Row] = []
    deck: list[str] = []
    at = 0.0
    for _ in range(count):
        if not deck:
            deck = list(faults)
            dice.shuffle(deck)
        at += dice.uniform(*pause)
        length = dice.uniform(*lasting)
        rows.append(Row(round(at, 3), deck.pop(), "", round(length, 3)))
        at += length
    return rows


@dataclass
class Run:
    """A schedule that is being carried out in a separate thread.

    Attributes:
        rows: the actions with their times.
        injector: carries them out.
        make: makes a fault of a row.
        records: the actions so far.
        errors: the actions that failed.
        in_turn: whether a fault waits until the one before it is healed, however long that takes.
        awaited: number of `records` that were waited for.

    Its faults belong to the test that began it, even when other tests have begun since.
    """

    rows: Sequence[Row]
    injector: Injector
    make: Make
    records: list[FaultRecord] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    in_turn: bool = False
    awaited: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _began: float = field(default_factory=time.monotonic)
    _test: str | None = field(default_factory=lambda: robot_variable("TEST NAME"))

    def start(self) -> None:
        """Begin now."""
        self._thread = threading.Thread(target=self._run_and_show, name="fault-schedule", daemon=True)
        CONSOLE.add(self._progress)
        self._thread.start()

    def belongs_to_later_test(self) -> None:
        """Its faults belong to the test that adopts them; called before it starts."""
        self._test = None

    def stop(self) -> None:
        """Abort the schedule; active faults are healed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(60)

    def wait(self, timeout: timedelta | float) -> None:
        """Wait for its end.

        Raises:
            WaitTimeout: it had not ended; it was broken off then.
            ResilienceError: a row could not be carried out.
        """
        if self._thread is None:
            raise UsageError("The fault schedule was not started.")
        self._thread.join(seconds(timeout))
        if self._thread.is_alive():
            self.stop()
            text = f"The fault schedule of {len(self.rows)} rows had not ended after {in_words(timeout)}."
            raise WaitTimeout(text, waited=seconds(timeout), last_seen="running")
        if self.errors:
            raise ResilienceError("The fault schedule failed: " + " ".join(self.errors))

    def _run_and_show(self) -> None:
        try:
            self._run()
        finally:
            CONSOLE.remove(self._progress)

    def _progress(self) -> str:
        done, lasting = len(self.records), [str(record) for record in self.records if record.ended is None]
        end = max(row.at + (row.lasting or 0) for row in self.rows)
        # In turn, the clock moves with the faults; the plan between here and the end does not.
        passed = self.rows[done - 1].at if self.in_turn and done else time.monotonic() - self._began
        now = f"now {', '.join(lasting)}" if lasting else "none now"
        return f"Fault {done} of {sum(row.action not in ENDS for row in self.rows)}, {now}, {time_left(end - passed)}"

    def _run(self) -> None:
        began = time.monotonic()
        mine: list[tuple[str, FaultRecord, float | None]] = []

        def heal(entries: Sequence[tuple[str, FaultRecord, float | None]]) -> None:
            for entry in entries:
                mine.remove(entry)
                if not self._stop.is_set():
                    self.injector.wait_for_occasion(entry[1], OCCASION_LIMIT)
                self._attempt(lambda record=entry[1]: self.injector.heal(record))  # type: ignore[misc]

        for row in [*self.rows, None]:
            while row is None or time.monotonic() < began + row.at or (self.in_turn and mine):
                due = min((until for _, _, until in mine if until is not None), default=None)
                if due is None and (row is None or time.monotonic() >= began + row.at):
                    break
                start = None if row is None or (self.in_turn and due is not None) else began + row.at
                moments = [moment for moment in (due, start) if moment is not None]
                if self._stop.wait(max(0.0, min(moments) - time.monotonic())):
                    break
                heal([entry for entry in mine if entry[2] is not None and entry[2] <= time.monotonic()])
            if row is None or self._stop.is_set():
                break
            if row.action in ENDS:
                ended = ENDS[row.action] or [name for name, _, _ in mine]
                heal([entry for entry in mine if entry[0] in ended])
                continue
            if self.in_turn:  # a late action delays the following ones
                began = time.monotonic() - row.at
            # Only one fault of a kind at a time.
            heal([entry for entry in mine if entry[0] == row.action])

            def begin(row: Row = row) -> None:
                record = self.injector.inject(self.make(row.action, row.value), test=self._test)
                self.records.append(record)
                mine.append((row.action, record, None if row.lasting is None else time.monotonic() + row.lasting))

            self._attempt(begin)
        heal(list(mine))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the rest of the schedule, and above all the healing, goes on
            self.errors.append(f"{type(error).__name__}: {error}")
