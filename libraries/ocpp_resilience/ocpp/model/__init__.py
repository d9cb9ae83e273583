"""A model of the protocol: the allowed answers, and the state after the messages that were sent.

One file for each version. A model has no I/O and knows nothing of the system under test: it takes each exchange (a CALL
of a charge point and its outcome) in the order of its charge point, and returns the problems of the answer; then it
takes the stored state, and returns the wrong fields. An exchange of unknown outcome was applied or not: the model
follows both, and the stored state must fit one of them.
"""

from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.ocpp.model.exchange import Exchange, History, Outcome
from ocpp_resilience.ocpp.model.observed import Observed
from ocpp_resilience.ocpp.model.v16 import Model16

__all__ = ["Behaviour", "Exchange", "History", "Model16", "Observed", "Outcome"]
