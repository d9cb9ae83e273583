"""Keywords that queue many messages."""

from __future__ import annotations

import contextlib
import itertools
import random
from datetime import timedelta
from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.invalid_payloads import Payloads
from ocpp_resilience.ocpp.sessions import KnownTransactions, Step, sessions_of
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.messages import MessageFormat, SentMessage, SentMessages, build
from ocpp_resilience.transport.volume import Order, generate, new_seed
from RedisQueueLibrary.base import QueueComponent, log_all_sent, points, supported_mix


class Volume(QueueComponent):
    """Generated volumes."""

    @keyword(tags=("queue", "send", "load"))
    def queue_generated_messages(
        self,
        count: int,
        *,
        charge_points: int | list[str] = 50,
        action: str = "Heartbeat",
        mix: dict[str, int] | None = None,
        order: Order = Order.INTERLEAVED,
        seed: int | None = None,
        format: MessageFormat | None = None,  # noqa: A002 - what the argument is called in suites
        allow_partial: bool = False,
        alias: str = "queue",
    ) -> SentMessages:
        """Queues many valid messages at the same time, and returns a record of all of them.

        Args:
            count: how many messages.
            charge_points: how many new charge points they are of, or a list of ids; each gets its share.
            action: the OCPP action of all of them, named as in `Queue Message`.
            mix: several actions with their weights, in place of `action`, as `{"Heartbeat": 8, "MeterValues": 2}`;
                those that the target does not support are left out, and logged.
            order: `interleaved` (each charge point in turn), `blocked` (all of one, then of the next) or `shuffled`.
            format: `envelope` or `flat`; that of the queue if not given.
            allow_partial: accept that Redis acknowledges only a part; the record lists it.

        Raises:
            UsageError: a number cannot be used.
            LacksCapability: the target supports none of the actions; the test is skipped.
            QueueUnavailable: Redis did not acknowledge all of them; the message says how many.

        Example:
        ```robotframework
        ${sent}    Queue Generated Messages    20000    charge_points=50
        ${drain}    All Messages Should Be Answered    ${sent}    timeout=60s
        Should Be True    ${drain.rate} >= 100
        ```
        """
        client = self._queues.get(alias)
        chosen = new_seed() if seed is None else seed
        made = generate(
            count,
            points(charge_points, self._ids),
            mix=supported_mix(client, mix if mix is not None else {action: 1}),
            order=order,
            seed=chosen,
            version=client.version,
            body=client.body,
            message_format=format or client.message_format,
            new_message_id=self._ids.message,
        )
        sent = client.send(made, seed=chosen, partial=allow_partial)
        log_all_sent(client, sent)
        return sent

    @keyword(tags=("queue", "send"))
    def queue_messages_of_every_shape(
        self, charge_points: int | list[str] = 20, *, seed: int | None = None, alias: str = "queue"
    ) -> SentMessages:
        """Queues valid messages in which each alternative of the official schemas occurs, and returns all of them.

        For each action that the target supports: each value of each enumeration, each optional field, numbers and texts
        at their limits, lists of one and two. A system without `oracle: strict` may refuse the unit Hertz: the errata
        of OCPP 1.6 mention it, and the published schemas do not have it.

        Args:
            charge_points: how many new charge points, or a list of ids; each has its share of each action.
            seed: of the texts; chosen and logged if not given.

        Raises:
            LacksCapability: the target supports no action; the test is skipped.
            QueueUnavailable: Redis did not acknowledge all of them.

        Example:
        ```robotframework
        ${sent}    Queue Messages Of Every Shape
        All Messages Should Be Answered    ${sent}
        ```
        """
        client = self._queues.get(alias)
        chosen = new_seed() if seed is None else seed
        payloads = Payloads(random.Random(chosen), client.version)  # noqa: S311 - has to be repeatable
        recipients = itertools.cycle(points(charge_points, self._ids))
        made = []
        for action in supported_mix(client, dict.fromkeys(client.version.samples, 1)):
            for payload in payloads.shapes(action):
                message = client.build(action, payload, charge_point=next(recipients))
                message.open = client.version.leaves_open(payload)
                made.append(message)
        sent = client.send(made, seed=chosen)
        log_all_sent(client, sent)
        return sent

    @keyword(tags=("queue", "send", "load", "transaction"))
    def queue_varied_sessions(
        self,
        charge_points: int | list[str] = 20,
        *,
        rounds: int = 8,
        seed: int | None = None,
        timeout: timedelta = timedelta(seconds=30),
        alias: str = "queue",
    ) -> SentMessages:
        """Queues random charging sessions of every shape, and returns all messages when they are answered.

        The sessions have several connectors, repeated starts, readings in Wh and kWh, in any order, with other
        measurands among them, stops with and without reason and id tag, second stops, and stops and readings for
        transactions of others; in OCPP 2.x, events that come late, out of order, again, or never. In each round all
        charge points have several messages queued at once, of which some are about one record.

        Args:
            charge_points: how many new charge points, or a list of ids.
            rounds: how many messages each charge point sends.
            timeout: the longest wait for the answers of a round.

        Raises:
            LacksCapability: the target has no transactions; the test is skipped.
            WaitTimeout: messages were not answered in time.
            QueueUnavailable: Redis did not acknowledge all of them.

        Example:
        ```robotframework
        ${sent}    Queue Varied Sessions    50    seed=7
        ${history}    Get Message History
        State Should Equal The Model    ${history}
        ```
        """
        client = self._queues.get(alias)
        sessions = sessions_of(client.version)
        client.need_actions(*sessions.TRANSACTION_ACTIONS)
        chosen = new_seed() if seed is None else seed
        chance, neighbours = random.Random(chosen), KnownTransactions()  # noqa: S311 - has to be repeatable
        scripts = {}
        for point in points(charge_points, self._ids):
            script = sessions.SessionScript(
                point,
                random.Random(chance.random()),  # noqa: S311
                neighbours,
                rounds,
                actions=client.actions,
            ).run()
            scripts[script] = point, next(script)
        whole: list[SentMessage] = []
        while scripts:
            made = {
                script: [
                    build(
                        action,
                        payload,
                        charge_point=point,
                        message_id=self._ids.message(),
                        message_format=chance.choice(client.message_formats),
                        body=client.body,
                    )
                    for action, payload in steps
                ]
                for script, (point, steps) in scripts.items()
            }
            sent = client.send([message for messages in made.values() for message in messages], seed=chosen)
            whole += sent
            waits.wait_for_all(client, sent, timeout=timeout, settle=0)
            following = {}
            for script, messages in made.items():
                payloads = [_payload(client, message) for message in messages]
                with contextlib.suppress(StopIteration):
                    following[script] = scripts[script][0], script.send(payloads)
            scripts = following
        everything = SentMessages(whole, seed=chosen)
        log_all_sent(client, everything)
        return everything

    @keyword(tags=("queue", "send", "transaction"))
    def queue_messages_for_foreign_transactions(
        self, charge_points: int = 10, *, timeout: timedelta = timedelta(seconds=30), alias: str = "queue"
    ) -> SentMessages:
        """Queues stops and meter values for transactions of other charge points, and returns the messages.

        Each charge point has a running and a completed transaction. Then each sends a stop and meter values for four
        transactions: a running and a completed one of its neighbour, its own completed one, and one that never existed.
        In OCPP 2.x transaction ids are unique per charge point only, so an event with a foreign or unknown id creates a
        new transaction of the sender.

        Args:
            charge_points: how many new charge points, at least 2.
            timeout: the longest wait for the answers to the messages before.

        Raises:
            UsageError: one charge point has no neighbour.
            LacksCapability: the target does not support the actions; the test is skipped.
            WaitTimeout: the messages before were not answered.

        Example:
        ```robotframework
        ${attempts}    Queue Messages For Foreign Transactions
        All Messages Should Be Answered    ${attempts}
        ${history}    Get Message History
        State Should Equal The Model    ${history}
        ```
        """
        if charge_points < 2:
            raise UsageError(f"{charge_points} charge points have no neighbours; at least 2 are needed.")
        client = self._queues.get(alias)
        sessions = sessions_of(client.version)
        client.need_actions(*sessions.TRANSACTION_ACTIONS)

        def queue(steps: list[tuple[str, Step]]) -> SentMessages:
            return client.send(
                build(
                    action,
                    payload,
                    charge_point=owner,
                    message_id=self._ids.message(),
                    message_format=client.message_format,
                    body=client.body,
                )
                for owner, (action, payload) in steps
            )

        run = sessions.attempts(points(charge_points, self._ids))
        steps = next(run)
        while True:
            before = queue(steps)
            waits.wait_for_all(client, before, timeout=timeout, settle=0)
            try:
                steps = run.send([_payload(client, each) for each in before])
            except StopIteration as end:
                sent = queue(end.value)
                log_all_sent(client, sent)
                return sent


def _payload(client: QueueClient, message: SentMessage) -> dict[str, Any] | None:
    """The payload of the CALLRESULT to a message; `None` if it got none."""
    answer = client.answer_to(message)
    return answer.payload if answer is not None and answer.code is None else None
