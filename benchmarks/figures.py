"""Shared parts of `make bench`: figures, bounded rounds, and an orderly end."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

INTERRUPTED = 130


@dataclass
class Figure:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the figure, in `unit`.
        reference: what it is compared with, in words and its own figure.
        ratio: the figure to its reference; `None` where there is none.
        target: what the ratio, or without one the value, should reach.
        met: whether it does; `None` without a target.
        rounds: how often it was measured, where the median counts.
    """

    name: str
    value: float
    unit: str
    reference: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    rounds: int | None = None


class Part:
    """The command line of a part.

    Args:
        description: the program's documentation; its first line is shown.
    """

    def __init__(self, description: str | None) -> None:
        self.arguments = argparse.ArgumentParser(description=(description or "").split("\n", maxsplit=1)[0])
        self.arguments.add_argument("--output", type=Path, help="write the figures as JSON")
        self.arguments.add_argument(
            "--longer", type=float, default=1.0, help="times the usual rounds and seconds (default 1)"
        )
        self.arguments.add_argument("--no-table", action="store_true", help="say how far it is, and no figures")
        self._longer = 1.0

    def main(self, measure: Callable[[argparse.Namespace], Iterable[Figure]]) -> int:
        """Measure, print the figures and write them. A missed target is a figure, not a failure."""
        options = self.arguments.parse_args()
        self._longer = options.longer
        if not 0 < self._longer < math.inf:
            self.arguments.error(f"--longer {self._longer:g} cannot be used, allowed is a number above 0")
        for name, value in vars(options).items():
            # Whole numbers are counts, all of them: rounds, connections, messages a second.
            for count in value if isinstance(value, list) else [value]:
                if type(count) is int and count < 1:
                    self.arguments.error(f"--{name} {count} cannot be used, allowed is a number above 0")
        end_in_order()
        try:
            figures = list(measure(options))
        except KeyboardInterrupt:
            return INTERRUPTED
        if not options.no_table:
            print_figures(figures)
        if options.output:
            write_json(options.output, [asdict(figure) for figure in figures])
        return 0

    def rounds(self, count: int, seconds: float) -> Iterator[int]:
        """Numbers of rounds: `count` of them, fewer where the next would go beyond `seconds`, one at least.

        A machine that is busy with something else gives fewer rounds rather than a measurement without an end.
        """
        count, seconds = max(1, round(count * self._longer)), seconds * self._longer
        began, longest = time.monotonic(), 0.0
        for number in range(count):
            start = time.monotonic()
            if number and start - began + longest > seconds:
                progress(f"{number} of {count} rounds: the next would take longer than the {seconds:g} s there are")
                return
            yield number
            longest = max(longest, time.monotonic() - start)


def progress(text: str) -> None:
    """Say how far it is."""
    print(f"  {text}", flush=True)


def end_in_order() -> None:
    """Have SIGTERM and SIGINT end the program as Ctrl-C does, also where it was started with them ignored.

    A second one does not disturb the end, which closes what was started.
    """

    def interrupt(number: int, _frame: object) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, interrupt)


def write_json(file: Path, value: object) -> None:
    """Write `value` to `file`; its folder is made if needed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def print_figures(figures: Iterable[Figure]) -> None:
    """The figures as a table."""
    rows = [("figure", "value", "unit", "reference", "ratio", "target", "met")]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3f}"
        met = {None: "", True: "yes", False: "NO"}[figure.met]
        rows.append((figure.name, f"{figure.value:,.2f}", figure.unit, figure.reference, ratio, figure.target, met))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    sys.stdout.flush()
