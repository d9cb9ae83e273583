"""`python -m ocpp_resilience.load PLAN`: send the load that the plan says, as one process of one or several.

PLAN is a JSON file (`ocpp_resilience.load.plan.Plan`). Beside it appear a `.progress` file (JSON lines, one a second)
and at the end a `.result`. With `--wait`, sending begins when the `.go` file is there, which holds the time to begin.
SIGTERM and SIGINT end it in order: what was begun is brought to its end. It also ends when the process that started it
is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from ocpp_resilience.errors import UsageError
from ocpp_resilience.load.fleet import Fleet, now
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.result import together

OTHER_FILES = 200
"""Open files of a generating process beside its connections."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: the load was sent, whatever the answers; 1: broken off; 2: the plan cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m ocpp_resilience.load", description="Send a load of charge points.")
    parser.add_argument("plan", type=Path, help="JSON file with the plan")
    parser.add_argument("--wait", action="store_true", help="begin when PLAN.go says so")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end when this process is gone")
    options = parser.parse_args(arguments)
    try:
        plan = msgspec.json.decode(options.plan.read_bytes(), type=Plan)
        plan.check()
        _allow_open_files(-(-plan.charge_points // plan.own[1]))
    except (OSError, msgspec.DecodeError, UsageError) as error:
        sys.stderr.write(f"{options.plan}: {error}\n")
        return 2
    logging.getLogger("picows").setLevel(logging.CRITICAL)
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(plan, options.plan, wait=options.wait, parent=options.parent))


async def _run(plan: Plan, file: Path, *, wait: bool, parent: int) -> int:
    fleet = Fleet(plan)
    with file.with_suffix(".progress").open("ab", buffering=0) as output:

        def report(phase: str, fleet: Fleet, began: float) -> None:
            part = fleet.part
            output.write(
                msgspec.json.encode(
                    {
                        "phase": phase,
                        "seconds": round(now() - began, 1) if began else 0,
                        "connected": fleet.connected,
                        "charging": fleet.charging,
                        "sent": part.sent,
                        "answered": part.answered,
                        "refused": sum(fleet.refused.values()),
                        "failures": dict(fleet.failures),
                        "last_second": part.seconds[-1].answered if part.seconds else 0,
                        "p99": part.seconds[-1].p99 if part.seconds else 0,
                    }
                )
                + b"\n"
            )

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, fleet.stop)
        guard = asyncio.ensure_future(_stop_when_orphaned(fleet, parent))
        try:
            connecting = asyncio.ensure_future(_every_second(lambda: report("connecting", fleet, 0)))
            try:
                await fleet.connect()
            finally:
                connecting.cancel()
            report("connected", fleet, 0)
            start_at = await _when_to_start(file.with_suffix(".go"), fleet) if wait else now() + 0.05
            part = await fleet.run(start_at, lambda fleet, began: report("running", fleet, began))
        finally:
            guard.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await guard
        report("ended", fleet, part.began)
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(part))
    partial.replace(file.with_suffix(".result"))
    if part.error:
        sys.stderr.write(f"{part.error}\n")
        return 1
    if not wait:
        result = together([part], profile=plan.profile, model=plan.model)
        sys.stdout.write(result.summary + "\n")
    return 0


async def _every_second(act: Callable[[], None]) -> None:
    while True:
        act()
        await asyncio.sleep(1)


async def _when_to_start(go: Path, fleet: Fleet) -> float:
    while not (text := _read(go)):
        if fleet.stopping:
            return now()
        await asyncio.sleep(0.005)
    return float(text)


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def _stop_when_orphaned(fleet: Fleet, parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.5)
    fleet.stop()
    await asyncio.sleep(1)
    fleet.over.set()


def _allow_open_files(charge_points: int) -> None:
    """Raise the soft limit for so many connections.

    Raises:
        UsageError: the hard limit does not allow it.
    """
    wanted = charge_points + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UsageError(
            f"{charge_points} charge points in one process need {wanted} open files, and the system allows it {hard} "
            "(ulimit -Hn). Raise that limit, share the load among more processes, or take fewer charge points."
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as error:
        raise UsageError(f"The limit of {wanted} open files could not be set ({error}); see ulimit -n.") from None


if __name__ == "__main__":
    sys.exit(main())
