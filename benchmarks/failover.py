"""Measures failovers of Redis under load: how long nobody is answered, and what was acknowledged and is lost.

    python benchmarks/failover.py [--failovers 50] [--points 20] [--output results/failover.json]

A primary, a replica and three sentinels of the embedded program; a server; charge points that start and stop
transactions in turn, each with one CALL outstanding, and connect again by themselves, also when a CALL was not
answered for 10 seconds: a request that only the old primary had is lost, and nobody was told that it was done. Four
times a second another charge point connects and sends one message, so that answers are seen as soon as there can be
any. The primary is killed, demoted, cut off from sentinels and replica, and paused, in turns; each way half of the
time with a server that waits for the replica (`REDIS_WAIT_REPLICAS=1`), and half without.

A failover begins when every charge point has been answered again since the one before, and the load has lasted for two
more seconds. An answer to a CALL that the charge point has an answer to already counts as repeated.

The old primary is brought back as soon as the new one is named: with WAIT nothing is answered before there is a replica
again. What was acknowledged is lost when the state knows nothing of it after all have settled. The lag is what the
replica lacked just before the primary was lost, in bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures import INTERRUPTED, end_in_order, progress, write_json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import open_client
from ocpp_resilience.redis.services import FailoverHow, ReplicatedRedis
from ocpp_resilience.system.server import OcppServer

WAYS = (FailoverHow.KILL, FailoverHow.DEMOTE, FailoverHow.PARTITION, FailoverHow.PAUSE)
PAUSE = 0.05
"""Seconds between an answer and the next CALL of a charge point."""
CALL_LIMIT = 10.0
"""Seconds after which a CALL counts as never answered."""
ANSWER_LIMIT = 60.0
"""Seconds in which somebody has to be answered after a failover."""
PROBE_EVERY = 0.25
"""Seconds between two charge points that connect to send one message."""
CALM = 2.0
"""Seconds of load between two failovers, with all charge points at work."""
AT_WORK_LIMIT = 60.0
"""Seconds in which every charge point has to be at work again."""


@dataclass
class Acknowledged:
    """A StartTransaction that was answered.

    Attributes:
        transaction: its id.
        tag: the id tag, which no other has.
        at: when the answer came.
    """

    transaction: int
    tag: str
    at: float


@dataclass
class Outcome:
    """One failover.

    Attributes:
        how: what was done to the primary.
        replicas: replicas that the server waited for.
        failover: seconds until the sentinels named another primary.
        silence: the longest time, in seconds, in which nobody was answered.
        first_answer: seconds from the fault to the first answer once another primary was named.
        acknowledged: transactions that were started since the failover before.
        lost_before: of them, acknowledged before the fault and lost.
        lost_after: acknowledged after the fault, by the old primary, and lost.
        lag: bytes that the replica lacked.
    """

    how: str
    replicas: int
    failover: float = 0.0
    silence: float = 0.0
    first_answer: float = 0.0
    acknowledged: int = 0
    lost_before: int = 0
    lost_after: int = 0
    lag: int = 0


@dataclass
class Traffic:
    """What charge points were told.

    Attributes:
        gateway: where they connect.
        answers: when each answer came.
        acknowledged: the transactions that were started.
        unanswered: CALLs that were neither answered nor refused in time, on a connection that stayed.
        refused: CALLERRORs.
        repeated: answers to CALLs that were not outstanding.
        worked: when each charge point was last answered.
    """

    gateway: str
    answers: list[float] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    unanswered: int = 0
    refused: int = 0
    repeated: int = 0
    worked: dict[str, float] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)

    async def charge(self, charge_point: str) -> None:
        """Start and stop transactions, until cancelled."""
        while True:
            with contextlib.suppress(OSError, WebSocketException):
                async with connect(f"{self.gateway}/ocpp/{charge_point}", subprotocols=["ocpp1.6"]) as socket:  # type: ignore[list-item]
                    while True:
                        await self._session(socket, charge_point)
            await asyncio.sleep(PAUSE)

    async def probe(self) -> None:
        """Have charge points connect and send one message each, until cancelled."""
        async with asyncio.TaskGroup() as probes:
            for number in itertools.count():
                probes.create_task(self._probe(f"PROBE-{number % 1000:03d}"))
                await asyncio.sleep(PROBE_EVERY)

    async def _probe(self, charge_point: str) -> None:
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        with contextlib.suppress(OSError, WebSocketException):
            async with connect(f"{self.gateway}/ocpp/{charge_point}", subprotocols=["ocpp1.6"]) as socket:  # type: ignore[list-item]
                await self._call(socket, "StatusNotification", status)

    async def _session(self, socket: ClientConnection, charge_point: str) -> None:
        tag = f"T{next(self._numbers)}"
        started = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": datetime.now(UTC).isoformat()}
        answer = await self._call(socket, "StartTransaction", started)
        if answer is None:
            return
        self.acknowledged.append(Acknowledged(answer["transactionId"], tag, time.monotonic()))
        stopped = {
            "transactionId": answer["transactionId"],
            "meterStop": 10,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        await self._call(socket, "StopTransaction", stopped)
        self.worked[charge_point] = time.monotonic()

    async def _call(self, socket: ClientConnection, action: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; `None` if it was refused."""
        await asyncio.sleep(PAUSE)
        message_id = f"m{next(self._numbers)}"
        await socket.send(json.dumps([2, message_id, action, payload]))
        try:
            async with asyncio.timeout(CALL_LIMIT):
                while (answer := json.loads(await socket.recv()))[1] != message_id:
                    self.repeated += 1
        except TimeoutError:
            self.unanswered += 1
            raise WebSocketException("no answer") from None
        if answer[0] != 3:
            self.refused += 1
            return None
        self.answers.append(time.monotonic())
        found: dict[str, Any] = answer[2]
        return found


def longest_silence(answers: Iterable[float], begin: float, end: float) -> float:
    """The longest time without an answer between two moments."""
    within = [begin, *(moment for moment in answers if begin <= moment <= end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(within))


def lost(url: str, transactions: list[Acknowledged]) -> list[Acknowledged]:
    """Those of which the state knows nothing."""
    with contextlib.closing(open_client(url, text=True)) as client:
        values = client.mget([f"ocpp:transaction:{each.transaction}" for each in transactions]) if transactions else []
    return [
        each for each, value in zip(transactions, values, strict=True) if value is None or f'"{each.tag}"' not in value
    ]


async def run(failovers: int, points: int, replicas: int) -> tuple[list[Outcome], Traffic]:
    """So many failovers under load, in turns."""
    service = ReplicatedRedis("Redis", settings={"down-after-milliseconds": "1000"})
    server = OcppServer("bench", Target.load("reference"))
    try:
        await asyncio.to_thread(service.start, 30)
        server.configure(service.url(), {"REDIS_WAIT_REPLICAS": str(replicas)})
        await asyncio.to_thread(server.start)
        traffic = Traffic(server.gateway_url)
        charging = [asyncio.create_task(traffic.charge(f"BENCH-{number:03d}")) for number in range(points)]
        charging.append(asyncio.create_task(traffic.probe()))
        outcomes = []
        try:
            for number in range(failovers):
                how = WAYS[number % len(WAYS)]
                await at_work(traffic, charging[:points])
                outcomes.append(await fail_over(service, traffic, Outcome(how.value, replicas)))
                progress(f"{number + 1} of {failovers}, {replicas} replicas waited for: {outcomes[-1]}")
        finally:
            for task in charging:
                task.cancel()
            await asyncio.gather(*charging, return_exceptions=True)
        return outcomes, traffic
    finally:
        server.close()
        service.close()


async def at_work(traffic: Traffic, charging: Sequence[asyncio.Task[None]]) -> None:
    """Wait until every charge point charges: what does nothing can lose nothing."""
    began = time.monotonic()
    while len([at for at in traffic.worked.values() if at > began]) < len(charging):
        for task in charging:
            if task.done():
                task.result()
        if time.monotonic() - began > AT_WORK_LIMIT:
            raise SystemExit(f"not every charge point was at work again within {AT_WORK_LIMIT:g} s")
        await asyncio.sleep(0.05)


async def fail_over(service: ReplicatedRedis, traffic: Traffic, outcome: Outcome) -> Outcome:
    """Load, a failover, and what came of it."""
    seen = len(traffic.acknowledged)
    await asyncio.sleep(CALM)
    began = time.monotonic()
    failover = await asyncio.to_thread(service.fail_over, FailoverHow(outcome.how))
    named = began + failover.took
    await asyncio.to_thread(service.heal)
    deadline = time.monotonic() + ANSWER_LIMIT
    while not traffic.answers or traffic.answers[-1] <= named:
        if time.monotonic() > deadline:
            raise SystemExit(f"nobody was answered within {ANSWER_LIMIT:g} s after {outcome.how}: {service.roles()}")
        await asyncio.sleep(0.01)
    await asyncio.sleep(CALM / 2)
    outcome.failover, outcome.lag = failover.took, failover.lag
    outcome.silence = longest_silence(traffic.answers, began, time.monotonic())
    outcome.first_answer = min(moment for moment in traffic.answers if moment > named) - began
    known = traffic.acknowledged[seen:]
    outcome.acknowledged = len(known)
    gone = await asyncio.to_thread(lost, service.url(), known)
    outcome.lost_before = sum(each.at < began for each in gone)
    outcome.lost_after = len(gone) - outcome.lost_before
    return outcome


def summary(outcomes: list[Outcome], name: str) -> dict[str, Any]:
    """One line of the table."""

    def spread(values: list[float]) -> tuple[float, float, float]:
        ordered = sorted(values)
        return statistics.median(ordered), ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))], ordered[-1]

    return {
        "way": name,
        "failovers": len(outcomes),
        "first answer p50, p95, max (s)": spread([each.first_answer for each in outcomes]),
        "silence p50, p95, max (s)": spread([each.silence for each in outcomes]),
        "acknowledged": sum(each.acknowledged for each in outcomes),
        "lost, acknowledged before the fault": sum(each.lost_before for each in outcomes),
        "lost, acknowledged by the old primary": sum(each.lost_after for each in outcomes),
        "lag p50, p95, max (bytes)": spread([each.lag for each in outcomes]),
    }


def main() -> int:
    """Measure, print, write."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    arguments.add_argument("--failovers", type=int, default=50, help="in all; half of them with WAIT (50)")
    arguments.add_argument("--points", type=int, default=20, help="charge points (20)")
    arguments.add_argument("--output", type=Path, default=Path("results/failover.json"))
    options = arguments.parse_args()
    for name in ("failovers", "points"):
        if getattr(options, name) < 1:
            arguments.error(f"--{name} {getattr(options, name)} cannot be used, allowed is a number above 0")
    end_in_order()
    outcomes: list[Outcome] = []
    rows = []
    try:
        for replicas, count in ((0, (options.failovers + 1) // 2), (1, options.failovers // 2)):
            found, traffic = asyncio.run(run(count, options.points, replicas)) if count else ([], None)
            outcomes += found
            mode = "with WAIT" if replicas else "without WAIT"
            ways = {how.value: [each for each in found if each.how == how.value] for how in WAYS} | {"all": found}
            rows += [summary(chosen, f"{how}, {mode}") for how, chosen in ways.items() if chosen]
            if traffic is not None:
                progress(
                    f"{len(traffic.answers)} answers, {traffic.refused} refused, {traffic.unanswered} unanswered, "
                    f"{traffic.repeated} repeated"
                )
    except KeyboardInterrupt:
        return INTERRUPTED
    for row in rows:
        print("; ".join(f"{name}: {_shown(value)}" for name, value in row.items()))
    write_json(options.output, {"failovers": [asdict(each) for each in outcomes], "summary": rows})
    # Without WAIT an asynchronous replica allows losses; with it nothing may be lost.
    return int(any(each.lost_before + each.lost_after for each in outcomes if each.replicas))


def _shown(value: Any) -> str:
    return ", ".join(f"{each:,.2f}" for each in value) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.exit(main())
