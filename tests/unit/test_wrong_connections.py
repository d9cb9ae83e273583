"""The list of connected charge points, read until it is right."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ocpp_resilience.errors import ExpectationFailed
from OcppServerLibrary import api

NO_LIST = "GET /clients answered 503 without a list: Redis is not available"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the list says, one look after the other; the last one for good."""
    told: list[Any] = []

    def listed(*_: object) -> list[dict[str, Any]]:
        now = told.pop(0) if len(told) > 1 else told[0]
        if isinstance(now, Exception):
            raise now
        return [{"id": each} for each in now]

    monkeypatch.setattr(api, "clients_listed", listed)
    monkeypatch.setattr(api, "api_of", lambda _: SimpleNamespace(clients=None, connected_at=None, last_activity=None))
    return told


def wrong(timeout: float) -> list[str]:
    target = SimpleNamespace(behaviour=SimpleNamespace(clock_tolerance=1))
    servers: Any = SimpleNamespace(get=lambda _: SimpleNamespace(target=target, get=None))
    return api.Api(servers, {}).find_wrong_connections(["CP-1"], records=False, timeout=timedelta(seconds=timeout))


def test_an_api_that_has_no_list_yet_is_asked_again(answers: list[Any]) -> None:
    answers += [ExpectationFailed(NO_LIST), [], ["CP-1"]]
    assert wrong(5) == []


def test_an_api_that_never_has_a_list_is_wrong(answers: list[Any]) -> None:
    answers += [ExpectationFailed(NO_LIST)]
    assert wrong(0.05) == [NO_LIST]
