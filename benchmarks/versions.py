"""Measures transactions of OCPP 2.0.1 beside those of 1.6 in the same run: rates, and the CPU of server and Redis.

    python benchmarks/versions.py [--output results/bench-versions.json] [--rounds 7] [--against CHECKOUT]

A backlog of MeterValues of running transactions is drained in turn with one of TransactionEvents that carry the same
readings; the median of the ratios counts. With `--against`, the server of another checkout does the same in turn, and
this one is compared with that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from figures import Figure, Part, progress

from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import open_client
from ocpp_resilience.redis.services.base import AppendOnly
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import wait_until

MESSAGES = 10_000
CHARGE_POINTS = 50
REQUESTS = "ocpp:requests"
PATIENCE = timedelta(seconds=60)
SECONDS = 60.0
"""What all rounds together may take."""
BEGIN = datetime(2026, 1, 15, tzinfo=UTC)
V16, V201 = "1.6 MeterValues", "2.0.1 TransactionEvent"

PART = Part(__doc__)


def main() -> int:
    """Run the measurement."""
    PART.arguments.add_argument("--rounds", type=int, default=7, help="repetitions of each (default 7)")
    PART.arguments.add_argument("--against", type=Path, metavar="CHECKOUT", help="whose server does the same in turn")
    return PART.main(measure)


@dataclass
class Drained:
    """What draining one message took, in each round."""

    rates: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    redis: list[float] = field(default_factory=list)


class Side:
    """A server on a Redis of its own, with a running transaction of each charge point in both versions."""

    def __init__(self, name: str, checkout: Path | None) -> None:
        self._service = EmbeddedRedis(f"bench {name}", append_only=AppendOnly.OFF)
        self._server = OcppServer(f"bench {name}", Target.load("reference"))
        self._checkout = checkout
        self.drained = {V16: Drained(), V201: Drained()}
        self._count = {V16: 0, V201: 0}
        self._transactions: list[int] = []

    def start(self) -> None:
        """Start both, and the transactions."""
        self._service.start(10)
        path = {} if self._checkout is None else {"PYTHONPATH": str(self._checkout.resolve())}
        self._server.configure(self._service.url(), path)
        self._server.start()
        self._client = open_client(self._service.url(), socket_timeout=30)
        self._process = psutil.Process(self._server.process.pid)
        for number in range(CHARGE_POINTS):
            start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": _at(0)}
            self._client.lpush(REQUESTS, _envelope(_point(V16, number), f"s{number}", "StartTransaction", start))
        self._wait()
        for number in range(CHARGE_POINTS):
            answer = self._client.rpop(f"ocpp:responses:{_point(V16, number)}")
            self._transactions.append(json.loads(answer)["payload"][2]["transactionId"])

    def close(self) -> None:
        """End both."""
        self._server.close()
        self._service.close()

    def drain(self, kind: str) -> None:
        """Queue a backlog, wait until it is drained, and check that each message was answered with a CALLRESULT."""
        first = self._count[kind]
        self._count[kind] += MESSAGES // CHARGE_POINTS
        messages = [
            self._message(kind, place, number)
            for place in range(first, self._count[kind])
            for number in range(CHARGE_POINTS)
        ]
        used, redis_used = sum(self._process.cpu_times()[:2]), self._redis_seconds()
        began = time.perf_counter()
        self._client.lpush(REQUESTS, *messages)
        self._wait()
        drained = self.drained[kind]
        drained.rates.append(len(messages) / (time.perf_counter() - began))
        drained.server.append((sum(self._process.cpu_times()[:2]) - used) / len(messages) * 1e6)
        drained.redis.append((self._redis_seconds() - redis_used) / len(messages) * 1e6)
        self._check(kind, len(messages))

    def _message(self, kind: str, place: int, number: int) -> bytes:
        # The first event is number 0, the Started; the first reading of 1.6 follows a StartTransaction.
        at = _at(place + 1)
        sample: dict[str, Any] = {"measurand": "Energy.Active.Import.Register"}
        point, name = _point(kind, number), f"{kind[0]}-{place}-{number}"
        if kind == V16:
            sample |= {"value": str(10 * place), "unit": "Wh"}
            reading = {"timestamp": at, "sampledValue": [sample]}
            values = {"connectorId": 1, "transactionId": self._transactions[number], "meterValue": [reading]}
            return _envelope(point, name, "MeterValues", values)
        sample |= {"value": 10 * place, "unitOfMeasure": {"unit": "Wh"}}
        event: dict[str, Any] = {
            "eventType": "Updated" if place else "Started",
            "timestamp": at,
            "triggerReason": "MeterValuePeriodic" if place else "Authorized",
            "seqNo": place,
            "transactionInfo": {"transactionId": f"tx-{number}"},
            "meterValue": [{"timestamp": at, "sampledValue": [sample]}],
        }
        if not place:
            event |= {"evse": {"id": 1, "connectorId": 1}, "idToken": {"idToken": "TAG", "type": "Central"}}
        return _envelope(point, name, "TransactionEvent", event, protocol="ocpp2.0.1")

    def _wait(self) -> None:
        wait_until(
            lambda: True if self._client.llen(REQUESTS) == 0 else None,
            timeout=PATIENCE,
            failure=lambda: f"{self._client.llen(REQUESTS)} messages left",
            longest_pause=0.005,
        )

    def _check(self, kind: str, count: int) -> None:
        keys = [f"ocpp:responses:{_point(kind, number)}" for number in range(CHARGE_POINTS)]
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.lrange(key, 0, -1)
        answers = [json.loads(each) for found in pipeline.execute() for each in found]
        self._client.delete(*keys)
        wrong = [each for each in answers if each["message_type"] != 3]
        if len(answers) != count or wrong:
            raise SystemExit(f"{count} messages had {len(answers)} answers, {len(wrong)} of them errors: {wrong[:1]}")

    def _redis_seconds(self) -> float:
        used: Any = self._client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])


def _at(minutes: int) -> str:
    return (BEGIN + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def _point(kind: str, number: int) -> str:
    return f"BENCH-{kind[0]}-{number:03d}"


def _envelope(point: str, message_id: str, action: str, payload: dict[str, Any], **more: str) -> bytes:
    envelope = {
        "charge_point_id": point,
        "message_type": 2,
        "message_id": message_id,
        "action": action,
        "payload": [2, message_id, action, payload],
        "timestamp": "2026-01-15T10:30:00.000Z",
        "ws_server_id": "gateway",
        **more,
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Both versions in turn, on one server or on two."""
    sides = [Side("this", None)] + ([Side("other", options.against)] if options.against else [])
    with contextlib.ExitStack() as stack:
        for side in sides:
            stack.callback(side.close)
            side.start()
        progress(f"draining {MESSAGES} messages of each version in turn")
        for each in PART.rounds(options.rounds + 1, SECONDS):
            for side in sides:
                for kind in (V16, V201):
                    side.drain(kind)
                    if not each:
                        # The first round compiles schemas, and has the Started among its events.
                        side.drained[kind] = Drained()
    this = sides[0].drained
    for kind, drained in this.items():
        cpu, redis_cpu = statistics.median(drained.server), statistics.median(drained.redis)
        yield Figure(f"drain rate, {kind}", statistics.median(drained.rates), "msg/s", rounds=len(drained.rates))
        yield Figure(f"server CPU, {kind}", cpu, "us", f"Redis: {redis_cpu:.1f} us")
    yield from _compared("2.0.1 to 1.6", this[V201], this[V16], ">= 0.8")
    for kind in (V16, V201) if len(sides) > 1 else ():
        yield from _compared(f"{kind}, this to other", this[kind], sides[1].drained[kind], "")


def _compared(name: str, one: Drained, other: Drained, target: str) -> Iterator[Figure]:
    """The ratio of rates, and of the CPU that a message takes, turned round so that more is better."""
    rates = _ratio(one.rates, other.rates)
    reference = f"{statistics.median(other.rates):,.0f} msg/s"
    met = rates >= 0.8 if target else None
    yield Figure(f"rate, {name}", statistics.median(one.rates), "msg/s", reference, rates, target, met)
    server, redis_cpu = _ratio(other.server, one.server), _ratio(other.redis, one.redis)
    whole = _ratio(_sum(other), _sum(one))
    reference = f"{statistics.median(_sum(other)):.1f} us; server {server:.2f}, Redis {redis_cpu:.2f}"
    yield Figure(f"CPU per message, {name}", statistics.median(_sum(one)), "us", reference, whole, target, None)


def _sum(drained: Drained) -> list[float]:
    return [one + other for one, other in zip(drained.server, drained.redis, strict=True)]


def _ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(each / beside for each, beside in zip(one, other, strict=True))


if __name__ == "__main__":
    sys.exit(main())
