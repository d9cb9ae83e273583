"""A system under test in a container, against a real Docker: `make containers`. Redis' own image is the system here."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import docker
import pytest

from ocpp_resilience.ports import HOST, free_port
from ocpp_resilience.redis.services.container import DEFAULT_IMAGE, IMAGE_VARIABLE, OLDEST_DOCKER_API
from ocpp_resilience.system.container_process import ContainerProcess
from ocpp_resilience.waiting import wait_until

PING, PONG = b"PING\r\n", b"+PONG\r\n"


def ask(port: int, timeout: float = 1.0) -> bytes | None:
    """The answer to PING; `None` without one."""
    try:
        with socket.create_connection((HOST, port), timeout) as connection:
            connection.sendall(PING)
            return connection.recv(len(PONG))
    except OSError:
        return None


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def container(port: int) -> Iterator[ContainerProcess]:
    process = ContainerProcess("System 'test'", os.environ.get(IMAGE_VARIABLE) or DEFAULT_IMAGE)
    try:
        start(process, port)
        yield process
    finally:
        process.close()


def start(process: ContainerProcess, port: int) -> None:
    process.start(["redis-server", "--bind", HOST, "--port", str(port)], environment={"GREETING": "a word"})
    wait_until(lambda: True if ask(port) == PONG else None, timeout=30, failure=process.output_tail)


def test_it_is_found_at_the_port_of_the_host_and_its_output_is_kept(container: ContainerProcess, port: int) -> None:
    assert container.alive
    wait_until(
        lambda: True if f"port={port}" in container.stdout.read_text() else None,
        timeout=10,
        failure=lambda: f"the output: {container.stdout.read_text()!r}",
    )


def test_kill_ends_it_at_once_and_it_can_be_started_again(container: ContainerProcess, port: int) -> None:
    assert container.kill().status == 137
    assert ask(port) is None
    start(container, port)


def test_sigterm_reaches_the_program(container: ContainerProcess, port: int) -> None:
    assert container.stop(10).status == 0
    assert "SIGTERM" in container.stdout.read_text()
    assert ask(port) is None


def test_paused_it_does_not_answer_and_resumed_it_does(container: ContainerProcess, port: int) -> None:
    container.pause()
    assert container.paused
    assert ask(port) is None
    container.resume()
    assert ask(port) == PONG


def test_closing_removes_it(container: ContainerProcess) -> None:
    container.pause()
    container.close()
    client = docker.from_env(version=OLDEST_DOCKER_API, timeout=10)
    try:
        assert not client.containers.list(all=True, filters={"name": container.container})
    finally:
        client.close()
