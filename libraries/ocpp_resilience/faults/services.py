"""Redis and the server as targets of faults: stopped, killed, paused."""

from __future__ import annotations

from collections.abc import Callable

from ocpp_resilience.faults.injection import Fault, Proof
from ocpp_resilience.ports import HOST, wait_until_refused
from ocpp_resilience.redis.services import Effect, RedisService
from ocpp_resilience.redis.services.base import PATIENT_PING_LIMIT, PING_LIMIT
from ocpp_resilience.system.server import OcppServer

LIMIT = 15.0
"""Seconds that ending, starting and resuming may take."""


def redis_fault(service: RedisService, how: str) -> Fault:
    """Redis is stopped, killed or paused (`how`), and started or resumed again at the end."""
    effects: list[Effect] = []
    begin: dict[str, Callable[[], Effect]] = {
        "stop": lambda: service.stop(LIMIT),
        "kill": service.kill,
        "pause": service.pause,
    }

    def end() -> None:
        if how == "pause":
            if service.is_there and not service.is_running:
                effects.append(service.resume(LIMIT))
        elif not service.is_there:
            effects.append(service.start(LIMIT))

    def prove() -> Proof:
        # One that still runs has to show that it answers; the machine may hold it up for a moment.
        seen = service.ping(PATIENT_PING_LIMIT if service.is_running else PING_LIMIT)
        return not seen.answered, f"PING: {seen.seen}"

    return Fault(
        f"{how} redis",
        service.name,
        lambda: effects.append(begin[how]()),
        prove,
        end,
        lambda: effects[-1].proof,
    )


def server_fault(server: OcppServer, how: str) -> Fault:
    """The server is stopped, killed or paused (`how`), and started or resumed again at the end."""
    ports: list[int] = []

    def begin() -> None:
        ports.append(server.http_port)
        {"stop": server.stop, "kill": server.kill, "pause": server.pause}[how]()

    def prove() -> Proof:
        if how == "pause":
            return server.process.paused, "process stopped" if server.process.paused else "process runs"
        seen = wait_until_refused(server.name, ports[0], host=HOST, timeout=2)
        return True, f"ended with status {server.process.exit_status}; HTTP port: {seen}"

    def end() -> None:
        if how == "pause":
            if server.process.paused:
                server.resume(LIMIT)
        elif not server.process.alive:
            server.start(LIMIT)

    return Fault(f"{how} server", server.name, begin, prove, end, lambda: f"listens at {server.url}")
