"""How an action on Redis is logged."""

from __future__ import annotations

from robot.api import logger

from resilience.services import Effect
from resilience.waiting import in_words


def report(name: str, effect: Effect) -> None:
    """Log what was done to `name` and what proves it."""
    logger.info(f"{name} {effect.action} in {in_words(effect.took)}. {effect.proof}.")
