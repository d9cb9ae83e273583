"""Faults of a Redis with a replica, through a proxy before its nodes and sentinels; and of a proxy that speaks TLS."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

import pytest
import redis

from ocpp_resilience.errors import NotPossibleHere, UsageError
from ocpp_resilience.faults.certificates import Flaw, ProxyCertificates
from ocpp_resilience.faults.client import FaultProxyProcess
from ocpp_resilience.faults.fault import Place, Subjects
from ocpp_resilience.faults.path import FaultyPath
from ocpp_resilience.faults.probe import redis_address
from ocpp_resilience.faults.proxy.addresses import Readdressing
from ocpp_resilience.faults.redis_admin import RedisAdmin
from ocpp_resilience.faults.registry import faults
from ocpp_resilience.redis.connection import SentinelUrl, connect, open_client
from ocpp_resilience.redis.services import AppendOnly, EmbeddedRedis, ReplicatedRedis
from ocpp_resilience.transport.messages import Delivery, SentMessage
from ocpp_resilience.transport.sending import push

PATIENCE = 30


@pytest.fixture(scope="module")
def replicated() -> Iterator[ReplicatedRedis]:
    with contextlib.closing(ReplicatedRedis("Redis", settings={"down-after-milliseconds": "1000"})) as made:
        made.start(PATIENCE)
        yield made


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedRedis]:
    with contextlib.closing(EmbeddedRedis("Redis", append_only=AppendOnly.OFF)) as made:
        made.start(PATIENCE)
        yield made


@pytest.fixture(scope="module")
def process() -> Iterator[FaultProxyProcess]:
    with contextlib.closing(FaultProxyProcess("Fault proxy", seed=7)) as made:
        made.start(PATIENCE)
        yield made


@pytest.fixture(scope="module")
def path(replicated: ReplicatedRedis, process: FaultProxyProcess) -> FaultyPath:
    return FaultyPath("Fault proxy", redis_address(replicated.url()), process.api, proxy_name="replicated")


@pytest.fixture(scope="module")
def on(path: FaultyPath, replicated: ReplicatedRedis) -> Iterator[Subjects]:
    with contextlib.closing(RedisAdmin("Redis", path.address.url)) as admin:
        yield Subjects(lambda: path, lambda: admin, lambda: replicated)


@pytest.fixture(scope="module")
def client(path: FaultyPath) -> Iterator[redis.Redis]:
    """As the system has it: through the proxy."""
    with contextlib.closing(open_client(path.url, text=True)) as made:
        yield made


@pytest.mark.parametrize(
    "name",
    [
        *(
            each
            for each in faults().names(Place.REPLICATION)
            if each not in {"pause primary", "partition primary"}  # of which a stale primary is both
        ),
        "partition sentinels 3",
        "kill redis",
        "too many clients",
        "wrong password",
        "disk full",
        "disconnect",
        "half-open",
    ],
)
def test_each_fault_is_proven_and_healed(name: str, on: Subjects, client: redis.Redis) -> None:
    client.set("before", name)
    kind, text = faults().split(name)
    fault = faults().make(kind, text, on)
    try:
        fault.begin()
        proven, proof = fault.proven()
        assert proven, proof
    finally:
        fault.end()
    assert fault.recovered()
    assert client.get("before") == name


def test_clients_are_sent_through_the_proxy(path: FaultyPath, replicated: ReplicatedRedis, client: redis.Redis) -> None:
    parts = SentinelUrl.parse(path.url)
    assert parts is not None
    nodes, behind = parts.nodes(), {replicated.primary.port, replicated.replica.port}
    assert not behind & {port for _, port in nodes}
    accepted = path.api.connections(path.proxy)["accepted"]
    client.connection_pool.disconnect()
    client.ping()
    assert path.api.connections(path.proxy)["accepted"] == accepted + 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_redis_of_either_protocol_is_read(path: FaultyPath, protocol: int) -> None:
    host, port = SentinelUrl.parse(path.url).hosts[0]  # type: ignore[union-attr]
    with redis.Redis(host=host, port=port, protocol=protocol, decode_responses=True) as sentinel:
        state = sentinel.sentinel_master("ocpp")
        assert int(state["port"]) == path.port
        subscription = sentinel.pubsub()
        subscription.subscribe("any")
        assert subscription.get_message(timeout=PATIENCE)["channel"] == "any"  # type: ignore[index]
        subscription.close()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_addresses_are_replaced_wherever_the_pieces_end(size: int) -> None:
    reply = (
        b"*4\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$4\r\n7001\r\n"
        b"*2\r\n$14\r\n127.0.0.1:7001\r\n$37\r\nocpp 127.0.0.1 7001 127.0.0.1 7002 xx\r\n$5\r\n70011\r\n"
    )
    changed = (
        b"*4\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$5\r\n40001\r\n"
        b"*2\r\n$15\r\n127.0.0.1:40001\r\n$39\r\nocpp 127.0.0.1 40001 127.0.0.1 40002 xx\r\n$5\r\n70011\r\n"
    )
    book = Readdressing({"127.0.0.1:7001": "127.0.0.1:40001", "127.0.0.1:7002": "127.0.0.1:40002"})
    assert b"".join(book.feed(reply[at : at + size]) for at in range(0, len(reply), size)) == changed


def test_what_is_no_reply_passes_as_it_is() -> None:
    book = Readdressing({"127.0.0.1:7001": "127.0.0.1:40001"})
    assert book.feed(b"?what\r\n") + book.feed(b"more") == b"?what\r\nmore"


def test_a_message_counts_when_the_replica_has_it(replicated: ReplicatedRedis) -> None:
    def queued() -> tuple[list[Delivery], str | None]:
        messages = [
            SentMessage(charge_point="CP", message_id=str(number), action="Heartbeat", data=b"m") for number in range(3)
        ]
        with contextlib.closing(connect(replicated.url())) as client:
            problem = push(client, messages, lambda each: ("LPUSH", "list", each.data), wait_replicas=1)
        return [each.delivery for each in messages], problem

    assert queued() == ([Delivery.ACKNOWLEDGED] * 3, None)
    replicated.lag_replica()
    assert queued() == ([Delivery.UNKNOWN] * 3, "0 of 1 replicas had the messages after 500 ms")
    replicated.heal()
    assert queued() == ([Delivery.ACKNOWLEDGED] * 3, None)


def test_a_redis_without_a_replica_is_told_from_one_with(embedded: EmbeddedRedis) -> None:
    fault = faults().make("kill primary", "", Subjects(service=lambda: embedded))
    with pytest.raises(NotPossibleHere, match="'kill primary' needs a Redis with a replica, which Redis has not"):
        fault.begin()


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(embedded: EmbeddedRedis, process: FaultProxyProcess) -> Iterator[FaultyPath]:
    certificates = ProxyCertificates()
    try:
        yield FaultyPath(
            "Fault proxy", redis_address(embedded.url()), process.api, proxy_name="secure", tls=certificates
        )
    finally:
        certificates.close()


@pytest.mark.parametrize("flaw", list(Flaw))
def test_each_flaw_of_a_certificate_is_proven_and_healed(secure: FaultyPath, flaw: Flaw) -> None:
    with redis.Redis.from_url(secure.url, ssl_ca_certs=str(secure.certificates.authority)) as client:
        client.set("large", b"x" * 1_000_000)
        fault = faults().make("bad certificate", flaw.value, Subjects(lambda: secure))
        try:
            fault.begin()
            proven, proof = fault.proven()
            assert proven, proof
            with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
                client.ping()
        finally:
            fault.end()
        assert "PONG" in fault.recovered()
        assert len(client.get("large")) == 1_000_000  # type: ignore[arg-type]


def test_old_versions_of_tls_are_refused(secure: FaultyPath) -> None:
    context = ssl.create_default_context(cafile=secure.certificates.authority)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    with redis.Redis(host=secure.host, port=secure.port) as plain, pytest.raises(redis.ConnectionError):
        plain.ping()


def test_a_certificate_is_no_fault_of_a_proxy_without_tls(path: FaultyPath) -> None:
    with pytest.raises(UsageError, match="does not use TLS"):
        faults().make("bad certificate", "", Subjects(lambda: path)).begin()


def test_tls_before_sentinels_is_refused(replicated: ReplicatedRedis, process: FaultProxyProcess) -> None:
    with (
        contextlib.closing(ProxyCertificates()) as certificates,
        pytest.raises(UsageError, match="supports a single Redis only, without TLS or sentinels"),
    ):
        FaultyPath("Fault proxy", redis_address(replicated.url()), process.api, tls=certificates)
