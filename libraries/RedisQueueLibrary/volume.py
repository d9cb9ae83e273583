"""Keywords that queue many messages at once."""

from __future__ import annotations

from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport.messages import MessageFormat, SentMessages
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
            mix: several actions with their weights, in the place of `action`, as `{"Heartbeat": 8, "MeterValues": 2}`;
                those that the target does not support are left out, and the log says so.
            order: `interleaved` (each charge point in turn), `blocked` (all of one, then of the next) or `shuffled`.
            seed: what a mix and a shuffled order are made from; by chance if not given, and logged.
            format: `envelope` or `flat`; that of the queue if not given.
            allow_partial: whether it is no failure if Redis acknowledges only a part; the record says which.
            alias: which queue.

        Raises:
            UsageError: a number cannot be used.
            LacksCapability: the target supports none of the actions; the test is skipped.
            QueueUnavailable: Redis did not acknowledge all of them; says how many.

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
            message_format=format or client.message_format,
            new_message_id=self._ids.message,
        )
        sent = client.send(made, seed=chosen, partial=allow_partial)
        log_all_sent(client, sent)
        return sent
