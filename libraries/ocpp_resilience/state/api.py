"""Compares the state in the HTTP API (lists, filtered lists, single records) with the model."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ocpp_resilience import http_client
from ocpp_resilience.errors import ExpectationFailed, LacksCapability, ServiceError
from ocpp_resilience.http_client import Reply
from ocpp_resilience.ocpp.model import Model, Observed
from ocpp_resilience.ocpp.model.values import moment
from ocpp_resilience.profile import STATE_FIELDS, StateRecord, Target
from ocpp_resilience.profile.kept import API_VIEWS, StateApi, StateView
from ocpp_resilience.profile.templates import fill
from ocpp_resilience.state.comparison import StateComparison
from ocpp_resilience.state.reading import Ids, Record, in_our_words

Get = Callable[[str], Reply]

MOST_POINTS = 20
"""Charge points of which everything is asked for."""
SINGLE_RECORDS = 5
SUB_DELIMITERS = "!$&'()*+,;=@:"
"""What may stand in a path as it is (RFC 3986 section 3.3)."""
"""Records of each kind that are asked for alone."""
UNKNOWN: Ids = {"charge_point_id": "NOBODY-KNOWS-THIS-ONE", "connector_id": 4711, "transaction_id": 2147483001}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record of a list.

    Attributes:
        id: that of the record.
        record: in our names.
    """

    id: Any
    record: Record


def api_of(target: Target) -> StateApi:
    """The paths that give state.

    Raises:
        LacksCapability: there are none.
    """
    if target.state.api is None:
        raise LacksCapability(f"Target '{target.name}' does not describe its state over HTTP (state.api).")
    return target.state.api


def compare_api(model: Model[Any], target: Target, *, get: Get, seed: int) -> StateComparison:
    """Compare the answers of the HTTP API with the model.

    Lists are asked for as a whole; of charge points with many connectors and transactions, a few that `seed` chooses
    are asked for everything.

    Args:
        model: has taken all messages.
        target: says which paths there are.
        get: asks the system's HTTP API for a path.
        seed: chooses the charge points and the single records.

    Raises:
        LacksCapability: the profile names no paths.
        ServiceError: the system does not answer.
    """
    return _Asking(model, target, get, random.Random(seed)).compare()  # noqa: S311 - has to be repeatable


def unclear_refusals(target: Target, *, get: Get, within: float) -> list[str]:
    """Ask for state while the store is away: each path has to be answered with 503 at once.

    Args:
        target: says which paths there are.
        get: asks the system's HTTP API for a path.
        within: how many seconds each answer may take.

    Returns:
        A sentence for each path that was answered otherwise, or later.

    Raises:
        LacksCapability: the profile names no paths.
    """
    api = api_of(target)
    found = []
    for name in API_VIEWS:
        view: StateView | None = getattr(api, name)
        if view is None:
            continue
        path, began = _path(view, UNKNOWN), time.monotonic()
        try:
            status = f"answered {get(path).status}"
        except ServiceError as error:
            status = f"not answered ({error})"
        took = time.monotonic() - began
        if status != "answered 503" or took > within:
            found.append(f"GET {path} was {status} after {took:.1f} s")
    return found


class _Asking:
    """One comparison; see `compare_api`."""

    def __init__(self, model: Model[Any], target: Target, get: Get, chance: random.Random) -> None:
        self._model = model
        self._api = api_of(target)
        self._get = get
        self._chance = chance
        self._report = StateComparison(unjudged=dict(model.unjudged))

    def compare(self) -> StateComparison:
        points = self._model.charge_points
        some = sorted(self._chance.sample(points, min(len(points), MOST_POINTS)))
        self._report.charge_points = len(some)
        listed = {entry.id: entry for entry in self._list("charge_points")}
        transactions = {_name(entry): entry for entry in self._list("transactions")}
        for point in some:
            observed = self._observe(point, listed, transactions)
            self._report.transactions += len(observed.transactions)
            self._say(f"over HTTP, {each}" for each in self._model.state_problems(point, observed))
        self._refusals(some[0] if some else None)
        return self._report

    def _observe(self, point: str, listed: dict[Any, _Entry], transactions: dict[Any, _Entry]) -> Observed:
        api = self._api
        observed = Observed(fields={})
        fields: dict[str, Sequence[str]] = {}
        if api.charge_points is not None:
            fields["charge_point"] = _fields(api.charge_points, "charge_point")
            observed.point = listed[point].record if point in listed else None
            self._alone("charge_point", [listed[point]] if point in listed else [], charge_point_id=point)
        if api.connectors is not None:
            fields["connector"] = _fields(api.connectors, "connector")
            entries = self._list("connectors", charge_point_id=point)
            observed.connectors = {entry.id: entry.record for entry in entries}
            observed.connectors_listed = set(observed.connectors)
            self._alone("connector", entries, charge_point_id=point)
        if api.transactions_of_charge_point is not None:
            fields["transaction"] = _fields(api.transactions_of_charge_point, "transaction")
            entries = self._list("transactions_of_charge_point", charge_point_id=point)
            observed.transactions = {entry.id: entry.record for entry in entries}
            observed.listed = {entry.id: moment(str(entry.record.get("start_time"))) or 0.0 for entry in entries}
            self._in_order(point, observed.listed)
            self._filters(point, observed)
            self._alone("transaction", entries, charge_point_id=point)
            if api.transactions is not None:
                self._say(
                    f"transaction {entry.id} of {point} is not the same in {api.transactions.path}"
                    for entry in entries
                    if _name(entry) not in transactions or transactions[_name(entry)].record != entry.record
                )
        observed.fields = fields
        return observed

    def _filters(self, point: str, observed: Observed) -> None:
        """Active and completed ones are all that there are, and none is both."""
        api = self._api
        if api.active_transactions is not None:
            observed.active = {entry.id for entry in self._list("active_transactions", charge_point_id=point)}
        if api.completed_transactions is not None and observed.active is not None:
            completed = {entry.id for entry in self._list("completed_transactions", charge_point_id=point)}
            expected = set(observed.listed or {}) - set(observed.active)
            self._say(
                f"transaction {each} of {point} is {'not ' if each in expected else ''}in "
                f"{api.completed_transactions.path}, expected {'it there' if each in expected else 'not'}"
                for each in sorted(completed ^ expected)
            )

    def _in_order(self, point: str, starts: dict[Any, float]) -> None:
        times = list(starts.values())
        if times != sorted(times):
            path = self._api.transactions_of_charge_point
            self._say([f"the transactions of {point} are not in the order of their starts ({path and path.path})"])

    def _list(self, name: str, **ids: str) -> list[_Entry]:
        view: StateView | None = getattr(self._api, name)
        if view is None:
            return []
        path = _path(view, ids)
        kept = _listed(self._get(path), view)
        kind = API_VIEWS[name][0]
        entries = [_Entry(http_client.pick(each, view.id), in_our_words(each, view, kind)) for each in kept]
        twice = [each for each, count in Counter(map(_name, entries)).items() if count > 1]
        self._say(f"{each} is listed more than once in {path}" for each, _ in twice)
        return entries

    def _alone(self, name: str, entries: list[_Entry], **ids: Any) -> None:
        """Some records of a list, asked for alone, are the same."""
        view: StateView | None = getattr(self._api, name)
        if view is None:
            return
        kind, placeholders = API_VIEWS[name]
        for entry in self._chance.sample(entries, min(len(entries), SINGLE_RECORDS)):
            path = _path(view, {placeholders[-1]: entry.id} | ids, plain=True)
            reply = self._get(path)
            kept = _data(reply, view)
            if not isinstance(kept, dict):
                self._say([f"GET {path} answered {reply.status}: {http_client.shorten(reply.body)}"])
                continue
            record = in_our_words(kept, view, kind)
            self._say(
                f"GET {path} gives {field} {record.get(field)!r}, and the list {entry.record.get(field)!r}"
                for field in _fields(view, kind)
                if record.get(field) != entry.record.get(field)
            )

    def _refusals(self, known: str | None) -> None:
        """Missing resources have to be answered with 404, invalid input with 400."""
        singles = [name for name in ("charge_point", "connector", "transaction") if getattr(self._api, name)]
        paths = [(_path(getattr(self._api, name), UNKNOWN), 404) for name in singles]
        if known is not None and self._api.connector is not None:
            paths.append((_path(self._api.connector, {**UNKNOWN, "charge_point_id": known}), 404))
        paths += [(path, 400) for path in self._api.bad_requests]
        for path, expected in paths:
            status = self._get(path).status
            if status != expected:
                self._say([f"GET {path} answered {status}, expected {expected}"])

    def _say(self, problems: Iterable[str]) -> None:
        self._report.differences += problems


def _name(entry: _Entry) -> tuple[Any, Any]:
    """An id alone does not name a transaction where charge points choose the ids."""
    return entry.id, entry.record.get("charge_point_id")


def _fields(view: StateRecord, kind: str) -> Sequence[str]:
    return tuple(view.fields) or STATE_FIELDS[kind]


def _path(view: StateView, ids: Ids, *, plain: bool = False) -> str:
    """The path of a view; with `plain`, only those characters are percent-encoded in it that have to be.

    In a query, a `+` has to be.
    """
    path, mark, query = (view.path or "").partition("?")
    safe = SUB_DELIMITERS if plain else ""
    filled = fill(path, {name: quote(str(value), safe=safe) for name, value in ids.items()})
    return filled + mark + fill(query, {name: quote(str(value), safe="") for name, value in ids.items()})


def _data(reply: Reply, view: StateView) -> Any:
    document = reply.json() if reply.status == 200 else None
    return document if view.data is None else http_client.pick(document, view.data)


def not_listed(target: Target, get: Get, charge_points: Iterable[str]) -> list[str]:
    """The charge points that are not in the list of all, where the profile names one.

    Raises:
        ExpectationFailed: the answer is no list.
    """
    view = api_of(target).charge_points
    if view is None:
        return []
    there = {http_client.pick(each, view.id) for each in _listed(get(view.path or ""), view)}
    return [each for each in charge_points if each not in there]


def clients_listed(target: Target, get: Get) -> list[dict[str, Any]]:
    """The entries of the list of connected charge points, as the system writes them.

    Raises:
        LacksCapability: the profile names no such list.
        ExpectationFailed: the answer is no list.
    """
    view = api_of(target).clients
    if view is None:
        raise LacksCapability(f"Target '{target.name}' does not list connected charge points (state.api.clients).")
    return _listed(get(view.path or ""), view)


def _listed(reply: Reply, view: StateView) -> list[dict[str, Any]]:
    kept = _data(reply, view)
    if not isinstance(kept, list) or not all(isinstance(each, dict) for each in kept):
        what = f"GET {reply.url} answered {reply.status} without a list: {http_client.shorten(reply.body)}"
        raise ExpectationFailed(what)
    return kept
