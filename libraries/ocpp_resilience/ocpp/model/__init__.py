"""A model of the protocol: what answers may say, and what the state has to be after the messages that were sent.

One file a version. A model has no I/O and knows nothing of the system under test: it is given each exchange (a CALL of
a charge point, and what became of it) in the order of its charge point, and says what is wrong with the answer; then it
is given what the system keeps, and says in which fields that is wrong. An exchange whose outcome nobody knows was
applied or not: the model goes on with both, and what is kept has to fit one of them.
"""

from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.ocpp.model.exchange import Exchange, History, Outcome
from ocpp_resilience.ocpp.model.observed import Observed
from ocpp_resilience.ocpp.model.registry import Model, model_of
from ocpp_resilience.ocpp.model.v16 import Model16

__all__ = ["Behaviour", "Exchange", "History", "Model", "Model16", "Observed", "Outcome", "model_of"]
