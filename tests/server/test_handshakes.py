"""Refused connections, by the hundred and half-way: counted, logged in part, and closed in time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import signal
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
import trustme
from harness import SOON, ServerProcess, StartServer, app, soon
from test_gateway import ask, plugged

from server.gateway import gateway
from server.rate_limited_log import MOST

pytestmark = pytest.mark.anyio

ATTEMPTS = 60


def request(path: str = "/ocpp/CP-1", *headers: str, offered: str = "ocpp1.6") -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {offered}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def basic(user: str, password: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


GOOD = basic("CP-1", "right")

REFUSED = {
    "path": request("/other/CP-1?token=secret"),
    "origin": request("/ocpp/CP-1", GOOD, "Origin: http://elsewhere.example"),
    "charge_point_id": request("/ocpp/A%3AB"),
    "credentials": request("/ocpp/CP-1", basic("CP-1", "wrong")),
    "subprotocol": request("/ocpp/CP-1", GOOD, offered="ocpp1.5"),
    "request": b"HELO there\r\n\r\n",
    "closed": b"GET /ocpp/CP-1 HT",
}


@pytest.fixture
def server(redis_url: str, start_server: StartServer, tmp_path: Path) -> ServerProcess:
    path = tmp_path / "credentials"
    path.write_text(f"CP-1:{hashlib.sha256(b'right').hexdigest()}\n")
    server = start_server(redis_url, "gw", WS_CREDENTIALS=str(path))
    server.wait_healthy()
    return server


async def attempt(server: ServerProcess, sent: bytes, *, stay: bool = True) -> bytes:
    """Connect, send this, and return the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ws_port)
    try:
        writer.write(sent)
        if not stay:
            writer.write_eof()
        async with asyncio.timeout(SOON):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def refused(server: ServerProcess) -> dict[str, float]:
    """By reason, as the metrics have it."""
    _, text, _ = server.get("/metrics")
    found = re.findall(r'^ocpp_gateway_handshakes_refused_total\{reason="(.*)"\} (\S+)$', text, re.MULTILINE)
    return {reason: float(count) for reason, count in found}


async def test_many_refused_connections_are_counted_in_full_and_logged_in_part(server: ServerProcess) -> None:
    expected = dict.fromkeys(REFUSED, float(ATTEMPTS))
    for _ in range(ATTEMPTS // 20):
        await asyncio.gather(
            *(attempt(server, sent, stay=reason != "closed") for reason, sent in REFUSED.items() for _ in range(20))
        )
    await soon(lambda: refused(server) == expected, lambda: f"counted: {refused(server)}")
    async with plugged(server, "CP-1", additional_headers=dict([GOOD.split(": ")])) as connection:
        await ask(connection, "1", "Heartbeat")
    # It ends with what is not yet told.
    server.signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait_for_exit, SOON) == 0
    written = Counter(record["reason"] for record in server.records("connection_refused"))
    left_out: Counter[str] = Counter()
    for record in server.records("connections_refused"):
        left_out[record["reason"]] += record["left_out"]
    assert written + left_out == Counter(dict.fromkeys(REFUSED, ATTEMPTS))
    # The second in which a record was written, and the one behind it, bound how many there are.
    seconds = Counter((record["reason"], record["timestamp"][:19]) for record in server.records("connection_refused"))
    assert max(seconds.values()) <= 2 * MOST
    assert not server.records("library")


async def test_the_record_has_charge_point_and_reason(server: ServerProcess) -> None:
    for sent in REFUSED.values():
        await attempt(server, sent, stay=sent != REFUSED["closed"])
    await soon(lambda: len(server.records("connection_refused")) == len(REFUSED), "not all are logged")
    found = {record["reason"]: record for record in server.records("connection_refused")}
    assert {reason: record["status"] for reason, record in found.items()} == {
        "path": 404,
        "origin": 403,
        "charge_point_id": 400,
        "credentials": 401,
        "subprotocol": 400,
        "request": None,
        "closed": None,
    }
    assert found["credentials"]["charge_point_id"] == "CP-1"
    assert found["path"]["path"] == "'/other/CP-1'"
    assert "ocpp1.6" in found["subprotocol"]["error"]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", record["remote_addr"]) for record in found.values())


async def test_two_authorization_headers_are_no_credentials(server: ServerProcess) -> None:
    reply = await attempt(server, request("/ocpp/CP-1", GOOD, GOOD))
    assert reply.startswith(b"HTTP/1.1 401 ")
    assert not server.records("library")


async def test_subprotocols_in_two_headers_are_one_list(server: ServerProcess) -> None:
    """RFC 6455 section 11.3.4."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ws_port)
    writer.write(request("/ocpp/CP-1", "Sec-WebSocket-Protocol: ocpp1.6", GOOD, offered="ocpp1.5"))
    assert b"101 Switching" in await reader.readuntil(b"\r\n\r\n")
    writer.close()


@asynccontextmanager
async def certificate(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    yield {"tls_certificate": str(certificate), "tls_key": str(key)}


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("phase", ["nothing", "a piece", "most"])
async def test_a_handshake_that_stops_half_way_is_given_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secure: bool, phase: str
) -> None:
    monkeypatch.setattr(gateway, "OPEN_SECONDS", 0.2)
    whole = client_hello() if secure else request()
    sent = {"nothing": b"", "a piece": whole[:10], "most": whole if secure else whole[:-2]}[phase]
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with certificate(tmp_path) as files, app(redis_url, **(files if secure else {})) as made:
        assert made.gateway is not None
        port = made.gateway.bind(listener)
        serving = asyncio.create_task(made.gateway.run())
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(SOON):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.close()
            assert not made.gateway._opening
        finally:
            made.gateway.stop()
            await asyncio.wait_for(serving, SOON)


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_a_handshake_that_stops_half_way_does_not_hold_up_the_end(
    redis_url: str, client: redis.Redis, start_server: StartServer, tmp_path: Path, secure: bool
) -> None:
    """Otherwise the shutdown is incomplete: sessions are removed, and received messages are pushed."""
    async with certificate(tmp_path) as files:
        settings = {name.upper(): path for name, path in files.items()} if secure else {}
        server = start_server(redis_url, "gw", **settings)
        server.wait_healthy()
        _, half = await asyncio.open_connection("127.0.0.1", server.ws_port)
        half.write(client_hello()[:20] if secure else request()[:20])
        options = {"ssl": ssl._create_unverified_context()} if secure else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ws_port, **options)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        await soon(lambda: client.exists("ocpp:session:CP-1"), "not connected")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait_for_exit, SOON) == 0
        half.close()
        writer.close()
    assert not server.records("shutdown_late")
    assert not client.exists("ocpp:session:CP-1")


async def test_failed_tls_handshakes_are_counted_too(redis_url: str, start_server: StartServer, tmp_path: Path) -> None:
    async with certificate(tmp_path) as files:
        server = start_server(redis_url, "gw", **{name.upper(): path for name, path in files.items()})
        server.wait_healthy()
        for _ in range(ATTEMPTS):
            with contextlib.suppress(ConnectionError):
                await attempt(server, request())
        await soon(lambda: refused(server) == {"tls": ATTEMPTS}, lambda: f"counted: {refused(server)}")
    assert server.records("connection_refused")[0]["reason"] == "tls"
    assert not server.records("library")
