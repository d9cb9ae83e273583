"""Passwords and tokens stand in no log, no answer, no metrics and no traceback, after any failure."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from harness import QUEUE, ServerProcess, StartRedis, StartServer, connect, soon
from test_commands import POINT, http
from test_gateway import ask, basic, plugged, receive
from test_handshakes import attempt, request
from websockets.exceptions import InvalidStatus

from server.config import SettingError, Settings

pytestmark = pytest.mark.anyio

REDIS = "r3dis/pass:w0rd"
CHANGED = "ch4nged-redis-pw"
TOKEN = "t0ken-of-the-api"
WRONG_TOKEN = "wr0ng-t0ken"
PASSWORD = "ch4rge-p0int-pw"
WRONG_PASSWORD = "wr0ng-p0int-pw"
SECRETS = (REDIS, CHANGED, TOKEN, WRONG_TOKEN, PASSWORD, WRONG_PASSWORD)


def spellings(secret: str) -> set[str]:
    """Possible forms of it in a text."""
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        base64.b64encode(raw).decode().rstrip("="),
        base64.b64encode(b"CP-1:" + raw).decode().rstrip("="),
        hashlib.sha256(raw).hexdigest(),
        hashlib.sha256(raw).hexdigest().upper(),
        repr(secret)[1:-1],
    }


def found_in(text: str) -> set[str]:
    """The secrets that stand in it."""
    return {secret for secret in SECRETS if any(each in text for each in spellings(secret))}


def with_password(url: str, password: str) -> str:
    return f"redis://:{quote(password, safe='')}@{urlsplit(url).netloc.rpartition('@')[2]}/0"


def output(server: ServerProcess) -> str:
    """Everything that it has written."""
    return server.process.stdout.read_text("utf-8", "replace") + server.stderr


async def test_nothing_that_goes_wrong_shows_a_secret(
    start_redis: StartRedis, make_server: StartServer, tmp_path: Path
) -> None:
    service = start_redis()
    files = tmp_path / "credentials"
    files.write_text(f"CP-1:{hashlib.sha256(PASSWORD.encode()).hexdigest()}\n")
    right = basic("CP-1", PASSWORD)
    with connect(service.url()) as admin:
        admin.config_set("requirepass", CHANGED)
        server = make_server(
            with_password(service.url(), REDIS),
            "gw",
            API_TOKEN=TOKEN,
            WS_CREDENTIALS=str(files),
            LOG_LEVEL="debug",
        )
        server.start()
        shown: list[str] = []

        async def say(path: str, token: str = TOKEN) -> None:
            for answer in (server.get(path, token=token), server.get(path, token=token, method="POST")):
                shown.append(json.dumps([answer[1], answer[2]], ensure_ascii=False))

        # Redis refuses the password.
        await soon(lambda: server.health()["status"] == "degraded", "healthy with a wrong password")
        await soon(lambda: server.records("redis_unavailable"), "not logged")
        await say("/inspect/processor")
        await say(f"{POINT}/configuration/live")
        admin.config_set("requirepass", REDIS)
        server.wait_healthy()
        # Handshakes: wrong, malformed, doubled, right.
        with pytest.raises(InvalidStatus) as refused:
            async with plugged(server, "CP-1", additional_headers=basic("CP-1", WRONG_PASSWORD)):
                pass
        shown += [str(refused.value.response.headers), str(refused.value.response.body)]
        for line in (
            f"Authorization: Basic {WRONG_PASSWORD}",
            f"Authorization: {right['Authorization']}\r\nAuthorization: {right['Authorization']}",
            f"Authorization: {right['Authorization']}\r\nUpgrade: {PASSWORD}",
            f"Authorization: {right['Authorization']}\r\n {PASSWORD}",
        ):
            # What it answers may quote what this same client has sent.
            await attempt(server, request("/ocpp/CP-1", line))
        async with http(server, WRONG_TOKEN) as stranger, http(server, TOKEN) as friend:
            for api in (stranger, friend):
                for path in (f"{POINT}/reset", "/api/v1/chargepoints/CP-2/reset"):
                    shown.append(str(await api("POST", path, {"type": "Soft", "timeout": 0.2})))
            async with plugged(server, "CP-1", additional_headers=right) as socket:
                await ask(socket, "1", "Heartbeat")
                reset = asyncio.ensure_future(friend("POST", f"{POINT}/reset", {"type": "Soft"}))
                message_id = (await receive(socket))[1]
                await socket.send(json.dumps([3, message_id, 5]))
                shown.append(str(await reset))
        # A message that nobody can read, state that cannot be read, and the password changed under way.
        admin.lpush(QUEUE, "rubbish")
        admin.set("ocpp:chargepoint:CP-1", "rubbish")
        await say("/api/v1/chargepoints/CP-1")
        admin.config_set("requirepass", CHANGED)
        admin.client_kill_filter(_type="normal", skipme=True)
        await soon(lambda: server.health()["status"] == "degraded", "healthy with a wrong password")
        for path in ("/inspect/processor", "/inspect/correlations", "/health", "/metrics", "/openapi.json", "/clients"):
            for token in (TOKEN, WRONG_TOKEN):
                await say(path, token)
        service.kill()
        await soon(lambda: len(server.records("redis_unavailable")) >= 2, "not logged")
        await say("/inspect/processor")
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait_for_exit, 10) == 0
    assert len(server.records()) > 5
    assert not found_in(output(server))
    assert not found_in("\n".join(shown))
    assert found_in(f"x {PASSWORD} y") == {PASSWORD}


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_values(form: str) -> None:
    """Only the place of the error: variables may have any value."""
    program = f"""
import logging, sys
from server import logs
from server.config import LogFormat, LogLevel
import structlog
logs.configure(LogLevel.DEBUG, LogFormat("{form}"))
def fail(password):
    headers = {{"Authorization": password}}
    raise RuntimeError("it failed")
for log in (structlog.get_logger().exception, logging.getLogger("library").exception):
    try:
        fail(sys.argv[1])
    except RuntimeError:
        log("failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, PASSWORD], capture_output=True, text=True, check=True, timeout=60
    )
    # With the name of the error: from Python 3.13 on, a traceback also quotes the line of a program given with -c.
    assert done.stdout.count("RuntimeError: it failed") == 2
    assert not found_in(done.stdout + done.stderr)


def slips(secret: str) -> Iterable[str]:
    """Wrong forms of a URL with a password."""
    yield f"redis://:{secret}@host:port/0"
    yield f"redis://:{secret}"
    yield f"redis://user:{secret}"
    yield f"redis://user:{secret}/0"
    yield f"redis:/:{secret}@host"
    yield f"redis:{secret}@host"
    yield f"http://user:{secret}@host"
    yield f"redis://host:6379/0?password={secret}"
    yield f"unix:///tmp/socket?password={secret}&db=0"
    yield f"redis://:{secret}@host@other:1:2"


@pytest.mark.parametrize("secret", [CHANGED, f"{CHANGED}#5", f"{CHANGED}/5", f"{CHANGED}?5", f"5:{CHANGED}"])
def test_a_url_that_cannot_be_used_is_shown_without_its_password(secret: str) -> None:
    for url in slips(secret):
        with pytest.raises(SettingError, match=r"^REDIS_URL: '") as refused:
            Settings.from_environment({"REDIS_URL": url})
        assert CHANGED not in str(refused.value), url


@pytest.mark.parametrize(
    "url", ["redis://host:99999", "redis://host:6379/x", "redis://[::1]:6379/0/1", "localhost:6379"]
)
def test_text_without_a_password_is_shown(url: str) -> None:
    with pytest.raises(SettingError, match=re.escape(f"REDIS_URL: {url!r} ")):
        Settings.from_environment({"REDIS_URL": url})
