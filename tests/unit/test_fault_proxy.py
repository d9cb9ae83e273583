"""Features of our fault proxy beyond Toxiproxy: immediate, accurate, repeatable, half-open, at chosen commands."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from toxiproxy import Toxiproxy
from toxiproxy.proxy import Proxy

from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.proxy.command_rule import CommandRule
from ocpp_resilience.faults.proxy.pipe import Pipe
from ocpp_resilience.faults.proxy.relay import ClientSide, Connection
from ocpp_resilience.faults.proxy.relay import Proxy as Relay
from ocpp_resilience.faults.proxy.resp import NotResp, Splitter, keys_of, matches, was_run, words_of
from ocpp_resilience.faults.proxy.toxics import Toxic
from ocpp_resilience.redis.services import AppendOnly, EmbeddedRedis
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
MOST_SAMPLES = 6


@pytest.fixture(scope="module")
def service() -> Iterator[EmbeddedRedis]:
    with contextlib.closing(EmbeddedRedis("Redis", append_only=AppendOnly.OFF)) as made:
        made.start(PATIENCE)
        yield made


@pytest.fixture(scope="module")
def api() -> Iterator[ProxyApi]:
    with contextlib.closing(FaultProxyProcess("Fault proxy", seed=7)) as process:
        yield process.start()
        assert process.process.stderr.read_text() == ""


@pytest.fixture
def toxiproxy(api: ProxyApi) -> Iterator[Toxiproxy]:
    client = Toxiproxy()
    client.update_api_consumer(api.host, api.port)
    yield client
    client.destroy_all()


@pytest.fixture
def proxy(toxiproxy: Toxiproxy, service: EmbeddedRedis) -> Proxy:
    return toxiproxy.create(upstream=f"127.0.0.1:{service.port}", name="redis")


def port_of(proxy: Proxy) -> int:
    return int(proxy.listen.rpartition(":")[2])


@pytest.fixture
def connection(proxy: Proxy) -> Iterator[socket.socket]:
    """One raw connection through the proxy that has been used already."""
    with socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert ping(made) == b"+PONG\r\n"
        yield made


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    made = redis.Redis(port=port_of(proxy), socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 0), protocol=2)
    assert made.ping()
    made.flushall()
    yield made
    made.close()


def ping(made: socket.socket) -> bytes:
    made.sendall(b"PING\r\n")
    return made.recv(100)


def took(action: Any, *arguments: Any) -> float:
    began = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - began


def closed(made: socket.socket) -> bool:
    try:
        return made.recv(100) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_latency_is_accurate_and_works_on_an_open_connection(
    proxy: Proxy, connection: socket.socket, stream: str
) -> None:
    """The shortest of each counts: it is the least disturbed by other programs.

    On a busy machine it takes more of them until one is left alone; a proxy that is late has none.
    """
    plain = min(took(ping, connection) for _ in range(20))
    proxy.add_toxic(type="latency", stream=stream, attributes={"latency": 40})
    delayed = [took(ping, connection) for _ in range(15)]
    while min(delayed) - plain > 0.040 + 0.001 + 0.0008 and len(delayed) < 300:
        delayed.append(took(ping, connection))
    assert min(delayed) >= 0.040
    assert min(delayed) - plain <= 0.040 + 0.001 + 0.0008
    proxy.destroy_toxic(f"latency_{stream}")
    assert min(took(ping, connection) for _ in range(20)) < 0.04


def test_removing_latency_releases_held_back_bytes_at_once(proxy: Proxy, connection: socket.socket) -> None:
    proxy.add_toxic(type="latency", attributes={"latency": 60_000})
    connection.sendall(b"PING\r\n")
    proxy.destroy_toxic("latency_downstream")
    assert connection.recv(100) == b"+PONG\r\n"


def test_latency_does_not_limit_the_rate(proxy: Proxy, connection: socket.socket) -> None:
    """One after the other they would take 20 x 100 ms, each time; a machine that is busy takes long now and then."""
    proxy.add_toxic(type="latency", attributes={"latency": 100})
    took: list[float] = []
    while min(took, default=20 * 0.1) >= 20 * 0.1 and len(took) < MOST_SAMPLES:
        began = time.perf_counter()
        for _ in range(20):
            connection.sendall(b"PING\r\n")
            time.sleep(0.002)
        received = b""
        while len(received) < 20 * 7:
            received += connection.recv(1000)
        took.append(time.perf_counter() - began)
    assert 0.1 <= min(took) < 20 * 0.1


def test_a_black_hole_keeps_the_connection_open_until_it_is_removed(proxy: Proxy, connection: socket.socket) -> None:
    proxy.add_toxic(type="timeout", attributes={"timeout": 0})
    connection.sendall(b"PING\r\n")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    proxy.destroy_toxic("timeout_downstream")
    assert closed(connection)


def test_connections_that_are_open_and_idle_are_reset_too(proxy: Proxy, connection: socket.socket) -> None:
    proxy.add_toxic(type="reset_peer", attributes={"timeout": 50})
    with pytest.raises(ConnectionResetError):
        connection.recv(100)


def test_toxicity_falls_on_the_same_connections_with_the_same_seed(
    proxy: Proxy, toxiproxy: Toxiproxy, service: EmbeddedRedis
) -> None:
    def slow_ones(name: str) -> list[bool]:
        fresh = toxiproxy.create(upstream=f"127.0.0.1:{service.port}", name=name)
        fresh.add_toxic(type="latency", attributes={"latency": 40}, toxicity=0.5)
        seen = []
        for _ in range(16):
            with socket.create_connection(("127.0.0.1", port_of(fresh)), PATIENCE) as made:
                # Several, since the machine can make one slow that the proxy did not.
                seen.append(all(took(ping, made) >= 0.04 for _ in range(4)))
        toxiproxy.destroy(fresh)
        return seen

    first = slow_ones("drawn")
    assert first == slow_ones("drawn")
    assert 0 < sum(first) < 16


def test_big_values_pass_unchanged_with_and_without_toxics(proxy: Proxy, client: redis.Redis) -> None:
    value = bytes(range(256)) * 40_000
    client.set("big", value)
    assert client.get("big") == value
    proxy.add_toxic(type="latency", attributes={"latency": 1, "jitter": 1})
    proxy.add_toxic(type="latency", stream="upstream", attributes={"latency": 1, "jitter": 1})
    client.set("big", value)
    assert client.get("big") == value


def test_connections_can_be_reset_and_left_half_open(api: ProxyApi, proxy: Proxy, connection: socket.socket) -> None:
    assert api.act("redis", "half_open") == 1
    connection.settimeout(0.2)
    connection.sendall(b"PING\r\n")
    with pytest.raises(TimeoutError):
        connection.recv(100)
    with socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE) as fresh:
        assert ping(fresh) == b"+PONG\r\n"
        assert api.connections("redis")["half_open"] == 1
        api.reset()
        connection.settimeout(PATIENCE)
        assert closed(connection)
        assert api.act("redis", "reset") == 1
        with pytest.raises(ConnectionResetError):
            fresh.recv(100)


def test_connections_are_acted_on_beside_one_that_is_there_and_another_one(
    api: ProxyApi, proxy: Proxy, connection: socket.socket
) -> None:
    ours = "{}:{}".format(*connection.getsockname())
    assert ping(connection) == b"+PONG\r\n"
    assert api.act("redis", "reset", beside=ours) == 0  # nobody else is there
    with socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE) as other:
        assert ping(other) == b"+PONG\r\n"
        assert api.act("redis", "reset", beside="127.0.0.1:1") == 0
        assert ping(connection) == ping(other) == b"+PONG\r\n"
        assert api.act("redis", "reset", beside=ours) == 2
        for each in (connection, other):
            with pytest.raises(ConnectionResetError):
                each.recv(100)


def test_a_connection_to_a_server_that_is_away_is_closed(toxiproxy: Toxiproxy) -> None:
    nobody = toxiproxy.create(upstream="127.0.0.1:1", name="nobody")
    with socket.create_connection(("127.0.0.1", port_of(nobody)), PATIENCE) as made:
        assert closed(made)


# --- faults at chosen commands ----------------------------------------------------------------------------------------


def test_the_reply_to_the_third_incr_is_lost_after_it_ran(api: ProxyApi, client: redis.Redis) -> None:
    api.add_resp("redis", {"name": "lost", "command": "incrby", "keys": ["count*"], "occurrence": 3})
    assert client.incr("other") == 1
    assert [client.incr("counter"), client.incr("counter")] == [1, 2]
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert client.get("counter") == b"3"
    fault = api.resp("redis", "lost")
    assert (fault["seen"], fault["hits"]) == (3, 1)


def test_a_reply_that_says_that_nothing_was_run_is_not_the_one_that_is_lost(api: ProxyApi, client: redis.Redis) -> None:
    client.script_flush()
    api.add_resp("redis", {"name": "lost", "command": "EVALSHA"})
    script = client.register_script("return redis.call('INCR', KEYS[1])")
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(script.sha, 1, "counter")
    client.script_load(script.script)
    with pytest.raises(redis.ConnectionError):
        client.evalsha(script.sha, 1, "counter")
    assert client.get("counter") == b"1"
    fault = api.resp("redis", "lost")
    assert (fault["seen"], fault["hits"], fault["not_run"]) == (1, 1, 1)


def test_a_transaction_counts_when_it_is_run_and_not_before(api: ProxyApi, client: redis.Redis) -> None:
    api.add_resp("redis", {"name": "exec", "command": "EXEC"})
    api.add_resp("redis", {"name": "queued", "command": "INCRBY"})
    aborted = client.pipeline()
    aborted.incr("counter").execute_command("GET")
    with pytest.raises(redis.ResponseError):
        aborted.execute()
    client.set("watched", "1")
    with client.pipeline() as stopped:
        stopped.watch("watched")
        client.set("watched", "2")
        stopped.multi()
        stopped.incr("counter")
        with pytest.raises(redis.WatchError):
            stopped.execute()
    assert client.get("counter") is None
    run = client.pipeline()
    run.incr("counter")
    with pytest.raises(redis.ConnectionError):
        run.execute()
    assert client.get("counter") == b"1"
    fault, queued = api.resp("redis", "exec"), api.resp("redis", "queued")
    assert (fault["seen"], fault["hits"], fault["not_run"]) == (1, 1, 2)
    assert (queued["seen"], queued["hits"]) == (0, 0)


def test_a_command_that_redis_refuses_is_not_the_occurrence_that_is_asked_for(
    api: ProxyApi, client: redis.Redis
) -> None:
    api.add_resp("redis", {"name": "third", "command": "INCRBY", "occurrence": 3})
    client.set("text", "no number")
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="integer"):
            client.incr("text")
    assert [client.incr("counter"), client.incr("counter")] == [1, 2]
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert client.get("counter") == b"3"


def test_a_script_that_breaks_off_has_been_run(api: ProxyApi, client: redis.Redis) -> None:
    api.add_resp("redis", {"name": "lost", "command": "EVAL"})
    with pytest.raises(redis.ConnectionError):
        client.eval("redis.call('SET', KEYS[1], 'half') error('broken')", 1, "text")
    assert client.get("text") == b"half"


def test_a_fault_before_a_command_leaves_the_one_after_it_to_those_that_are_run(
    api: ProxyApi, client: redis.Redis
) -> None:
    api.add_resp("redis", {"name": "before", "command": "INCRBY", "when": "before", "action": "error"})
    api.add_resp("redis", {"name": "after", "command": "INCRBY", "action": "error", "error": "ERR after"})
    with pytest.raises(redis.ResponseError, match="injected"):
        client.incr("counter")
    with pytest.raises(redis.ResponseError, match="after"):
        client.incr("counter")
    assert client.get("counter") == b"1"


def test_a_cut_before_the_request_reaches_redis(api: ProxyApi, client: redis.Redis) -> None:
    api.add_resp("redis", {"name": "cut", "command": "INCRBY", "when": "before"})
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert client.get("counter") is None


def test_an_error_in_the_place_of_the_request_or_of_the_reply(api: ProxyApi, client: redis.Redis) -> None:
    api.add_resp(
        "redis", {"name": "before", "command": "INCRBY", "when": "before", "action": "error", "error": "OOM no"}
    )
    api.add_resp("redis", {"name": "after", "command": "SET", "action": "error", "error": "READONLY no"})
    with pytest.raises(redis.ResponseError, match="no"):
        client.incr("counter")
    with pytest.raises(redis.exceptions.ReadOnlyError):
        client.set("text", "there")
    assert client.get("counter") is None
    assert client.get("text") == b"there"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delayed_and_a_dropped_exchange(
    api: ProxyApi, client: redis.Redis, connection: socket.socket, when: str
) -> None:
    api.add_resp("redis", {"name": "late", "command": "ECHO", "when": when, "action": "delay", "delay": 150})
    assert took(client.echo, "x") >= 0.15
    client.echo("x")
    assert api.resp("redis", "late")["hits"] == 1
    api.add_resp("redis", {"name": "gone", "command": "INCRBY", "when": when, "action": "drop"})
    connection.sendall(b"INCRBY counter 1\r\n")
    connection.settimeout(0.5)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    # Its time may be up before the proxy has had the command in hands.
    wait_until(lambda: api.resp("redis", "gone")["hits"] or None, timeout=PATIENCE, failure=lambda: "no hit")
    assert client.get("counter") == (b"1" if when == "after" else None)


def test_a_cut_in_the_middle_of_a_reply(api: ProxyApi, client: redis.Redis, connection: socket.socket) -> None:
    client.set("text", "0123456789")
    api.add_resp("redis", {"name": "half", "command": "GET", "cut_after": 0.5})
    connection.sendall(b"GET text\r\n")
    received = connection.recv(100)
    assert received == b"$10\r\n0123456789\r\n"[: len(received)]
    assert 0 < len(received) < 17
    assert closed(connection)


def test_a_request_that_is_faster_than_the_connection_to_the_server_meets_the_fault(
    service: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = b"ECHO 0123456789\r\n"

    async def reply() -> bytes:
        relay = Relay("redis", "127.0.0.1:0", f"127.0.0.1:{service.port}", seed=1)
        relay.resp["half"] = CommandRule(name="half", command="ECHO", cut_after=0.5)
        await relay.enable()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(relay.listen.rpartition(":")[2]))
            loop = asyncio.get_running_loop()
            connect, arrived = loop.create_connection, asyncio.Event()

            async def connect_late(*arguments: Any) -> Any:
                await arrived.wait()
                return await connect(*arguments)

            monkeypatch.setattr(loop, "create_connection", connect_late)
            monkeypatch.setattr(ClientSide, "data_received", lambda side, data: (took_in(side, data), arrived.set()))
            writer.write(request)
            received = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            return received
        finally:
            await relay.disable()

    took_in = ClientSide.data_received
    assert asyncio.run(reply()) == b"$10\r\n012"


def test_in_a_pipeline_the_error_stands_where_its_reply_belongs(api: ProxyApi, client: redis.Redis) -> None:
    api.add_resp("redis", {"name": "e", "command": "INCRBY", "occurrence": 2, "when": "before", "action": "error"})
    pipeline = client.pipeline(transaction=False)
    for _ in range(3):
        pipeline.incr("counter")
    first, second, third = pipeline.execute(raise_on_error=False)
    assert (first, third) == (1, 2)
    assert isinstance(second, redis.ResponseError)


def test_a_fault_that_begins_while_a_reply_is_due_falls_on_the_right_one(
    api: ProxyApi, proxy: Proxy, client: redis.Redis, connection: socket.socket
) -> None:
    connection.sendall(b"BLPOP list 300\r\n*2\r\n$4\r\nEC")
    wait_until(
        lambda: True if client.info("clients")["blocked_clients"] == 1 else None,
        timeout=PATIENCE,
        failure=lambda: "no wait",
    )
    api.add_resp("redis", {"name": "e", "command": "ECHO", "action": "error"})
    connection.sendall(b"HO\r\n$1\r\nx\r\n")
    client.rpush("list", "value")
    expected = b"*2\r\n$4\r\nlist\r\n$5\r\nvalue\r\n-ERR injected fault\r\n"
    received = b""
    while len(received) < len(expected):
        received += connection.recv(1000)
    assert received == expected
    api.remove_resp("redis", "e")
    assert ping(connection) == b"+PONG\r\n"


def test_a_subscriber_goes_on_under_protocol_faults(api: ProxyApi, client: redis.Redis) -> None:
    api.add_resp("redis", {"name": "none", "command": "INCRBY", "action": "error", "times": 0})
    with client.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe("news")
        wait_until(lambda: client.publish("news", "0") or None, timeout=PATIENCE, failure=lambda: "nobody listens")
        assert client.publish("news", "1") == client.publish("news", "2") == 1
        texts: list[bytes] = []
        wait_until(
            lambda: (
                (texts.extend(m["data"] for m in [subscriber.get_message(timeout=0.05)] if m), len(texts) >= 3)[1]
                or None
            ),
            timeout=PATIENCE,
            failure=lambda: f"{texts}",
        )
        assert texts == [b"0", b"1", b"2"]


def test_without_faults_any_protocol_passes(toxiproxy: Toxiproxy, api: ProxyApi) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = toxiproxy.create(upstream=f"127.0.0.1:{listener.getsockname()[1]}", name="bytes")
        api.add_resp("bytes", {"name": "x", "command": "INCRBY"})
        with socket.create_connection(("127.0.0.1", port_of(made)), PATIENCE) as one:
            other, _ = listener.accept()
            with other:
                one.sendall(b"\x00\x01binary\r\n")
                assert other.recv(100) == b"\x00\x01binary\r\n"
                other.sendall(b"\xff\xfe\r\n")
                assert one.recv(100) == b"\xff\xfe\r\n"
                one.shutdown(socket.SHUT_WR)
                assert other.recv(100) == b""
                other.sendall(b"still")
                assert one.recv(100) == b"still"


# --- the protocol -----------------------------------------------------------------------------------------------------


def test_values_are_cut_wherever_the_pieces_end() -> None:
    values = [b"+OK\r\n", b"$3\r\na\r\n\r\n", b"*2\r\n:1\r\n*1\r\n$-1\r\n", b"%1\r\n+a\r\n_\r\n", b"PING\r\n"]
    stream = b"".join(values)
    for size in range(1, len(stream) + 1):
        splitter = Splitter()
        found = []
        for start in range(0, len(stream), size):
            found += splitter.feed(stream[start : start + size])
        assert found == values
        assert splitter.rest == b""


def test_bytes_that_are_not_resp_are_reported() -> None:
    with pytest.raises(NotResp):
        Splitter().feed(b"\x00\r\n")


@pytest.mark.parametrize(
    ("command", "reply", "run"),
    [
        (b"SET", b"+OK\r\n", True),
        (b"GET", b"$-1\r\n", True),
        (b"SET", b"+QUEUED\r\n", False),
        (b"EXEC", b"*1\r\n-WRONGTYPE of one of them\r\n", True),
        (b"EXEC", b"-EXECABORT Transaction discarded\r\n", False),
        (b"exec", b"*-1\r\n", False),
        (b"EXEC", b"_\r\n", False),
        (b"BLPOP", b"*-1\r\n", True),
        (b"LPUSH", b"-WRONGTYPE Operation against a key\r\n", False),
        (b"SET", b"-MOVED 3999 127.0.0.1:6381\r\n", False),
        (b"SET", b"!11\r\nREADONLY no\r\n", False),
        (b"evalsha", b"-NOSCRIPT No matching script\r\n", False),
        (b"EVAL", b"-BUSY Redis is busy\r\n", False),
        (b"EVAL", b"-OOM allow-oom flag is not set script: 1, on @user_script:1.\r\n", False),
        (b"EVAL", b"-READONLY You can't write script: 1, on @user_script:1.\r\n", False),
        (b"EVAL", b"-ERR user_script:1: broken script: 1, on @user_script:1.\r\n", True),
        (b"FCALL", b"-WRONGTYPE Operation script: f, on @user_function:2.\r\n", True),
        (b"EVAL", b"!9\r\nERR wrong\r\n", True),
        (b"EVAL", b"-\r\n", True),
    ],
)
def test_the_reply_shows_whether_redis_ran_the_command(command: bytes, reply: bytes, run: bool) -> None:
    assert was_run(command, reply) is run


def test_words_and_keys() -> None:
    assert words_of(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n") == [b"GET", b"a"]
    assert words_of(b"get a\r\n") == [b"get", b"a"]
    script = [b"EVALSHA", b"digest", b"2", b"queue", b"owner:1", b"argument"]
    assert keys_of(script) == [b"queue", b"owner:1"]
    assert matches(script, "evalsha", ["queue", "owner:*"])
    assert not matches(script, "evalsha", ["argument"])
    assert matches(script, "*", [])
    assert matches([b"eval", b"return 1", b"1", b"queue"], "EVALSHA|EVAL", ["queue"])
    assert not matches(script, "GET|EVAL", [])


def test_at_rate_0_nothing_passes_when_the_target_can_take_more_again() -> None:
    """The target's buffer may have been full before the line went dead."""

    class Target(asyncio.Transport):
        written = b""

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.written += bytes(data)

        def is_closing(self) -> bool:
            return False

    async def dead_line() -> bytes:
        connection = SimpleNamespace(ready=True, closed=False, update=lambda: None, dice=lambda _: None, passed_at=0)
        pipe = Pipe(cast(Connection, connection), "downstream")
        pipe.target = target = Target()
        toxic = Toxic(name="dead", type="bandwidth", stream="downstream", toxicity=1, attributes={"rate": 0})
        pipe.use([toxic])
        pipe.feed(b"reply")
        for blocked in (True, False):
            await asyncio.sleep(0)
            pipe.block(blocked)
        for _ in range(5):
            await asyncio.sleep(0)
        assert target.written == b""
        pipe.use([])
        for _ in range(5):
            await asyncio.sleep(0)
        pipe.stop()
        return target.written

    assert asyncio.run(dead_line()) == b"reply"
