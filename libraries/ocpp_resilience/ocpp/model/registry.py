"""The model of each version."""

from __future__ import annotations

from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.model.base import Model
from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.ocpp.model.v16 import Model16
from ocpp_resilience.ocpp.model.v21 import Model21
from ocpp_resilience.ocpp.model.v201 import Model201
from ocpp_resilience.ocpp.version import Version

MODELS: dict[str, type[Model[Any]]] = {each.version: each for each in (Model16, Model201, Model21)}
"""The models by subprotocol."""


def model_of(version: Version, behaviour: Behaviour | None = None) -> Model[Any]:
    """A new model of an OCPP version.

    Args:
        version: the OCPP version.
        behaviour: what the system does where the specification leaves a choice.

    Raises:
        UsageError: there is no model of this version.
    """
    if version.subprotocol not in MODELS:
        raise UsageError(f"There is no model of {version} (there are models of {', '.join(MODELS)}).")
    return MODELS[version.subprotocol](behaviour)
