"""The rules that judge messages, one file each; keywords, load, chaos and saved files share them."""

from ocpp_resilience.ledger.rules.duplicated import surplus_answers, surplus_effects
from ocpp_resilience.ledger.rules.lost import Fate, fate, missing
from ocpp_resilience.ledger.rules.refused import done_although_refused
from ocpp_resilience.ledger.rules.reordered import reordered
from ocpp_resilience.ledger.rules.seq_doubled import doubled_numbers
from ocpp_resilience.ledger.rules.seq_missing import missed_events
from ocpp_resilience.ledger.rules.seq_offline import offline_miscounted
from ocpp_resilience.ledger.rules.seq_order import out_of_order
from ocpp_resilience.ledger.rules.seq_unsent import unsent_numbers

__all__ = [
    "Fate",
    "done_although_refused",
    "doubled_numbers",
    "fate",
    "missed_events",
    "missing",
    "offline_miscounted",
    "out_of_order",
    "reordered",
    "surplus_answers",
    "surplus_effects",
    "unsent_numbers",
]
