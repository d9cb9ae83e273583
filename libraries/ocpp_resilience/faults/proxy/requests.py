"""Requests to the HTTP API of the fault proxy: read, answered, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from ocpp_resilience.errors import UsageError


class Refused(UsageError):
    """A request to the proxy's HTTP API cannot be carried out.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def decode(raw: bytes, kind: Any) -> Any:
    """JSON as `kind`.

    Raises:
        Refused: it is none.
    """
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise Refused(f"bad request body: {error}") from None


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(data), status, headers, media_type="application/json")


def refusal(error: Refused, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that says why not, as Toxiproxy's does."""
    return answer({"error": str(error), "status": error.status}, error.status, headers)
