"""Every fault without effect: it is unproven, and results under it are inconclusive, never met."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from EvidenceLibrary import EvidenceLibrary, measurements
from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.faults.bases import RedisFilesFault
from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.fault import InjectableFault, Place, Subjects
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultJournal
from ocpp_resilience.faults.kinds.bandwidth import Bandwidth
from ocpp_resilience.faults.kinds.black_hole import BlackHole
from ocpp_resilience.faults.kinds.busy import Busy
from ocpp_resilience.faults.kinds.disturb_command import Action, DisturbCommand, When
from ocpp_resilience.faults.kinds.latency import Latency
from ocpp_resilience.faults.kinds.read_only import ReadOnly
from ocpp_resilience.faults.path import FaultyPath
from ocpp_resilience.faults.probe import RedisAddress
from ocpp_resilience.faults.redis_admin import REPLY_LIMIT, RedisAdmin
from ocpp_resilience.faults.registry import faults
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import OWN_CLIENTS
from ocpp_resilience.redis.services import AppendOnly, Effect, EmbeddedRedis
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
ON_THE_WAY = faults().names(Place.NETWORK)
AT_COMMANDS = faults().names(Place.COMMAND)
OF_REDIS_ITSELF = faults().names(Place.REDIS)
OF_FILES = faults().names(Place.REDIS_FILES)

Verdict = Callable[[], str]


@pytest.fixture(scope="module")
def service() -> Iterator[EmbeddedRedis]:
    with contextlib.closing(EmbeddedRedis("Redis", append_only=AppendOnly.OFF)) as made:
        made.start(PATIENCE)
        yield made


@pytest.fixture(scope="module")
def unused() -> Iterator[EmbeddedRedis]:
    """A Redis that no server of another test is connected to."""
    with contextlib.closing(EmbeddedRedis("Redis unused", append_only=AppendOnly.OFF)) as made:
        made.start(PATIENCE)
        yield made


def strangers(redis: EmbeddedRedis) -> list[str]:
    """The connections that are not the keywords' own."""
    clients = redis.command("CLIENT", "LIST", timeout=PATIENCE).splitlines()
    return [client for client in clients if f" name={OWN_CLIENTS}" not in client]


@pytest.fixture(scope="module")
def other() -> Iterator[EmbeddedRedis]:
    """A Redis that nothing is done to."""
    with contextlib.closing(EmbeddedRedis("Redis nearby", append_only=AppendOnly.OFF)) as made:
        made.start(PATIENCE)
        yield made


@pytest.fixture(scope="module")
def api() -> Iterator[ProxyApi]:
    with contextlib.closing(FaultProxyProcess("Fault proxy", seed=7)) as process:
        yield process.start()


@pytest.fixture
def path(api: ProxyApi, service: EmbeddedRedis) -> Iterator[FaultyPath]:
    made = FaultyPath(
        "Fault proxy", RedisAddress(service.url(0)), api, proxy_name="faults"
    )  # chance comes from the name too
    yield made
    made.close()


@pytest.fixture
def client(path: FaultyPath) -> Iterator[redis.Redis]:
    """A client behind the proxy."""
    made = redis.Redis(port=path.port, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 0), protocol=2)
    assert made.ping()
    yield made
    made.close()


@pytest.fixture
def injector(tmp_path: Path) -> Iterator[Injector]:
    made = Injector(FaultJournal(tmp_path / "faults.jsonl"))
    yield made
    made.heal_all()


@pytest.fixture
def verdict(injector: Injector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """The verdict on a value that keeps its threshold: `met`, or the reason why it is inconclusive."""
    monkeypatch.setattr(measurements, "JOURNAL", injector.journal)
    library = EvidenceLibrary(measurements=tmp_path / "measurements.jsonl")

    def judged() -> str:
        try:
            library.requirement_should_be_met("R16.3", "crashes", 0)
        except ExpectationFailed as error:
            assert '"verdict":"inconclusive"' in (tmp_path / "measurements.jsonl").read_text()
            return str(error)
        return "met"

    return judged


def made_of(path: FaultyPath, name: str, arguments: str = "") -> InjectableFault:
    """A fault as a schedule makes it."""
    return faults().make(name, arguments, Subjects(lambda: path))


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_with_traffic_it_is_proven(
    path: FaultyPath, client: redis.Redis, injector: Injector, verdict: Verdict, name: str
) -> None:
    assert injector.inject(made_of(path, name)).proven
    assert verdict() == "met"


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_without_traffic_it_is_inconclusive(path: FaultyPath, injector: Injector, verdict: Verdict, name: str) -> None:
    record = injector.inject(made_of(path, name))
    assert "inconclusive" in verdict()
    assert "only the test itself has connected" in record.proof or record.proof.startswith("1 connections"), (
        record.proof
    )
    injector.heal_all()
    assert "inconclusive" in verdict()


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_where_the_proxy_is_not_in_the_path_it_is_inconclusive(
    path: FaultyPath, client: redis.Redis, *, api: ProxyApi, injector: Injector, verdict: Verdict, name: str
) -> None:
    """All traffic goes through one proxy, and the fault is on another."""
    assert path.used()[0]
    elsewhere = FaultyPath("Fault proxy elsewhere", path.address, api)
    right, path.proxy = path.proxy, elsewhere.proxy
    try:
        injector.inject(made_of(path, name))
        assert "inconclusive" in verdict()
        assert client.ping()
        injector.heal_all()
    finally:
        path.proxy = right
        elsewhere.close()


def weak(path: FaultyPath, name: str, toxicity: float) -> InjectableFault:
    on = Subjects(lambda: path)
    return {
        "bandwidth": lambda: Bandwidth(on, toxicity=toxicity),
        "black hole": lambda: BlackHole(on, toxicity=toxicity),
        "latency": lambda: Latency(on, latency=timedelta(milliseconds=30), toxicity=toxicity),
    }[name]()


@pytest.mark.parametrize("toxicity", [0.0, 0.5])
@pytest.mark.parametrize("name", ["bandwidth", "black hole", "latency"])
def test_a_toxicity_of_0_is_inconclusive_and_one_of_a_half_is_proven(
    path: FaultyPath, client: redis.Redis, *, injector: Injector, verdict: Verdict, name: str, toxicity: float
) -> None:
    injector.inject(weak(path, name, toxicity))
    assert ("inconclusive" in verdict()) == (toxicity == 0)


@pytest.mark.parametrize("name", ["bandwidth", "black hole", "latency", "slow drip"])
def test_a_service_that_another_fault_has_ended_is_waited_for(
    api: ProxyApi, injector: Injector, request: pytest.FixtureRequest, name: str
) -> None:
    """Two schedules at once: one ends what is behind the proxy of the other."""
    with contextlib.closing(EmbeddedRedis("Redis that ends", append_only=AppendOnly.OFF)) as ending:
        ending.start(PATIENCE)
        path = FaultyPath("Fault proxy", RedisAddress(ending.url(0)), api)
        request.addfinalizer(path.close)
        with redis.Redis(port=path.port, socket_timeout=PATIENCE, protocol=2) as client:
            assert client.ping()
        ending.kill()
        again = threading.Timer(0.5, ending.start, [PATIENCE])
        again.start()
        record = injector.inject(made_of(path, name))
        again.join()
        assert record.proven, record.proof
        injector.heal_all()


@pytest.fixture
def restarting(api: ProxyApi) -> Iterator[tuple[EmbeddedRedis, FaultyPath]]:
    """A Redis that the test ends and starts again, with a way to it that had a client."""
    with contextlib.closing(EmbeddedRedis("Redis that ends", append_only=AppendOnly.OFF)) as service:
        service.start(PATIENCE)
        with contextlib.closing(FaultyPath("Fault proxy", RedisAddress(service.url(0)), api)) as path:
            with redis.Redis(port=path.port, socket_timeout=PATIENCE, protocol=2) as client:
                assert client.ping()
            yield service, path


@pytest.mark.parametrize("name", ["half-open", "reset connections"])
def test_open_connections_are_hit_when_there_are_some_again(
    restarting: tuple[EmbeddedRedis, FaultyPath], injector: Injector, request: pytest.FixtureRequest, name: str
) -> None:
    """Another schedule ends the service after the test has connected, while the fault waits for other clients."""
    service, path = restarting
    fault = made_of(path, name)

    def end_and_come_back() -> None:
        wait_until(lambda: hasattr(fault, "probe") or None, timeout=PATIENCE, failure=lambda: "the test never connects")
        service.kill()
        service.start(PATIENCE)
        client = redis.Redis(port=path.port, socket_timeout=PATIENCE, protocol=2)
        request.addfinalizer(client.close)
        assert client.ping()

    meanwhile = threading.Thread(target=end_and_come_back)
    meanwhile.start()
    record = injector.inject(fault)
    meanwhile.join()
    assert record.proven, record.proof
    assert record.proof.startswith("2 connections")
    injector.heal_all()


@pytest.mark.parametrize("times", [1, 3])
def test_a_service_that_was_restarted_during_the_measurement_is_measured_again(
    restarting: tuple[EmbeddedRedis, FaultyPath], injector: Injector, times: int
) -> None:
    """It answers when it is asked whether it was away. Another schedule may do that several times in a row."""
    service, path = restarting
    fault = made_of(path, "latency")
    prove, left = fault.prove, [times]

    def disturbed() -> tuple[bool, str]:
        if not left[0]:
            return prove()
        left[0] -= 1
        with path.probe(limit=PATIENCE) as probe:
            service.kill()
            service.start(PATIENCE)
            return False, str(probe.ping())

    fault.prove = disturbed  # type: ignore[method-assign]
    record = injector.inject(fault)
    assert record.proven, record.proof
    assert left == [0]
    injector.heal_all()


def test_a_measurement_of_a_service_that_was_there_is_not_repeated(
    restarting: tuple[EmbeddedRedis, FaultyPath], injector: Injector
) -> None:
    fault, measured = made_of(restarting[1], "latency"), list[bool]()

    def nothing_seen() -> tuple[bool, str]:
        measured.append(True)
        return False, "nothing"

    fault.prove = nothing_seen  # type: ignore[method-assign]
    assert not injector.inject(fault).proven
    assert measured == [True]
    injector.heal_all()


def held_up(fault: InjectableFault, service: EmbeddedRedis, request: pytest.FixtureRequest) -> InjectableFault:
    """The same fault on a machine that holds Redis up for most of a second just when it has begun."""
    begin = fault.begin

    def begin_and_hold_up() -> None:
        begin()
        os.kill(service.pid, signal.SIGSTOP)  # which the service itself does not know of
        again = threading.Timer(0.8, os.kill, [service.pid, signal.SIGCONT])
        again.start()
        request.addfinalizer(again.join)

    fault.begin = begin_and_hold_up  # type: ignore[method-assign]
    return fault


@pytest.mark.parametrize("name", ["bandwidth", "black hole", "latency"])
def test_a_redis_that_is_held_up_does_not_prove_a_fault_without_effect(
    path: FaultyPath,
    client: redis.Redis,
    *,
    service: EmbeddedRedis,
    injector: Injector,
    verdict: Verdict,
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    injector.inject(held_up(weak(path, name, 0), service, request))
    assert "inconclusive" in verdict()


@pytest.mark.parametrize("name", ["black hole", "half-open", "keep resetting", "latency", "read-only"])
def test_a_redis_that_is_held_up_proves_a_fault_a_little_later(
    path: FaultyPath,
    client: redis.Redis,
    *,
    service: EmbeddedRedis,
    injector: Injector,
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    with contextlib.closing(RedisAdmin("Redis", service.url(0))) as admin:
        fault = ReadOnly(Subjects(redis=lambda: admin)) if name == "read-only" else made_of(path, name)
        record = injector.inject(held_up(fault, service, request))
        assert record.proven, record.proof
        injector.heal_all()


def test_it_is_proven_as_soon_as_a_client_connects(path: FaultyPath, injector: Injector, verdict: Verdict) -> None:
    record = injector.inject(made_of(path, "latency", "30 ms"))
    assert "inconclusive" in verdict()
    with redis.Redis(port=path.port) as late:
        assert late.ping()
    assert verdict() == "met"
    assert record.proof.startswith("3 of 3 round trips")


@pytest.mark.parametrize("name", AT_COMMANDS)
def test_at_a_command_that_does_not_come_it_is_inconclusive(
    path: FaultyPath, client: redis.Redis, injector: Injector, verdict: Verdict, name: str
) -> None:
    injector.inject(made_of(path, name))
    if name == "lose commit reply":  # another command is none
        assert client.ping()
    assert "0 of 0 matching commands were hit" in verdict()


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("action", Action)
def test_a_disturbed_command_that_redis_does_not_run_is_inconclusive_and_one_that_it_runs_is_proven(
    path: FaultyPath, client: redis.Redis, *, injector: Injector, verdict: Verdict, action: Action, when: When
) -> None:
    injector.inject(DisturbCommand(Subjects(lambda: path), command="EVALSHA", action=action, when=when))
    assert "0 of 0 matching commands were hit" in verdict()
    client.script_flush()
    # The answer is not waited for: one of these faults is that it does not come.
    client.connection_pool.get_connection().send_command("EVALSHA", "0" * 40, 0)
    expected = "Redis did not run 1 more" if when is When.AFTER else "met"
    wait_until(lambda: expected in verdict() or None, timeout=PATIENCE, failure=verdict)


@pytest.mark.parametrize("name", OF_REDIS_ITSELF)
def test_a_redis_that_it_is_not_done_to_makes_it_inconclusive(
    unused: EmbeddedRedis, other: EmbeddedRedis, injector: Injector, verdict: Verdict, name: str
) -> None:
    """It is done to one Redis, and the one that the system uses is another."""
    admin = RedisAdmin("Redis", unused.url(0))
    admin.connected()
    if name == "busy":  # it opens a connection of its own to the Redis that it occupies
        occupying = admin.client(None)
        admin.client = lambda _=None: occupying  # type: ignore[method-assign]
    admin.address = RedisAddress(other.url(0))
    # A connection of the test before may still be on its way out, and would be taken for an effect.
    wait_until(
        lambda: (not strangers(unused) and not strangers(other)) or None,
        timeout=PATIENCE,
        failure=lambda: f"There are still clients: {strangers(unused) + strangers(other)}",
    )
    try:
        injector.inject(faults().make(name, "", Subjects(redis=lambda: admin)))
        assert "inconclusive" in verdict()
        injector.heal_all()
    finally:
        admin.close()
    assert unused.command("SET", "key", "value", timeout=PATIENCE) == "OK"


@pytest.mark.parametrize("name", OF_FILES)
def test_files_that_it_is_not_done_to_make_it_inconclusive(
    service: EmbeddedRedis, injector: Injector, verdict: Verdict, name: str
) -> None:
    with contextlib.closing(RedisAdmin("Redis", service.url(0))) as admin:
        fault = faults().make(name, "", Subjects(redis=lambda: admin))
        fault.begin = fault.end = lambda: None  # type: ignore[method-assign]
        injector.inject(fault)
        assert "inconclusive" in verdict()
        injector.heal_all()


def test_faults_of_files_are_proven_and_healed_and_lose_nothing(injector: Injector) -> None:
    """Each twice, since a file that an earlier one left would be in the way of a later one."""
    with (
        contextlib.closing(EmbeddedRedis("Redis with files")) as kept,
        contextlib.closing(RedisAdmin("Redis", kept.start(PATIENCE) and kept.url(0))) as admin,
    ):
        for name in (*OF_FILES, *OF_FILES):
            kept.command("INCR", "before", timeout=PATIENCE)
            record = injector.inject(faults().make(name, "", Subjects(redis=lambda: admin)))
            assert record.proven, record.proof
            injector.heal_all()
            assert "+OK" in record.healed
        assert kept.command("CONFIG", "GET", "appendfsync", timeout=PATIENCE) == ["appendfsync", "always"]
        kept.kill()
        kept.start(PATIENCE)
        assert kept.command("GET", "before", timeout=PATIENCE) == str(2 * len(OF_FILES))


def test_what_a_full_disk_did_not_take_is_there_once_after_a_restart(injector: Injector) -> None:
    """Redis has run the command, and has it in the buffer of its append-only file, when it notices the full disk."""
    with (
        contextlib.closing(EmbeddedRedis("Redis with files")) as kept,
        contextlib.closing(RedisAdmin("Redis", kept.start(PATIENCE) and kept.url(0))) as admin,
    ):
        fault = faults().make("disk full", "", Subjects(redis=lambda: admin))
        assert isinstance(fault, RedisFilesFault)
        wait_for = fault.wait_for

        def first_write_to_the_full_disk(*fields: str) -> None:
            wait_for(*fields)
            fault.wait_for = wait_for  # type: ignore[method-assign]
            assert kept.command("RPUSH", "list", "1", timeout=PATIENCE) == 1

        fault.wait_for = first_write_to_the_full_disk  # type: ignore[method-assign]
        assert injector.inject(fault).proven
        injector.heal_all()
        assert kept.command("RPUSH", "list", "2", timeout=PATIENCE) == 2
        kept.kill()
        kept.start(PATIENCE)
        assert kept.command("LRANGE", "list", 0, -1, timeout=PATIENCE) == ["1", "2"]


def test_the_script_is_waited_for_however_long_redis_is_busy(service: EmbeddedRedis, injector: Injector) -> None:
    """Longer than any other reply may take; later settings would be refused while it still runs."""
    admin = RedisAdmin("Redis", service.url(0))
    try:
        injector.inject(Busy(Subjects(redis=lambda: admin)))
        (script,) = (each for each in threading.enumerate() if each.name == "busy script")
        script.join(REPLY_LIMIT + 0.5)
        assert script.is_alive()
        injector.heal_all()
        assert not script.is_alive()
    finally:
        admin.close()


@pytest.mark.parametrize("how", ["kill", "pause", "stop"])
def test_a_redis_that_goes_on_makes_it_inconclusive(
    service: EmbeddedRedis,
    injector: Injector,
    *,
    verdict: Verdict,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    how: str,
) -> None:
    """Also where the machine holds it up just then, which is no kill."""
    monkeypatch.setattr(service, how, lambda *_: Effect(how, 0, "said so"))
    injector.inject(held_up(faults().make(f"{how} redis", "", Subjects(service=lambda: service)), service, request))
    assert "PING: +PONG" in verdict()


@pytest.fixture(scope="module")
def server(service: EmbeddedRedis) -> Iterator[OcppServer]:
    made = OcppServer("server", Target.load("reference"))
    try:
        made.configure(service.url(), {})
        made.start()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("how", ["kill", "pause", "stop"])
def test_a_server_that_goes_on_makes_it_inconclusive(
    server: OcppServer, injector: Injector, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(server, how, lambda *_: None)
    injector.inject(faults().make(f"{how} server", "", Subjects(server=lambda: server)))
    assert "inconclusive" in verdict()
