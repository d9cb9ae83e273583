"""Progress of long keywords: a line of each below Robot's own on the terminal, updated in place.

Where standard output is no terminal (a pipeline, pabot's processes, a file) nothing is written at all. Robot replaces
`sys.stdout` while a keyword runs; `sys.__stdout__` is the terminal itself.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from robot.output import LOGGER

from ocpp_resilience.robot.variables import robot_variable

Describe = Callable[[], str]
"""Says how far something is, in a few words; called in another thread."""

EVERY = 0.5
"""Seconds between two looks."""


def console_is_wanted() -> bool:
    """Whether Robot Framework writes to the terminal: not with `--quiet`, `--console quiet` or `--console none`."""
    # No public way tells, and Robot Framework 7.5 has other names for the classes than 7.4.
    console = LOGGER._console  # noqa: SLF001
    kind = type(getattr(console, "listener", console))
    return console is not None and kind.__module__ != "robot.output.console.quiet"


class Console:
    """The lines of everything that has something to say at the same time.

    Args:
        stream: the terminal; the process's standard output if not given.
        every: seconds between two looks.
    """

    def __init__(self, stream: TextIO | None = None, *, every: float = EVERY) -> None:
        self._stream = stream
        self._every = every
        self._lock = threading.Lock()
        self._shown: list[Describe] = []
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def _terminal(self) -> TextIO | None:
        """The stream to write to; `None` without a terminal."""
        stream = self._stream or sys.__stdout__
        if not console_is_wanted():
            return None
        try:
            if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
                return None
        except ValueError:  # closed
            return None
        return None if robot_variable("PABOTISLASTEXECUTIONINPOOL") is not None else stream

    def add(self, describe: Describe) -> None:
        """Show a line until `remove`; the caller owns it."""
        stream = self._terminal()
        if stream is None:
            return
        with self._lock:
            self._shown.append(describe)
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(stream, self._stop), name="resilience-console", daemon=True
                )
                self._thread.start()

    def remove(self, describe: Describe) -> None:
        """Remove it from the console, with all lines after the last one. Does nothing if it is not shown."""
        with self._lock:
            if describe not in self._shown:
                return
            self._shown.remove(describe)
            if self._shown or self._stop is None or self._thread is None:
                return
            self._stop.set()
            thread, self._thread = self._thread, None
        thread.join()

    @contextmanager
    def showing(self, describe: Describe) -> Iterator[None]:
        """Show it while the block runs."""
        self.add(describe)
        try:
            yield
        finally:
            self.remove(describe)

    def _run(self, stream: TextIO, stop: threading.Event) -> None:
        written = 0
        # A keyword that ends at once needs no line.
        while not stop.wait(self._every):
            lines = [text for text in map(_said, list(self._shown)) if text]
            if _write(stream, _below([_fitting(text, stream) for text in lines], written)):
                written = len(lines)
        _write(stream, _below([], written))


def _below(lines: list[str], before: int) -> str:
    """Terminal codes that write lines below the cursor, replacing those of `before`, and restore the cursor.

    Down in the same column, scrolling at the end of the screen, and up again: there are as many lines below then. The
    cursor is kept and is back in its place afterwards, so that Robot writes on where it was.
    """
    rows = max(len(lines), before)
    if rows == 0:
        return ""
    texts = lines + [""] * (rows - len(lines))
    return "\x1bD" * rows + f"\x1b[{rows}A\x1b7" + "".join(f"\x1b[B\r\x1b[K{text}" for text in texts) + "\x1b8"


def _said(describe: Describe) -> str:
    try:
        return "".join(letter if letter.isprintable() else " " for letter in describe())
    except Exception:  # noqa: BLE001 - a line for whoever waits breaks no test
        return ""


def _fitting(text: str, stream: TextIO) -> str:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        columns = 0
    width = (columns or 80) - 1
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _write(stream: TextIO, text: str) -> bool:
    if not text:
        return True
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


def time_left(seconds: float) -> str:
    """The time that something will still take, for people: `8 s left`, `2:05 min left`."""
    whole = max(0, round(seconds))
    return f"{whole} s left" if whole < 100 else f"{whole // 60}:{whole % 60:02} min left"


class Rate:
    """Steps a second, from numbers that only grow, over the last few looks."""

    def __init__(self, window: float = 5.0) -> None:
        self._window = window
        self._looks: list[tuple[float, float]] = []

    def of(self, number: float) -> float:
        """Look now; 0 at the first look."""
        now = time.monotonic()
        self._looks.append((now, number))
        while len(self._looks) > 2 and now - self._looks[1][0] >= self._window:
            self._looks.pop(0)
        (_, before), passed = self._looks[0], now - self._looks[0][0]
        return (number - before) / passed if passed > 0 else 0.0


CONSOLE = Console()
"""The lines of this process."""
