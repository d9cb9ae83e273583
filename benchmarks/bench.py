"""Runs every measurement, one after the other, within 10 minutes; one table, and results/bench.json.

    python benchmarks/bench.py [--only queue --only gateway] [--longer 3] [--connections 10000]

Each part is a program of its own in this folder and can be run alone. It is bounded in rounds and time: on a machine
that is busy with something else it measures fewer rounds. Exit status 0: all of it ran, whether or not each target was
met; 1: a part broke, or had not ended in its time; 2: what was asked for cannot be done; 130: interrupted. Whatever was
started ends with it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from figures import INTERRUPTED, Figure, end_in_order, print_figures, write_json

FOLDER = Path(__file__).resolve().parent
OUTPUT = Path("results/bench.json")
ALL_SECONDS = 600.0
"""Time limit of all parts together."""
ENDING = 15.0
"""Grace period in seconds for a part to end its processes, before they are killed."""
_BECOME_SUBREAPER = 36


@dataclass(frozen=True)
class Program:
    """A part: its function, and its time limit in seconds."""

    command: Sequence[str]
    seconds: float
    about: str


PROGRAMS = {
    "queue": Program(["request_queue.py"], 150, "the request queue beside Redis itself"),
    "versions": Program(["versions.py"], 60, "transactions of OCPP 2.0.1 beside those of 1.6"),
    "load": Program(["load_generator.py"], 120, "the load generator beside Locust and a raw loop"),
    "shards": Program(["shards.py"], 90, "the queue with and without shards"),
    "gateway": Program(["gateway.py"], 90, "the gateway beside a bare WebSocket echo"),
    "scale": Program(["scale.py"], 220, "connections held, messages a second"),
    "proxy": Program(["fault_proxy.py"], 60, "the fault proxy beside the direct way"),
}


@dataclass
class Outcome:
    """The outcome of a part.

    Attributes:
        broke: why there are no figures of it; empty if there are.
        seconds: what it took.
        load: how many programs wanted a processor in the minute before its end.
    """

    broke: str
    seconds: float
    load: float
    figures: list[Figure] = field(default_factory=list)


def main(programs: Mapping[str, Program] = PROGRAMS, *, all_seconds: float = ALL_SECONDS, output: Path = OUTPUT) -> int:
    """Run the parts; returns the exit status."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("--only", action="append", choices=list(programs), help="only this part (repeatable)")
    arguments.add_argument("--longer", type=float, default=1.0, help="times the usual rounds and seconds (default 1)")
    arguments.add_argument("--connections", type=int, help="charge points that the part 'scale' holds (10,000)")
    arguments.add_argument("--output", type=Path, default=output, help=f"the figures as JSON (default {output})")
    options = arguments.parse_args()
    if not 0 < options.longer < math.inf:
        arguments.error(f"--longer {options.longer:g} cannot be used, allowed is a number above 0")
    if options.connections is not None and options.connections < 1:
        arguments.error(f"--connections {options.connections} cannot be used, allowed is a number above 0")
    names = [name for name in programs if name in (options.only or programs)]
    end_in_order()
    _become_subreaper()
    began, outcomes = time.monotonic(), {}
    try:
        for number, name in enumerate(names, 1):
            program = programs[name]
            print(f"[{number}/{len(names)}] {name}: {program.about}", flush=True)
            more = ["--longer", str(options.longer)]
            if name == "scale" and options.connections is not None:
                more += ["--connections", str(options.connections)]
            left = all_seconds * options.longer - (time.monotonic() - began)
            outcomes[name] = run(program, more, min(program.seconds * options.longer, left))
            outcome = outcomes[name]
            print(f"  {outcome.broke or 'done'} after {outcome.seconds:.0f} s, load {outcome.load:.1f}", flush=True)
    except KeyboardInterrupt:
        print(f"\ninterrupted: no figures; what had been started has ended ({', '.join(outcomes) or 'no'} part done)")
        return INTERRUPTED
    return _conclude(outcomes, time.monotonic() - began, options.output)


def run(program: Program, more: Sequence[str], seconds: float) -> Outcome:
    """Run a part for at most `seconds`; all its processes have ended afterwards."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        output = Path(folder, "figures.json")
        first, *rest = program.command
        command = [sys.executable, "-u", str(FOLDER / first), *rest, *more, "--no-table", "--output", str(output)]
        broke = ""
        if seconds <= 0:
            broke = "not run: the time for all parts was used up"
        else:
            with _ended(command, {**os.environ, "TMPDIR": folder}) as process:
                try:
                    if status := process.wait(seconds):
                        broke = f"BROKE with status {status}"
                except subprocess.TimeoutExpired:
                    broke = f"BROKE: it had not ended within {seconds:.0f} s"
        figures: list[Figure] = []
        if not broke:
            try:
                figures = [Figure(**each) for each in json.loads(output.read_bytes())]
            except (OSError, ValueError, TypeError) as error:
                broke = f"BROKE: its figures cannot be read: {error}"
    return Outcome(broke, time.monotonic() - began, os.getloadavg()[0], figures)


@contextlib.contextmanager
def _ended(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A part at work in a session of its own, so that Ctrl-C reaches it only through here."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        below = _below()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(ENDING)
        # What it has left behind is now ours (see `_become_subreaper`), or known from before.
        left = {*below, *_below()}
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(list(left), timeout=ENDING)


def _below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _become_subreaper() -> None:
    """Adopt the orphans of a part, where the system allows that (Linux), so that they are found and ended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1)


def _conclude(outcomes: Mapping[str, Outcome], seconds: float, output: Path) -> int:
    figures = [figure for outcome in outcomes.values() for figure in outcome.figures]
    broken = {name: outcome.broke for name, outcome in outcomes.items() if outcome.broke}
    missed = [figure.name for figure in figures if figure.met is False]
    print()
    print_figures(figures)
    loads = [outcome.load for outcome in outcomes.values()]
    print(f"\n{seconds:.0f} s on {os.cpu_count()} cores; load while it ran {min(loads):.1f} to {max(loads):.1f}")
    with_target = sum(figure.met is not None for figure in figures)
    print(f"{with_target - len(missed)} of {with_target} targets met" + "".join(f"\nMISSED: {name}" for name in missed))
    for name, why in broken.items():
        print(f"{name}: {why}")
    write_json(
        output,
        {
            "seconds": round(seconds, 1),
            "cores": os.cpu_count(),
            "parts": {
                name: {"broke": each.broke, "seconds": round(each.seconds, 1), "load": each.load}
                for name, each in outcomes.items()
            },
            "figures": [{"part": name, **asdict(figure)} for name, each in outcomes.items() for figure in each.figures],
        },
    )
    print(f"written to {output}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
