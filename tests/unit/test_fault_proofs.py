"""Every fault when it has no effect: it is not proven, and what is shown under it is inconclusive, never met."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from EvidenceLibrary import EvidenceLibrary, measurements
from FaultLibrary.commands import Action, When
from FaultLibrary.schedules import Schedules
from FaultLibrary.state import FaultState
from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.injection import Fault, Injector
from ocpp_resilience.faults.journal import FaultJournal
from ocpp_resilience.faults.network import FaultyPath
from ocpp_resilience.faults.probe import Address
from ocpp_resilience.faults.redis_faults import REPLY_LIMIT, RedisFaults
from ocpp_resilience.faults.services import redis_fault, server_fault
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services import AppendOnly, Effect, EmbeddedRedis
from ocpp_resilience.robot.library import Cleanup
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
ON_THE_WAY = (
    "bandwidth",
    "black hole",
    "disconnect",
    "half-open",
    "keep resetting",
    "latency",
    "reset connections",
    "slow drip",
)
AT_COMMANDS = ("cut mid-reply", "lose commit reply")
OF_REDIS_ITSELF = ("busy", "kill clients", "out of memory", "read-only", "too many clients", "wrong password")
OF_PROCESSES = tuple(f"{how} {what}" for how in ("kill", "pause", "stop") for what in ("redis", "server"))

Verdict = Callable[[], str]


@pytest.fixture(scope="module")
def service() -> Iterator[EmbeddedRedis]:
    with contextlib.closing(EmbeddedRedis("Redis", append_only=AppendOnly.OFF)) as made:
        made.start(PATIENCE)
        yield made


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
    made = FaultyPath("Fault proxy", service.url(0), api, proxy_name="faults")  # chance comes from the name too
    yield made
    made.close()


@pytest.fixture
def client(path: FaultyPath) -> Iterator[redis.Redis]:
    """Somebody who comes through the proxy."""
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
    """What becomes of a value that keeps its threshold: `met`, or why it is inconclusive."""
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


def made_of(path: FaultyPath, name: str) -> Fault:
    """A fault as a schedule makes it."""
    state = FaultState()
    state.paths.add("faults", path, Cleanup())
    return Schedules(state)._makers("faults", "redis", "server", "reference")[name]("")


def test_every_fault_that_there_is_is_tried_here(path: FaultyPath) -> None:
    state = FaultState()
    state.paths.add("faults", path, Cleanup())
    there = Schedules(state)._makers("faults", "redis", "server", "reference")
    assert sorted(there) == sorted((*ON_THE_WAY, *AT_COMMANDS, *OF_REDIS_ITSELF, *OF_PROCESSES))


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_on_a_way_that_somebody_takes_it_is_proven(
    path: FaultyPath, client: redis.Redis, injector: Injector, verdict: Verdict, name: str
) -> None:
    assert injector.inject(made_of(path, name)).proven
    assert verdict() == "met"


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_on_a_way_that_nobody_takes_it_is_inconclusive(
    path: FaultyPath, injector: Injector, verdict: Verdict, name: str
) -> None:
    record = injector.inject(made_of(path, name))
    assert "inconclusive" in verdict()
    assert "nobody" in record.proof or record.proof.startswith("1 connections"), record.proof
    injector.heal_all()
    assert "inconclusive" in verdict()


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_where_the_proxy_is_not_in_the_path_it_is_inconclusive(
    path: FaultyPath, client: redis.Redis, *, api: ProxyApi, injector: Injector, verdict: Verdict, name: str
) -> None:
    """Everybody goes through one proxy, and the fault is put on another."""
    assert path.used()[0]
    elsewhere = FaultyPath("Fault proxy elsewhere", path.address.url, api)
    right, path.proxy = path.proxy, elsewhere.proxy
    try:
        injector.inject(made_of(path, name))
        assert "inconclusive" in verdict()
        assert client.ping()
        injector.heal_all()
    finally:
        path.proxy = right
        elsewhere.close()


@pytest.mark.parametrize("toxicity", [0.0, 0.5])
@pytest.mark.parametrize("name", ["bandwidth", "black hole", "latency"])
def test_a_toxicity_of_0_is_inconclusive_and_one_of_a_half_is_proven(
    path: FaultyPath, client: redis.Redis, *, injector: Injector, verdict: Verdict, name: str, toxicity: float
) -> None:
    fault = {
        "bandwidth": lambda: path.bandwidth(50, "downstream", toxicity),
        "black hole": lambda: path.black_hole(toxicity),
        "latency": lambda: path.latency(30, 0, "downstream", toxicity),
    }[name]()
    injector.inject(fault)
    assert ("inconclusive" in verdict()) == (toxicity == 0)


def held_up(fault: Fault, service: EmbeddedRedis, request: pytest.FixtureRequest) -> Fault:
    """The same fault on a machine that holds Redis up for most of a second just when it has begun."""
    begin = fault.begin

    def begin_and_hold_up() -> None:
        begin()
        os.kill(service.pid, signal.SIGSTOP)  # which the service itself does not know of
        again = threading.Timer(0.8, os.kill, [service.pid, signal.SIGCONT])
        again.start()
        request.addfinalizer(again.join)

    fault.begin = begin_and_hold_up
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
    fault = {
        "bandwidth": lambda: path.bandwidth(50, "downstream", 0),
        "black hole": lambda: path.black_hole(0),
        "latency": lambda: path.latency(30, 0, "downstream", 0),
    }[name]()
    injector.inject(held_up(fault, service, request))
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
    with contextlib.closing(RedisFaults("Redis", service.url(0))) as faults:
        fault = faults.read_only() if name == "read-only" else made_of(path, name)
        record = injector.inject(held_up(fault, service, request))
        assert record.proven, record.proof
        injector.heal_all()


def test_it_is_proven_as_soon_as_somebody_comes(path: FaultyPath, injector: Injector, verdict: Verdict) -> None:
    record = injector.inject(path.latency(30, 0, "downstream", 1))
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
    values = {"command": "EVALSHA", "action": action.value, "when": when.value}
    injector.inject(path.at_command("disturbed", **values))
    assert "0 of 0 matching commands were hit" in verdict()
    client.script_flush()
    # The answer is not waited for: one of these faults is that it does not come.
    client.connection_pool.get_connection().send_command("EVALSHA", "0" * 40, 0)
    expected = "Redis did not run 1 more" if when is When.AFTER else "met"
    wait_until(lambda: expected in verdict() or None, timeout=PATIENCE, failure=verdict)


@pytest.mark.parametrize("name", OF_REDIS_ITSELF)
def test_a_redis_that_it_is_not_done_to_makes_it_inconclusive(
    service: EmbeddedRedis, other: EmbeddedRedis, injector: Injector, verdict: Verdict, name: str
) -> None:
    """It is done to one Redis, and the one that the system uses is another."""
    faults = RedisFaults("Redis", service.url(0))
    makers = {
        "busy": faults.busy,
        "kill clients": faults.kill_clients,
        "out of memory": faults.out_of_memory,
        "read-only": faults.read_only,
        "too many clients": faults.max_clients,
        "wrong password": faults.wrong_password,
    }
    faults._connected()
    if name == "busy":  # it opens a connection of its own to the Redis that it occupies
        occupying = faults._client(None)
        faults._client = lambda _=None: occupying  # type: ignore[method-assign]
    faults.address = Address(other.url(0))
    try:
        injector.inject(makers[name]())
        assert "inconclusive" in verdict()
        injector.heal_all()
    finally:
        faults.close()
    assert service.command("SET", "key", "value", timeout=PATIENCE) == "OK"


def test_the_script_is_waited_for_however_long_redis_is_busy(service: EmbeddedRedis, injector: Injector) -> None:
    """Longer than any other reply may take; what is set behind it would be refused while it still runs."""
    faults = RedisFaults("Redis", service.url(0))
    try:
        injector.inject(faults.busy())
        (script,) = (each for each in threading.enumerate() if each.name == "busy script")
        script.join(REPLY_LIMIT + 0.5)
        assert script.is_alive()
        injector.heal_all()
        assert not script.is_alive()
    finally:
        faults.close()


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
    injector.inject(held_up(redis_fault(service, how), service, request))
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
    injector.inject(server_fault(server, how))
    assert "inconclusive" in verdict()
