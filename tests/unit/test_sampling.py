"""Samples of Redis, of queues and of an inspection, beside those of processes: seen, missed, kept, drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import redis

from EvidenceLibrary import EvidenceLibrary
from ocpp_resilience.errors import LacksCapability, ServiceError, UsageError
from ocpp_resilience.evidence.measure import sampling
from ocpp_resilience.evidence.measure.sampling import SHORTEST_CPU, Sampler, Series
from ocpp_resilience.evidence.measure.sources import (
    CLIENTS,
    CONNECTED,
    PENDING,
    QUEUE,
    REDIS,
    CorrelationSource,
    Look,
    RedisSource,
    why_not_inspected,
)
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services import AppendOnly, RedisService, ServiceKind, create_service
from ocpp_resilience.waiting import wait_until

REFERENCE = Target.load("reference")


@pytest.fixture(scope="module")
def service() -> Iterator[RedisService]:
    service = create_service(ServiceKind.EMBEDDED, "Redis", append_only=AppendOnly.OFF)
    service.start(10)
    yield service
    service.close()


@pytest.fixture
def client(service: RedisService) -> Iterator[redis.Redis]:
    service.command("FLUSHALL", timeout=5)
    with redis.Redis.from_url(service.url()) as connection:
        yield connection


def enough(sampler: Sampler, name: str, count: int) -> None:
    def there() -> bool | None:
        return len(sampler.values.get(name, [])) >= count or None

    wait_until(there, timeout=20, failure=lambda: f"too few samples of {name}")


def test_redis_is_sampled_by_its_own_word(service: RedisService, client: redis.Redis, tmp_path: Path) -> None:
    client.lpush("ocpp:requests", *range(7))
    client.sadd("ocpp:active", "CP-1", "CP-2")
    file = tmp_path / "samples.jsonl"
    sampler = Sampler({"own": os.getpid()}, sources=[RedisSource(service.url(), REFERENCE)], every=0.01, file=file)
    enough(sampler, QUEUE, 3)
    client.delete("ocpp:requests")
    before = len(sampler.values[QUEUE])
    enough(sampler, QUEUE, before + 3)
    sampler.stop()
    depths = [depth for _, depth in sampler.value(QUEUE)]
    assert (depths[0], depths[-1]) == (7, 0)
    assert {value for _, value in sampler.value(CONNECTED)} == {2}
    assert min(value for _, value in sampler.value(CLIENTS)) >= 2
    assert all(1e6 < size < 1e9 for size in sampler.get(REDIS).bytes)
    assert sampler.get(REDIS).cpu == sorted(sampler.get(REDIS).cpu)
    assert len(sampler.get("own").times) >= 1
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {line["name"] for line in lines} == {"own", REDIS, QUEUE, CLIENTS, CONNECTED}
    assert [line["value"] for line in lines if line["name"] == QUEUE] == depths


def test_several_queues_are_one_depth(service: RedisService, client: redis.Redis) -> None:
    client.lpush("ocpp:requests:0", 1, 2)
    client.lpush("ocpp:requests:1", 3)
    source = RedisSource(service.url(), REFERENCE, ["ocpp:requests:0", "ocpp:requests:1"])
    assert source.look()[QUEUE] == 3
    source.close()


def test_a_target_without_a_set_of_connected_charge_points_has_no_such_samples(service: RedisService) -> None:
    keys = {name: getattr(REFERENCE.redis.keys, name) for name in ("requests", "responses")}
    target = type(REFERENCE)(
        name="other", start=REFERENCE.start, redis=type(REFERENCE.redis)(keys=type(REFERENCE.redis.keys)(**keys))
    )
    source = RedisSource(service.url(), target)
    assert set(source.look()) == set(source.names) == {REDIS, QUEUE, CLIENTS}
    source.close()


def test_a_redis_that_is_paused_is_a_gap_in_its_own_samples_only(service: RedisService) -> None:
    sampler = Sampler({"own": os.getpid()}, sources=[RedisSource(service.url(), REFERENCE)], every=0.01)
    enough(sampler, QUEUE, 2)
    service.pause()
    try:
        wait_until(lambda: True if "Redis" in sampler.missed else None, timeout=20, failure=lambda: "never missed")
        gap_began = sampler.values[QUEUE][-1][0]
    finally:
        service.resume(10)
    enough(sampler, QUEUE, len(sampler.values[QUEUE]) + 2)
    sampler.stop()
    gap_ended = next(at for at, _ in sampler.values[QUEUE] if at > gap_began)
    assert any(gap_began < at < gap_ended for at in sampler.get("own").times), "the process was not seen meanwhile"
    assert sampler.missed["Redis"][0] >= 1


def test_a_process_under_it_that_ends_is_not_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can end between the listing and the look at it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        under = psutil.Process(child.pid)
    assert child.returncode is not None
    monkeypatch.setattr(psutil.Process, "children", lambda *_arguments, **_options: [under])
    sampler = Sampler({"own": os.getpid()}, every=0.01)
    try:
        wait_until(
            lambda: len(sampler.series["own"].times) >= 2 or sampler.ended or None,
            timeout=20,
            failure=lambda: "no samples",
        )
    finally:
        sampler.stop()
    assert not sampler.ended
    assert all(size > 1e6 for size in sampler.get("own").bytes)


def test_a_redis_that_is_not_there_is_missed_and_said() -> None:
    sampler = Sampler({}, sources=[RedisSource("redis://127.0.0.1:1", REFERENCE)], every=0.01)
    wait_until(lambda: True if sampler.missed else None, timeout=20, failure=lambda: "never missed")
    sampler.stop()
    with pytest.raises(UsageError, match=r"'queue depth' was not sampled; nothing was\. Redis: .*[Cc]onnect"):
        sampler.value(QUEUE)


class Inspected(BaseHTTPRequestHandler):
    pending = 3

    def do_GET(self) -> None:
        document = {"success": True, "data": {"pending": {"count": self.pending, "oldest": []}, "totals": {}}}
        body = json.dumps(document).encode()
        allowed = self.headers.get("Authorization") == "Bearer secret" and self.path == "/inspect/correlations"
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Inspected) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_pending_correlations_equal_the_inspection(server: str) -> None:
    assert CorrelationSource(server, REFERENCE, "secret").look() == {PENDING: 3}
    with pytest.raises(ServiceError, match="answered 401 instead of 200"):
        CorrelationSource(server, REFERENCE).look()


def test_a_target_without_inspection_has_the_reason_said() -> None:
    assert why_not_inspected(REFERENCE) is None
    other = type(REFERENCE)(name="other", start=REFERENCE.start, redis=REFERENCE.redis, source="other.yaml")
    why = "Target 'other' has no inspection of correlations (http.correlations in other.yaml)."
    assert why_not_inspected(other) == why


def test_the_sampler_closes_its_sources_and_ends_its_threads() -> None:
    class Held:
        what = "held"
        names: tuple[str, ...] = ("number",)
        closed = 0

        def look(self) -> Look:
            return {"number": 1.0}

        def close(self) -> None:
            self.closed += 1

    held = Held()
    library = EvidenceLibrary()
    before = threading.active_count()
    sampler = Sampler({"own": os.getpid()}, sources=[held], every=0.01)
    assert threading.active_count() == before + 2
    enough(sampler, "number", 1)
    sampler.stop()
    assert (held.closed, threading.active_count()) == (1, before)
    with library:
        library.start_sampling(own=os.getpid())
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_an_error_of_a_sampling_fails_every_request_for_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    library = EvidenceLibrary()
    looked = threading.Event()

    def look(_process: object) -> None:
        looked.set()
        raise TypeError("no number")

    monkeypatch.setattr(sampling, "_usage_of", look)
    with library:
        library.start_sampling(own=os.getpid())
        assert looked.wait(20)
        for _ in range(2):
            with pytest.raises(ServiceError, match="stopped, and samples are missing: TypeError: no number"):
                library.stop_sampling()
    sampler = Sampler({"own": os.getpid()}, every=0.01)
    sampler.stop()
    for ask in (sampler.get, sampler.value):
        with pytest.raises(ServiceError, match="Sampling stopped"):
            ask("own")


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(UsageError, match="'redis' is sampled already; give the process a name other than redis, queue"):
        Sampler({"redis": os.getpid()}, sources=[RedisSource("redis://127.0.0.1:1", REFERENCE)])


def test_processor_time_is_a_share_of_a_core_and_survives_a_restart() -> None:
    step = SHORTEST_CPU / 2
    cpu = [0.0, 0.1, 0.5, 0.6, 1.0, 0.1, 0.2, 0.6]
    series = Series([number * step for number in range(len(cpu))], [1] * len(cpu), cpu)
    shares = series.cpu_share()
    assert [round(share) for _, share in shares] == [50, 50, 50]
    assert [at for at, _ in shares] == [2 * step, 4 * step, 7 * step]


def test_an_unmeasurable_process_is_not_applicable_rather_than_a_mistake(service: RedisService) -> None:
    library = EvidenceLibrary()
    library.start_sampling(redis_url=service.url(), server=None)
    with pytest.raises(LacksCapability, match="'server' is not a process of this test run"):
        library.stop_sampling("server")
    with pytest.raises(UsageError, match="'other' was not sampled"):
        library.stop_sampling("other")
