"""Keywords about the keys that a run leaves behind in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.redis.snapshot import KeyDifference, KeySnapshot
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.run_data import RemovedData
from RedisQueueLibrary.base import QueueComponent


class Traces(QueueComponent):
    """Removing test data, and proving that nothing is left."""

    @keyword(tags=("queue", "cleanup"))
    def remove_test_data(self, *, timeout: timedelta = timedelta(seconds=5), alias: str = "queue") -> RemovedData:
        """Removes the data that this run wrote through a queue, and nothing else.

        That is: its messages that are still queued; the answers to its charge points; the system's records of these
        charge points, their connectors and their transactions, found through the indexes; its dead letters. The key
        space is not searched. A charge point with records from before this run counts as foreign: only the answers to
        this run are removed, its other keys stay as they are. Counters of the system, such as that of transaction ids,
        stay too.

        At the end of the suite that opened the queue this happens by itself.

        Args:
            timeout: the longest wait for messages that are being processed at this moment.

        Returns:
            How much was removed: `keys`, `messages`, `answers`, `dead_letters`; `left` are the foreign charge points.

        Raises:
            QueueUnavailable: Redis cannot be reached.

        Example:
        ```robotframework
        ${before}    Take Key Snapshot
        ${sent}    Queue Message    BootNotification
        Message Should Be Answered    ${sent}
        Remove Test Data
        Keys Should Equal Snapshot    ${before}
        ```
        """
        removed = self._queues.get(alias).remove_data(timeout=timeout.total_seconds())
        logger.info(f"{removed}.")
        if removed.left:
            logger.info(f"Left alone, since they were there before this run: {', '.join(removed.left)}.")
        return removed

    @keyword(tags=("queue", "cleanup"))
    def add_charge_points_to_test_data(self, charge_points: Sequence[str], *, alias: str = "queue") -> None:
        """Makes `Remove Test Data` also remove the system's records of these charge points.

        This is for charge points whose messages did not come through the queue, but over a WebSocket. They must have
        ids that no other client uses: none of their keys counts as foreign.

        Args:
            charge_points: their ids.

        Example:
        ```robotframework
        @{ids}    Get Generated Charge Points
        Add Charge Points To Test Data    ${ids}
        Remove Test Data
        ```
        """
        self._queues.get(alias).adopt(charge_points)

    @keyword(tags=("queue", "getter", "cleanup"))
    def take_key_snapshot(self, *, values: bool = False, alias: str = "queue") -> KeySnapshot:
        """Returns the names and types of all keys, to be compared with later.

        This walks over the whole key space: it is a check of the tests themselves.

        Args:
            values: whether to remember the values too, so that a changed one is noticed.

        Example:
        ```robotframework
        ${before}    Take Key Snapshot    values=True
        ```
        """
        snapshot = self._queues.get(alias).snapshot(values=values)
        logger.info(f"{snapshot.count} keys.")
        return snapshot

    @keyword(tags=("queue", "getter", "cleanup"))
    def get_key_changes(
        self,
        snapshot: KeySnapshot,
        *,
        ignore: list[str] | None = None,
        timeout: timedelta = timedelta(0),
        alias: str = "queue",
    ) -> KeyDifference:
        """Returns how the keys differ from a snapshot, without judging.

        Args:
            snapshot: the result of `Take Key Snapshot`. If it has values, these are compared too.
            ignore: further keys that do not count, as at `Keys Should Equal Snapshot`.
            timeout: how long keys may take to vanish.

        Returns:
            The lists `added`, `removed` and `changed`. Keys that the system keeps for itself, such as its counters, are
            in none of them.

        Example:
        ```robotframework
        ${before}    Take Key Snapshot    values=True
        Remove Test Data
        ${changes}    Get Key Changes    ${before}
        Length Should Be    ${changes.changed}    0
        ```
        """
        client = self._queues.get(alias)
        difference = waits.key_changes(client, snapshot, ignore=client.ignored(ignore), timeout=timeout)
        logger.info(f"{difference}.")
        return difference

    @keyword(tags=("queue", "check", "cleanup"))
    def keys_should_equal_snapshot(
        self,
        snapshot: KeySnapshot,
        *,
        ignore: list[str] | None = None,
        timeout: timedelta = timedelta(0),
        alias: str = "queue",
    ) -> None:
        """Fails when keys were added, removed, or have another type than in a snapshot.

        Args:
            snapshot: the result of `Take Key Snapshot`. If it has values, these have to be the same too.
            ignore: further keys that do not count: names in the target profile (`redis.keys`), such as `session`, and
                patterns with `*` and `?`. Keys that the system keeps for itself, such as its counters, never count.
            timeout: how long keys with a lifetime may take to vanish.

        Raises:
            WaitTimeout: they differ; names the keys.

        Example:
        ```robotframework
        Keys Should Equal Snapshot    ${before}    timeout=5s
        ```
        """
        client = self._queues.get(alias)
        waits.keys_should_equal(client, snapshot, ignore=client.ignored(ignore), timeout=timeout)
