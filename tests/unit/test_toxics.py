"""Toxiproxy's HTTP API and all its toxics, driven by the published client: on our proxy and on a real Toxiproxy.

The same tests hold on both. `TOXIPROXY_SERVER` names the program of a real one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists
from toxiproxy.proxy import Proxy

from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.ports import free_port
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
MOST_SAMPLES = 6
STREAMS = pytest.mark.parametrize("stream", ["upstream", "downstream"])


class Echo:
    """A server that sends everything back, and notes the pieces in which it came and when a stream ended."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends: list[float] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                made, _ = self._listener.accept()
                self._open.append(made)
                self._threads.append(threading.Thread(target=self._echo, args=(made,)))
                self._threads[-1].start()

    def _echo(self, made: socket.socket) -> None:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with made, contextlib.suppress(OSError):
            while data := made.recv(1_000_000):
                self.pieces.append(data)
                made.sendall(data)
            self.ends.append(time.perf_counter())

    def has(self, data: bytes) -> bool:
        """Whether exactly this has come; it gets time to come, since the client may hear of the end first."""

        def there() -> bytes:
            return b"".join(self.pieces)

        wait_until(
            lambda: len(there()) >= len(data) or None, timeout=PATIENCE, failure=lambda: f"only {there()!r} came"
        )
        return there() == data

    def close(self) -> None:
        """End every thread."""
        for made in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
            made.close()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.fixture(scope="module", params=["own", "toxiproxy"])
def api(request: pytest.FixtureRequest) -> Iterator[ProxyApi]:
    program = os.environ.get("TOXIPROXY_SERVER")
    if request.param == "own":
        process = FaultProxyProcess("Fault proxy", seed=7)
        try:
            yield process.start()
            assert process.process.stderr.read_text() == ""
        finally:
            process.close()
    elif program:
        real = ChildProcess("Toxiproxy")
        port = free_port()
        try:
            real.start([program, "-host", "127.0.0.1", "-port", str(port)])
            made = ProxyApi(f"http://127.0.0.1:{port}")
            wait_until(lambda: answers(made), timeout=PATIENCE, failure=real.output_tail)
            yield made
        finally:
            real.close()
    else:
        pytest.skip("there is no real Toxiproxy; TOXIPROXY_SERVER names its program")


def answers(made: ProxyApi) -> Any:
    try:
        return made.ask("GET", "/version")
    except Exception:  # noqa: BLE001 - it does not listen yet
        return None


@pytest.fixture
def toxiproxy(api: ProxyApi) -> Iterator[Toxiproxy]:
    client = Toxiproxy()
    client.update_api_consumer(api.host, api.port)
    yield client
    client.destroy_all()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def proxy(toxiproxy: Toxiproxy, echo: Echo) -> Proxy:
    return toxiproxy.create(upstream=echo.address, name="redis")


@pytest.fixture
def connection(proxy: Proxy, echo: Echo) -> Iterator[socket.socket]:
    """One connection through the proxy that has been used already."""
    with socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert exchanged(made, b"ping") == b"ping"
        echo.pieces.clear()
        yield made


def port_of(proxy: Proxy) -> int:
    return int(proxy.listen.rpartition(":")[2])


def exchanged(made: socket.socket, data: bytes) -> bytes:
    made.sendall(data)
    return received(made, len(data))


def received(made: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where the connection ends before."""
    there = b""
    while len(there) < size and (more := made.recv(1_000_000)):
        there += more
    return there


def closed(made: socket.socket) -> bool:
    try:
        return made.recv(100) == b""
    except ConnectionResetError:
        return True


def test_the_published_client_manages_proxies(toxiproxy: Toxiproxy, proxy: Proxy) -> None:
    assert toxiproxy.running()
    assert b"2." in toxiproxy.version()
    assert toxiproxy.get_proxy("redis").listen == proxy.listen
    with pytest.raises(ProxyExists):
        toxiproxy.create(upstream="127.0.0.1:1", name="redis")
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="unheard_of")
    with pytest.raises(NotFound):
        Proxy(name="absent", upstream="", enabled=True, listen="").toxics()
    populated = toxiproxy.populate([{"name": "other", "upstream": "127.0.0.1:1", "listen": "127.0.0.1:0"}])
    assert [each.name for each in populated] == ["other"]
    proxy.add_toxic(type="latency", attributes={"latency": 5, "jitter": 1}, toxicity=0.5)
    toxic = proxy.get_toxic("latency_downstream")
    assert (toxic.type, toxic.stream, toxic.toxicity) == ("latency", "downstream", 0.5)
    assert toxic.attributes == {"latency": 5, "jitter": 1}
    proxy.destroy_toxic("latency_downstream")
    assert proxy.toxics() == {}
    proxy.add_toxic(type="slicer")
    proxy.disable()
    toxiproxy.reset()
    assert toxiproxy.get_proxy("redis").enabled
    assert proxy.toxics() == {}
    assert toxiproxy.destroy(toxiproxy.get_proxy("other"))
    assert toxiproxy.get_proxy("other") is None


def test_populate_in_one_request(api: ProxyApi, toxiproxy: Toxiproxy) -> None:
    wanted = [{"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}]
    made = api.ask("POST", "/populate", wanted)["proxies"]
    assert [(each["name"], each["enabled"]) for each in made] == [("a", True)]
    changed = api.ask("POST", "/proxies/a", {"upstream": "127.0.0.1:2"})
    assert changed["upstream"] == "127.0.0.1:2"
    assert changed["listen"] == made[0]["listen"]


def test_a_disabled_proxy_refuses_and_closes_and_listens_again_on_the_same_port(
    proxy: Proxy, connection: socket.socket
) -> None:
    with proxy.down():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE)
        assert closed(connection)
    with socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE) as again:
        assert exchanged(again, b"ping") == b"ping"


@STREAMS
def test_latency(proxy: Proxy, connection: socket.socket, stream: str) -> None:
    proxy.add_toxic(type="latency", stream=stream, attributes={"latency": 60, "jitter": 10})
    for _ in range(3):
        began = time.perf_counter()
        assert exchanged(connection, b"ping") == b"ping"
        assert time.perf_counter() - began >= 0.05
    proxy.destroy_toxic(f"latency_{stream}")
    assert exchanged(connection, b"ping") == b"ping"


@STREAMS
def test_bandwidth(proxy: Proxy, connection: socket.socket, stream: str) -> None:
    proxy.add_toxic(type="bandwidth", stream=stream, attributes={"rate": 400})
    took: list[float] = []
    # More of them where the machine held each up; a rate in kilobits takes eight times as long each time.
    while len(took) < 3 or (min(took) >= 8 * 0.25 and len(took) < MOST_SAMPLES):
        began = time.perf_counter()
        assert exchanged(connection, b"x" * 100_000) == b"x" * 100_000
        took.append(time.perf_counter() - began)
    # The shortest has the least of what else the machine did.
    assert 0.2 <= min(took) < 8 * 0.25


@STREAMS
def test_slow_close(proxy: Proxy, connection: socket.socket, echo: Echo, stream: str) -> None:
    proxy.add_toxic(type="slow_close", stream=stream, attributes={"delay": 200})
    began = time.perf_counter()
    connection.shutdown(socket.SHUT_WR)
    if stream == "downstream":
        assert closed(connection)
        assert time.perf_counter() - began >= 0.2
    else:
        end = wait_until(lambda: echo.ends or None, timeout=PATIENCE, failure=lambda: "the end did not come")
        assert end[0] - began >= 0.2


@STREAMS
def test_timeout_drops_and_then_closes(proxy: Proxy, connection: socket.socket, echo: Echo, stream: str) -> None:
    proxy.add_toxic(type="timeout", stream=stream, attributes={"timeout": 200})
    connection.sendall(b"ping")
    assert closed(connection)
    assert echo.has(b"ping" if stream == "downstream" else b"")


@STREAMS
def test_timeout_0_drops_and_stays_open(proxy: Proxy, connection: socket.socket, echo: Echo, stream: str) -> None:
    proxy.add_toxic(type="timeout", stream=stream, attributes={"timeout": 0})
    connection.sendall(b"ping")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    assert echo.has(b"ping" if stream == "downstream" else b"")


@STREAMS
def test_reset_peer(proxy: Proxy, echo: Echo, stream: str) -> None:
    """On a new connection: a real Toxiproxy closes those that are open in order."""
    proxy.add_toxic(type="reset_peer", stream=stream, attributes={"timeout": 50})
    with socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE) as made:
        made.sendall(b"ping")
        with pytest.raises(ConnectionResetError):
            made.recv(100)
    assert echo.has(b"ping" if stream == "downstream" else b"")


@STREAMS
def test_slicer(proxy: Proxy, connection: socket.socket, echo: Echo, stream: str) -> None:
    """Pieces that come while the reader is held up are one piece to it: then it is done again, a few times.

    Without slices there is never more than one piece, and it is there before the pauses are over.
    """
    attributes = {"average_size": 1, "size_variation": 0, "delay": 20_000}
    proxy.add_toxic(type="slicer", stream=stream, attributes=attributes)
    counts: list[int] = []
    while max(counts, default=0) < 4 and len(counts) < MOST_SAMPLES:
        echo.pieces.clear()
        pieces: list[bytes] = []
        began = time.perf_counter()
        connection.sendall(b"1234567")
        while sum(map(len, pieces)) < 7:
            pieces.append(connection.recv(100))
        assert b"".join(pieces) == b"1234567"
        assert time.perf_counter() - began >= 6 * 0.020
        counts.append(len(echo.pieces if stream == "upstream" else pieces))
    assert max(counts) >= 4


@STREAMS
def test_limit_data(proxy: Proxy, connection: socket.socket, echo: Echo, stream: str) -> None:
    proxy.add_toxic(type="limit_data", stream=stream, attributes={"bytes": 10})
    assert exchanged(connection, b"1234567") == b"1234567"
    connection.sendall(b"89abcdef")
    # Where the request is cut both sides are closed at once: what the server makes of it may be lost.
    assert received(connection, 8) in ({b"89a"} if stream == "downstream" else {b"", b"8", b"89", b"89a"})
    assert closed(connection)
    assert echo.has(b"123456789a" if stream == "upstream" else b"123456789abcdef")


@STREAMS
def test_toxics_of_one_stream_follow_each_other(proxy: Proxy, connection: socket.socket, stream: str) -> None:
    proxy.add_toxic(name="a", type="latency", stream=stream, attributes={"latency": 40})
    proxy.add_toxic(name="b", type="latency", stream=stream, attributes={"latency": 40})
    began = time.perf_counter()
    assert exchanged(connection, b"ping") == b"ping"
    assert time.perf_counter() - began >= 0.04
    assert sorted(proxy.toxics()) == ["a", "b"]


@STREAMS
@pytest.mark.parametrize(
    "kind", ["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"]
)
def test_a_toxicity_of_0_never_falls(proxy: Proxy, connection: socket.socket, kind: str, stream: str) -> None:
    """Each of them would change the exchange: its attributes are all 0, or as slow as can be."""
    attributes = {"latency": {"latency": 60_000}, "slicer": {"average_size": 1, "delay": 60_000_000}}.get(kind, {})
    proxy.add_toxic(type=kind, stream=stream, toxicity=0.0, attributes=attributes)
    assert exchanged(connection, b"ping") == b"ping"
    assert proxy.get_toxic(f"{kind}_{stream}").toxicity == 0


def test_reset_takes_every_toxic_away_and_lets_all_listen(
    toxiproxy: Toxiproxy, proxy: Proxy, connection: socket.socket, echo: Echo
) -> None:
    other = toxiproxy.create(upstream=echo.address, name="other")
    other.disable()
    proxy.add_toxic(type="latency", stream="upstream", attributes={"latency": 60_000})
    proxy.add_toxic(type="latency", stream="downstream", attributes={"latency": 60_000})
    assert toxiproxy.reset()
    assert exchanged(connection, b"ping") == b"ping"
    assert proxy.toxics() == {}
    with socket.create_connection(("127.0.0.1", port_of(other)), PATIENCE) as made:
        assert exchanged(made, b"ping") == b"ping"
