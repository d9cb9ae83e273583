"""A second, small charging back end with other habits than the reference server, for the suites to be pointed at.

It takes envelopes only, answers a charge point only when its connection was announced on a channel, keeps state in
another database under other names and shapes, has other HTTP paths, logs text, and has no inspection. It also has the
faults of many such servers: it takes messages off the list before it has done anything (BRPOP), it forgets on its own
restart who is connected, it checks next to nothing and gives everything that it does not understand the same error
code, or none, and it ends when Redis goes away.

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

AT_ONCE = 50
"""Number of messages taken off the list together; they are lost together, too."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def log(level: str, text: str) -> None:
    sys.stderr.write(f"{now()} {level:5} {text}\n")
    sys.stderr.flush()


class Stations:
    """The stored stations (a hash each) and sessions (a JSON text each), without lifetime."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.begun = client.pipeline()
        self.actions = {
            "Authorize": lambda station, call: {"idTagInfo": {"status": "Accepted"}},
            "BootNotification": self.boot,
            "DataTransfer": lambda station, call: {"status": "UnknownVendorId"},
            "Heartbeat": lambda station, call: {"currentTime": now()},
            "MeterValues": lambda station, call: {},
            "StartTransaction": self.start,
            "StatusNotification": lambda station, call: {},
            "StopTransaction": self.stop,
        }

    def boot(self, station: str, call: dict[str, Any]) -> dict[str, Any]:
        maker, kind = call["chargePointVendor"], call["chargePointModel"]
        self.client.hset(f"station/{station}", mapping={"name": station, "maker": maker, "kind": kind})
        return {"currentTime": now(), "interval": 600, "status": "Accepted"}

    def start(self, station: str, call: dict[str, Any]) -> dict[str, Any]:
        number = int(self.client.incr("last session"))
        meter = {"from": call["meterStart"], "to": None}
        session = {"no": number, "where": {"station": station, "plug": call["connectorId"]}, "card": call["idTag"]}
        session |= {"begin": call["timestamp"], "end": None, "meter": meter, "phase": "running"}
        self.begun.set(f"session/{number}", json.dumps(session))
        self.begun.zadd(f"sessions of/{station}", {str(number): number})
        return {"transactionId": number, "idTagInfo": {"status": "Accepted"}}

    def stop(self, station: str, call: dict[str, Any]) -> dict[str, Any]:
        self.begun.execute()
        session = self.session(call["transactionId"])
        if session is not None:
            session["meter"]["to"] = call["meterStop"]
            session |= {"end": call["timestamp"], "phase": "over"}
            self.client.set(f"session/{call['transactionId']}", json.dumps(session))
        return {}

    def session(self, number: int | str) -> dict[str, Any] | None:
        text = self.client.get(f"session/{number}")
        return None if text is None else json.loads(text)


class Backend:
    def __init__(self, url: str) -> None:
        # Timeouts above the longest blocking pop.
        self.queue = redis.Redis.from_url(url, db=1, socket_timeout=5, protocol=2)
        self.stations = Stations(redis.Redis.from_url(url, db=2, socket_timeout=5, protocol=2))
        self.answers = self.queue.pipeline(transaction=False)
        self.announced: set[str] = set()
        self.waited_at = 0.0
        self.subscription = self.queue.pubsub(ignore_subscribe_messages=True)
        self.subscription.subscribe("stations")

    def run(self) -> None:
        while True:
            self.hear()
            taken = self.queue.brpop(["in"], timeout=0.05)
            if taken is not None:
                for raw in [taken[1], *(self.queue.rpop("in", AT_ONCE) or [])]:
                    self.handle(raw)
                self.stations.begun.execute()
                self.answers.execute()

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
        except (ValueError, KeyError, TypeError, RecursionError):
            log("ERROR", "rejected station=? id=? code=BadMessage reason=cannot be read")
            return
        if not isinstance(station, str) or not isinstance(message_id, str) or not isinstance(action, str):
            log("ERROR", "rejected station=? id=? code=BadMessage reason=no text where there has to be one")
            return
        # The event comes on another connection than the message and may be a little behind.
        began = time.monotonic()
        latest = began + (0.1 if began > self.waited_at + 1 else 0.01)
        while station not in self.announced and time.monotonic() < latest:
            self.hear(wait=0.01)
        if station not in self.announced:
            self.waited_at = time.monotonic()
            log("WARN", f"dropped station={station[:40]}: not announced")
            return
        try:
            answer = self.stations.actions[action](station, payload)
        except (KeyError, TypeError, ValueError, redis.DataError):
            log("ERROR", f"rejected station={station} id={message_id} code=InternalError reason=cannot handle that")
            self.answer(station, [4, message_id, "InternalError", "cannot handle that", {}])
        else:
            self.answer(station, [3, message_id, answer])

    def answer(self, station: str, frame: list[Any]) -> None:
        self.answers.lpush(f"out:{station}", json.dumps({"charge_point_id": station, "payload": frame}))


def api(stations: Stations) -> type[BaseHTTPRequestHandler]:
    """The HTTP API: health, and a session by its number."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/up":
                return self.reply(200, {"state": "fine"})
            _, _, number = self.path.partition("/sessions/")
            session = stations.session(number) if number else None
            return self.reply(404, {}) if session is None else self.reply(200, {"found": session})

        def reply(self, status: int, document: dict[str, Any]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


def main() -> None:
    try:
        backend = Backend(sys.argv[1])
        http = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), api(backend.stations))
        threading.Thread(target=http.serve_forever, daemon=True).start()
        log("INFO", "at work")
        backend.run()
    except redis.RedisError as error:
        log("FATAL", f"redis: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
