"""The HTTP side: health, metrics and inspection."""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.metrics import Metrics
from server.processor import Processor
from server.redis_link import RedisLink, now

SERVICE = "ocpp-reference-server"

_encode = msgspec.json.Encoder().encode


class Json(Response):
    """A JSON response."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return _encode(content)


def create(link: RedisLink, processor: Processor | None, metrics: Metrics, *, api_token: str) -> Starlette:
    """The HTTP application of one instance.

    Nothing in here asks Redis: health must answer at once whatever state Redis is in, so it tells what the parts know.

    Args:
        link: for the state of the connection.
        processor: for queue depth and totals; `None` where this instance has none.
        metrics: for `/metrics`.
        api_token: what `Authorization: Bearer` has to carry for `/inspect`; none needed when empty.
    """

    async def health(_request: Request) -> Response:
        return Json(
            {
                "status": "healthy" if link.healthy else "degraded",
                "service": SERVICE,
                "timestamp": now(),
                "redis": {"connected": link.healthy, "since": link.since, "reconnects": link.reconnects},
                "queue": {"depth": processor.queue.depth if processor else None},
            }
        )

    async def ready(_request: Request) -> Response:
        return Json({"ready": link.healthy}, status_code=200 if link.healthy else 503)

    async def expose_metrics(_request: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def inspect_processor(request: Request) -> Response:
        _check_token(request, api_token)
        if processor is None:
            raise HTTPException(404, "this instance has no processor")
        data = {
            "consumer": processor.queue.consumer,
            "owner": processor.owner,
            "in_flight": processor.in_flight,
            "processed": processor.processed,
            "invalid": dict(processor.invalid),
            "last_error": link.last_error,
            "reconnects": link.reconnects,
        }
        return Json({"success": True, "message": "", "data": data})

    application = Starlette(
        routes=[
            Route("/health", health),
            Route("/health/ready", ready),
            Route("/metrics", expose_metrics),
            Route("/inspect/processor", inspect_processor),
        ],
        exception_handlers={HTTPException: _failure, Exception: _crash},
    )
    # `/health/` is not `/health`: unknown things are 404, not a redirect.
    application.router.redirect_slashes = False
    return application


def _check_token(request: Request, api_token: str) -> None:
    given = request.headers.get("authorization", "")
    if api_token and not hmac.compare_digest(given.encode(), f"Bearer {api_token}".encode()):
        raise HTTPException(401, "the API token is missing or wrong", headers={"WWW-Authenticate": "Bearer"})


async def _failure(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    body = {"success": False, "message": error.detail, "data": None}
    return Json(body, status_code=error.status_code, headers=error.headers)


async def _crash(_request: Request, _error: Exception) -> Response:
    return Json({"success": False, "message": "internal error", "data": None}, status_code=500)
