"""The HTTP API: one table of operations, from which the routes and the OpenAPI description are made."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api import control, openapi, service, state
from server.api.guard import STOP_SECONDS
from server.api.http import Json, Operation, Parts, RequestInput, answer, crash, failure
from server.origins import Origins

__all__ = ["Parts", "create"]

_PACKAGE = "robotframework-ocpp-resilience"


def create(parts: Parts, *, api_token: str, origins: Origins) -> ASGIApp:
    """The HTTP application of one instance.

    Args:
        parts: dependencies of the endpoints.
        api_token: the bearer token that `/inspect`, commands and writes require; none if empty.
        origins: which web pages and host names are refused.
    """
    operations = [*service.operations(parts), *state.operations(parts), *control.operations(parts)]
    description = openapi.describe(operations, version(_PACKAGE))

    async def describe(_given: RequestInput) -> Response:
        return Json(description)

    operations.append(Operation("GET", "/openapi.json", "This description", describe, plain=True))
    by_path: dict[str, dict[str, Operation]] = {}
    # A fixed path before one with a parameter that would take its place.
    for operation in sorted(operations, key=lambda each: re.sub(r"{\w+}", "~", each.path)):
        by_path.setdefault(operation.path, {})[operation.method] = operation
    application = Starlette(
        routes=[Route(path, _endpoint(methods, api_token), methods=list(methods)) for path, methods in by_path.items()],
        exception_handlers={HTTPException: failure, Exception: crash},
    )
    # `/health/` is not `/health`: unknown things are 404, not a redirect.
    application.router.redirect_slashes = False
    return _Checked(_RawPaths(application), origins)


def _endpoint(methods: dict[str, Operation], api_token: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await answer(methods[method], request, api_token)

    return endpoint


class _Checked:
    """Refuses requests of web pages and for host names that are not on the allow lists."""

    def __init__(self, application: ASGIApp, origins: Origins) -> None:
        self._application = application
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            why = self._origins.refuse_origin(headers.get("origin")) or self._origins.refuse_host(headers.get("host"))
            if why is not None:
                await Json({"success": False, "message": why, "data": None}, 403)(scope, receive, send)
                return
        await self._application(scope, receive, send)


class _RawPaths:
    """Routes by the path as it was sent: a charge point id may have a slash in it, percent-encoded."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw: Any = scope.get("raw_path") or b""
            scope = {**scope, "path": raw.decode("latin-1") or scope["path"]}
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            # Only the server's end cancels, where this would outlast it: the client is told, and the task ends.
            stopping = Json({"success": False, "message": "the server stops", "data": None}, 503)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping(scope, receive, send), STOP_SECONDS)
