"""The WebSocket of one charge point of a load: opened, kept open, and opened again when it is lost."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from picows import WSCloseCode, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from ocpp_resilience.load.limits import own_limit
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.recorder import Recorder
from ocpp_resilience.load.result import Times

RETRY_SECONDS = (0.05, 2.0)
"""First and longest pause between two attempts to connect; a charge point draws its pause from within."""


@dataclass(slots=True, kw_only=True)
class Network:
    """State shared by all connections of a process.

    Attributes:
        plan: of the load.
        recorder: counts opened, lost and refused connections.
        chance: draws the pauses between attempts.
        spawn: runs a coroutine as a task with an owner.
        broke: called with an internal error, which ends the run.
        tls: for `wss://`.
        blackout: all connections were cut on purpose, and not all are open again.
        closing: nothing is opened any more.
    """

    plan: Plan
    recorder: Recorder
    chance: random.Random
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    broke: Callable[[BaseException], None]
    tls: ssl.SSLContext | None = None
    blackout: bool = False
    closing: bool = False

    def pause(self, longest: float) -> float:
        """Seconds until the next attempt."""
        return self.chance.uniform(longest / 2, longest)


class Owner(Protocol):
    """The owner of a connection."""

    def received(self, data: bytes, at: float) -> None:
        """A text message came."""

    def received_binary(self, data: bytes) -> None:
        """A binary message came."""

    def connection_lost(self) -> None:
        """The connection is gone."""

    def connected_again(self) -> None:
        """The connection is open again after it was lost."""


class Connection(WSListener):
    """A connection that is opened again when it is lost.

    Args:
        network: the state shared by the connections.
        owner: whose it is.
        cp: the charge point id.
        number: chooses its source address among several.
    """

    def __init__(self, network: Network, owner: Owner, cp: str, number: int) -> None:
        self._network = network
        self._owner = owner
        self._url = network.plan.url_of(cp)
        addresses = network.plan.local_addresses
        self._source = (addresses[number % len(addresses)], 0) if addresses else None
        self._transport: WSTransport | None = None
        self._planned_close = False
        self._opening = False
        self._connecting = False
        self._fragments: list[bytes] = []
        self._binary = False

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._transport is not None and not self._planned_close

    @property
    def there(self) -> bool:
        """Whether there is a connection, be it about to be closed."""
        return self._transport is not None

    def send(self, data: bytes) -> None:
        """Send a text message, if there is a connection."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, data)

    async def connect(self, times: Times) -> bool:
        """Open it once; errors are counted by kind.

        Args:
            times: takes in how long it took.

        Returns:
            Whether it is open.
        """
        self._opening = True
        try:
            return await self._connect(times)
        finally:
            self._opening = False

    async def _connect(self, times: Times) -> bool:
        plan, recorder = self._network.plan, self._network.recorder
        began = time.monotonic()
        try:
            transport, _ = await ws_connect(
                lambda: self,
                self._url,
                ssl_context=self._network.tls,
                websocket_handshake_timeout=plan.timeout,
                extra_headers={"Sec-WebSocket-Protocol": plan.subprotocol},
                disconnect_on_exception=False,
                max_redirects=0,
                local_addr=self._source,
            )
        except WSHandshakeError as error:
            status = error.response.status if error.response else "no answer"
            recorder.failures[f"connection refused: {getattr(status, 'value', status)}"] += 1
            return False
        except (OSError, TimeoutError, MemoryError) as error:
            limit = own_limit(error, plan)
            if limit is None:
                recorder.failures[f"connection refused: {type(error).__name__}"] += 1
            else:
                recorder.limit(limit)
            return False
        times.add(time.monotonic() - began)
        if transport.is_disconnected or transport.response is None:
            return False  # it was lost as soon as it was open
        if transport.response.headers.get("Sec-WebSocket-Protocol") != plan.subprotocol:
            recorder.failures["connection refused: other subprotocol"] += 1
            self._transport = None
            recorder.closed()
            transport.disconnect()
            return False
        return True

    async def stay_connected(self, *, at_once: bool) -> None:
        """Open it again and again until that works, with pauses that grow and are drawn by chance."""
        if self._connecting:
            return
        self._connecting = True
        network = self._network
        pause = RETRY_SECONDS[0]
        try:
            if not at_once and not network.blackout:
                await asyncio.sleep(network.chance.uniform(0, pause))
            while not network.closing and self._transport is None:
                if await self.connect(network.recorder.times["reconnecting"]):
                    self._owner.connected_again()
                    return
                await asyncio.sleep(network.pause(pause))
                pause = min(2 * pause, RETRY_SECONDS[1])
        finally:
            self._connecting = False

    def reconnect(self) -> None:
        """Close it cleanly; it is reopened immediately."""
        if self._transport is not None:
            self._planned_close = True
            self._transport.send_close(WSCloseCode.OK)  # the server answers it, and `on_ws_frame` disconnects

    def cut(self) -> None:
        """Cut it without a closing handshake."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    async def close(self, limit: float) -> None:
        """Close it cleanly, or cut it after this many seconds."""
        transport = self._transport
        if transport is None:
            return
        transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(limit):
                await transport.wait_disconnected()
        except TimeoutError:
            transport.disconnect(graceful=False)

    # --- what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The WebSocket is open."""
        self._transport = transport
        self._planned_close = False
        self._fragments.clear()
        self._network.recorder.opened()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The WebSocket is closed."""
        if self._transport is not transport:
            return
        self._transport = None
        network = self._network
        network.recorder.closed()
        if network.closing:
            return
        if self._opening:  # lost before `connect` returned; its caller tries again
            return
        planned, self._planned_close = self._planned_close, False
        if not planned and not network.blackout:
            network.recorder.failures["connection lost"] += 1
        self._owner.connection_lost()
        network.spawn(self.stay_connected(at_once=planned))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame has arrived."""
        at = time.monotonic()
        try:
            kind = frame.msg_type
            if kind is WSMsgType.TEXT and frame.fin:
                self._owner.received(frame.get_payload_as_bytes(), at)
            elif kind is WSMsgType.TEXT or kind is WSMsgType.BINARY or kind is WSMsgType.CONTINUATION:
                self._part(frame, at)
            elif kind is WSMsgType.CLOSE:
                if not transport.is_close_frame_sent:
                    transport.send_close(WSCloseCode.OK)
                transport.disconnect()
        except Exception as error:  # noqa: BLE001 - a mistake in here has to end the run, not to be logged by picows
            self._network.broke(error)

    def _part(self, frame: WSFrame, at: float) -> None:
        """A fragment of a message, or a binary one."""
        if frame.msg_type is not WSMsgType.CONTINUATION:
            self._binary = frame.msg_type is WSMsgType.BINARY
            self._fragments.clear()
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            whole = b"".join(self._fragments)
            self._fragments.clear()
            if self._binary:
                self._owner.received_binary(whole)
            else:
                self._owner.received(whole, at)
