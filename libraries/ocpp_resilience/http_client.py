"""Requests to a server under test, bounded and without a proxy."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

from ocpp_resilience.errors import ExpectationFailed, ServiceError
from ocpp_resilience.waiting import in_words


@dataclass(frozen=True)
class Reply:
    """An HTTP answer.

    Attributes:
        url: the requested URL.
        status: the status code.
        body: the whole body.
        took: seconds from connecting until the body was there.
    """

    url: str
    status: int
    body: bytes
    took: float

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ExpectationFailed: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise ExpectationFailed(
                f"GET {self.url} answered {self.status} without JSON: {shorten(self.body)}"
            ) from None


def get(host: str, port: int, path: str, *, timeout: float, headers: dict[str, str] | None = None) -> Reply:
    """Ask for one document on a separate connection.

    Args:
        host: the server.
        port: its port.
        path: the path, with the query if there is one.
        timeout: the longest wait for a step (connecting, a part of the answer), in seconds.
        headers: request headers.

    Raises:
        ServiceError: there was no answer.
    """
    return ask("GET", host, port, path, timeout=timeout, headers=headers)


def ask(
    method: str,
    host: str,
    port: int,
    path: str,
    *,
    timeout: float,
    headers: dict[str, str] | None = None,
    body: object = None,
) -> Reply:
    """Make one request on a separate connection.

    Args:
        method: the HTTP method.
        host: the server.
        port: its port.
        path: the path, with the query if there is one.
        timeout: the longest wait for a step (connecting, a part of the answer), in seconds.
        headers: request headers.
        body: is sent as JSON; none is sent if it is `None`.

    Raises:
        ServiceError: there was no answer.
    """
    url = f"http://{host}:{port}{path}"
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    sent = {"Connection": "close", **(headers or {})}
    content = None if body is None else json.dumps(body).encode()
    if content is not None:
        sent["Content-Type"] = "application/json"
    began = time.perf_counter()
    try:
        connection.request(method, path, body=content, headers=sent)
        response = connection.getresponse()
        body = response.read()
    except TimeoutError:
        raise ServiceError(f"{method} {url}: no answer within {in_words(timeout)}.") from None
    except OSError as error:
        raise ServiceError(f"{method} {url}: {error.strerror or error}.") from None
    except http.client.HTTPException as error:
        raise ServiceError(f"{method} {url}: no usable answer ({type(error).__name__}).") from None
    finally:
        connection.close()
    return Reply(url, response.status, body, time.perf_counter() - began)


def shorten(body: bytes, limit: int = 200) -> str:
    """A body for a message."""
    text = body[: limit * 4].decode("utf-8", "replace")
    return (text if len(text) <= limit else f"{text[:limit]}…") or "(empty)"


def pick(document: Any, dotted: str) -> Any:
    """The value at the path `dotted` (names, and places in lists from 0, separated by dots) in a JSON document;
    `None` if there is none.
    """
    for name in dotted.split("."):
        if isinstance(document, list) and name.isdecimal():
            document = document[int(name)] if int(name) < len(document) else None
        elif isinstance(document, dict):
            document = document.get(name)
        else:
            return None
    return document
