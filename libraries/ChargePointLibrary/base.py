"""Shared parts of the keyword components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from robot.api import logger
from robot.api.types import Secret

from ocpp_resilience import background
from ocpp_resilience.charge_points.gateway import Gateway
from ocpp_resilience.charge_points.many import ChargePoints, close_all
from ocpp_resilience.charge_points.point import Answer, ChargePoint
from ocpp_resilience.ids import Ids
from ocpp_resilience.robot.library import Component
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.text import shortened
from ocpp_resilience.waiting import in_words

ALIAS = "charge point"
ANSWER_TIMEOUT = timedelta(seconds=5)
LOGGED_CHARACTERS = 2_000


class PointComponent(Component):
    """A topic's keywords on the charge points.

    Args:
        points: the charge points.
    """

    def __init__(self, points: ChargePoints) -> None:
        self._points = points

    def chosen(self, charge_points: Sequence[str] | None) -> list[ChargePoint]:
        """The charge points of these aliases or ids; all if none are named."""
        return self._points.all() if charge_points is None else [self._points.get(name) for name in charge_points]


class ConnectingComponent(PointComponent):
    """A topic's keywords that make charge points.

    Args:
        points: the charge points.
        gateways: where they connect.
        ids: gives ids that belong to this run.
    """

    def __init__(self, points: ChargePoints, gateways: Registry[Gateway], ids: Ids) -> None:
        super().__init__(points)
        self._gateways = gateways
        self._ids = ids

    def keep(self, made: Mapping[str, ChargePoint]) -> None:
        """Keeps charge points until the running suite ends, and then disconnects all of them."""

        def close() -> None:
            self._points.forget(made.values())
            background.run(close_all, list(made.values()), timeout=30)

        self._points.add(made)
        what = f"charge point '{next(iter(made))}'" if len(made) == 1 else f"{len(made)} charge points"
        self.cleanup.add(what, close)


def call(point: ChargePoint, action: str, payload: Mapping[str, Any], timeout: timedelta) -> Answer:
    """Send a CALL, wait for its answer and log both."""
    answer: Answer = background.run(point.call, action, payload, timeout=None, limit=timeout.total_seconds())
    said = f"CALLERROR {answer.code}: {answer.description}" if answer.code is not None else answer.payload
    logger.info(
        f"{action} of {point.id} with {shortened(str(dict(payload)), LOGGED_CHARACTERS)} was answered after "
        f"{in_words(answer.seconds)}: {shortened(str(said), LOGGED_CHARACTERS)}"
    )
    return answer


def plain(secret: str | Secret | None) -> str | None:
    """A password as text."""
    return str(secret.value) if isinstance(secret, Secret) else secret
