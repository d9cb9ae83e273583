"""Charging sessions that differ from each other, and sessions with repeated messages."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.charge_points.many import Exchange, all_succeeded, together
from ocpp_resilience.charge_points.point import Answer, ChargePoint
from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.ocpp.sessions import KnownTransactions, sessions_of
from ocpp_resilience.text import counted, examples


@dataclass(slots=True)
class RepeatedSessions:
    """The outcome of repeated messages.

    Attributes:
        sent_again: how many.
        other_answers: those that were not answered as the first time, each with both answers.
    """

    sent_again: int = 0
    other_answers: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The outcome in one line, with the first problem."""
        text = f"{counted(self.sent_again, 'message')} sent again, {len(self.other_answers)} answered otherwise"
        return f"{text}; for example {examples(self.other_answers)}" if self.other_answers else text


async def charge_by_script(points: Sequence[ChargePoint], rounds: int, seed: int, *, limit: float) -> Exchange:
    """Have all of them go through a script of sessions by chance, at the same time.

    Args:
        points: the charge points.
        rounds: number of messages of each.
        seed: of the random messages.
        limit: the longest wait for each answer, in seconds.
    """
    chance, neighbours = random.Random(seed), KnownTransactions()  # noqa: S311 - has to be repeatable
    chances = {point.id: random.Random(chance.random()) for point in points}  # noqa: S311
    whole = Exchange(sent=0, answers=[], problems=[], seconds=0.0)

    async def act(point: ChargePoint) -> None:
        script = (
            sessions_of(point.version)
            .SessionScript(point.id, chances[point.id], neighbours, rounds, actions=point.gateway.target.handled)
            .run()
        )
        steps = next(script)
        while True:
            payloads: list[dict[str, Any] | None] = []
            for action, payload in steps:
                whole.sent += 1
                payloads.append(None)
                try:
                    answer = await point.call(action, payload, limit=limit)
                    whole.answers.append(answer)
                    payloads[-1] = answer.accepted()
                except ExpectationFailed as error:
                    whole.problems.append(str(error))
            try:
                steps = script.send(payloads)
            except StopIteration:
                return

    began = time.monotonic()
    await together(points, act)
    whole.seconds = time.monotonic() - began
    return whole


async def charge_repeatedly(points: Sequence[ChargePoint], *, limit: float) -> RepeatedSessions:
    """Have each of them send the messages of a session again, over new connections and under new message ids.

    Args:
        points: the charge points, which are connected.
        limit: the longest wait for each answer, and for a connection, in seconds.

    Raises:
        ExpectationFailed: a message was not answered, or a charge point could not connect again.
    """
    whole = RepeatedSessions()
    results = await together(points, lambda point: _repeat_session(point, whole, limit))
    all_succeeded(results, "charge points could not send their session again")
    return whole


async def _repeat_session(point: ChargePoint, whole: RepeatedSessions, limit: float) -> None:
    async def again(action: str, payload: dict[str, Any]) -> Any:
        first = await point.call(action, payload, limit=limit)
        await _reconnect(point, limit)
        _compare(whole, first, await point.call(action, payload, limit=limit, message_id=first.message_id))
        # Cut before the answer: whether the gateway has read it is not known, and must not matter.
        await point.send_call(action, payload, first.message_id)
        whole.sent_again += 1
        await _reconnect(point, limit)
        _compare(whole, first, await point.call(action, payload, limit=limit, message_id=first.message_id))
        _compare(whole, first, await point.call(action, payload, limit=limit))
        return first.accepted()

    session = sessions_of(point.version).repeated()
    step = next(session)
    while True:
        try:
            step = session.send(await again(*step))
        except StopIteration as end:
            (action, payload), wanted = end.value
            break
    late = await point.call(action, payload, limit=limit)
    whole.sent_again += 1
    seen = late.accepted()
    if {name: seen.get(name) for name in wanted} != wanted:
        whole.other_answers.append(
            f"The {action} of {point.id} sent again when its transaction was over got {seen}, expected {wanted}"
        )


async def _reconnect(point: ChargePoint, limit: float) -> None:
    await point.abort()
    await point.connect(limit=limit)


def _compare(whole: RepeatedSessions, first: Answer, second: Answer) -> None:
    whole.sent_again += 1
    seen, wanted = (each.payload if each.code is None else f"CALLERROR {each.code}" for each in (second, first))
    if seen != wanted:
        whole.other_answers.append(
            f"{second.action} '{second.message_id}' of {second.charge_point} sent again was answered with {seen}, "
            f"the first time with {wanted}"
        )
