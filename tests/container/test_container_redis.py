"""The container service against a real Docker: `make containers`. CI starts a Docker where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from ocpp_resilience.errors import ServiceError, UsageError
from ocpp_resilience.redis.services import AppendOnly, RestartHow, ServiceKind, create_service
from ocpp_resilience.redis.services.container import OLDEST_DOCKER_API, ContainerRedis

START = 30.0


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    """Docker itself."""
    client = docker.from_env(version=OLDEST_DOCKER_API, timeout=10)
    try:
        yield client
    finally:
        client.close()


def _containers(client: docker.DockerClient) -> set[str]:
    return {each.id for each in client.containers.list(all=True)}


@pytest.fixture
def service() -> Iterator[ContainerRedis]:
    made = create_service(ServiceKind.CONTAINER, "Redis 'test'")
    assert isinstance(made, ContainerRedis)
    try:
        made.start(START)
        yield made
    finally:
        made.close()


def test_an_acknowledged_write_survives_kill_and_the_port_stays(service: ContainerRedis) -> None:
    port, pid = service.port, service.pid
    service.command("SET", "key", "value", timeout=2)
    assert service.kill().proof.endswith("refused")
    assert not service.is_there
    assert service.state == "exited with status 137"
    service.start(START)
    assert service.command("GET", "key", timeout=2) == "value"
    assert service.port == port
    assert service.pid != pid


def test_it_listens_on_loopback_only(service: ContainerRedis) -> None:
    bindings = service._inspected()["NetworkSettings"]["Ports"]["6379/tcp"]
    assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]


@pytest.mark.parametrize("how", RestartHow)
def test_a_restart_keeps_the_data(service: ContainerRedis, how: RestartHow) -> None:
    service.command("SET", "key", how.value, timeout=2)
    effect = service.restart(how, START)
    assert service.command("GET", "key", timeout=2) == how.value
    assert "refused" in effect.proof
    assert effect.proof.endswith("PONG")


def test_paused_it_answers_nothing_and_then_goes_on(service: ContainerRedis) -> None:
    service.command("SET", "key", "value", timeout=2)
    assert service.pause().proof.startswith("PING: no answer")
    assert service.is_there
    assert not service.is_running
    service.resume(START)
    assert service.command("GET", "key", timeout=2) == "value"


def test_a_paused_one_can_be_killed(service: ContainerRedis) -> None:
    service.pause()
    assert service.kill().proof.endswith("refused")


def test_impossible_actions_are_reported(service: ContainerRedis) -> None:
    with pytest.raises(ServiceError, match=r"^Redis 'test' is running already\.$"):
        service.start(START)
    with pytest.raises(ServiceError, match=r"^Redis 'test' is not paused\.$"):
        service.resume(START)
    service.stop(START)
    with pytest.raises(ServiceError, match=r"^Cannot pause Redis 'test': it exited with status 0\.$"):
        service.pause()


def test_close_removes_the_container(service: ContainerRedis, docker_client: docker.DockerClient) -> None:
    container = service._wrapped().id
    service.close()
    assert container not in _containers(docker_client)
    assert not service.ping().answered


def test_a_setting_that_redis_refuses_shows_its_log(docker_client: docker.DockerClient) -> None:
    before = _containers(docker_client)
    service = ContainerRedis("Redis 'test'", settings={"maxmemory": "much"})
    with pytest.raises(ServiceError, match=r"(?s)^Redis 'test' exited with status 1 while starting\..*maxmemory"):
        service.start(START)
    assert _containers(docker_client) == before


def test_append_only_and_settings_reach_redis() -> None:
    service = ContainerRedis("Redis 'test'", append_only=AppendOnly.OFF, settings={"maxmemory": "10mb"})
    try:
        service.start(START)
        assert service.command("CONFIG", "GET", "appendonly", timeout=2) == ["appendonly", "no"]
        assert service.command("CONFIG", "GET", "maxmemory", timeout=2) == ["maxmemory", str(10 * 2**20)]
    finally:
        service.close()


def test_a_missing_image_is_named() -> None:
    service = ContainerRedis("Redis 'test'", image="localhost:1/no-such-image:1")
    with pytest.raises((UsageError, ServiceError), match="no-such-image"):
        service.start(START)
    service.close()
