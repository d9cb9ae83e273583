"""Keywords for a charge point's own messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from robot.api import logger

from ChargePointLibrary.base import ALIAS, ANSWER_TIMEOUT, PointComponent, call
from ocpp_resilience import background
from ocpp_resilience.charge_points.events import EventType, next_event
from ocpp_resilience.charge_points.many import Session, charge
from ocpp_resilience.charge_points.point import Answer, ChargePoint
from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.frames import Frame
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted, shortened

SEND_SECONDS = 10.0
"""Maximum time for sending a frame to a gateway that does not read."""


class Messages(PointComponent):
    """CALLs, a whole session, and frames as they are."""

    @keyword(tags=("charge point", "send"))
    def boot(
        self,
        *,
        alias: str = ALIAS,
        vendor: str = "Acceptance",
        model: str = "Test",
        timeout: timedelta = ANSWER_TIMEOUT,
        **fields: Any,
    ) -> Any:
        """Sends a BootNotification and returns the payload of the answer.

        Args:
            vendor: the vendor.
            model: the model.
            fields: further fields of the payload.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.
            NotConnected: there is no connection.

        Example:
        ```robotframework
        ${answer}    Boot    firmwareVersion=1.2
        Should Be Equal    ${answer}[status]    Accepted
        ```
        """
        point = self._points.get(alias)
        action, payload = point.version.phrases.boot(vendor, model)
        return call(point, action, {**payload, **fields}, timeout).accepted()

    @keyword(tags=("charge point", "send"))
    def send_heartbeat(self, *, alias: str = ALIAS, timeout: timedelta = ANSWER_TIMEOUT) -> Any:
        """Sends a Heartbeat and returns the payload of the answer.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        ${answer}    Send Heartbeat
        Log    ${answer}[currentTime]
        ```
        """
        return call(self._points.get(alias), "Heartbeat", {}, timeout).accepted()

    @keyword(tags=("charge point", "send"))
    def send_status(
        self,
        status: str = "Available",
        *,
        connector: int = 1,
        error_code: str = "NoError",
        alias: str = ALIAS,
        timeout: timedelta = ANSWER_TIMEOUT,
        **fields: Any,
    ) -> Any:
        """Sends a StatusNotification and returns the payload of the answer.

        Args:
            status: the status. In OCPP 2.x, statuses of 1.6 that mean that somebody is connected are sent as
                `Occupied`.
            connector: the number of the connector; 0 is the charge point itself. In OCPP 2.x, the number of the EVSE.
            error_code: the error code; in OCPP 2.x, any but `NoError` is sent as the status `Faulted`.
            fields: further fields of the payload.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        Send Status    Faulted    connector=2    error_code=GroundFailure
        ```
        """
        point = self._points.get(alias)
        action, payload = point.version.phrases.status(connector, status, error_code)
        return call(point, action, {**payload, **fields}, timeout).accepted()

    @keyword(tags=("charge point", "send"))
    def send_authorize(
        self, id_tag: str = "TEST-TAG", *, alias: str = ALIAS, timeout: timedelta = ANSWER_TIMEOUT
    ) -> Any:
        """Sends an Authorize and returns the payload of the answer.

        Args:
            id_tag: the id tag of the driver.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        ${answer}    Send Authorize    TAG-1
        Should Be Equal    ${answer}[idTagInfo][status]    Accepted
        ```
        """
        point = self._points.get(alias)
        return call(point, *point.version.phrases.authorize(id_tag), timeout).accepted()

    @keyword(tags=("charge point", "send", "transaction"))
    def start_transaction(
        self,
        connector: int = 1,
        *,
        id_tag: str = "TEST-TAG",
        meter: int = 1000,
        alias: str = ALIAS,
        timeout: timedelta = ANSWER_TIMEOUT,
        **fields: Any,
    ) -> Any:
        """Starts a transaction and returns the payload of the answer.

        In OCPP 1.6, this is a StartTransaction. In OCPP 2.x, it is a TransactionEvent `Started`; what is returned has
        the `transactionId` too that the charge point has chosen.

        Args:
            connector: the number of the connector; of the EVSE in OCPP 2.x.
            id_tag: the id tag of the driver.
            meter: the meter, in Wh.
            fields: further fields of the payload.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        ${answer}    Start Transaction    meter=${1500}
        Stop Transaction    ${answer}[transactionId]    meter=${2500}
        ```
        """
        point = self._points.get(alias)
        if point.version.chooses_ids:
            event = next_event(point, EventType.STARTED, evse=connector, id_tag=id_tag, meter=meter, fields=fields)
            answer = call(point, *event, timeout).accepted()
            return {**answer, "transactionId": event.payload["transactionInfo"]["transactionId"]}
        payload = {"connectorId": connector, "idTag": id_tag, "meterStart": meter, "timestamp": rfc3339(), **fields}
        return call(point, "StartTransaction", payload, timeout).accepted()

    @keyword(tags=("charge point", "send", "transaction"))
    def send_meter_values(
        self,
        transaction_id: int | str | None = None,
        *,
        meter: int = 1500,
        connector: int = 1,
        alias: str = ALIAS,
        timeout: timedelta = ANSWER_TIMEOUT,
        **fields: Any,
    ) -> Any:
        """Sends a MeterValues with one reading and returns the payload of the answer.

        In OCPP 2.x, the reading of a transaction is sent in a TransactionEvent `Updated`.

        Args:
            transaction_id: the transaction that it belongs to, if any.
            meter: the meter, in Wh.
            connector: the number of the connector.
            fields: further fields of the payload.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        ${answer}    Start Transaction
        Send Meter Values    ${answer}[transactionId]    meter=1700
        ```
        """
        point = self._points.get(alias)
        if transaction_id is not None and point.version.chooses_ids:
            evse = _started_with_events(point, transaction_id)
            event = next_event(point, EventType.UPDATED, evse=evse, meter=meter, fields=fields)
            return call(point, *event, timeout).accepted()
        action, payload = point.version.phrases.meter_values(connector, meter, rfc3339())
        if transaction_id is not None:
            payload["transactionId"] = transaction_id
        return call(point, action, payload | fields, timeout).accepted()

    @keyword(tags=("charge point", "send", "transaction"))
    def stop_transaction(
        self,
        transaction_id: int | str,
        *,
        meter: int = 2000,
        reason: str = "Local",
        alias: str = ALIAS,
        timeout: timedelta = ANSWER_TIMEOUT,
        **fields: Any,
    ) -> Any:
        """Stops a transaction and returns the payload of the answer.

        In OCPP 1.6, this is a StopTransaction; in OCPP 2.x, it is a TransactionEvent `Ended`.

        Args:
            transaction_id: which transaction.
            meter: the meter, in Wh.
            reason: why it ends.
            fields: further fields of the payload.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        ${answer}    Start Transaction
        Stop Transaction    ${answer}[transactionId]    meter=2500    reason=EVDisconnected
        ```
        """
        point = self._points.get(alias)
        if point.version.chooses_ids:
            evse = _started_with_events(point, transaction_id)
            event = next_event(point, EventType.ENDED, evse=evse, meter=meter, fields=fields)
            event.payload["transactionInfo"]["stoppedReason"] = reason
            return call(point, *event, timeout).accepted()
        payload = {
            "transactionId": transaction_id,
            "meterStop": meter,
            "timestamp": rfc3339(),
            "reason": reason,
            **fields,
        }
        return call(point, "StopTransaction", payload, timeout).accepted()

    @keyword(tags=("charge point", "send"))
    def send_data_transfer(
        self,
        data: str | None = None,
        *,
        vendor: str = "org.example.acceptance",
        message: str | None = None,
        alias: str = ALIAS,
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> Any:
        """Sends a DataTransfer and returns the payload of the answer.

        Args:
            data: the data.
            vendor: the vendor id.
            message: the vendor's own message id.

        Raises:
            CallRefused: the answer is a CALLERROR.
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        ${answer}    Send Data Transfer    hello    message=greeting
        Log    ${answer}[status]
        ```
        """
        given = {"vendorId": vendor, "messageId": message, "data": data}
        payload = {name: value for name, value in given.items() if value is not None}
        return call(self._points.get(alias), "DataTransfer", payload, timeout).accepted()

    @keyword(tags=("charge point", "send"))
    def send_call(
        self,
        action: str,
        *,
        payload: Mapping[str, Any] | None = None,
        alias: str = ALIAS,
        timeout: timedelta = ANSWER_TIMEOUT,
        **fields: Any,
    ) -> Answer:
        """Sends any CALL, valid or not, and returns the answer, a CALLERROR included.

        Args:
            action: the action; it need not exist.
            payload: the payload; a small valid one by default.
            fields: fields on top of the payload.

        Returns:
            The answer: `kind.name` is CALLRESULT or CALLERROR, with `payload`, or `code` and `description`.

        Raises:
            NoAnswer: there was none; the message shows other received frames.

        Example:
        ```robotframework
        ${answer}    Send Call    MakeCoffee
        Should Be Equal    ${answer.code}    NotImplemented
        ```
        """
        point = self._points.get(alias)
        chosen = point.version.sample(action) if payload is None else payload
        return call(point, action, {**chosen, **fields}, timeout)

    @keyword(tags=("charge point", "send", "transaction"))
    def charge_whole_session(
        self,
        *,
        alias: str = ALIAS,
        connector: int = 1,
        id_tag: str = "TEST-TAG",
        meter_start: int = 1000,
        energy: int = 1000,
        meter_values: int = 3,
        boot: bool = True,
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> Session:
        """Runs a complete charging session: boot, authorize, start, meter values, stop, and the status in between.

        In OCPP 1.6, start, meter values and stop are StartTransaction, MeterValues and StopTransaction; in OCPP 2.x,
        they are TransactionEvents.

        Args:
            connector: the number of the connector.
            id_tag: the id tag of the driver.
            meter_start: the meter at the start, in Wh.
            energy: energy of the session, in Wh.
            meter_values: how many meter values are sent.
            boot: whether it begins with a BootNotification.
            timeout: the longest wait for each answer.

        Returns:
            The session: `charge_point`, `connector`, `id_tag`, `transaction_id`, `meter_start`, `meter_stop`,
            `answers` and `seconds`.

        Raises:
            ExpectationFailed: a message was not answered, or not accepted; the message names it.

        Example:
        ```robotframework
        ${session}    Charge Whole Session    energy=2500    meter_values=10
        Log    Transaction ${session.transaction_id} took ${session.seconds} s
        ```
        """
        session: Session = background.run(
            charge,
            self._points.get(alias),
            connector=connector,
            id_tag=id_tag,
            meter_start=meter_start,
            energy=energy,
            meter_values=meter_values,
            boot=boot,
            limit=timeout.total_seconds(),
        )
        logger.info(f"{session}")
        return session

    @keyword(tags=("charge point", "send"))
    def send_frame_of_size(self, size: int, *, fragments: int = 1, alias: str = ALIAS) -> Frame:
        """Sends a valid DataTransfer of this many bytes, and returns immediately.

        Args:
            size: bytes of the whole OCPP-J message.
            fragments: in how many frames of the WebSocket it is sent (RFC 6455 section 5.4).

        Returns:
            The frame; its `message_id` is what `Answer Should Be Received` takes.

        Raises:
            UsageError: it is too small for a DataTransfer.
            NotConnected: there is no connection.

        Example:
        ```robotframework
        ${sent}    Send Frame Of Size    200000    fragments=8
        Answer Should Be Received    ${sent.message_id}
        ```
        """
        point = self._points.get(alias)
        text = '[2,"{}","DataTransfer",{{"vendorId":"org.example.acceptance","data":"{}"}}]'
        message_id = point.new_message_id()
        rest = size - len(text.format(message_id, ""))
        if rest < 0 or fragments < 1:
            raise UsageError(f"size is {size} and fragments is {fragments}; at least {size - rest} and 1 are needed.")
        frame: Frame = background.run(
            point.send, text.format(message_id, "x" * rest), fragments=fragments, timeout=SEND_SECONDS
        )
        logger.info(f"{point.id} sent {size} bytes in {counted(fragments, 'fragment')}: {shortened(frame.text)}")
        return frame

    @keyword(tags=("charge point", "send"))
    def send_frames_together(self, *frames: str, alias: str = ALIAS) -> int:
        """Sends several text frames in one packet, and returns immediately.

        Args:
            frames: their texts.

        Returns:
            The number of the newest frame before, for `since` of other keywords.

        Raises:
            NotConnected: there is no connection.

        Example:
        ```robotframework
        ${before}    Send Frames Together    [2,"id-1","Heartbeat",{}]    [2,"id-2","Heartbeat",{}]
        Answer Should Be Received    id-2    since=${before}
        ```
        """
        point = self._points.get(alias)
        before = point.last_number
        background.run(point.send_together, frames, timeout=SEND_SECONDS)
        logger.info(f"{point.id} sent {counted(len(frames), 'frame')} together.")
        return before

    @keyword(tags=("charge point", "send", "invalid"))
    def send_raw_frame(self, data: str | bytes, *, alias: str = ALIAS) -> Frame:
        """Sends a WebSocket frame unchanged, also while a CALL is outstanding, and returns immediately.

        Args:
            data: text is sent as a text frame, bytes as a binary one.

        Returns:
            The frame, for `since` of other keywords.

        Raises:
            NotConnected: there is no connection.

        Example:
        ```robotframework
        ${sent}    Send Raw Frame    [2,"id-1","Heartbeat",{}
        ${answer}    Send Heartbeat
        ```
        """
        point = self._points.get(alias)
        frame: Frame = background.run(point.send, data, timeout=SEND_SECONDS)
        logger.info(f"{point.id} sent {shortened(frame.text)}")
        return frame


def _started_with_events(point: ChargePoint, transaction_id: int | str) -> int:
    """The EVSE of a transaction in OCPP 2.x.

    Raises:
        UsageError: the charge point has begun no such transaction, or has ended it.
    """
    for evse, charging in point.charging.items():
        if charging.transaction.id == transaction_id:
            return evse
    running = ", ".join(str(each.transaction.id) for each in point.charging.values())
    raise UsageError(f"{point.id} has no running transaction '{transaction_id}' (running: {running or 'none'}).")
