"""A small OCPP server over WebSocket for the tests of the load engine: `load_server.py OPTIONS-AS-JSON`.

Prints its port. Options: `stall_at` and `stall` (seconds after the first message, and how long everything stands
still), `silent` (every so many messages without an answer), `refuse` (every so many messages get a CALLERROR), `drop`
(every so many messages the connection is cut), `slam` (every so many connections are cut as soon as they are open),
`room` (how many connections are let in, one after the other; further ones are refused), `ask` (every so many messages
are followed by a command), `leak` (bytes kept for each message), `delay` (seconds), `slow` (the end of a path: only
such charge points have to wait that long), `record` (file that all that came is written to when the server is ended),
`times` (file that the times of all answers are written to then, in seconds of one clock), `addresses` (file for the
addresses that connections came from, and how many), `stood` (file for the times that it was held up by the machine,
without having been asked to stand still: when that ended, by that clock, and for how long), `instead` (what the first
messages get in the place of their answer, one after the other, with ID for the message id; what begins with `binary:`
is sent as those bytes).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

OPTIONS: dict[str, Any] = json.loads(sys.argv[1])
COUNT = itertools.count(1)
CONNECTIONS = itertools.count(1)
ACCEPTED = itertools.count(1)
TRANSACTIONS = itertools.count(1)
KEPT: list[bytes] = []
ANSWERED: list[float] = []
RECORD: list[Any] = []
ADDRESSES: Counter[str] = Counter()
STOOD: list[tuple[float, float]] = []
ASKED: list[float] = []
INSTEAD: list[str] = OPTIONS.get("instead", [])
NOW = "2026-01-15T10:30:00Z"
RESULTS = {
    "Authorize": '{"idTagInfo":{"status":"Accepted"}}',
    "BootNotification": f'{{"currentTime":"{NOW}","interval":300,"status":"Accepted"}}',
    "DataTransfer": '{"status":"Accepted"}',
    "Heartbeat": f'{{"currentTime":"{NOW}"}}',
}
BEAT = 0.02


class Peer(WSListener):
    def __init__(self, delay: float) -> None:
        self.delay = delay

    def on_ws_connected(self, transport: WSTransport) -> None:
        ADDRESSES[transport.underlying_transport.get_extra_info("peername")[0]] += 1
        if due("slam", next(CONNECTIONS)):
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        number = next(COUNT)
        if number == 1 and OPTIONS.get("stall"):
            asyncio.get_running_loop().call_later(OPTIONS["stall_at"], stand_still)
        data = frame.get_payload_as_bytes()
        if not OPTIONS.get("refuse") and data.startswith(b"[2") and data.endswith(b"{}]"):
            message: list[Any] = [2, data.split(b'"')[1].decode(), "Heartbeat"]  # what piled up is answered quickly
        else:
            message = json.loads(data)
        if OPTIONS.get("record"):
            RECORD.append(message)
        if message[0] != 2:
            return
        if due("ask", number):
            command = [2, f"ask-{number}", "GetConfiguration", {"key": [f"key-{number}"]}]
            transport.send(WSMsgType.TEXT, json.dumps(command).encode())
        if OPTIONS.get("leak"):
            KEPT.append(bytes(OPTIONS["leak"]))
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, answer, transport, number, message)
        else:
            answer(transport, number, message)


def stand_still() -> None:
    ASKED.append(OPTIONS["stall"])
    time.sleep(OPTIONS["stall"])


def beat(due_at: float) -> None:
    """See by how much the loop comes too late, beside the time that it was asked to stand still."""
    now = time.monotonic()
    STOOD.append((now, now - due_at - sum(ASKED)))
    ASKED.clear()
    asyncio.get_running_loop().call_later(BEAT, beat, now + BEAT)


def answer(transport: WSTransport, number: int, message: list[Any]) -> None:
    if OPTIONS.get("times"):
        ANSWERED.append(time.monotonic())
    if due("drop", number):
        transport.disconnect(graceful=False)
    elif due("refuse", number):
        transport.send(WSMsgType.TEXT, json.dumps([4, message[1], "InternalError", "so asked", {}]).encode())
    elif INSTEAD:
        text = INSTEAD.pop(0).replace("ID", message[1])
        if text.startswith("binary:"):
            transport.send(WSMsgType.BINARY, bytes.fromhex(text.removeprefix("binary:")))
        else:
            transport.send(WSMsgType.TEXT, text.encode())
    elif not due("silent", number):
        found = RESULTS.get(message[2], "{}")
        if message[2] == "StartTransaction":
            found = f'{{"transactionId":{next(TRANSACTIONS)},"idTagInfo":{{"status":"Accepted"}}}}'
        transport.send(WSMsgType.TEXT, f'[3,"{message[1]}",{found}]'.encode())


def due(name: str, number: int) -> bool:
    return bool(OPTIONS.get(name)) and number % OPTIONS[name] == 0


def accept(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
    if OPTIONS.get("room") and next(ACCEPTED) > OPTIONS["room"]:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(503), None)
    response = WSUpgradeResponse.create_101_response(extra_headers={"Sec-WebSocket-Protocol": "ocpp1.6"})
    slow = request.path.endswith(tuple(each.encode() for each in OPTIONS.get("slow", [""])))
    return WSUpgradeResponseWithListener(response, Peer(OPTIONS.get("delay", 0) if slow else 0))


async def main() -> None:
    server = await ws_create_server(accept, "127.0.0.1", 0, backlog=1000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    beat(time.monotonic())
    await ended.wait()
    server.close()


uvloop.run(main())
if OPTIONS.get("times"):
    Path(OPTIONS["times"]).write_text(json.dumps(ANSWERED))
if OPTIONS.get("record"):
    Path(OPTIONS["record"]).write_text(json.dumps(RECORD))
if OPTIONS.get("addresses"):
    Path(OPTIONS["addresses"]).write_text(json.dumps(ADDRESSES))
if OPTIONS.get("stood"):
    Path(OPTIONS["stood"]).write_text(json.dumps(STOOD))
