"""Test 14: commands and their answers."""

from __future__ import annotations

import gc
from typing import Any

from catalogue import defect

from server.commands import Commands
from server.correlation import Correlation, CorrelationManager, CorrelationTimeout, Verdict

RANDOM_ORDER = "A Thousand Commands Answered In Random Order Reach Their Callers"
EQUAL = "Two Equal Commands At One Charge Point Each Get Their Own Answer"
EXPIRES = "An Unanswered Command Expires When Its Time Is Up"
AT_ONCE = "A Thousand Commands Expire At Once And The Next One Is Answered"
CLEANS_UP = "Every Way In Which A Command Ends Cleans Up"
SURPLUS = "Late, Duplicate And Unknown Answers Are Counted, Logged And Harmless"
OTHER_SERVER = "Answers That Another Server Consumed Reach Their Callers"
MEMORY = "A Hundred Thousand Pending Commands Fit Into Memory And Leave None Behind"
WORKERS = "Fifty Workers At Once Lose, Mix Up And Leave Nothing"
SHUTDOWN = "A Shutdown Tells The Callers And Leaves Nothing"


@defect("R14.2", EXPIRES)
def correlations_never_expire() -> None:
    """Who is not answered waits for ever."""
    CorrelationManager.expire = lambda self, most=0: 0
    CorrelationManager._schedule = lambda self: None


@defect("R14.5", AT_ONCE)
def all_but_the_last_expire() -> None:
    """The timer is not set again for the last entry."""
    sound = CorrelationManager.expire

    def expire(self: CorrelationManager, most: int = 250) -> int:
        return sound(self, min(most, len(self._pending) - 1)) if len(self._pending) > 1 else 0

    CorrelationManager.expire = expire


@defect("R14.1", EQUAL)
def matched_by_charge_point_and_action() -> None:
    """An answer goes to the oldest command of the same action at the charge point, whatever its id."""
    sound = CorrelationManager._end

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        answered = self._pending.get(message_id)
        if answered is not None:
            message_id = next(
                each.message_id
                for each in self._pending.values()
                if each.charge_point_id == charge_point_id and each.action == answered.action
            )
        return sound(self, message_id, charge_point_id, outcome)

    CorrelationManager._end = end


@defect("R14.1", RANDOM_ORDER)
def answers_are_taken_in_the_order_of_the_commands() -> None:
    """An answer goes to the command that was sent first, to whatever charge point."""
    sound = CorrelationManager._end

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        if message_id in self._pending:
            oldest = next(iter(self._pending.values()))
            message_id, charge_point_id = oldest.message_id, oldest.charge_point_id
        return sound(self, message_id, charge_point_id, outcome)

    CorrelationManager._end = end


@defect("R14.5", AT_ONCE)
def stuck_after_mass_expiry() -> None:
    """When hundreds expire at once, nothing is handed over any more."""
    sound_expire, sound_end = CorrelationManager.expire, CorrelationManager._end
    stuck: list[bool] = []

    def expire(self: CorrelationManager, most: int = 250) -> int:
        ended = sound_expire(self, most)
        if ended > 100:
            stuck.append(True)
        return ended

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        return Verdict.UNKNOWN if stuck else sound_end(self, message_id, charge_point_id, outcome)

    CorrelationManager.expire, CorrelationManager._end = expire, end


@defect("R14.7", OTHER_SERVER)
def answer_of_another_instance_is_lost() -> None:
    """Answers that another server took off the queue are not looked for."""
    Commands._forwarded = lambda self, raw: None


@defect("R14.3", MEMORY)
def leaks_each_correlation() -> None:
    """What has ended is kept."""
    kept: list[Correlation] = []
    sound = CorrelationManager._forget

    def forget(self: CorrelationManager, correlation: Correlation) -> None:
        kept.append(correlation)
        sound(self, correlation)

    CorrelationManager._forget = forget


@defect("R14.3", MEMORY)
def correlations_are_large() -> None:
    """Each carries a buffer of 8 KiB."""
    gc.disable()
    sound = CorrelationManager.register
    buffers: dict[str, bytearray] = {}

    def register(self: CorrelationManager, message_id: str, *arguments: Any, **options: Any) -> Correlation:
        buffers[message_id] = bytearray(8192)
        return sound(self, message_id, *arguments, **options)

    CorrelationManager.register = register


@defect("R14.5", CLEANS_UP)
def a_callerror_does_not_end_the_wait() -> None:
    """Only a CALLRESULT counts as an answer."""
    CorrelationManager.fail = lambda self, *arguments, **options: Verdict.DELIVERED


@defect("R14.5", SHUTDOWN)
def shutdown_forgets_who_waits() -> None:
    """Who waits when the server stops is not told."""
    CorrelationManager.close = lambda self: 0


@defect("R14.6", SURPLUS)
def late_answers_are_not_counted() -> None:
    """An answer that nobody waits for vanishes without a trace."""
    sound = CorrelationManager._end

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        if message_id not in self._pending:
            return Verdict.DELIVERED
        return sound(self, message_id, charge_point_id, outcome)

    CorrelationManager._end = end


@defect("R14.4", WORKERS)
def a_cancelled_correlation_is_left_over() -> None:
    """Cancelling tells the caller, but keeps the entry until its time is up."""

    def cancel(self: CorrelationManager, message_id: str) -> bool:
        correlation = self._pending.get(message_id)
        if correlation is None:
            return False
        correlation._settle(CorrelationTimeout)
        return True

    CorrelationManager.cancel = cancel
