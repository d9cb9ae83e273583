"""The embedded Redis service, with the real server."""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from ocpp_resilience.errors import ServiceError, UsageError, WaitTimeout
from ocpp_resilience.ports import HOST, PORTS
from ocpp_resilience.redis.services import AppendOnly, EmbeddedRedis, RestartHow, ServiceKind, create_service, embedded
from ocpp_resilience.redis.services.base import describe_version
from ocpp_resilience.waiting import in_words, wait_until

START = 30.0
PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
Make = Callable[..., EmbeddedRedis]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes services and closes them."""
    made: list[EmbeddedRedis] = []

    def make_one(**options: object) -> EmbeddedRedis:
        made.append(EmbeddedRedis("Redis 'test'", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make_one
    for service in made:
        service.close()


@pytest.fixture
def service(make: Make) -> EmbeddedRedis:
    service = make()
    service.start(START)
    return service


def config(service: EmbeddedRedis, name: str) -> str:
    reply = service.command("CONFIG", "GET", name, timeout=PATIENCE)
    return str(reply[1])


def test_start_returns_when_ping_is_answered(make: Make) -> None:
    service = make()
    assert service.state == "was not started"
    effect = service.start(START)
    assert effect.proof == "PING: PONG"
    assert service.ping(PATIENCE).pong
    assert service.is_running
    assert service.state == "is running"
    assert service.url() == f"redis://127.0.0.1:{service.port}"
    assert service.url(3).endswith("/3")
    assert service.port in PORTS
    assert re.fullmatch(r"(valkey|redis) \d+\.\d+\.\d+.*", service.version)
    assert "eady to accept connections" in service.log_tail()


def test_writes_are_flushed_before_each_answer(service: EmbeddedRedis) -> None:
    assert config(service, "appendonly") == "yes"
    assert config(service, "appendfsync") == "always"
    assert config(service, "save") == ""


@pytest.mark.parametrize(
    ("append_only", "kept", "flushed"),
    [(AppendOnly.EVERYSEC, "yes", "everysec"), (AppendOnly.OFF, "no", "everysec")],
)
def test_how_writes_are_kept_can_be_set(make: Make, append_only: AppendOnly, kept: str, flushed: str) -> None:
    service = make(append_only=append_only)
    service.start(START)
    assert config(service, "appendonly") == kept
    assert config(service, "appendfsync") == flushed


def test_listens_on_loopback_only_and_keeps_its_data_private(service: EmbeddedRedis) -> None:
    listening = [c.laddr for c in psutil.Process(service.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", service.port)]
    assert stat.S_IMODE(Path(service.data_directory).parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("how", RestartHow)
def test_port_and_data_are_kept_over_a_restart(service: EmbeddedRedis, how: RestartHow) -> None:
    port, pid = service.port, service.pid
    for number in range(100):
        service.command("SET", f"key:{number}", "value", timeout=PATIENCE)
    service.restart(how, START)
    assert service.port == port
    assert service.pid != pid
    assert service.command("DBSIZE", timeout=PATIENCE) == 100


def test_stop_and_kill_prove_that_connections_are_refused(service: EmbeddedRedis) -> None:
    effect = service.stop(PATIENCE)
    assert effect.action == "stopped (status 0)"
    assert effect.proof == "PING: Connection refused"
    assert service.state == "exited with status 0"
    assert not service.is_running
    service.start(START)
    effect = service.kill()
    assert effect.action == "killed (status -9)"
    assert effect.proof == "PING: Connection refused"
    assert not service.ping().answered


def test_pause_proves_silence_and_resume_brings_it_back(service: EmbeddedRedis) -> None:
    effect = service.pause()
    assert effect.proof == "PING: no answer within 250 ms"
    assert service.state == "is paused"
    assert not service.is_running
    with pytest.raises(ServiceError, match=r"^Redis 'test' is paused already\.$"):
        service.start(START)
    service.resume(PATIENCE)
    assert service.ping(PATIENCE).pong
    with pytest.raises(ServiceError, match=r"^Redis 'test' is not paused\.$"):
        service.resume(PATIENCE)


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_paused_server_can_be_ended(service: EmbeddedRedis, action: str) -> None:
    service.pause()
    if action == "stop":
        service.stop(PATIENCE)
    else:
        service.kill()
    service.start(START)


@pytest.mark.parametrize("state", ["running", "paused", "stopped", "not started"])
def test_close_leaves_nothing_in_any_state(make: Make, state: str) -> None:
    service = make()
    pid = None
    if state != "not started":
        service.start(START)
        pid = service.pid
    if state == "paused":
        service.pause()
    if state == "stopped":
        service.stop(PATIENCE)
    service.close()
    service.close()
    assert pid is None or not psutil.pid_exists(pid)
    assert not Path(service.data_directory).parent.exists()


def test_a_stop_that_takes_too_long_is_reported(service: EmbeddedRedis) -> None:
    service.command("CONFIG", "SET", "appendonly", "no", timeout=PATIENCE)
    client = redis.Redis(host=service.host, port=service.port, protocol=2, socket_timeout=None)
    used = psutil.Process(service.pid).cpu_times().user
    client.connection_pool.get_connection().send_command("EVAL", "while true do end", 0)
    # Until it is at it, it would still listen to the signal.
    wait_until(
        lambda: psutil.Process(service.pid).cpu_times().user > used + 0.05 or None,
        timeout=PATIENCE,
        failure=lambda: "the script does not run",
    )
    with pytest.raises(
        WaitTimeout, match=r"^Redis 'test' \(process \d+\) had not ended 300 ms after SIGTERM and was killed\.$"
    ):
        service.stop(0.3)
    client.close()
    client.connection_pool.disconnect()
    assert not service.is_running


def test_another_port_is_taken_when_a_different_process_was_faster(
    make: Make, service: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the port of another Redis, which would answer PING, and that of something else."""
    with socket.create_server((HOST, 0)) as other:
        ports = [service.port, other.getsockname()[1], embedded.free_port()]
        monkeypatch.setattr(embedded, "free_port", lambda: ports.pop(0))
        second = make()
        second.start(START)
    assert ports == []
    assert second.port != service.port
    assert second.info("server")["process_id"] == str(second.pid)


def test_a_lost_port_is_named_at_a_later_start(service: EmbeddedRedis) -> None:
    service.stop(PATIENCE)
    with socket.create_server((HOST, service.port)):
        with pytest.raises(
            ServiceError, match=rf"(?s)ended with status 1 while starting at 127\.0\.0\.1:{service.port}.*in use"
        ):
            service.start(START)
        assert not service.is_running
    service.start(START)


def test_start_waits_until_the_data_is_loaded(make: Make) -> None:
    service = make(settings={"key-load-delay": "1000"})
    try:
        service.start(START)
    except ServiceError as error:
        if "Bad directive" not in str(error):
            raise
        pytest.skip("this Redis cannot slow its loading down")
    client = redis.Redis(host=service.host, port=service.port, protocol=2)
    client.mset({f"key:{number}": "x" for number in range(10)})
    with client.pipeline(transaction=False) as pipeline:
        for number in range(500):
            pipeline.set(f"one:{number}", "y")
        pipeline.execute()
    client.close()
    effect = service.restart(RestartHow.KILL, START)
    assert effect.took > 0.4
    assert service.command("DBSIZE", timeout=PATIENCE) == 510


def test_settings_hold_at_each_start(make: Make) -> None:
    service = make(settings={"maxmemory": "10mb", "requirepass": "s3cret/@"})
    service.start(START)
    assert config(service, "maxmemory") == str(10 * 1024**2)
    assert service.url(0) == f"redis://:s3cret%2F%40@127.0.0.1:{service.port}/0"
    with redis.Redis.from_url(service.url(), protocol=2) as client:
        assert client.ping()
    service.restart(RestartHow.GRACEFUL, START)
    assert config(service, "maxmemory") == str(10 * 1024**2)


def test_an_error_of_redis_is_an_answer_but_no_pong(service: EmbeddedRedis) -> None:
    service.command("CONFIG", "SET", "requirepass", "other", timeout=PATIENCE)
    ping = service.ping(PATIENCE)
    assert ping.answered
    assert not ping.pong
    assert ping.seen.startswith("-NOAUTH")
    with pytest.raises(ServiceError, match=r"^Redis 'test' did not run 'GET a': .*uthentication required\.$"):
        service.command("GET", "a", timeout=PATIENCE)


def test_a_setting_that_redis_refuses_is_shown(make: Make) -> None:
    service = make(settings={"maxmemory-policy": "much"})
    refused = r"^Redis 'test' does not accept the setting maxmemory-policy much: .*allkeys-lru.*\. Allowed is what is"
    with pytest.raises(UsageError, match=refused):
        service.start(START)
    assert service.state == "exited with status 1"


def test_settings_of_the_service_itself_are_refused(make: Make) -> None:
    with pytest.raises(UsageError, match=r"^Redis 'test': dir, port cannot be set, the service sets it itself\.$"):
        make(settings={"port": "1", "dir": "/"})


def test_a_server_that_never_answers_is_ended(make: Make, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho waiting for nothing\nexec sleep 600\n")
    program.chmod(0o755)
    service = make(binary=str(program))
    # A machine that is busy may take longer for the output than Redis is given to answer: it is given more then.
    for limit in (0.3, 1, 3, 9):
        with pytest.raises(WaitTimeout) as caught:
            service.start(limit)
        assert not psutil.pid_exists(service.pid)
        if "It wrote nothing." not in str(caught.value):
            break
    assert re.fullmatch(
        r"Redis 'test' did not answer PING at 127\.0\.0\.1:\d+, last seen: Connection refused "
        rf"\(waited {in_words(limit)}\)\. Its standard output ends with:\nwaiting for nothing",
        str(caught.value),
    )


def test_the_program_is_the_argument_then_the_environment_then_the_bundled_one(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("REDIS_SERVER", raising=False)
    bundled = make().binary
    assert bundled.name == "valkey-server"
    program = tmp_path / "mine"
    program.symlink_to(bundled)
    monkeypatch.setenv("REDIS_SERVER", str(program))
    assert make().binary == program
    monkeypatch.setenv("REDIS_SERVER", "/no/such/server")
    assert make(binary=str(program)).binary == program
    with pytest.raises(
        UsageError, match=r"^The environment variable REDIS_SERVER names '/no/such/server', which does not exist\."
    ):
        make()
    with pytest.raises(UsageError, match=r"^server names 'no-such-server', which does not exist\."):
        make(binary="no-such-server")
    plain = tmp_path / "plain"
    plain.write_text("")
    with pytest.raises(UsageError, match=r"which is not executable\."):
        make(binary=str(plain))


def test_a_service_that_was_not_started_says_so(make: Make) -> None:
    service = make()
    for look in (lambda: service.port, lambda: service.version, service.url):
        with pytest.raises(ServiceError, match=r"^Redis 'test' was not started"):
            look()


def test_the_kind_of_service_is_one_word() -> None:
    service = create_service(ServiceKind("embedded"), "Redis 'x'")
    assert isinstance(service, EmbeddedRedis)
    service.close()


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "valkey 9.1.2"),
        ({"redis_version": "7.0.15"}, "redis 7.0.15"),
    ],
)
def test_product_and_version(info: dict[str, str], version: str) -> None:
    assert describe_version(info) == version
