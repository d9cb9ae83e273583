"""The rules that judge messages, one file each; keywords, load, chaos and saved files share them."""

from ocpp_resilience.ledger.rules.duplicated import surplus_answers, surplus_effects
from ocpp_resilience.ledger.rules.lost import Fate, fate, missing
from ocpp_resilience.ledger.rules.refused import done_although_refused
from ocpp_resilience.ledger.rules.reordered import reordered

__all__ = ["Fate", "done_although_refused", "fate", "missing", "reordered", "surplus_answers", "surplus_effects"]
