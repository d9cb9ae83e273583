"""A small correct back end for each transport, and its possible defects.

    python small_server.py list|stream|pubsub REDIS_URL [DEFECT]
    python small_server.py none PORT [DEFECT]

The list is pushed right and taken left, with one list of answers for the gateway; the stream has a consumer group and a
stream of answers for each station; the channels have a channel of answers for each station. What is not done yet when a
server of lists or streams ends is done by the next one.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

DEFECTS = {
    "early": "acknowledges messages before they are handled",
    "forgets": "does not answer one of 20 messages",
    "twice": "answers one of 20 messages twice",
    "astray": "answers one of 20 messages on another way",
    "mixed": "gives one of 20 answers the id of another message",
    "swaps": "answers two messages in the wrong order now and then",
}
NUMBERS = count(1)
IDS = count(int(time.time()))
WORK = 0.002
"""Seconds that a message takes: long enough for a kill to fall between taking and answering."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def result(action: str, fields: dict[str, Any]) -> dict[str, Any] | None:
    """The payload of an answer; `None` for an action that is not handled."""
    info = {"idTagInfo": {"status": "Accepted"}}
    match action:
        case "BootNotification":
            return {"currentTime": now(), "interval": 300, "status": "Accepted"}
        case "Heartbeat":
            return {"currentTime": now()}
        case "Authorize" | "StopTransaction":
            return info
        case "StartTransaction":
            return {"transactionId": next(IDS) % 2**31, **info}
        case "DataTransfer":
            return {"status": "Accepted"}
        case "StatusNotification" | "MeterValues" | "DiagnosticsStatusNotification" | "FirmwareStatusNotification":
            return {}
    return None


def answer(text: str) -> str | None:
    """The answer to a frame; `None` if it cannot be answered."""
    try:
        kind, message_id, action, fields = json.loads(text)
    except (ValueError, TypeError):
        return None
    if kind != 2 or not isinstance(message_id, str):
        return None
    if not isinstance(fields, dict):
        return json.dumps([4, message_id, "TypeConstraintViolation", "the payload is no object", {}])
    found = result(action, fields) if isinstance(action, str) else None
    if found is None:
        return json.dumps([4, message_id, "NotImplemented", "", {}])
    return json.dumps([3, message_id, found])


def answers(text: str, defect: str | None) -> Iterable[tuple[str, bool]]:
    """The answers to a frame, and whether each goes astray."""
    made = answer(text)
    if made is None:
        return
    time.sleep(WORK)
    chosen = next(NUMBERS) % 20 == 0
    if chosen and defect == "forgets":
        return
    if chosen and defect == "mixed":
        frame = json.loads(made)
        made = json.dumps([frame[0], "another", *frame[2:]])
    yield made, chosen and defect == "astray"
    if chosen and defect == "twice":
        yield made, False


def work_list(client: redis.Redis, defect: str | None) -> None:
    while True:
        taken = client.lmove("requests", "in hand", "LEFT", "RIGHT") if defect != "early" else client.lpop("requests")
        if taken is None:
            time.sleep(0.005)
            continue
        done = client.pipeline()
        document = parsed(taken)
        for made, astray in answers(document.get("text", ""), defect):
            place = "answers:elsewhere" if astray else "answers:acceptance-test"
            done.rpush(place, json.dumps({"station": document.get("station"), "text": made}))
        done.lrem("in hand", 1, taken)
        done.execute()


def parsed(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def work_stream(client: redis.Redis, defect: str | None) -> None:
    name = "requests"
    with contextlib.suppress(redis.ResponseError):  # it is there already
        client.xgroup_create(name, "work", id="0", mkstream=True)
    # What a server that ended had in hand comes first.
    start = "0"
    while True:
        found = client.xreadgroup("work", "worker", {name: start}, count=50, block=None if start == "0" else 200)
        entries = found[0][1] if found else []
        if start == "0" and not entries:
            start = ">"
            continue
        if defect == "early" and entries:
            client.xack(name, "work", *(number for number, _ in entries))
        if defect == "swaps" and len(entries) > 1:
            entries[0], entries[1] = entries[1], entries[0]
        for number, fields in entries:
            done = client.pipeline()
            station = fields.get(b"station", b"").decode(errors="replace")
            for made, astray in answers(fields.get(b"text", b"").decode(errors="replace"), defect):
                done.xadd("answers:elsewhere" if astray else f"answers:{station}", {"text": made, "at": now()})
            done.xack(name, "work", number)
            done.execute()


def work_channel(client: redis.Redis, defect: str | None) -> None:
    subscription = client.pubsub(ignore_subscribe_messages=True)
    subscription.psubscribe("requests:*")
    for event in subscription.listen():
        station = event["channel"].decode().removeprefix("requests:")
        for made, astray in answers(parsed(event["data"]).get("text", ""), defect):
            client.publish("elsewhere" if astray else f"answers:{station}", json.dumps({"text": made}))


def serve_sockets(port: int, defect: str | None) -> None:
    def talk(socket: ServerConnection) -> None:
        try:
            for text in socket:
                if isinstance(text, bytes) or not text.startswith("["):
                    socket.send(json.dumps([4, "-1", "ProtocolError", "no frame", {}]))
                    continue
                for made, astray in answers(text, defect):
                    if not astray:
                        socket.send(made)
        except ConnectionClosed:
            pass

    protocols = [Subprotocol("ocpp1.6")]
    with serve(talk, "127.0.0.1", port, subprotocols=protocols, compression=None) as server:
        server.serve_forever()


WORK_OF: dict[str, Callable[[redis.Redis, str | None], None]] = {
    "list": work_list,
    "stream": work_stream,
    "pubsub": work_channel,
}


def main() -> None:
    kind, place, *rest = sys.argv[1:]
    defect = rest[0] if rest else None
    if kind == "none":
        serve_sockets(int(place), defect)
    client = redis.Redis.from_url(place, protocol=2, socket_timeout=5)
    # Of a list, what a server that ended had in hand goes back to the front.
    while kind == "list" and client.lmove("in hand", "requests", "RIGHT", "LEFT"):
        pass
    sys.stdout.write("at work\n")
    sys.stdout.flush()
    WORK_OF[kind](client, defect)


if __name__ == "__main__":
    main()
