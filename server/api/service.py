"""Health, metrics and inspection. These handlers do not use Redis, so they always answer immediately."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from server.api.http import Json, Operation, Parts, RequestInput
from server.processor.processor import Processor
from server.processor.shards import ShardedProcessor
from server.redis.link import now

SERVICE = "ocpp-reference-server"


def operations(parts: Parts) -> list[Operation]:
    """The operations of this module."""
    link, processor, metrics, correlation = parts.link, parts.processor, parts.metrics, parts.commands.correlation

    async def health(_given: RequestInput) -> Response:
        return Json(
            {
                "status": "healthy" if link.healthy else "degraded",
                "service": SERVICE,
                "timestamp": now(),
                "redis": {"connected": link.healthy, "since": link.since, "reconnects": link.reconnects}
                # The misconfiguration that the operator has to correct.
                | ({} if link.healthy or link.last_error is None else {"error": link.last_error}),
                "queue": {"depth": processor.depth if processor else None},
            }
        )

    async def ready(_given: RequestInput) -> Response:
        return Json({"ready": link.healthy}, status_code=200 if link.healthy else 503)

    async def expose_metrics(_given: RequestInput) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def inspect_processor(_given: RequestInput) -> Any:
        if processor is None:
            raise HTTPException(404, "this instance has no processor")
        return {
            "consumer": processor.consumer,
            "owner": processor.owner,
            "in_flight": processor.in_flight,
            "processed": processor.processed,
            "invalid": dict(processor.invalid),
            "last_error": link.last_error,
            "reconnects": link.reconnects,
        } | _shards(processor)

    async def inspect_correlations(_given: RequestInput) -> Any:
        return {
            "pending": {
                "count": len(correlation),
                "oldest": [
                    {
                        "id": one.message_id,
                        "charge_point": one.charge_point_id,
                        "action": one.action,
                        "age": round(one.age, 3),
                        "timeout": one.timeout,
                    }
                    for one in correlation.oldest()
                ],
            },
            "totals": correlation.totals.as_dict(),
        }

    return [
        Operation("GET", "/health", "How this instance is", health, plain=True),
        Operation("GET", "/health/ready", "Whether it can work", ready, plain=True, statuses=(503,)),
        Operation("GET", "/metrics", "Totals and gauges for Prometheus", expose_metrics, plain=True),
        Operation(
            "GET", "/inspect/processor", "What the processor does", inspect_processor, token=True, statuses=(404,)
        ),
        Operation("GET", "/inspect/correlations", "Which commands wait", inspect_correlations, token=True),
    ]


def _shards(processor: Processor | ShardedProcessor) -> dict[str, Any]:
    """Additional fields of a processor with shards; empty without shards."""
    if isinstance(processor, Processor):
        return {}
    owned, router = processor.owned, processor.router.owner
    return {"shards": {"count": processor.count, "owned": owned, "router": router}}
