"""Locust as a peer of the load engine: each user is a connection that sends a Heartbeat and waits for the answer.

Started by benchmarks/load_generator.py. One task is one message, as Locust's documentation has it, and each is counted
in Locust's own statistics.
"""

from __future__ import annotations

import itertools
import time

import websocket
from locust import User, constant, constant_throughput, task

NUMBERS = itertools.count(1)


class Connected(User):
    """A connection that sends Heartbeats, one after the other."""

    abstract = True

    def on_start(self) -> None:
        """Connect."""
        self.connection = websocket.create_connection(f"{self.host}/{next(NUMBERS)}", subprotocols=["ocpp1.6"])
        self.messages = itertools.count(1)

    def on_stop(self) -> None:
        """Leave."""
        self.connection.close()

    @task
    def heartbeat(self) -> None:
        """Send, and wait for the answer."""
        began = time.perf_counter()
        self.connection.send(f'[2,"{next(self.messages)}","Heartbeat",{{}}]')
        answer = self.connection.recv()
        self.environment.events.request.fire(
            request_type="OCPP",
            name="Heartbeat",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=len(answer),
            exception=None,
            context={},
        )


class ChargePoint(Connected):
    """Always has one Heartbeat outstanding."""

    wait_time = constant(0)


class PacedChargePoint(Connected):
    """Sends ten a second, where the answers come in time."""

    wait_time = constant_throughput(10)
