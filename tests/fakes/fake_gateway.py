"""A stand-in for a gateway: it answers as a test says, sends commands, and hangs up when told to."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ocpp_resilience import background
from ocpp_resilience.clock import rfc3339

NOW = "now"
ACCEPTED = {
    "Authorize": {"idTagInfo": {"status": "Accepted"}},
    "BootNotification": {"currentTime": NOW, "interval": 300, "status": "Accepted"},
    "Heartbeat": {"currentTime": NOW},
    "DataTransfer": {"status": "UnknownVendorId"},
    "StopTransaction": {"idTagInfo": {"status": "Accepted"}},
    "StartTransaction": {"transactionId": 7, "idTagInfo": {"status": "Accepted"}},
}


class FakeGateway:
    """Answers every CALL on `/ocpp/{id}`.

    Attributes:
        silent: actions that are not answered.
        unheard: charge points that get no answer.
        refused: actions that are answered with the CALLERROR NotSupported.
        deaf_after: a frame after which a connection is not answered any more.
        password: what Basic authentication has to bring, if not `None`.
        received: what each charge point sent.
        connections: the connection of each charge point.
        newest_wins: whether an older connection of the same charge point is closed.
        answer_twice: whether every CALL is answered two times.
    """

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.unheard: set[str] = set()
        self.refused: set[str] = set()
        self.answers: dict[str, Any] = dict(ACCEPTED)
        self.password: str | None = None
        self.received: dict[str, list[Any]] = {}
        self.connections: dict[str, ServerConnection] = {}
        self.deaf_after: str | None = None
        self.newest_wins = False
        self.answer_twice = False
        self._server: Server | None = None

    async def _open(self, tls: ssl.SSLContext | None) -> None:
        self._scheme = "ws" if tls is None else "wss"
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            ssl=tls,
            subprotocols=[Subprotocol("ocpp1.6")],
            process_request=self._check,
            max_size=256 * 1024,
            close_timeout=1,
        )

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"{self._scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        if not request.path.startswith("/ocpp/"):
            return connection.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        if self.password is not None:
            point = unquote(request.path.rpartition("/")[2])
            token = base64.b64encode(f"{point}:{self.password}".encode()).decode()
            if request.headers.get("Authorization") != f"Basic {token}":
                return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong password\n")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        point = unquote(connection.request.path.rpartition("/")[2])
        older = self.connections.get(point)
        self.connections[point] = connection
        if older is not None and self.newest_wins:
            await older.close(1008, "replaced by a newer connection")
        deaf = False
        async for data in connection:
            self.received.setdefault(point, []).append(data)
            deaf = deaf or data == self.deaf_after
            if deaf or point in self.unheard:
                continue
            with contextlib.suppress(ValueError):
                await self._answer(connection, json.loads(data))

    async def _answer(self, connection: ServerConnection, frame: Any) -> None:
        if not isinstance(frame, list) or len(frame) != 4 or frame[0] != 2:
            return
        _, message_id, action, _ = frame
        if action in self.silent:
            return
        if action in self.refused:
            await connection.send(json.dumps([4, message_id, "NotSupported", "not here", {}]))
        else:
            answer = self.answers.get(action, {})
            if isinstance(answer, dict) and answer.get("currentTime") == NOW:
                answer = answer | {"currentTime": rfc3339()}
            for _ in range(1 + self.answer_twice):
                await connection.send(json.dumps([3, message_id, answer]))

    def send(self, point: str, frame: Any) -> None:
        """Send a frame to a charge point: text or bytes as they are, anything else as JSON."""
        background.run(self.connections[point].send, frame if isinstance(frame, str | bytes) else json.dumps(frame))

    def hang_up(self, point: str, code: int = 1000, reason: str = "") -> None:
        """End the connection of a charge point."""
        background.run(self.connections[point].close, code, reason)

    def frames(self, point: str) -> list[Any]:
        """The parsed frames of a charge point."""
        return [json.loads(data) for data in list(self.received.get(point, []))]


@contextlib.contextmanager
def fake_gateway(tls: ssl.SSLContext | None = None) -> Iterator[FakeGateway]:
    """A gateway on a free port of 127.0.0.1."""
    gateway = FakeGateway()
    background.run(gateway._open, tls)
    try:
        yield gateway
    finally:
        background.run(gateway._close)
