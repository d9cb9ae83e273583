"""Deadlines between processes whose clocks disagree: a command is sent while its caller waits, and never after that."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from pathlib import Path

import pytest
import redis
from harness import SOON, ServerProcess, StartServer, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as plug

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
TIMEOUT = "5s"

pytestmark = pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed (Debian: libfaketime)")


def clock(ahead: str) -> dict[str, str]:
    """Settings that shift the wall clock of a process; its monotonic clock stays."""
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME": ahead, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Caller:
    """A command over HTTP, in a thread of its own."""

    def __init__(self, server: ServerProcess, path: str, body: str = "{}") -> None:
        self.status = 0
        self._thread = threading.Thread(target=self._ask, args=(server, path, body), daemon=True)
        self._thread.start()

    def _ask(self, server: ServerProcess, path: str, body: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=2 * SOON)
        connection.request("POST", path, body=body, headers={"Content-Type": "application/json"})
        self.status = connection.getresponse().status
        connection.close()

    def wait(self) -> int:
        self._thread.join(2 * SOON)
        return self.status


CLEAR = "/api/v1/chargepoints/CP-1/clear-cache"


@pytest.mark.parametrize("ahead", ["+20s", "-60s"])
def test_a_command_reaches_the_charge_point(
    client: redis.Redis, redis_url: str, start_server: StartServer, ahead: str
) -> None:
    gateway = start_server(redis_url, "gw", ROLE="gateway", **clock(ahead))
    api = start_server(redis_url, "api", ROLE="processor", CORRELATION_TIMEOUT=TIMEOUT)
    with plug(f"ws://127.0.0.1:{gateway.ws_port}/ocpp/CP-1", subprotocols=["ocpp1.6"]) as socket:
        until(lambda: client.exists("ocpp:session:CP-1"), "not connected")
        api.wait_healthy()
        caller = Caller(api, CLEAR)
        frame = json.loads(socket.recv(SOON))
        socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        assert caller.wait() == 200


@pytest.mark.parametrize("ahead", ["+20s", "-60s"])
def test_a_command_whose_caller_has_given_up_is_not_sent(
    client: redis.Redis, redis_url: str, start_server: StartServer, ahead: str
) -> None:
    gateway = start_server(redis_url, "gw", ROLE="gateway", **clock(ahead))
    api = start_server(redis_url, "api", ROLE="processor", CORRELATION_TIMEOUT=TIMEOUT)
    with plug(f"ws://127.0.0.1:{gateway.ws_port}/ocpp/CP-1", subprotocols=["ocpp1.6"]) as socket:
        until(lambda: client.exists("ocpp:session:CP-1"), "not connected")
        api.wait_healthy()
        first = Caller(api, CLEAR)
        unanswered = json.loads(socket.recv(SOON))
        second = Caller(api, CLEAR, '{"timeout": 2}')
        assert [first.wait(), second.wait()] == [408, 408]
        socket.send(json.dumps([3, unanswered[1], {"status": "Accepted"}]))
        last = Caller(api, CLEAR)
        frame = json.loads(socket.recv(SOON))
        socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        assert last.wait() == 200, "the second command came in the place of the last one"


def slowest_answer(client: redis.Redis) -> float:
    """Seconds. A gateway knows the clock of Redis no better: connections that are closer together have no order."""
    times = [time.monotonic()]
    for _ in range(50):
        client.ping()
        times.append(time.monotonic())
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def test_the_newest_connection_wins_whatever_the_clocks_of_the_gateways_say(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    """A charge point connects to one gateway and then to another one while neither can tell Redis."""
    ahead = start_server(redis_url, "ahead", ROLE="gateway", **clock("+60s"))
    other = start_server(redis_url, "other", ROLE="gateway")
    for gateway in (ahead, other):
        gateway.wait_healthy()
    apart = max(0.1, 10 * slowest_answer(client))
    client.execute_command("CLIENT", "PAUSE", int(1000 * (3 + apart)), "ALL")
    address = "ws://127.0.0.1:{}/ocpp/CP-1"
    with plug(address.format(ahead.ws_port), subprotocols=["ocpp1.6"]) as older:
        opened = time.monotonic()
        until(lambda: time.monotonic() - opened >= apart, "the clock stands still")
        with plug(address.format(other.ws_port), subprotocols=["ocpp1.6"]) as newer:
            with pytest.raises(ConnectionClosed):
                older.recv(3 * SOON)
            assert older.close_code == 1008
            newer.send(json.dumps([2, "m", "Heartbeat", {}]))
            until(lambda: client.llen("ocpp:requests"), "the newer connection is not served")
            assert client.hget("ocpp:session:CP-1", "ws_server_id") == b"other"
