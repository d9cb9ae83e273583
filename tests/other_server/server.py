"""A second, small charging back end with other habits than the reference server, for the suites to be pointed at.

It takes envelopes only, answers a charge point only when its connection was announced on a channel, keeps state in
another database under other names and shapes, has other HTTP paths, logs text, and has no inspection. It also has the
faults of many such servers: it takes messages off the list before it has done anything (BRPOP), it gives everything
that it does not understand the same error code, it sets nothing aside, and it ends when Redis goes away.

    python server.py REDIS_URL HTTP_PORT
"""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import redis

ACTIONS = {
    "Authorize": lambda state, call: {"idTagInfo": {"status": "Accepted"}},
    "BootNotification": lambda state, call: {"currentTime": now(), "interval": 600, "status": "Accepted"},
    "DataTransfer": lambda state, call: {"status": "UnknownVendorId"},
    "DiagnosticsStatusNotification": lambda state, call: {},
    "FirmwareStatusNotification": lambda state, call: {},
    "Heartbeat": lambda state, call: {"currentTime": now()},
    "MeterValues": lambda state, call: {},
    "StartTransaction": lambda state, call: start(state, call),  # noqa: PLW0108 - defined below
    "StatusNotification": lambda state, call: {},
    "StopTransaction": lambda state, call: {},
}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def log(level: str, text: str) -> None:
    sys.stderr.write(f"{now()} {level:5} {text}\n")
    sys.stderr.flush()


def start(state: redis.Redis, call: dict[str, Any]) -> dict[str, Any]:
    number = state.incr("last session")
    session = {"no": number, "station": call["station"], "begin": call["payload"].get("timestamp")}
    state.set(f"session/{number}", json.dumps(session))
    return {"transactionId": number, "idTagInfo": {"status": "Accepted"}}


class Backend:
    def __init__(self, url: str) -> None:
        # Timeouts above the longest blocking pop.
        self.queue = redis.Redis.from_url(url, db=1, socket_timeout=5, protocol=2)
        self.events = redis.Redis.from_url(url, db=1, socket_timeout=5, protocol=2)
        self.state = redis.Redis.from_url(url, db=2, socket_timeout=5, protocol=2)
        self.announced: set[str] = set()
        self.subscription = self.events.pubsub(ignore_subscribe_messages=True)
        self.subscription.subscribe("stations")

    def run(self) -> None:
        while True:
            self.hear()
            taken = self.queue.brpop(["in"], timeout=0.05)
            if taken is not None:
                self.hear()
                self.handle(taken[1])

    def hear(self, wait: float = 0) -> None:
        """Take note of stations that came and went."""
        while (event := self.subscription.get_message(timeout=wait)) is not None:
            document = json.loads(event["data"])
            if document["what"] == "up":
                self.announced.add(document["station"])
            else:
                self.announced.discard(document["station"])

    def handle(self, raw: bytes) -> None:
        try:
            envelope = json.loads(raw)
            station = envelope["charge_point_id"]
            _, message_id, action, payload = envelope["payload"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            log("ERROR", f"rejected station=? id=? code=BadMessage reason={type(error).__name__}")
            return
        # The event comes on another connection than the message and may be a little behind.
        latest = time.monotonic() + 1
        while station not in self.announced and time.monotonic() < latest:
            self.hear(wait=0.01)
        if station not in self.announced:
            log("WARN", f"dropped station={station}: not announced")
            return
        if action not in ACTIONS or not isinstance(payload, dict):
            log("ERROR", f"rejected station={station} id={message_id} code=InternalError reason=cannot handle {action}")
            self.answer(station, [4, message_id, "InternalError", "cannot handle that", {}])
            return
        self.state.set(f"station/{station}", json.dumps({"name": station, "seen": time.time()}))
        self.answer(station, [3, message_id, ACTIONS[action](self.state, {"station": station, "payload": payload})])

    def answer(self, station: str, frame: list[Any]) -> None:
        self.queue.lpush(f"out:{station}", json.dumps({"charge_point_id": station, "payload": frame}))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/up"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"state": "fine"}' if found else b"{}")

    def log_message(self, *arguments: Any) -> None:
        pass


def main() -> None:
    backend = Backend(sys.argv[1])
    http = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    log("INFO", "at work")
    try:
        backend.run()
    except redis.RedisError as error:
        log("FATAL", f"redis: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
