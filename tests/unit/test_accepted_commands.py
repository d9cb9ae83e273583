"""Commands of systems that accept them at first, take one at a time, and wait as long as they like."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ocpp_resilience.correlation.commands import CommandClient
from ocpp_resilience.profile import Target

PROFILE = Path(__file__).resolve().parents[1] / "faulty_server" / "profile.yaml"
PATIENCE = 30


class System:
    """Accepts commands; what the second look at each result says is told by `states`."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.looks: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.most_at_once = 0
        self.accept = (202, {"data": {"id": "c-1"}})
        system = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                station = self.path.split("/")[3]
                system.under_way[station] += 1
                system.most_at_once = max(system.most_at_once, system.under_way[station])
                status, document = system.accept
                self.reply(status, document if status != 202 else {"data": {"id": station}})

            def do_GET(self) -> None:
                station = self.path.split("/")[3]
                system.looks[station] += 1
                if system.looks[station] < 2:
                    return self.reply(200, {"data": {"state": "pending", "answer": None, "why": ""}})
                system.under_way[station] -= 1
                return self.reply(200, {"data": system.states.get(station, {"state": "answered", "answer": {}})})

            def reply(self, status: int, document: Any) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,)).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def system() -> Iterator[System]:
    made = System()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def client(system: System) -> Iterator[CommandClient]:
    made = CommandClient(system.url, Target.load(PROFILE), run="run")
    yield made
    made.close()


@pytest.mark.parametrize(("state", "status"), [("answered", 200), ("refused", 502), ("expired", 408), ("gone", 503)])
def test_the_result_of_an_accepted_command_is_what_its_caller_is_told(
    system: System, client: CommandClient, state: str, status: int
) -> None:
    system.states["CP"] = {"state": state, "answer": {"unknownKey": ["run-1"]}, "why": "because"}
    command = client.make("GetConfiguration", "CP")
    client.collect(client.start([command]), timeout=PATIENCE)
    assert (command.status, command.reason) == (status, "because")
    assert command.own_answer is (state == "answered")
    assert system.looks["CP"] == 2


def test_a_state_that_the_profile_does_not_know_is_named(system: System, client: CommandClient) -> None:
    system.states["CP"] = {"state": "parked"}
    command = client.make("Reset", "CP", fields={"type": "Soft"})
    client.collect(client.start([command]), timeout=PATIENCE)
    assert command.status is None
    assert "unknown state 'parked' (commands.accepted has: pending, answered, refused" in str(command)


def test_a_command_that_is_not_accepted_ends_at_once(system: System, client: CommandClient) -> None:
    system.accept = (409, {"data": None, "why": "busy"})
    command = client.make("Reset", "CP", fields={"type": "Soft"})
    client.collect(client.start([command]), timeout=PATIENCE)
    assert (command.status, command.reason) == (409, "busy")
    assert not system.looks


def test_one_command_at_a_time_goes_to_a_charge_point(system: System, client: CommandClient) -> None:
    commands = [client.make("GetConfiguration", f"CP-{number % 2}") for number in range(6)]
    began = time.monotonic()
    batch = client.collect(client.start(commands), timeout=PATIENCE)
    assert batch.statuses == {200: 6}
    assert system.most_at_once == 1
    # Three in turn, the first of which is looked at twice.
    assert time.monotonic() - began > 0.3


def test_a_fixed_timeout_is_not_asked_for(client: CommandClient) -> None:
    command = client.make("GetConfiguration", "CP", timeout=1)
    assert command.timeout == 10
    assert "timeout" not in command.body
    assert client.target.commands.waits(1) == client.target.commands.waits(None) == 10
