"""Keywords for transactions of OCPP 2.0.1 and 2.1, event by event."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robot.api import logger

from ChargePointLibrary.base import ALIAS, ANSWER_TIMEOUT, PointComponent
from ocpp_resilience import background
from ocpp_resilience.charge_points.events import (
    EventOrder,
    EventType,
    Offline,
    TransactionEvent,
    go_offline,
    next_event,
    send,
)
from ocpp_resilience.errors import UsageError
from ocpp_resilience.robot.library import keyword


class Events(PointComponent):
    """TransactionEvents, sent immediately or after a time offline."""

    @keyword(tags=("charge point", "send", "transaction"))
    def send_transaction_event(
        self,
        event: EventType,
        *,
        evse: int = 1,
        id_tag: str = "TEST-TAG",
        meter: int | None = None,
        alias: str = ALIAS,
        timeout: timedelta = ANSWER_TIMEOUT,
        **fields: Any,
    ) -> TransactionEvent:
        """Sends the next TransactionEvent of an EVSE (OCPP 2.0.1 and 2.1), and returns it with its answer.

        The charge point chooses the id of the transaction and counts its events: `Started` begins a transaction with
        `seqNo` 0, `Updated` goes on with it, and `Ended` is its last event.

        Args:
            event: `Started`, `Updated` or `Ended`.
            evse: the number of the EVSE.
            id_tag: who charges; `Started` says it.
            meter: the meter, in Wh; that of the event before if not given.
            fields: further fields of the payload, or others in the place of those that it has, such as `seqNo`.

        Returns:
            The event: `transaction_id`, `seq_no`, `payload` and `answer`.

        Raises:
            UsageError: the charge point speaks OCPP 1.6, or has no transaction at this EVSE.
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; says what came instead.

        Example:
        ```robotframework
        ${started}    Send Transaction Event    Started    meter=1500
        Send Transaction Event    Updated    meter=1800
        Send Transaction Event    Ended    meter=2000
        Log    ${started.transaction_id}
        ```
        """
        point = self._points.get(alias)
        call = next_event(point, event, evse=evse, id_tag=id_tag, meter=meter, fields=fields)
        sent: TransactionEvent = background.run(send, point, call, timeout=None, limit=timeout.total_seconds())
        logger.info(
            f"{event.value} {sent.seq_no} of {sent.transaction_id} at {point.id} was answered with {sent.answer}."
        )
        return sent

    @keyword(tags=("charge point", "connection", "transaction", "fault"))
    def go_offline_for(
        self,
        duration: timedelta,
        *,
        every: timedelta = timedelta(milliseconds=200),
        order: EventOrder = EventOrder.IN_ORDER,
        alias: str = ALIAS,
        timeout: timedelta = timedelta(seconds=10),
    ) -> Offline:
        """Disconnects a charge point for a while, lets its transactions continue, and sends their events afterwards.

        The events of that time are sent after the reconnect, with `offline` true (OCPP 2.0.1, use case E04).

        Args:
            duration: how long the charge point is disconnected.
            every: the time between two events of a transaction.
            order: how the events are sent afterwards: `in order`, `reversed` or `shuffled`.
            timeout: the longest wait for the connection and for each answer.

        Returns:
            What happened: `seconds`, `events` (in the order sent, each as `Send Transaction Event` returns it) and
            `summary`.

        Raises:
            UsageError: none of its transactions runs, or a time is not above 0.
            ExpectationFailed: it could not connect again, or an event was not accepted.

        Example:
        ```robotframework
        Send Transaction Event    Started
        ${offline}    Go Offline For    1 s    order=shuffled
        Send Transaction Event    Ended
        Log    ${offline.summary}
        ```
        """
        for name, length in (("duration", duration), ("every", every)):
            if length <= timedelta(0):
                raise UsageError(f"{name} is {length.total_seconds():g} s, it has to be above 0.")
        point = self._points.get(alias)
        whole: Offline = background.run(
            go_offline,
            point,
            duration.total_seconds(),
            timeout=None,
            every=every.total_seconds(),
            order=order,
            limit=timeout.total_seconds(),
        )
        logger.info(f"{point.id}: {whole.summary}.")
        return whole
