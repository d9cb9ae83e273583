"""Fixtures: a shared Redis, private ones, server processes and relays. Each ends its own processes, by id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import shared_machine  # noqa: F401
from harness import START_SECONDS, Relay, ServerProcess, StartRedis, StartServer, connect

from ocpp_resilience.redis.services import AppendOnly, EmbeddedRedis


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop of the server."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[EmbeddedRedis]:
    """One Redis for all tests that do nothing to it that `FLUSHALL` does not undo."""
    service = EmbeddedRedis("Redis 'shared'", append_only=AppendOnly.OFF)
    try:
        service.start(START_SECONDS)
        yield service
    finally:
        service.close()


@pytest.fixture
def redis_url(shared_redis: EmbeddedRedis) -> str:
    """The shared Redis, emptied, scripts too."""
    with connect(shared_redis.url()) as client:
        client.flushall()
        client.script_flush()
    return shared_redis.url()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the shared Redis, and its settings put back at the end."""
    with connect(redis_url) as connection:
        yield connection
        connection.replicaof("NO", "ONE")
        connection.config_set("maxmemory", 0)
        connection.config_set("maxmemory-policy", "noeviction")


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """Start a private Redis, with every acknowledged write on disk."""
    services: list[EmbeddedRedis] = []

    def start(*, append_only: AppendOnly = AppendOnly.ALWAYS, **settings: str) -> EmbeddedRedis:
        service = EmbeddedRedis(f"Redis '{len(services)}'", append_only=append_only, settings=settings)
        services.append(service)
        service.start(START_SECONDS)
        return service

    yield start
    for service in services:
        service.close()


@pytest.fixture
def make_server() -> Iterator[StartServer]:
    """Make a server process, not started yet; it is ended after the test, and must have written nothing to standard
    error."""
    servers: list[ServerProcess] = []

    def make(redis_url: str, name: str | None = None, **settings: str) -> ServerProcess:
        server = ServerProcess(name or f"server-{len(servers)}", redis_url, **settings)
        servers.append(server)
        return server

    yield make
    complaints = {server.process.name: server.stderr for server in servers if server.stderr}
    for server in servers:
        server.process.close()
    assert not complaints


@pytest.fixture
def start_server(make_server: StartServer) -> StartServer:
    """Start a server process and wait until it listens."""
    return lambda redis_url, name=None, **settings: make_server(redis_url, name, **settings).start()


@pytest.fixture
def start_relay() -> Iterator[Callable[[int], Relay]]:
    """Start a relay to a port of this machine."""
    relays: list[Relay] = []

    def start(port: int) -> Relay:
        relays.append(Relay(port))
        return relays[-1]

    yield start
    for relay in relays:
        relay.close()
