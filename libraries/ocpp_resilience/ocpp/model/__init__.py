"""A model of the protocol: what answers may say, and what the state has to be after the messages that were sent.

One file a version. A model has no I/O and knows nothing of the system under test: it is given each exchange (a CALL of
a charge point, and what became of it) in the order of its charge point, and says what is wrong with the answer; then it
is given what the system keeps, and says in which fields that is wrong. An exchange whose outcome nobody knows was
applied or not: the model goes on with both, and what is kept has to fit one of them.
"""

from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.model.base import Model
from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.ocpp.model.exchange import Exchange, History, Outcome
from ocpp_resilience.ocpp.model.observed import Observed, VariableName
from ocpp_resilience.ocpp.model.v16 import Model16
from ocpp_resilience.ocpp.model.v21 import Model21
from ocpp_resilience.ocpp.model.v201 import Model201

MODELS: dict[str, type[Model[Any]]] = {each.version: each for each in (Model16, Model201, Model21)}
"""The models by subprotocol."""


def new_model(version: str, behaviour: Behaviour | None = None) -> Model[Any]:
    """A model of an OCPP version.

    Args:
        version: the subprotocol, such as `ocpp1.6`.
        behaviour: what the system does where the specification leaves a choice.

    Raises:
        UsageError: there is no model of this version.
    """
    if version not in MODELS:
        raise UsageError(f"There is no model of '{version}' (there are models of {', '.join(MODELS)}).")
    return MODELS[version](behaviour)


__all__ = [
    "Behaviour",
    "Exchange",
    "History",
    "Model",
    "Model16",
    "Model21",
    "Model201",
    "Observed",
    "Outcome",
    "VariableName",
    "new_model",
]
