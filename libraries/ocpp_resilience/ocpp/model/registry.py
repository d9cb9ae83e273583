"""The model of each version, and what all of them can be asked."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.ocpp.model.exchange import Exchange
from ocpp_resilience.ocpp.model.observed import Observed
from ocpp_resilience.ocpp.validation import validate_answer
from ocpp_resilience.ocpp.version import Version


class Model(Protocol):
    """What answers to charge points may say, and what the state has to be, for any number of charge points."""

    behaviour: Behaviour

    @property
    def charge_points(self) -> list[str]:
        """Whose state can be judged."""
        ...

    @property
    def unjudged(self) -> Mapping[str, str]:
        """Whose state cannot be judged, each with the reason."""
        ...

    def leave_out(self, charge_point: str, why: str) -> None:
        """Judge the answers of a charge point, but not its state."""
        ...

    def retire(self, charge_point: str) -> None:
        """Judge the state of a charge point no more, whatever it sends, until it is forgotten."""
        ...

    def forget(self, charge_point: str) -> None:
        """Start anew with a charge point."""
        ...

    def forget_all(self) -> None:
        """Start anew with every charge point."""
        ...

    def transaction_ids(self, charge_point: str) -> Sequence[Any]:
        """The transactions of a charge point whose ids are known."""
        ...

    def connectors(self, charge_point: str) -> Sequence[Any]:
        """The connectors of which something may be kept."""
        ...

    def take(self, exchange: Exchange) -> list[str]:
        """Take in the next exchange of a charge point; returns what is wrong with its answer, a problem a line."""
        ...

    def answer_problems(self, exchange: Exchange) -> list[str]:
        """What is wrong with a CALLRESULT by itself: its schema, and what its values imply."""
        ...

    def state_problems(self, charge_point: str, observed: Observed) -> list[str]:
        """In which fields the state of a charge point is wrong."""
        ...


class AnswerModel:
    """Stands in for the model of a version that has none: judges answers by their schemas, and no state.

    Args:
        version: the OCPP version.
        behaviour: what the system does where the specification leaves a choice.
    """

    def __init__(self, version: Version, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self._version = version
        self._unjudged: dict[str, str] = {}

    @property
    def charge_points(self) -> list[str]:
        """Whose state can be judged: nobody's."""
        return []

    @property
    def unjudged(self) -> Mapping[str, str]:
        """Whose state cannot be judged, each with the reason."""
        return self._unjudged

    def leave_out(self, charge_point: str, why: str) -> None:
        """Judge the answers of a charge point, but not its state."""
        self._unjudged.setdefault(charge_point, why)

    def retire(self, charge_point: str) -> None:
        """Judge the state of a charge point no more."""
        self._unjudged.pop(charge_point, None)

    def forget(self, charge_point: str) -> None:
        """Start anew with a charge point."""
        self._unjudged.pop(charge_point, None)

    def forget_all(self) -> None:
        """Start anew with every charge point."""
        self._unjudged.clear()

    def transaction_ids(self, charge_point: str) -> list[str]:  # noqa: ARG002
        """None is known."""
        return []

    def connectors(self, charge_point: str) -> list[int]:  # noqa: ARG002
        """None is known."""
        return []

    def take(self, exchange: Exchange) -> list[str]:
        """Take in the next exchange of a charge point; returns what is wrong with its answer, a problem a line."""
        self.leave_out(exchange.charge_point, f"there is no model of the state in {self._version}")
        return self.answer_problems(exchange) if exchange.answer is not None else []

    def answer_problems(self, exchange: Exchange) -> list[str]:
        """What is wrong with a CALLRESULT by its schema."""
        try:
            return validate_answer(self._version.subprotocol, exchange.action, exchange.answer)
        except UsageError as unknown:
            return [f"a CALLRESULT to something that has none: {unknown}"]

    def state_problems(self, charge_point: str, observed: Observed) -> list[str]:  # noqa: ARG002
        """None is known."""
        return []


def model_of(version: Version, behaviour: Behaviour | None = None) -> Model:
    """A new model of a version: `MODEL` of the module that `Version.model` names, else one of the answers alone."""
    if not version.model:
        return AnswerModel(version, behaviour)
    made: Model = importlib.import_module(f"ocpp_resilience.ocpp.model.{version.model}").MODEL(behaviour)
    return made
