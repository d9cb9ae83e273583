"""Keywords that look at the queue itself."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.messages import Message
from ocpp_resilience.waiting import in_words
from RedisQueueLibrary.base import QueueComponent


class Length(QueueComponent):
    """Length and contents."""

    @keyword(tags=("queue", "getter"))
    def get_queue_length(self, *, alias: str = "queue") -> int:
        """Returns how many messages are queued.

        Example:
        ```robotframework
        Queue Message    Heartbeat
        ${length}    Get Queue Length
        Should Be Equal    ${length}    ${1}
        ```
        """
        return self._queues.get(alias).length()

    @keyword(tags=("queue", "check"))
    def queue_should_be_empty(self, *, timeout: timedelta = timedelta(0), alias: str = "queue") -> None:
        """Fails unless no message is queued.

        Args:
            timeout: how long it may take until the queue is empty.

        Raises:
            WaitTimeout: it was not; the message says how many messages there are, and which is the oldest.

        Example:
        ```robotframework
        Queue Should Be Empty
        ```
        """
        waits.wait_until_empty(self._queues.get(alias), timeout)

    @keyword(tags=("queue", "cleanup"))
    def ensure_queue_is_empty(self, *, timeout: timedelta = timedelta(seconds=30), alias: str = "queue") -> bool:
        """Waits until no message is queued; after the timeout, the messages of this run are removed with a warning.

        For setups: unprocessed messages of one test must not affect the next one.

        Args:
            timeout: how long it may take until the queue is empty.

        Returns:
            Whether something had to be removed.

        Raises:
            WaitTimeout: there are messages that this run did not write.

        Example:
        ```robotframework
        Test Setup    Ensure Queue Is Empty
        ```
        """
        queue = self._queues.get(alias)
        try:
            waits.wait_until_empty(queue, timeout)
        except WaitTimeout as late:
            logger.warn(f"{late}. The remaining messages of this run are removed for the following tests.")
            queue.remove_leftovers(timeout=5)
            waits.wait_until_empty(queue, timedelta(0))
            return True
        return False

    @keyword(tags=("queue", "cleanup"))
    def discard_queued_messages(self, *, alias: str = "queue") -> int:
        """Removes the messages of this run from the queue that have not been taken yet.

        For a server that was brought down by a message: it would take the same message again when it is started.

        Returns:
            How many messages that were.

        Raises:
            QueueUnavailable: Redis cannot be reached.

        Example:
        ```robotframework
        Discard Queued Messages
        Ensure Server Is Running
        ```
        """
        count = self._queues.get(alias).discard_queued()
        if count:
            logger.info(f"Took {count} messages off the queue.")
        return count

    @keyword(tags=("queue", "wait"))
    def wait_until_queue_is_empty(self, *, timeout: timedelta = timedelta(seconds=5), alias: str = "queue") -> float:
        """Waits until no message is queued, and returns the seconds that it took.

        Raises:
            WaitTimeout: the queue was not empty in time; the message says how many messages there are, and which is the
                oldest.

        Example:
        ```robotframework
        Queue Generated Messages    1000
        Wait Until Queue Is Empty    timeout=30s
        ```
        """
        took = waits.wait_until_empty(self._queues.get(alias), timeout)
        logger.info(f"The queue was empty after {in_words(took)}.")
        return took

    @keyword(tags=("queue", "getter"))
    def peek_queue(self, count: int = 1, *, alias: str = "queue") -> list[Message]:
        """Returns the messages that are next, the oldest first; they stay on the queue.

        Args:
            count: how many at most.

        Returns:
            Messages with `charge_point`, `message_id`, `action` (as far as they can be read) and `text`.

        Example:
        ```robotframework
        @{next}    Peek Queue    2
        Should Be Equal    ${next[0].action}    BootNotification
        ```
        """
        return self._queues.get(alias).oldest(count)
