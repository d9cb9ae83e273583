"""A model of the protocol: what answers may say, and what the state has to be after the messages that were sent.

One file a version. A model has no I/O and knows nothing of the system under test: it is given each exchange (a CALL of
a charge point, and what became of it) in the order of its charge point, and says what is wrong with the answer; then it
is given what the system keeps, and says in which fields that is wrong. An exchange whose outcome nobody knows was
applied or not: the model goes on with both, and what is kept has to fit one of them.
"""

from ocpp_resilience.ocpp.model.base import Model
from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.ocpp.model.exchange import Exchange, History, Outcome
from ocpp_resilience.ocpp.model.observed import Observed, VariableName
from ocpp_resilience.ocpp.model.registry import model_of
from ocpp_resilience.ocpp.model.v16 import Model16
from ocpp_resilience.ocpp.model.v21 import Model21
from ocpp_resilience.ocpp.model.v201 import Model201

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
    "model_of",
]
