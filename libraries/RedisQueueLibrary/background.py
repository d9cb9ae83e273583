"""Keywords that queue messages while the test does something else."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import UsageError, WaitTimeout
from ocpp_resilience.ids import Ids
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.messages import SentMessage, SentMessages
from ocpp_resilience.transport.volume import Order, generate, new_seed
from ocpp_resilience.waiting import in_words, seconds
from RedisQueueLibrary.base import QueueComponent, log_all_sent, points, supported_mix

EVERY_SECONDS = 0.05
"""The time between two portions."""


class BackgroundQueueing:
    """Puts messages on a queue, a few at a time, in a separate thread.

    Args:
        client: the queue; no other thread sends through it meanwhile.
        messages: the messages.
        over: seconds from the first portion to the last.
    """

    def __init__(self, client: QueueClient, messages: list[SentMessage], over: float) -> None:
        self.client = client
        self._messages = messages
        self._over = over
        self._sent: list[SentMessage] = []
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queueing", daemon=True)

    def start(self) -> None:
        """Begin now."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()
        self._thread.join(60)

    def wait(self, timeout: float) -> SentMessages:
        """Wait until everything is sent; returns all of it.

        Raises:
            WaitTimeout: it was not.
            ResilienceError: sending failed.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            seen = f"{len(self._sent)} of {len(self._messages)} messages"
            raise WaitTimeout(f"Only {seen} were queued (waited {in_words(timeout)}).", waited=timeout, last_seen=seen)
        if self._error is not None:
            raise self._error
        return SentMessages(self._sent)

    def _run(self) -> None:
        began, count = time.monotonic(), len(self._messages)
        try:
            while len(self._sent) < count and not self._stop.is_set():
                passed = time.monotonic() - began
                due = count if passed >= self._over else int(count * passed / self._over)
                if portion := self._messages[len(self._sent) : due]:
                    self._sent += self.client.send(portion, partial=True)
                self._stop.wait(EVERY_SECONDS)
        except Exception as error:  # noqa: BLE001 - told to the keyword that waits for the end
            self._error = error


class Background(QueueComponent):
    """Queueing beside the test."""

    def __init__(self, queues: Registry[QueueClient], ids: Ids) -> None:
        super().__init__(queues, ids)
        self._trickles: Registry[BackgroundQueueing] = Registry(
            "queueing", starter="Start Queueing Generated Messages", close=lambda trickle: trickle.stop()
        )

    @keyword(tags=("queue", "send", "load"))
    def start_queueing_generated_messages(
        self,
        count: int,
        *,
        over: timedelta,
        charge_points: int | list[str] = 50,
        mix: dict[str, int] | None = None,
        seed: int | None = None,
        alias: str = "queue",
    ) -> None:
        """Starts queueing many valid messages in the background, evenly over a time.

        `Queueing Should End` waits for the last of them. Until then no other keyword may send through this queue.
        Messages that Redis does not acknowledge are no failure; the record lists them.

        Args:
            count: how many messages.
            over: from the first to the last.
            charge_points: how many new charge points they are of, or a list of ids; each gets its share.
            mix: the actions with their weights, as `{"Heartbeat": 8, "MeterValues": 2}`; Heartbeats if not given.

        Raises:
            UsageError: a number cannot be used, or messages are being queued there already.

        Example:
        ```robotframework
        Start Queueing Generated Messages    1000    over=5 s
        Restart Redis
        ${sent}    Queueing Should End
        All Messages Should Be Answered    ${sent}
        ```
        """
        if over <= timedelta(0):
            raise UsageError(f"over is {in_words(over)}, it has to be above 0.")
        if self._trickles.find(alias) is not None:
            raise UsageError(f"Messages are being queued on '{alias}' already; call `Queueing Should End` first.")
        client = self._queues.get(alias)
        chosen = new_seed() if seed is None else seed
        made = generate(
            count,
            points(charge_points, self._ids),
            mix=supported_mix(client, mix if mix is not None else {"Heartbeat": 1}),
            order=Order.SHUFFLED,
            seed=chosen,
            version=client.version,
            body=client.body,
            message_format=client.message_format,
            new_message_id=self._ids.message,
        )
        trickle = BackgroundQueueing(client, made, seconds(over))
        trickle.start()
        self._trickles.add(alias, trickle, self.cleanup)
        logger.info(f"{count} messages are queued over {in_words(over)}. Seed: {chosen}.")

    @keyword(tags=("queue", "send", "wait"))
    def queueing_should_end(self, *, timeout: timedelta = timedelta(minutes=1), alias: str = "queue") -> SentMessages:
        """Waits until `Start Queueing Generated Messages` has queued all messages, and returns records of them.

        Args:
            timeout: the longest wait; nothing more is queued after it.

        Raises:
            UsageError: nothing was begun there.
            WaitTimeout: not everything was queued.

        Example:
        ```robotframework
        ${sent}    Queueing Should End    timeout=20 s
        ```
        """
        trickle = self._trickles.get(alias)
        try:
            sent = trickle.wait(seconds(timeout))
        finally:
            self._trickles.remove(alias, self.cleanup)
        log_all_sent(trickle.client, sent)
        return sent
