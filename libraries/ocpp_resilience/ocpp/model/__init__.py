"""A model of the protocol: the allowed answers, and the state after the messages that were sent.

One file for each version. A model has no I/O and knows nothing of the system under test: it takes each exchange (a CALL
of a charge point and its outcome) in the order of its charge point, and returns the problems of the answer; then it
takes the stored state, and returns the wrong fields. An exchange of unknown outcome was applied or not: the model
follows both, and the stored state must fit one of them.
"""

from ocpp_resilience.ocpp.model.base import Model
from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.ocpp.model.configuration import ConfigurationModel, StoredKey
from ocpp_resilience.ocpp.model.exchange import Exchange, History, Outcome
from ocpp_resilience.ocpp.model.observed import Observed, VariableName
from ocpp_resilience.ocpp.model.registry import model_of
from ocpp_resilience.ocpp.model.v16 import Model16
from ocpp_resilience.ocpp.model.v21 import Model21
from ocpp_resilience.ocpp.model.v201 import Model201

__all__ = [
    "Behaviour",
    "ConfigurationModel",
    "Exchange",
    "History",
    "Model",
    "Model16",
    "Model21",
    "Model201",
    "Observed",
    "Outcome",
    "StoredKey",
    "VariableName",
    "model_of",
]
