"""The fault proxy as a process: `python -m ocpp_resilience.faults.proxy`.

Its HTTP API is Toxiproxy's (https://github.com/Shopify/toxiproxy#http-api): proxies, toxics, populate, reset, version.
Its own beyond that, and absent in a real Toxiproxy:

- `GET /fault-proxy`: that it is this proxy, and its seed.
- `GET`, `POST /proxies/{proxy}/resp`, `DELETE /proxies/{proxy}/resp/{name}`: faults at chosen Redis commands.
- `GET /proxies/{proxy}/connections`, `POST /proxies/{proxy}/connections/{action}`: `reset`, `close`, `half_open`,
  `client_gone` or `close_half_open` all of them; with `?beside=host:port` only while the connection of that client and
  another one have both ends.
- Toxics `packet_loss` and `nat_timeout`.
- More fields of a proxy: `further`, a list of `listen` and `upstream` that have its toxics too; `addresses`, which
  stand in the replies of sentinels in the place of others; `tls`, the `certificate` and `key` that clients are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocpp_resilience.event_loop import new_event_loop
from ocpp_resilience.faults.proxy.command_rule import CommandRule
from ocpp_resilience.faults.proxy.guard import Guard, ImpatientProtocol
from ocpp_resilience.faults.proxy.relay import Certificate, Connection, Proxy, Way
from ocpp_resilience.faults.proxy.requests import Refused, answer, decode, refusal
from ocpp_resilience.faults.proxy.toxics import Toxic
from ocpp_resilience.ports import HOST

VERSION = "2.9.0"
"""The version of Toxiproxy whose API this is."""


class _Wanted(msgspec.Struct):
    """A proxy as a client asks for it."""

    name: str = ""
    listen: str = ""
    upstream: str = ""
    enabled: bool | None = None
    further: list[Way] = []
    addresses: dict[str, str] = {}
    tls: Certificate | None = None


class _Changes(msgspec.Struct):
    """Changes of a toxic."""

    toxicity: float | None = None
    attributes: dict[str, int | float] = {}


class FaultProxy:
    """All proxies of one process, and the HTTP API to them.

    Args:
        seed: of all random choices: jitter, and the connections that a toxicity falls on.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.proxies: dict[str, Proxy] = {}

    def application(self) -> Starlette:
        """The HTTP API."""
        routes: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/version", self._version),
            ("GET", "/fault-proxy", self._about),
            ("POST", "/reset", self._reset),
            ("POST", "/populate", self._populate),
            ("GET", "/proxies", self._list),
            ("POST", "/proxies", self._create),
            ("GET", "/proxies/{proxy}", self._show),
            ("POST", "/proxies/{proxy}", self._update),
            ("PATCH", "/proxies/{proxy}", self._update),
            ("DELETE", "/proxies/{proxy}", self._delete),
            ("GET", "/proxies/{proxy}/toxics", self._toxics),
            ("POST", "/proxies/{proxy}/toxics", self._add_toxic),
            ("GET", "/proxies/{proxy}/toxics/{toxic}", self._show_toxic),
            ("POST", "/proxies/{proxy}/toxics/{toxic}", self._update_toxic),
            ("PATCH", "/proxies/{proxy}/toxics/{toxic}", self._update_toxic),
            ("DELETE", "/proxies/{proxy}/toxics/{toxic}", self._delete_toxic),
            ("GET", "/proxies/{proxy}/resp", self._resp),
            ("POST", "/proxies/{proxy}/resp", self._add_resp),
            ("DELETE", "/proxies/{proxy}/resp/{name}", self._delete_resp),
            ("GET", "/proxies/{proxy}/connections", self._connections),
            ("POST", "/proxies/{proxy}/connections/{action}", self._act),
        ]
        return Starlette(
            routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in routes],
            exception_handlers={Refused: _refused},
        )

    async def close(self) -> None:
        """End every proxy."""
        for proxy in self.proxies.values():
            await proxy.disable()

    def _proxy(self, request: Request) -> Proxy:
        found = self.proxies.get(request.path_params["proxy"])
        if found is None:
            raise Refused("proxy not found", 404)
        return found

    def _toxic(self, request: Request) -> tuple[Proxy, Toxic]:
        proxy = self._proxy(request)
        found = proxy.toxics.get(request.path_params["toxic"])
        if found is None:
            raise Refused("toxic not found", 404)
        return proxy, found

    async def _version(self, _: Request) -> Response:
        return answer({"version": VERSION})

    async def _about(self, _: Request) -> Response:
        return answer({"seed": self.seed, "resp": True, "connections": True})

    async def _reset(self, _: Request) -> Response:
        for proxy in self.proxies.values():
            proxy.heal()
            await proxy.enable()
        return Response(status_code=204)

    async def _populate(self, request: Request) -> Response:
        wanted: list[_Wanted] = decode(await request.body(), list[_Wanted])
        made = []
        for each in wanted:
            there = self.proxies.get(each.name)
            if there is not None and (there.upstream != each.upstream or there.listen != each.listen):
                await self._end(there)
                there = None
            made.append(there or await self._make(each))
        return answer({"proxies": [proxy.as_data() for proxy in made]}, 201)

    async def _list(self, _: Request) -> Response:
        return answer({name: proxy.as_data() for name, proxy in self.proxies.items()})

    async def _create(self, request: Request) -> Response:
        wanted = decode(await request.body(), _Wanted)
        if wanted.name in self.proxies:
            raise Refused("proxy already exists", 409)
        return answer((await self._make(wanted)).as_data(), 201)

    async def _make(self, wanted: _Wanted) -> Proxy:
        for field in ("name", "upstream"):
            if not getattr(wanted, field):
                raise Refused(f"missing required field: {field}")
        proxy = Proxy(
            wanted.name,
            wanted.listen or f"{HOST}:0",
            wanted.upstream,
            seed=self.seed,
            further=[Way(way.listen or f"{HOST}:0", way.upstream) for way in wanted.further],
            addresses=wanted.addresses,
            tls=wanted.tls,
        )
        if wanted.enabled is not False:
            await proxy.enable()
        self.proxies[wanted.name] = proxy
        return proxy

    async def _end(self, proxy: Proxy) -> None:
        await proxy.disable()
        del self.proxies[proxy.name]

    async def _show(self, request: Request) -> Response:
        return answer(self._proxy(request).as_data())

    async def _update(self, request: Request) -> Response:
        proxy = self._proxy(request)
        wanted = decode(await request.body(), _Wanted)
        moved = (wanted.listen or proxy.listen, wanted.upstream or proxy.upstream) != (proxy.listen, proxy.upstream)
        enabled = proxy.enabled if wanted.enabled is None else wanted.enabled
        if wanted.tls is not None:
            wanted.tls.context()
            proxy.tls, moved = wanted.tls, True
        if moved or not enabled:
            await proxy.disable()
        proxy.move(wanted.listen or proxy.listen, wanted.upstream or proxy.upstream)
        if enabled:
            await proxy.enable()
        return answer(proxy.as_data())

    async def _delete(self, request: Request) -> Response:
        await self._end(self._proxy(request))
        return Response(status_code=204)

    async def _toxics(self, request: Request) -> Response:
        return answer(list(self._proxy(request).toxics.values()))

    async def _add_toxic(self, request: Request) -> Response:
        proxy = self._proxy(request)
        toxic = decode(await request.body(), Toxic).checked()
        if toxic.name in proxy.toxics:
            raise Refused("toxic already exists", 409)
        proxy.toxics[toxic.name] = toxic
        proxy.refresh()
        return answer(toxic)

    async def _show_toxic(self, request: Request) -> Response:
        return answer(self._toxic(request)[1])

    async def _update_toxic(self, request: Request) -> Response:
        proxy, toxic = self._toxic(request)
        changes: _Changes = decode(await request.body(), _Changes)
        proxy.toxics[toxic.name] = changed = Toxic(
            name=toxic.name,
            type=toxic.type,
            stream=toxic.stream,
            toxicity=toxic.toxicity if changes.toxicity is None else changes.toxicity,
            attributes=toxic.attributes | changes.attributes,
        ).checked()
        proxy.refresh()
        return answer(changed)

    async def _delete_toxic(self, request: Request) -> Response:
        proxy, toxic = self._toxic(request)
        del proxy.toxics[toxic.name]
        proxy.refresh()
        return Response(status_code=204)

    async def _resp(self, request: Request) -> Response:
        return answer(list(self._proxy(request).resp.values()))

    async def _add_resp(self, request: Request) -> Response:
        proxy = self._proxy(request)
        fault = decode(await request.body(), CommandRule).checked()
        if fault.name in proxy.resp:
            raise Refused("fault already exists", 409)
        proxy.resp[fault.name] = fault
        proxy.refresh()
        return answer(fault)

    async def _delete_resp(self, request: Request) -> Response:
        proxy = self._proxy(request)
        gone = proxy.resp.pop(request.path_params["name"], None)
        if gone is None:
            raise Refused("fault not found", 404)
        proxy.refresh()
        return answer(gone)

    async def _connections(self, request: Request) -> Response:
        proxy = self._proxy(request)
        there = proxy.connections
        return answer(
            {
                "open": len(there),
                "half_open": sum(connection.half_open for connection in there),
                "accepted": proxy.accepted,
                "dropped_bytes": sum(connection.up.dropped + connection.down.dropped for connection in there),
            }
        )

    async def _act(self, request: Request) -> Response:
        actions: dict[str, Callable[[Connection], None]] = {
            "reset": Connection.reset,
            "close": Connection.close,
            "half_open": lambda connection: connection.leave_half_open("upstream"),
            "client_gone": lambda connection: connection.leave_half_open("downstream"),
            "close_half_open": lambda connection: connection.close() if connection.half_open else None,
        }
        action = actions.get(request.path_params["action"])
        if action is None:
            raise Refused(f"unknown action; there are {', '.join(actions)}", 404)
        proxy, beside = self._proxy(request), request.query_params.get("beside")
        whole = [connection.client_address for connection in proxy.connections if connection.whole]
        if beside is not None and (beside not in whole or len(whole) < 2):
            return answer({"connections": 0})
        proxy.each(action)
        return answer({"connections": len(whole)})


async def _refused(_: Request, error: Exception) -> Response:
    return refusal(error if isinstance(error, Refused) else Refused(str(error), 500))


async def _serve(host: str, port: int, *, seed: int, parent: int | None, hosts: Sequence[str]) -> None:
    faults = FaultProxy(seed)
    with socket.create_server((host, port)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(faults.application(), hosts=hosts),
                http=ImpatientProtocol,
                log_config=None,
                access_log=False,
                lifespan="off",
                loop="none",
                ws="none",
                backlog=1024,
            )
        )
        sys.stdout.write(json.dumps({"event": "ready", "port": listener.getsockname()[1], "seed": seed}) + "\n")
        sys.stdout.flush()
        watch = asyncio.create_task(_end_with(parent, server))
        try:
            await server.serve(sockets=[listener])
        finally:
            watch.cancel()
            await faults.close()


async def _end_with(parent: int | None, server: uvicorn.Server) -> None:
    """End when the process is gone that started this one."""
    while parent is not None:
        if os.getppid() != parent:
            server.should_exit = True
            return
        await asyncio.sleep(1)


def main(arguments: list[str] | None = None) -> None:
    """Run the proxy until SIGTERM; its first line on standard output says on which port its API listens."""
    parser = argparse.ArgumentParser(prog="python -m ocpp_resilience.faults.proxy", description="TCP fault proxy")
    parser.add_argument("--host", default=HOST, help="the address of the HTTP API")
    parser.add_argument("--port", type=int, default=8474, help="port of the HTTP API; 0 selects a free one")
    parser.add_argument("--seed", type=int, default=None, help="seed of all random decisions; random if not given")
    parser.add_argument(
        "--allow-host", action="append", default=[], help="further host name that clients may use in Host"
    )
    parser.add_argument("--parent", type=int, default=None, help="end when this process is no longer the parent")
    given = parser.parse_args(arguments)
    if not 0 <= given.port <= 65535:
        parser.error(f"--port {given.port} cannot be used, allowed is a number from 0 to 65535")
    seed = random.randrange(2**32) if given.seed is None else given.seed  # noqa: S311 - not secret
    serving = _serve(given.host, given.port, seed=seed, parent=given.parent, hosts=[given.host, *given.allow_host])
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main()
