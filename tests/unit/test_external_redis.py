"""A Redis that is there already: used, never touched."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import prepared
import pytest
from robot.api import ExecutionResult

from ocpp_resilience.errors import LacksCapability, UsageError, WaitTimeout
from ocpp_resilience.faults.certificates import ProxyCertificates
from ocpp_resilience.faults.client import FaultProxyProcess
from ocpp_resilience.faults.path import FaultyPath
from ocpp_resilience.faults.probe import RedisAddress
from ocpp_resilience.redis.services import (
    AppendOnly,
    EmbeddedRedis,
    ExternalRedis,
    RestartHow,
    ServiceKind,
    create_service,
    of_the_system,
)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[EmbeddedRedis]:
    made = EmbeddedRedis("Redis elsewhere", append_only=AppendOnly.OFF, settings={"requirepass": "s3cret%"})
    try:
        made.start(30)
        yield made
    finally:
        made.close()


def test_it_is_used_by_its_url(elsewhere: EmbeddedRedis) -> None:
    made = create_service(ServiceKind.EXTERNAL, "Redis 'redis'", binary=elsewhere.url(3))
    assert not made.is_there
    assert made.start(30).proof == "PING: PONG"
    assert made.is_running
    assert made.url() == elsewhere.url(3)
    assert made.url(5) == elsewhere.url(5)
    assert made.version == elsewhere.version
    assert made.command("SET", "key", "value", timeout=30) == "OK"
    made.close()
    assert elsewhere.command("GET", "key", timeout=30) == "value"


def test_its_commands_are_those_of_the_user_in_the_url(elsewhere: EmbeddedRedis) -> None:
    elsewhere.command("ACL", "SETUSER", "tester", "on", ">pa:ss", "~*", "&*", "+@all", timeout=30)
    url = f"redis://tester:pa%3Ass@{elsewhere.host}:{elsewhere.port}"
    made = create_service(ServiceKind.EXTERNAL, "Redis 'redis'", binary=url)
    assert made.start(30).proof == "PING: PONG"
    assert made.command("ACL", "WHOAMI", timeout=30) == "tester"
    made.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://tester:a@h:1/0", "redis://server:p%3As@h:1/0"),
        ("redis://tester:a@127.0.0.1:5/2", "redis://server:p%3As@127.0.0.1:5/2"),  # through a fault proxy
        ("redis://other:b@h:1/0", "redis://other:b@h:1/0"),
        ("redis://h:9", "redis://h:9"),  # a Redis of the tests' own
    ],
)
def test_the_system_may_have_a_user_of_its_own(monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://tester:a@h:1/0")
    assert of_the_system(url) == url
    monkeypatch.setenv("SYSTEM_REDIS_LOGIN", "server:p:s")
    assert of_the_system(url) == expected


def test_a_redis_with_tls_is_used_where_its_certificate_is_trusted(
    elsewhere: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = RedisAddress(elsewhere.url(0))
    with contextlib.closing(FaultProxyProcess("Fault proxy", seed=7)) as process:
        certificates = ProxyCertificates()
        terminating = FaultyPath("TLS", address, process.start(), tls=certificates)
        with contextlib.closing(terminating):
            monkeypatch.setenv("REDIS_URL", terminating.url)
            with pytest.raises(WaitTimeout, match="certificate"):
                ExternalRedis("Redis 'redis'").start(1)
            monkeypatch.setenv("REDIS_CA", str(certificates.authority))
            made = ExternalRedis("Redis 'redis'")
            assert made.start(30).proof == "PING: PONG"
            assert made.command("PING", timeout=30) == "PONG"
            # A second proxy passes TLS through, and faults on it are proven.
            through = FaultyPath("Through", RedisAddress(made.url()), process.api)
            with contextlib.closing(through):
                assert through.url.startswith("rediss://")
                assert through.ping().what == "reply"


def test_the_url_can_come_from_the_environment(elsewhere: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", elsewhere.url())
    assert ExternalRedis("Redis").port == elsewhere.port


@pytest.mark.parametrize(
    "action",
    [
        lambda service: service.stop(1),
        lambda service: service.kill(),
        lambda service: service.pause(),
        lambda service: service.resume(1),
        lambda service: service.restart(RestartHow.KILL, 1),
    ],
)
def test_nothing_is_done_to_it(elsewhere: EmbeddedRedis, action: Callable[[ExternalRedis], object]) -> None:
    made = ExternalRedis("Redis", url=elsewhere.url())
    made.start(30)
    with pytest.raises(LacksCapability, match="external"):
        action(made)
    assert elsewhere.ping(30).pong


def test_unusable_values_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(UsageError, match=r"needs a URL, but none is given: .*REDIS_URL"):
        ExternalRedis("Redis")
    with pytest.raises(UsageError, match=r"needs a URL, but 'localhost:6379' is none: .*redis://"):
        ExternalRedis("Redis", url="localhost:6379")
    with pytest.raises(UsageError, match="redis://"):
        ExternalRedis("Redis", url="http://example.org")
    for url in ("redis://a:b@host:port", "redis://a:b@host:99999/0", "redis://a:b@host:0", "redis://a:b@[::1"):
        shown = re.escape(url.replace("a:b@", "") if "[" not in url else "[::1")
        with pytest.raises(UsageError, match=f"needs a URL, but '{shown}' is none: .*redis://"):
            ExternalRedis("Redis", url=url)
    with pytest.raises(UsageError, match="cannot be changed"):
        ExternalRedis("Redis", url="redis://127.0.0.1:1/0", settings={"maxmemory": "1"})


def test_one_that_is_not_there_is_waited_for() -> None:
    with pytest.raises(WaitTimeout, match="does not answer PING"):
        ExternalRedis("Redis", url="redis://127.0.0.1:1/0").start(0.1)


SUITE = """
*** Settings ***
Library           FaultLibrary
Library           RedisQueueLibrary
Library           RedisServiceLibrary
Suite Setup       Use It Through A Proxy
Test Teardown     Heal All

*** Test Cases ***
Read-Only
    Make Redis Read-Only

Kill
    Kill Redis

Looked At Before
    Skip If Redis Is External
    Fail    It is somebody else's.

Schedule
    Run Fault Schedule    at 0 s    kill redis

On The Way
    ${fault}    Add Latency    50 ms
    Should Be True    ${fault.proven}

*** Keywords ***
Use It Through A Proxy
    ${url}    Start Redis    service=external    server=%s
    ${through}    Start Fault Proxy    ${url}
    Open Queue    ${through}
"""


def test_in_a_suite_actions_on_a_running_system_are_skipped(elsewhere: EmbeddedRedis, tmp_path: Path) -> None:
    suite = tmp_path / "external.robot"
    suite.write_text(SUITE % elsewhere.url().replace("%", "\\%"))
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path), "--console", "none", str(suite)]
    run = prepared.run(command, timeout=180)
    result = ExecutionResult(str(tmp_path / "output.xml"))
    found = {test.name: (test.status, test.message) for test in result.suite.tests}
    assert [status for status, _ in found.values()] == ["SKIP", "SKIP", "SKIP", "SKIP", "PASS"], (found, run.stderr)
    assert all("external" in message for status, message in found.values() if status == "SKIP")
    assert elsewhere.ping(30).pong
