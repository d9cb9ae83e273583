"""The HTTP server of the live page, on 127.0.0.1."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import msgspec

from ocpp_resilience.live.follow import Follower
from ocpp_resilience.live.state import LiveState
from ocpp_resilience.report import HTML_NAME
from ocpp_resilience.report.evidence import FAULTS
from ocpp_resilience.robot.facts import FILE_NAME as FACTS
from ocpp_resilience.robot.variables import EVIDENCE

PAGE = Path(__file__).with_name("page.html")
LEDGERS = ("load-*.jsonl", "ledger-*.jsonl")
EFFECTS = ".effects.jsonl"
SAMPLES = "samples-*.jsonl"
LEAST_PAUSE = 0.5
"""Seconds between two looks at the files, however many pages ask."""


class LiveServer:
    """Serves the page from its start to its end.

    Args:
        port: of 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self._folder: Path | None = None
        self._state = LiveState()
        self._followers: dict[Path, Follower] = {}
        self._lock = threading.Lock()
        self._looked = 0.0
        self._private = tempfile.TemporaryDirectory(prefix="resilience-live-")
        self._events = Path(self._private.name, "events.jsonl")
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="live-page", daemon=True)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    @property
    def robot_options(self) -> list[str]:
        """Options of robot, which tell the page about tests that start."""
        return ["--listener", f"ocpp_resilience.live.events.Events;{self._events}"]

    def follow(self, folder: Path) -> None:
        """Show the run whose output folder this is."""
        with self._lock:
            self._folder, self._state, self._followers = folder, LiveState(), {}
            self._events.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._private.cleanup()

    def data(self) -> dict[str, Any]:
        """What the page shows now."""
        with self._lock:
            if time.monotonic() - self._looked >= LEAST_PAUSE:
                self._look()
                self._looked = time.monotonic()
            return self._state.as_data(time.time()) | {"page": str(self._folder / HTML_NAME) if self._folder else ""}

    def static_page(self) -> bytes | None:
        """The page of the run as far as it has come; `None` before the first one."""
        try:
            return (self._folder / HTML_NAME).read_bytes() if self._folder and self._state.run else None
        except OSError:
            return None

    def _look(self) -> None:
        # First, so that the run is known to which the others belong.
        for line in self._follower(self._events).new_lines():
            self._state.event(line)
        if self._folder is None or not self._state.run:
            return
        for path, take in self._files(self._folder / EVIDENCE):
            for line in self._follower(path).new_lines():
                try:
                    take(line)
                except (KeyError, TypeError, ValueError):
                    continue  # not one of this version's lines

    def _files(self, evidence: Path) -> Iterator[tuple[Path, Callable[[dict[str, Any]], None]]]:
        yield evidence / FACTS, self._state.fact
        yield evidence / FAULTS, self._state.fault
        for pattern in LEDGERS:
            for path in sorted(evidence.glob(pattern)):
                if not path.name.endswith(EFFECTS):
                    yield path, self._state.message
        for path in sorted(evidence.glob(SAMPLES)):
            yield path, self._state.sample

    def _follower(self, path: Path) -> Follower:
        return self._followers.setdefault(path, Follower(path))


def _handler(live: LiveServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "ocpp-resilience"
        sys_version = ""

        def do_GET(self) -> None:
            if self.headers.get("Host", "").rpartition(":")[0] not in {"127.0.0.1", "localhost"}:
                # A foreign name that leads to loopback (DNS rebinding).
                self._send(HTTPStatus.FORBIDDEN, "text/plain", b"The host is not 127.0.0.1 or localhost.\n")
            elif self.path == "/":
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.read_bytes())
            elif self.path == "/data.json":
                self._send(HTTPStatus.OK, "application/json", msgspec.json.encode(live.data()))
            elif self.path == f"/{HTML_NAME}" and (page := live.static_page()) is not None:
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", page)
            else:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"There is no such page.\n")

        def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the page was closed

        def log_message(self, *_: object) -> None:
            """The console belongs to robot."""

    return Handler


def announce(live: LiveServer) -> None:
    """Say where the page is."""
    sys.stdout.write(f"Live:    {live.url}\n")
    sys.stdout.flush()
