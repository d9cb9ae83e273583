"""A small server with commands and a known defect, so that the keywords about correlation can be seen to fail.

Told by its environment:
    REDIS_URL   where its lists are.
    MODE        `right` (the default); `action` gives an answer to the oldest command of that charge point, whatever its
                id is; `forgetful` never takes a command off its list of pending ones; `blind` counts nothing; `wrong
                status` tells callers 500 when the time is up.
    TOKEN       the token that its inspection and its commands ask for, if set.

Everything that a target profile can name is named otherwise here than in the wire contract.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
from aiohttp import web

MODE = os.environ.get("MODE") or "right"
TOKEN = os.environ.get("TOKEN")


@dataclass
class Pending:
    charge_point: str
    future: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)


class Server:
    def __init__(self) -> None:
        self.redis: Any = redis.asyncio.Redis.from_url(
            os.environ["REDIS_URL"], db=3, protocol=2, max_connections=10_000, socket_timeout=60
        )
        self.pending: dict[str, Pending] = {}
        self.ended: set[str] = set()
        self.totals = dict.fromkeys(
            ("registered", "resolved", "failed", "expired", "cancelled", "late", "duplicate", "unknown"), 0
        )
        self.number = 0
        self.lock = asyncio.Lock()

    def count(self, name: str) -> None:
        if MODE != "blind":
            self.totals[name] += 1

    async def command(self, request: web.Request) -> web.Response:
        if TOKEN and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"why": "no token"}, status=401)
        point = request.match_info["point"]
        if not await self.redis.exists(f"who:{point}"):
            return web.json_response({"why": "offline"}, status=503)
        if request.method == "GET":
            action, payload = "GetConfiguration", {"key": [request.query["wanted"]]}
            wait = float(request.query.get("wait", 30))
        else:
            body = await request.json()
            wait = float(body.pop("wait", 30))
            action, payload = "Reset", body
        self.number += 1
        message_id = f"m{self.number}"
        mine = self.pending[message_id] = Pending(point, asyncio.get_running_loop().create_future())
        self.count("registered")
        frame = {"payload": [2, message_id, action, payload]}
        try:
            await asyncio.shield(self.push(point, message_id, json.dumps(frame), wait))
            async with asyncio.timeout(wait):
                kind, answer = await mine.future
        except TimeoutError:
            self.count("expired")
            return web.json_response({"why": "time is up"}, status=500 if MODE == "wrong status" else 408)
        finally:
            self.ended.add(message_id)
            if MODE != "forgetful":
                self.pending.pop(message_id, None)
                await asyncio.shield(self.redis.delete(f"note:{message_id}"))
        if kind == 4:
            return web.json_response({"why": answer[0]}, status=502)
        return web.json_response({"answer": answer[0]})

    async def push(self, point: str, message_id: str, text: str, wait: float) -> None:
        async with self.lock:  # the order in the lists is that of the ids
            await self.redis.set(f"note:{message_id}", "me", px=int(wait * 1000))
            await self.redis.lpush(f"to:{point}", text)

    async def inspect(self, request: web.Request) -> web.Response:
        if TOKEN and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"why": "no token"}, status=401)
        oldest = [
            {"id": name, "who": each.charge_point, "seconds": time.monotonic() - each.since}
            for name, each in self.pending.items()
        ]
        return web.json_response({"open": len(oldest), "first": oldest, "sums": self.totals})

    async def take(self) -> None:
        while True:
            found = await self.redis.brpop("in", timeout=1)
            if found is None:
                continue
            envelope = json.loads(found[1])
            kind, message_id, *answer = envelope["payload"]
            if MODE == "action":
                message_id = next(
                    (n for n, p in self.pending.items() if p.charge_point == envelope["charge_point_id"]), message_id
                )
            waiting = self.pending.get(message_id)
            if waiting is None or waiting.future.done():
                known = message_id in self.ended or waiting is not None
                self.count("duplicate" if known else "unknown")
                continue
            self.count("resolved" if kind == 3 else "failed")
            self.ended.add(message_id)
            waiting.future.set_result((kind, answer))


async def main() -> None:
    server = Server()
    app = web.Application()
    app.add_routes(
        [
            web.get("/cp/{point}/config", server.command),
            web.post("/cp/{point}/reset", server.command),
            web.get("/open", server.inspect),
        ]
    )
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    taking = asyncio.create_task(server.take())
    port = runner.addresses[0][1]
    sys.stdout.write(json.dumps({"event": "ready", "http_port": port}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    taking.cancel()
    await runner.cleanup()
    await server.redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
