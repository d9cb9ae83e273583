"""Wiring and life cycle of one server process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import signal
import socket
from collections.abc import Iterator
from typing import Any, Protocol

import structlog
import uvicorn

from server import api
from server.api.guard import Guard, GuardedConnection
from server.config import Settings
from server.correlation.commands import Commands
from server.correlation.mailbox import Mailbox
from server.correlation.manager import CorrelationManager
from server.gateway.gateway import Gateway
from server.metrics import Metrics
from server.ocpp.parsed import ParsedMessages
from server.origins import Origins
from server.processor.processor import Processor
from server.processor.request_queue import Kind, RequestQueue
from server.processor.router import Router, UnshardedQueue
from server.processor.shards import ShardedProcessor, ShardOwnership
from server.redis.link import LONGEST_WAIT, RedisLink, RedisWire
from server.store.keys import Keys
from server.store.redis_store import RedisStateStore
from server.store.transaction_ids import TransactionIds

logger = structlog.get_logger()

SHUTDOWN_SECONDS = 4.0
"""Grace period in seconds of a shutdown, after which tasks are cancelled; a batch is committed long before."""
SHUTDOWN_SECONDS_AWAY = 2.0
"""The same while Redis is away: a task that waits for it waits in vain."""


class Part(Protocol):
    """A part of the server that runs until it is stopped."""

    async def run(self) -> None:
        """Work until `stop`."""

    def stop(self) -> None:
        """End `run` soon, with everything at hand brought to its end."""


class BindError(OSError):
    """A port cannot be had; the message names the address and why."""


class _HttpServer(uvicorn.Server):
    """uvicorn without its own signal handling: the application decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class App:
    """One server process: its parts, started together and stopped in order.

    Args:
        settings: see `Settings`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        keys = Keys(settings.key_prefix, settings.queue_name)
        self.link = RedisLink(
            settings.redis_address(), reply_timeout=settings.redis_timeout, wait_replicas=settings.redis_wait_replicas
        )
        self.metrics = Metrics()
        # The random part makes the name new in each life: a process must never be taken for its predecessor.
        self.instance = f"{settings.server_id}.{secrets.token_hex(4)}"
        self.commands = Commands(
            self.link,
            keys,
            CorrelationManager(),
            instance=self.instance,
            server_id=settings.server_id,
            timeout=settings.correlation_timeout,
            longest_answer=settings.max_message_bytes,
            metrics=self.metrics,
        )
        self.store = RedisStateStore.open(self.link.address, keys, reply_timeout=settings.redis_timeout, connections=4)
        self.link.adopt(self.store.client)
        self._keys = keys
        self._transaction_ids = TransactionIds(self.link.client, keys)
        self._parsed = ParsedMessages() if settings.has_gateway and settings.has_processor else None
        self.processor = self._make_processor(keys) if settings.has_processor else None
        self._parts: dict[str, Part] = {}
        if self.processor is not None:
            self._parts["processor"] = self.processor
        self.gateway = self._make_gateway(keys) if settings.has_gateway else None
        if self.gateway is not None:
            self._parts["gateway"] = self.gateway
        self._parts["mailbox"] = self.mailbox = Mailbox(
            self.link,
            keys,
            server_id=settings.server_id,
            on_wake=self.gateway.wake if self.gateway is not None else lambda _woken: None,
            on_subscribed=self.gateway.check if self.gateway is not None else lambda: None,
            on_answers=self.commands.look,
            on_session=self.commands.session_changed,
            on_delivery=self.gateway.delivered if self.gateway is not None else None,
        )
        self.metrics.gauge("ocpp_redis_connected", "1 while Redis answers", lambda: self.link.healthy)
        self.metrics.gauge("ocpp_redis_reconnects", "Times Redis came back", lambda: self.link.reconnects)
        # After the mailbox: commands are refused before the answers of the others stop coming.
        self._parts["commands"] = self.commands
        self._stop = asyncio.Event()

    def _make_processor(self, keys: Keys) -> Processor | ShardedProcessor:
        settings = self._settings
        processor: Processor | ShardedProcessor
        if settings.queue_shards == 1:
            processor = self._processor_of(RequestQueue(*self._wires(), keys, **self._queue_options()))
        else:
            share = ShardOwnership(
                self.link.wire(),
                keys,
                consumer=self.instance,
                shards=settings.queue_shards,
                lease=settings.lease_seconds,
            )
            unsharded = UnshardedQueue(*self._wires(), keys, shards=settings.queue_shards, **self._queue_options())
            processor = ShardedProcessor(self.link, share, Router(self.link, unsharded), self._processor_of_shard)
            for number in range(settings.queue_shards):
                self.metrics.gauge(
                    "ocpp_shard_owned",
                    "1 while this instance owns the shard of the request queue",
                    functools.partial(processor.owns, number),
                    labels={"shard": str(number)},
                )
            self.metrics.gauge(
                "ocpp_router_owned",
                "1 while this instance moves what waits on the request queue to the shards",
                lambda: processor.router.owner,
            )
        self.metrics.gauge("ocpp_queue_depth", "Messages waiting", lambda: processor.depth or 0)
        return processor

    def _processor_of_shard(self, number: int) -> Processor:
        name = self._keys.shard(number)
        queue = RequestQueue(*self._wires(), self._keys, name=name, kind=Kind.SHARD, **self._queue_options())
        return self._processor_of(queue, number)

    def _wires(self) -> tuple[RedisWire, RedisWire]:
        return self.link.wire(), self.link.wire(wait=LONGEST_WAIT)

    def _queue_options(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "consumer": self.instance,
            "lease": settings.lease_seconds,
            "longest_message": settings.max_message_bytes,
            "replicas": settings.redis_wait_replicas,
        }

    def _processor_of(self, queue: RequestQueue, shard: int | None = None) -> Processor:
        settings = self._settings
        return Processor(
            self.link,
            self._keys,
            queue,
            server_id=settings.server_id,
            longest_message=settings.max_message_bytes,
            require_boot=settings.require_boot,
            metrics=self.metrics,
            commands=self.commands,
            ids=self._transaction_ids,
            parsed=self._parsed,
            shard=shard,
        )

    def _origins(self, bound_to: str) -> Origins:
        settings = self._settings
        return Origins(origins=settings.allowed_origins, hosts=settings.allowed_hosts, bound_to=bound_to)

    def _make_gateway(self, keys: Keys) -> Gateway:
        settings = self._settings
        return Gateway(
            self.link,
            keys,
            instance=self.instance,
            shards=settings.queue_shards,
            server_id=settings.server_id,
            longest_message=settings.max_message_bytes,
            ping_interval=settings.ping_interval,
            credentials=settings.credentials(),
            tls=settings.tls(),
            metrics=self.metrics,
            origins=self._origins(settings.ws_host),
            message_rate=settings.ws_message_rate,
            parsed=self._parsed,
        )

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`.

        Raises:
            BindError: the HTTP or the WebSocket port cannot be had.
        """
        settings = self._settings
        listener = _bind("HTTP_HOST and HTTP_PORT", settings.http_host, settings.http_port)
        ws_port = None
        if self.gateway is not None:
            try:
                ws_port = self.gateway.bind(_bind("WS_HOST and WS_PORT", settings.ws_host, settings.ws_port))
            except BindError:
                listener.close()
                raise
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, self.stop, signal_number.name)
        guard = Guard(settings.http_timeout)
        http = _HttpServer(
            uvicorn.Config(
                api.create(
                    api.Parts(self.link, self._keys, self.processor, self.metrics, self.store, self.commands),
                    api_token=self._settings.api_token,
                    origins=self._origins(settings.http_host),
                ),
                http=functools.partial(GuardedConnection, guard=guard),  # type: ignore[arg-type]
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(http.serve(sockets=[listener]), name="http")
                running = [tasks.create_task(part.run(), name=name) for name, part in self._parts.items()]
                running.append(
                    tasks.create_task(self.link.watch(f"{self._keys.requests}:absent", self._stop), name="primary")
                )
                logger.info(
                    "ready",
                    role=self._settings.role,
                    server_id=self._settings.server_id,
                    http_host=self._settings.http_host,
                    http_port=listener.getsockname()[1],
                    ws_port=ws_port,
                )
                await self._stop.wait()
                for part in self._parts.values():
                    part.stop()
                guard.hold()
                http.should_exit = True
                limit = SHUTDOWN_SECONDS if self.link.healthy else SHUTDOWN_SECONDS_AWAY
                _, late = await asyncio.wait([serving, *running], timeout=limit)
                for task in late:
                    logger.error("shutdown_late", task=task.get_name())
                    task.cancel()
        finally:
            guard.report()
            await self.store.close()
            await self.link.close()
            listener.close()
        logger.info("stopped")

    def stop(self, reason: str = "asked to") -> None:
        """End `run`: no new batch, the one at hand committed, connections closed."""
        if not self._stop.is_set():
            logger.info("stopping", reason=reason)
            self._stop.set()


def _bind(setting: str, host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except (OSError, UnicodeError) as error:
        raise BindError(f"{setting}: {host}:{port} cannot be bound: {error}") from None
    listener.setblocking(False)
    return listener
