"""Keywords that queue many messages at once."""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta
from typing import Any

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.v16_sessions import TRANSACTION_ACTIONS, Neighbours, SessionScript
from ocpp_resilience.ocpp.version import LARGEST_INTEGER
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport import waits
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
        """Queues many valid messages in one go, and returns a record of all of them.

        Args:
            count: how many messages.
            charge_points: how many new charge points they are of, or a list of ids; each gets its share.
            action: the OCPP action of all of them.
            mix: several actions with their weights, in place of `action`, as `{"Heartbeat": 8, "MeterValues": 2}`;
                those that the target does not support are left out, and logged.
            order: `interleaved` (each charge point in turn), `blocked` (all of one, then of the next) or `shuffled`.
            seed: of the random choices; chosen and logged if not given.
            format: `envelope` or `flat`; that of the queue if not given.
            allow_partial: accept that Redis acknowledges only a part; the record lists it.
            alias: which queue.

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
        """Queues charging sessions of every shape by chance, and returns all messages when they are answered.

        There are several connectors, starts that are sent again, readings in Wh and kWh, in any order, with other
        measurands among them, stops with and without reason and id tag, second stops, and stops and readings for
        transactions of others. In each round all charge points have several messages queued at once, of which some are
        about one record.

        Args:
            charge_points: how many new charge points, or a list of ids.
            rounds: number of messages of each.
            seed: decides everything; by chance if not given, and logged.
            timeout: the longest wait for the answers of a round.
            alias: which queue.

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
        client.need_actions(*TRANSACTION_ACTIONS)
        chosen = new_seed() if seed is None else seed
        chance, neighbours = random.Random(chosen), Neighbours()  # noqa: S311 - has to be repeatable
        scripts = {}
        for point in points(charge_points, self._ids):
            script = SessionScript(
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
                answers = [client.answer_to(message) for message in messages]
                payloads = [each.payload if each is not None and each.code is None else None for each in answers]
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
        """Queues stops and meter values for transactions that are not the sender's to change, and returns these.

        Each charge point has a transaction that runs and one that is over. Then each tries to stop, and to send meter
        values for, one that runs at its neighbour, one that is over there, its own that is over, and one that there
        never was.

        Args:
            charge_points: how many new charge points, at least 2.
            timeout: the longest wait for the answers to the messages before.
            alias: which queue.

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
        client.need_actions("StartTransaction", "StopTransaction", "MeterValues")
        owners = points(charge_points, self._ids)

        def queue(steps: list[tuple[str, str, dict[str, Any]]]) -> SentMessages:
            return client.send(
                build(
                    action,
                    client.version.sample(action) | fields,
                    charge_point=owner,
                    message_id=self._ids.message(),
                    message_format=client.message_format,
                )
                for owner, action, fields in steps
            )

        def ids(messages: SentMessages) -> list[int]:
            waits.wait_for_all(client, messages, timeout=timeout, settle=0)
            answers = [client.answer_to(each) for each in messages]
            return [answer.payload.get("transactionId", 0) if answer is not None else 0 for answer in answers]

        over = ids(queue([(each, "StartTransaction", {"connectorId": 1}) for each in owners]))
        ids(queue([(each, "StopTransaction", {"transactionId": tx}) for each, tx in zip(owners, over, strict=True)]))
        running = ids(queue([(each, "StartTransaction", {"connectorId": 2}) for each in owners]))
        attempts: list[tuple[str, str, dict[str, Any]]] = []
        for place, owner in enumerate(owners):
            neighbour = (place + 1) % len(owners)
            for transaction in (running[neighbour], over[neighbour], over[place], LARGEST_INTEGER):
                reading = client.version.sample("MeterValues")["meterValue"][0]
                reading["sampledValue"][0]["value"] = "987654"
                values = {"connectorId": 2, "transactionId": transaction, "meterValue": [reading]}
                attempts.append((owner, "MeterValues", values))
                stop = {"transactionId": transaction, "meterStop": 987_654, "reason": "Other", "idTag": "TEST-TAG"}
                attempts.append((owner, "StopTransaction", stop))
        sent = queue(attempts)
        log_all_sent(client, sent)
        return sent
