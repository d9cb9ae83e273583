"""Requests to the HTTP API that have to be refused: without its token, and by web pages of other origins."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlencode, urlsplit

from ocpp_resilience.correlation.commands import CommandClient
from ocpp_resilience.errors import ServiceError

CHANGING = ("POST", "PUT", "PATCH", "DELETE")
"""Methods that change something."""
REFUSED = frozenset({401, 403})
REFUSED_PAGES = frozenset({400, 403, 415, 421})
NOTHING_THERE = frozenset({301, 307, 308, 404, 405, 501})
"""Other allowed statuses for a missing path or method: nothing was done."""
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, and with which statuses it may be answered."""

    method: str
    path: str
    body: str | None = None
    how: str = "without a token"
    headers: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    allowed: frozenset[int] = REFUSED


@dataclass(slots=True)
class StrangerReport:
    """The outcomes of requests that have to be refused.

    Attributes:
        count: how many there were.
        let_in: those that were not refused, each with its status.
    """

    count: int = 0
    let_in: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = "; ".join(self.let_in[:5])
        more = f" and {len(self.let_in) - 5} more" if len(self.let_in) > 5 else ""
        result = f"{len(self.let_in)} of {self.count} requests that have to be refused were accepted"
        return f"{result}: {shown}{more}" if shown else result


def try_as_stranger(client: CommandClient, charge_point: str, token: str) -> StrangerReport:
    """Send every kind of request that needs a token, without the right one.

    Args:
        client: knows where the API is, and what the commands of the target look like.
        charge_point: whom the commands are for.
        token: the right token, from which almost right ones are made.

    Raises:
        ServiceError: there was no answer.
    """
    return _try(client, _requests(client, charge_point, token))


def try_as_web_page(client: CommandClient, charge_point: str, origin: str) -> StrangerReport:
    """Send every command as a browser would for a page of another origin; all of them with the token of the client.

    Args:
        client: knows where the API is, and what the commands of the target look like.
        charge_point: whom the commands are for.
        origin: the origin of the page.

    Raises:
        ServiceError: there was no answer.
    """
    return _try(client, _pages(client, charge_point, origin))


def _try(client: CommandClient, requests: Iterator[_Request]) -> StrangerReport:
    report = StrangerReport()
    address = urlsplit(client.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=ANSWER_SECONDS)
    try:
        for request in requests:
            body = None if request.body is None else request.body.encode()
            headers = {} if body is None else {"Content-Type": "application/json", "Content-Length": str(len(body))}
            connection.putrequest(request.method, request.path)
            for name, values in (headers | dict(request.headers)).items():
                for value in [values] if isinstance(values, str) else values:
                    connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            reply.read()
            report.count += 1
            if reply.status not in request.allowed:
                report.let_in.append(f"{request.method} {request.path} {request.how}: {reply.status}")
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(f"{client.url}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    return report


def _commands(client: CommandClient, charge_point: str) -> list[tuple[str, str, str | None]]:
    """Method, path with query, and body of one of each command."""
    commands = client.target.version.commands
    made = []
    for action in client.target.commands.requests:
        if action not in commands:
            continue
        # The timeout bounds the wait of a server that lets it in.
        command = client.make(action, charge_point, timeout=1, fields=commands[action].fields)
        body = None if command.body is None else json.dumps(command.body)
        query = f"?{urlencode(command.query)}" if command.query else ""
        made.append((command.method, command.path + query, body))
    return made


def _pages(client: CommandClient, charge_point: str, origin: str) -> Iterator[_Request]:
    token: dict[str, str | Sequence[str]] = {"Authorization": f"Bearer {client.token}"} if client.token else {}
    for method, path, body in _commands(client, charge_point):
        page = _Request(method, path, body, how=f"of a page of {origin}", headers=token | {"Origin": origin})
        yield replace(page, allowed=REFUSED_PAGES)
        if body is not None:
            # What a form of a page can send without asking first (Fetch standard, CORS-safelisted request-header).
            for kind in ("text/plain", "application/x-www-form-urlencoded"):
                yield replace(page, how=f"as {kind}", headers=token | {"Content-Type": kind}, allowed=REFUSED_PAGES)


def _requests(client: CommandClient, charge_point: str, token: str) -> Iterator[_Request]:
    target = client.target
    inspections = [path for path in (target.http.processor, target.http.correlations) if path is not None]
    known: list[tuple[str, str, str | None]] = [("GET", path, None) for path in inspections]
    known += _commands(client, charge_point)
    elsewhere = REFUSED | NOTHING_THERE
    there = {(method, path.partition("?")[0]) for method, path, _ in known}
    for method, path, body in known:
        yield _Request(method, path, body)
        yield _Request(method, path, body, "with two wrong tokens", {"Authorization": ("Bearer a", "Bearer b")})
        for how, authorization in _almost(token).items():
            yield _Request(method, path, body, how, {"Authorization": authorization})
        plain = path.partition("?")[0]
        # GET may be another resource of the same path, which anybody may read; HEAD is GET without the body.
        for other in ("HEAD",) if method == "GET" else ():
            yield _Request(other, path)
        for other in CHANGING:
            if (other, plain) not in there:
                yield _Request(other, path, body or "{}", allowed=elsewhere)
        encoded = f"/%{plain[1].encode().hex()}{plain[2:]}"
        for variant in (f"/{path}", f"{plain}/", plain.upper(), encoded, f"{plain};a"):
            yield _Request(method, variant, body, how="without a token, the path in another form", allowed=elsewhere)
        joint = "&" if "?" in path else "?"
        yield _Request(method, f"{path}{joint}token={quote(token)}", body, how="with the token in the query")


def _almost(token: str) -> dict[str, str]:
    basic = base64.b64encode(f"{token}:{token}".encode()).decode()
    return {
        "with an empty token": "Bearer ",
        "with a wrong token": "Bearer wrong",
        "with the beginning of the token": f"Bearer {token[:-1]}",
        "with more than the token": f"Bearer {token}x",
        "with the token in capitals": f"Bearer {token.upper()}",
        "with the token as a password": f"Basic {basic}",
    }
