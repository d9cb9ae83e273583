"""Test 14: commands and their answers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

from catalogue import defect
from msgspec.structs import replace

from server.correlation import commands
from server.correlation.commands import Commands
from server.correlation.manager import Correlation, CorrelationManager, CorrelationTimeout, Pending, Totals, Verdict
from server.ocpp import envelope
from server.ocpp.frames import CallError
from server.processor.processor import Processor

RANDOM_ORDER = "A Thousand Commands Answered In Random Order Reach Their Callers"
EQUAL = "Two Equal Commands At One Charge Point Each Get Their Own Answer"
LATE = "A Late Answer Is Not Taken For That Of The Next Command"
EXPIRES = "An Unanswered Command Expires When Its Time Is Up"
AT_ONCE = "A Thousand Commands Expire At Once And The Next One Is Answered"
CLEANS_UP = "Every Way In Which A Command Ends Cleans Up"
SURPLUS = "Late, Duplicate And Unknown Answers Are Counted, Logged And Harmless"
OTHER_SERVER = "Answers That Another Server Consumed Reach Their Callers"
MEMORY = "A Hundred Thousand Pending Commands Fit Into Memory And Leave None Behind"
WORKERS = "Fifty Workers At Once Lose, Mix Up And Leave Nothing"
DEFAULT = "The Default Timeout Is Thirty Seconds"
SHUTDOWN = "A Shutdown Fails The Waiting Callers And Leaves Nothing"


@defect("R14.2", EXPIRES, says=r"50 of 50 callers have no outcome")
def correlations_never_expire() -> None:
    """A command without an answer never times out."""
    CorrelationManager.expire = lambda self, most=0: 0
    CorrelationManager._schedule = lambda self: None


@defect(
    "R14.2",
    DEFAULT,
    says=r"The caller has no outcome; GetConfiguration|no HTTP answer within 45 s.* expiry_delay: required",
    longest_wait=45,
    timing=True,
)
def all_but_the_last_expire() -> None:
    """The timer is not set again for the last entry."""
    sound = CorrelationManager.expire

    def expire(self: CorrelationManager, most: int = 250) -> int:
        return sound(self, min(most, len(self._pending) - 1)) if len(self._pending) > 1 else 0

    CorrelationManager.expire = expire


@defect("R14.1", EQUAL, says=r"The first command got the answer to the second")
def matched_by_charge_point_and_action() -> None:
    """An answer goes to the oldest command of the same action at the charge point, and its id is ignored."""
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


@defect("R14.1", LATE, says=r"R14\.1 mixed_up: required == 0")
def late_answers_go_to_the_next_command() -> None:
    """An answer whose command has expired goes to the one that waits for the same charge point now."""
    sound = CorrelationManager._end

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        if message_id not in self._pending:
            waiting = (each for each in self._pending.values() if each.charge_point_id == charge_point_id)
            message_id = next((each.message_id for each in waiting), message_id)
        return sound(self, message_id, charge_point_id, outcome)

    CorrelationManager._end = end


@defect("R14.1", RANDOM_ORDER, says=r"1000 commands: .* [1-9]\d* mixed up")
def answers_are_taken_in_the_order_of_the_commands() -> None:
    """An answer goes to the command that was sent first, to any charge point."""
    sound = CorrelationManager._end

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        if message_id in self._pending:
            oldest = next(iter(self._pending.values()))
            message_id, charge_point_id = oldest.message_id, oldest.charge_point_id
        return sound(self, message_id, charge_point_id, outcome)

    CorrelationManager._end = end


@defect("R14.5", AT_ONCE, says=r"10 commands: 0 with their own answer.* next_answered: required == 100 %", timing=True)
def stuck_after_mass_expiry() -> None:
    """When hundreds of commands expire at once, later answers are not delivered any more."""
    sound_expire, sound_end = CorrelationManager.expire, CorrelationManager._end
    stuck: list[bool] = []

    def expire(self: CorrelationManager, most: int = 250) -> int:
        ended = sound_expire(self, most)
        if self.totals.expired > 500:
            stuck.append(True)
        return ended

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        return Verdict.UNKNOWN if stuck else sound_end(self, message_id, charge_point_id, outcome)

    CorrelationManager.expire, CorrelationManager._end = expire, end


@defect(
    "R14.7", OTHER_SERVER, says=r"200 commands: .*\(\d+ x HTTP 408\).* answered: required == 200 requests", timing=True
)
def answer_of_another_instance_is_lost() -> None:
    """Answers that another server took off the queue are not looked for."""
    Commands._forwarded = lambda self, raw: None


@defect("R14.3", MEMORY, says=r"memory_left: required <= 10 %", timing=True)
def leaks_each_correlation() -> None:
    """Ended correlations are kept."""
    kept: list[Correlation] = []
    sound = CorrelationManager._forget

    def forget(self: CorrelationManager, correlation: Correlation) -> None:
        kept.append(correlation)
        sound(self, correlation)

    CorrelationManager._forget = forget


@defect("R14.3", MEMORY, says=r"correlation_size: required <= 5 KB", timing=True)
def correlations_are_large() -> None:
    """Each carries a buffer of 8 KiB."""
    gc.disable()
    sound = CorrelationManager.register
    buffers: dict[str, bytearray] = {}

    def register(self: CorrelationManager, message_id: str, *arguments: Any, **options: Any) -> Correlation:
        buffers[message_id] = bytearray(8192)
        return sound(self, message_id, *arguments, **options)

    CorrelationManager.register = register


@defect("R14.5", CLEANS_UP, says=r"by a CALLERROR: 20 of 20 callers have no outcome")
def a_callerror_does_not_end_the_wait() -> None:
    """Only a CALLRESULT counts as an answer."""
    CorrelationManager.fail = lambda self, *arguments, **options: Verdict.DELIVERED


@defect(
    "R14.5",
    SHUTDOWN,
    says=r"Expected HTTP status 503 for each of 20 commands, 20 have a different|commands noted in Redis as waited for",
)
def shutdown_forgets_waiting_callers() -> None:
    """Waiting callers get no response when the server stops."""
    CorrelationManager.close = lambda self: 0


@defect("R14.6", SURPLUS, says=r"Counted: 0 late, 0 duplicate, 0 unknown; .* uncounted: required == 0")
def late_answers_are_not_counted() -> None:
    """An answer without a waiting caller vanishes without a trace."""
    sound = CorrelationManager._end

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        if message_id not in self._pending:
            return Verdict.DELIVERED
        return sound(self, message_id, charge_point_id, outcome)

    CorrelationManager._end = end


@defect("R14.4", WORKERS, says=r"R14\.4 (lost|left_over): required == 0 requests", timing=True)
def a_cancelled_correlation_is_left_over() -> None:
    """Cancelling tells the caller, but keeps the entry until its time is up."""

    def cancel(self: CorrelationManager, message_id: str) -> bool:
        correlation = self._pending.get(message_id)
        if correlation is None:
            return False
        correlation._settle(CorrelationTimeout)
        return True

    CorrelationManager.cancel = cancel


@defect("R14.1", EQUAL, says=r"The first command got the answer to the second")
def equal_commands_share_an_answer() -> None:
    """The first answer to one of several equal commands is handed to all of them."""
    sound = CorrelationManager._end

    def end(self: CorrelationManager, message_id: str, charge_point_id: str, outcome: Any) -> Verdict:
        answered = self._pending.get(message_id)
        verdict = sound(self, message_id, charge_point_id, outcome)
        if answered is not None and isinstance(outcome, dict):
            for each in list(self._by_charge_point.get(charge_point_id, ())):
                if self._pending[each].action == answered.action:
                    sound(self, each, charge_point_id, outcome)
        return verdict

    CorrelationManager._end = end


@defect("R14.2", EXPIRES, says=r"expiry_delay: required <= 1 s", timing=True)
def looks_for_expired_ones_every_few_seconds() -> None:
    """Expired commands are looked for at long intervals."""
    sound = CorrelationManager._schedule

    def schedule(self: CorrelationManager) -> None:
        sound(self)
        if self._timer is not None:
            self._timer.cancel()
            later = max(2.5, self._timer_due - self._clock() + 2.5)
            self._timer = asyncio.get_running_loop().call_later(later, self._turn)

    CorrelationManager._schedule = schedule


@defect("R14.2", DEFAULT, says=r"R14\.2 timeout: required >= 30 s", longest_wait=45, timing=True)
def default_timeout_of_twenty_seconds() -> None:
    """The default timeout is shorter than it has to be."""
    sound = Commands.__init__

    def init(self: Commands, *args: Any, timeout: float, **named: Any) -> None:
        sound(self, *args, timeout=20.0, **named)

    Commands.__init__ = init


@defect("R14.5", MEMORY, AT_ONCE, says=r"left_over: required == 0 requests", timing=True)
def expired_ones_stay() -> None:
    """The caller is told that the time is up, but the entry stays."""
    sound = CorrelationManager.expire

    def expire(self: CorrelationManager, most: int = 250) -> int:
        due = [each for deadline, _, each in self._heap if deadline <= self._clock() and each.pending]
        ended = sound(self, most)
        for each in due:
            if not each.pending:
                self._pending[each.message_id] = each
                self._by_charge_point.setdefault(each.charge_point_id, set()).add(each.message_id)
        return ended

    CorrelationManager.expire = expire


@defect("R14.4", WORKERS, says=r"R14\.4 lost: required == 0 requests", timing=True)
def race_of_answer_and_expiry() -> None:
    """An answer that comes just before the time is up counts as delivered, and the caller is told of a timeout."""
    sound = CorrelationManager.resolve

    def resolve(self: CorrelationManager, message_id: str, charge_point_id: str, payload: dict[str, Any]) -> Verdict:
        waiting = self._pending.get(message_id)
        if waiting is not None and waiting.deadline - self._clock() < 0.02:
            self.totals.resolved += 1
            return Verdict.DELIVERED
        return sound(self, message_id, charge_point_id, payload)

    CorrelationManager.resolve = resolve


@defect("R14.5", CLEANS_UP, says=r"by a disconnect: 20 of 20 callers have no outcome")
def disconnects_are_not_noticed() -> None:
    """Commands to a charge point that is gone wait for their timeout."""
    Commands._compare = lambda *_: None


@defect("R14.5", CLEANS_UP, says=r"by a caller who goes away: Expected 0 pending commands, the system has 20")
def callers_that_went_away_are_waited_for() -> None:
    """A caller that has closed its connection keeps its command pending."""
    from server.api import control

    async def regardless(_request: Any, work: Any) -> Any:
        return await work

    control.while_listened_to = regardless


@defect("R14.5", CLEANS_UP, says=r"Expected 0 commands noted in Redis as waited for, there are 20")
def notes_stay_in_redis() -> None:
    """The correlation of a command stays in Redis until its timeout."""
    sound = Commands._ended

    def ended(self: Commands, sending: Any) -> None:
        sending.sent = False
        sound(self, sending)

    Commands._ended = ended


@defect("R14.6", SURPLUS, says=r"Logged: 0 of 10 as late_answer; .* unlogged: required == 0 answers")
def surplus_answers_are_not_logged() -> None:
    """Surplus answers are counted, but the counts cannot be read."""

    class Silent:
        def __getattr__(self, _name: str) -> Any:
            return lambda *_, **__: None

    commands.logger = Silent()


@defect("R14.6", SURPLUS, says=r"Counted: 10 late, 0 duplicate, 20 unknown; .* uncounted: required == 0")
def duplicates_count_as_unknown() -> None:
    """A second answer to one command counts as unknown."""
    sound = Totals.as_dict

    def as_dict(self: Totals) -> dict[str, int]:
        totals = sound(self)
        return {**totals, "duplicate": 0, "unknown": totals["unknown"] + totals["duplicate"]}

    Totals.as_dict = as_dict


# --- errors of charge points ------------------------------------------------------------------------------------------


def forwarded_error(change: Callable[[CallError], CallError]) -> None:
    """Change the errors of charge points that one instance passes on to another."""
    sound = envelope.forwarded
    envelope.forwarded = lambda message: sound(change(message) if isinstance(message, CallError) else message)


UNTOLD = r"20 of 20 callers were not told the error of their charge point"


@defect("R14.7", OTHER_SERVER, says=UNTOLD)
def forwarded_errors_lose_their_description() -> None:
    """An error that another instance has taken off the queue reaches its caller without the description."""
    forwarded_error(lambda error: replace(error, description=""))


@defect("R14.7", OTHER_SERVER, says=UNTOLD)
def forwarded_errors_are_internal_errors() -> None:
    """An error that another instance has taken off the queue reaches its caller with another code."""
    forwarded_error(lambda error: replace(error, code="InternalError"))


@defect("R14.7", OTHER_SERVER, says=UNTOLD)
def forwarded_errors_are_dropped() -> None:
    """Errors that another instance has taken off the queue are not passed on: their callers wait until their time."""
    sound = Processor._forward_operations

    def operations(self: Processor, forwarded: dict[str, list[str]]) -> Any:
        kept = {instance: [each for each in entries if ",[3," in each] for instance, entries in forwarded.items()}
        return sound(self, {instance: entries for instance, entries in kept.items() if entries})

    Processor._forward_operations = operations


@defect("R14.5", CLEANS_UP, says=r"Commands that end by a CALLERROR: \d+ of 20 callers were not told the error")
def errors_reach_the_caller_before() -> None:
    """Of several errors at a time, each caller is told that of the command before its own."""
    sound = CorrelationManager.fail
    before: list[tuple[str, str]] = []

    def fail(  # noqa: PLR0917 - as the sound one
        self: CorrelationManager,
        message_id: str,
        charge_point_id: str,
        code: str,
        description: str = "",
        details: Any = None,
    ) -> Verdict:
        before.append((code, description))
        told_code, told = before[-2] if len(before) > 1 else before[-1]
        return sound(self, message_id, charge_point_id, told_code, told, details)

    CorrelationManager.fail = fail


# ------------------------------------------------------------------ the list of the oldest


def listed(change: Callable[[CorrelationManager, list[Pending], int], list[Pending]]) -> None:
    """Change the list of the oldest pending commands."""
    sound = CorrelationManager.oldest
    CorrelationManager.oldest = lambda self, most=100: change(self, sound(self, len(self)), most)


LISTED = r"The list of the oldest pending commands is wrong: .*"


@defect("R14.1", RANDOM_ORDER, says=LISTED + r"waits for \d+\.\d s at least and is not listed")
def the_newest_commands_are_listed_as_the_oldest() -> None:
    """Of the pending commands the newest hundred are listed."""
    listed(lambda _, pending, most: pending[-most:])


@defect("R14.5", AT_ONCE, says=LISTED + r"is listed with an age of")
def ages_count_down_to_the_timeout() -> None:
    """A pending command is listed with the time that it has left, as its age."""
    listed(lambda _, pending, most: [each._replace(age=each.timeout - each.age) for each in pending[:most]])


@defect("R14.5", AT_ONCE, says=LISTED + r"is listed for \S+, expected")
def pending_commands_are_listed_for_the_charge_point_of_the_first() -> None:
    """Each pending command is listed for one and the same charge point."""
    listed(
        lambda _, pending, most: [each._replace(charge_point_id=pending[0].charge_point_id) for each in pending[:most]]
    )


@defect("R14.5", AT_ONCE, says=LISTED + r"is listed with a timeout of 30 s, expected 6 s")
def pending_commands_are_listed_with_the_default_timeout() -> None:
    """Each pending command is listed with the default timeout, whatever its caller asked for."""
    listed(lambda _, pending, most: [each._replace(timeout=30.0) for each in pending[:most]])
