"""`python -m ocpp_resilience.load PLAN`: run the load of a plan, and print the result.

PLAN is a JSON file with an `ocpp_resilience.load.plan.Plan`. SIGTERM and SIGINT end the load in order: running sessions
are finished. The processes of a load in a test run are started with `--channel` (see `ocpp_resilience.load.channel`);
they end with the process that started them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from ocpp_resilience.arguments import Parser
from ocpp_resilience.errors import UsageError
from ocpp_resilience.event_loop import new_event_loop
from ocpp_resilience.load.channel import Begin, Finished, Progress, StartSending, line, read_order
from ocpp_resilience.load.fleet import Fleet
from ocpp_resilience.load.limits import allow_open_files, with_enough_addresses
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.result import Part, together
from ocpp_resilience.struct_errors import explained

LONGEST_LINE = 2**24
HEAD_START = 0.05
"""Seconds until a load on its own begins to send."""
ORPHAN_SECONDS = 1.0
"""Time limit in seconds for a process to close its connections after its starter has ended."""

Tell = Callable[[Progress], None]


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: the load was sent, whatever the answers; 1: aborted; 2: the plan cannot be used."""
    parser = Parser(prog="ocpp-resilience load", description="Send a load of charge points.")
    parser.add_argument("plan", type=Path, nargs="?", help="JSON file with the plan")
    parser.add_argument("--channel", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if (options.plan is None) == (options.channel is None):
        parser.error("a plan is needed")
    logging.getLogger("picows").setLevel(logging.CRITICAL)
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            part = runner.run(_told(options.channel) if options.plan is None else _alone(options.plan.read_bytes()))
    except (OSError, msgspec.DecodeError, UsageError) as error:
        plan = options.plan or "The plan"
        if isinstance(error, OSError) and error.filename is not None:
            error = UsageError(f"cannot be read: {error.strerror}")
        problem = explained(error) if isinstance(error, msgspec.DecodeError) else error
        sys.stderr.write(f"{plan}: {problem}\n")
        return 2
    if part is None:
        return 1
    if part.error:
        sys.stderr.write(f"{part.error}\n")
        return 1
    return 0


async def _alone(text: bytes) -> Part:
    """Run a plan without progress messages."""
    plan = with_enough_addresses(msgspec.json.decode(text, type=Plan))

    async def soon() -> float:
        return time.monotonic() + HEAD_START

    part = await _send(_checked(plan), soon, lambda _: None)
    if not part.error:
        sys.stdout.write(together([part], profile=plan.profile, model=plan.model).summary + "\n")
    return part


async def _told(descriptor: int) -> Part | None:
    """Send the plan that comes over the channel, and tell how far it is."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor), limit=LONGEST_LINE)
    try:
        order = await _next(reader)
        if not isinstance(order, Begin):
            return None
        when: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def tell(progress: Progress) -> None:
            writer.write(line(progress))

        part = await _send(_checked(order.plan), lambda: when, tell, lambda fleet: _follow(reader, fleet, when))
        writer.write(line(Finished(part)))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return part
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _checked(plan: Plan) -> Plan:
    plan.check()
    allow_open_files(-(-plan.charge_points // plan.own[1]))
    return plan


async def _next(reader: asyncio.StreamReader) -> object:
    """The next order; `None` when the starter is gone."""
    try:
        data = await reader.readline()
    except ConnectionError:
        return None
    return read_order(data) if data.endswith(b"\n") else None


async def _follow(reader: asyncio.StreamReader, fleet: Fleet, when: asyncio.Future[float]) -> None:
    """Do as the starter says, and end when it is gone."""
    while (order := await _next(reader)) is not None:
        if isinstance(order, StartSending) and not when.done():
            when.set_result(order.at)
        else:
            fleet.stop()
            if not when.done():
                when.set_result(time.monotonic())
    fleet.stop()
    if not when.done():
        when.set_result(time.monotonic())
    await asyncio.sleep(ORPHAN_SECONDS)
    fleet.over.set()


async def _send(
    plan: Plan,
    when: Callable[[], Awaitable[float]],
    tell: Tell,
    follow: Callable[[Fleet], Awaitable[None]] | None = None,
) -> Part:
    fleet = Fleet(plan)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, fleet.stop)

    def report(phase: str, began: float = 0.0) -> None:
        tell(_progress(fleet, phase, began))

    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(_every_second(lambda: report("connecting")))]
        if follow is not None:
            beside.append(group.create_task(_awaited(follow(fleet))))
        await fleet.connect()
        beside.pop(0).cancel()
        report("connected")
        part = await fleet.run(await when(), lambda began: report("running", began))
        for task in beside:
            task.cancel()
    report("ended", part.began)
    return part


async def _awaited(what: Awaitable[None]) -> None:
    await what


def _progress(fleet: Fleet, phase: str, began: float) -> Progress:
    recorder = fleet.recorder
    part = recorder.part
    newest = part.seconds[-1] if part.seconds else None
    return Progress(
        phase=phase,
        seconds=round(time.monotonic() - began, 1) if began else 0.0,
        connected=recorder.connected,
        charging=recorder.charging,
        sent=part.sent,
        answered=part.answered,
        refused=recorder.refusals,
        invalid=recorder.invalid_messages,
        failures=dict(recorder.failures),
        last_second=newest.answered if newest else 0,
        p99=newest.p99 if newest else 0.0,
    )


async def _every_second(act: Callable[[], None]) -> None:
    while True:
        act()
        await asyncio.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
