"""Logging of actions on Redis, and their entries in the fault journal."""

from __future__ import annotations

from robot.api import logger

from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.redis.services import Effect
from ocpp_resilience.waiting import in_words


def report(name: str, effect: Effect) -> None:
    """Log an action on `name` with its proof, and note it as the beginning or the end of a fault."""
    match effect.action.split()[0]:
        case "stopped" | "killed" | "paused":
            JOURNAL.begin(effect.action.split()[0], name, proof=effect.proof)
        case "restarted":
            JOURNAL.now(effect.action, name, effect.proof, took=effect.took)
        case _:
            JOURNAL.end_of(name, effect.proof)
    logger.info(f"{name} {effect.action} in {in_words(effect.took)}. {effect.proof}.")
