"""Keywords that open and close queues, and make ids."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from robot.api import logger
from robot.api.types import Secret

from ocpp_resilience.errors import LacksCapability, UsageError
from ocpp_resilience.profile import target_of_run
from ocpp_resilience.redis.connection import QueueUnavailable
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport.announcements import Announcements
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.messages import MessageFormat
from ocpp_resilience.transport.queue_keys import QueueKeys
from ocpp_resilience.waiting import seconds
from RedisQueueLibrary.base import QueueComponent

REMOVAL_TIMEOUT = 5.0


def close_queue(client: QueueClient) -> None:
    """Remove the data written through `client`, and close its connections."""
    try:
        if client.wrote_something:
            logger.info(f"Test data at the end: {client.remove_data(timeout=REMOVAL_TIMEOUT)}.")
    except QueueUnavailable as unavailable:
        if not client.local_and_refused:
            raise
        # A private Redis that has ended already took its data along.
        logger.info(f"No test data was removed: {unavailable}")
    finally:
        client.close()


class Connection(QueueComponent):
    """Opening, closing, ids."""

    @keyword(tags=("queue", "lifecycle"))
    def open_queue(
        self,
        redis_url: str | Secret,
        *,
        target: str | None = None,
        protocol: str | None = None,
        alias: str = "queue",
        requests: str | None = None,
        responses: str | None = None,
        dead_letters: str | None = None,
        message_format: MessageFormat | None = None,
        socket_timeout: timedelta = timedelta(seconds=5),
        server: str | None = None,
        wait_replicas: int = 0,
    ) -> None:
        """Opens the request queue of a system under test.

        A queue of this alias that is open already is closed first, and the data written through it is removed.

        Args:
            redis_url: where Redis is. A database in the URL is taken for the queue, else the profile's is.
            target: the system under test: a bundled target profile, or the path of one; by default as at `Start
                Server`. Key names, databases and message format come from it.
            protocol: the OCPP version, such as `ocpp2.0.1`; by default that of the variable `PROTOCOL`, else that of
                the profile.
            alias: the name of this queue in the other keywords.
            requests: the name of the list with the messages, in the place of the profile's.
            responses: the pattern of the answer lists, with `{charge_point_id}`, in the place of the profile's.
            dead_letters: the name of the list with the dead letters, in the place of the profile's.
            message_format: the form of messages for which no other is asked: `envelope` or `flat`; the profile's if not
                given, and `envelope` where the profile allows both.
            socket_timeout: the longest wait for one reply of Redis.
            server: the server of OcppServerLibrary at this queue, with whose unexpected end waits for answers end, too;
                `server` for the queue `queue`, the one of the same alias for another queue, if not given.
            wait_replicas: replicas that have to have a message before it counts as acknowledged (WAIT).

        Raises:
            UsageError: the URL or the target cannot be used.
            QueueUnavailable: Redis cannot be reached.

        Example:
        ```robotframework
        ${redis}    Get Redis Url
        Open Queue    ${redis}
        Open Queue    ${redis}    alias=other    requests=other:requests    responses=other:answers:{charge_point_id}
        ```
        """
        served_by = server or ("server" if alias == "queue" else alias)
        profile = target_of_run(target, protocol)
        given = {"requests": requests, "responses": responses, "dead_letters": dead_letters}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        databases = profile.redis.databases
        client = QueueClient(
            redis_url.value if isinstance(redis_url, Secret) else redis_url,
            replace(QueueKeys.of(profile), **changes),
            ids=self._ids,
            message_format=message_format or MessageFormat(profile.forms[0]),
            message_formats=[MessageFormat(form) for form in profile.forms],
            queue_database=databases.queue,
            state_database=databases.state if databases.state != databases.queue else None,
            socket_timeout=seconds(socket_timeout),
            announcements=Announcements.of(profile),
            target=profile,
            wait_replicas=wait_replicas,
        )
        if self._queues.find(alias) is not None:
            self._queues.remove(alias, self.cleanup)
        client.ended = lambda seen: RECORDER.ended(served_by, seen)
        self._queues.add(alias, client.open(), self.cleanup)
        logger.info(f"Opened {client.place} at {client.address}; the token of this run is {self._ids.token}.")

    @keyword(tags=("queue", "lifecycle"))
    def connect_queue_to_gateway(self, gateway_url: str, *, alias: str = "queue") -> None:
        """Sets the address of the gateway, for a target that receives messages over charge points' WebSockets.

        For every other target (`queue.kind` in its profile is not `none`) nothing is done.

        Args:
            gateway_url: the result of `Get Gateway Url`.

        Example:
        ```robotframework
        Open Queue    ${redis}    target=my-gateway.yaml
        Start Server    ${redis}    target=my-gateway.yaml
        ${url}    Get Gateway Url
        Connect Queue To Gateway    ${url}
        ```
        """
        self._queues.get(alias).connect_to_gateway(gateway_url)

    @keyword(tags=("queue", "getter"))
    def queue_uses_gateway(self, *, alias: str = "queue") -> bool:
        """Returns whether the messages of a queue go through the WebSockets of charge points.

        Args:
            alias: which queue; its target profile defines it (`queue.kind`).

        Example:
        ```robotframework
        ${through}    Queue Uses Gateway
        IF    ${through}    Connect Queue To Gateway    ${gateway}
        ```
        """
        return self._queues.get(alias).through_gateway

    @keyword(tags=("queue", "getter"))
    def queue_is_a_list(self, *, alias: str = "queue") -> bool:
        """Returns whether requests are in one Redis list, whose depth can be sampled.

        Args:
            alias: which queue; its target profile defines it (`queue.kind`).

        Example:
        ```robotframework
        ${list}    Queue Is A List
        IF    ${list}    Start Sampling    redis_url=${redis}
        ```
        """
        return self._queues.get(alias).is_one_list

    @keyword(tags=("queue", "target"))
    def skip_unless_queue_keeps_messages(self, *, alias: str = "queue") -> None:
        """Skips the test if the transport loses messages without a subscriber, as a Redis channel does.

        Args:
            alias: which queue; its target profile defines it (`queue.kind`).

        Raises:
            LacksCapability: they are; the test is skipped.

        Example:
        ```robotframework
        Skip Unless Queue Keeps Messages
        Stop Server
        Queue Message    Heartbeat
        ```
        """
        self._queues.get(alias).needs_waiting_messages()

    @keyword(tags=("queue", "target"))
    def skip_unless_queue_supports_format(self, format: MessageFormat, *, alias: str = "queue") -> None:  # noqa: A002 - as elsewhere
        """Skips the test, with the reason, if the system does not accept messages of this form.

        Args:
            format: `envelope`, `flat` or `frame`.
            alias: which queue; its target profile defines it (`message_format`).

        Raises:
            LacksCapability: it does not; the test is skipped.

        Example:
        ```robotframework
        Skip Unless Queue Supports Format    flat
        ```
        """
        if format not in self._queues.get(alias).message_formats:
            raise LacksCapability(
                f"The target does not accept {format.value} messages (message_format in its profile)."
            )

    @keyword(tags=("queue", "target", "getter"))
    def get_supported_actions(self, *, alias: str = "queue") -> list[str]:
        """Returns the actions that the system supports, of those that the suites send.

        Args:
            alias: which queue; its target profile defines it (`actions`).

        Example:
        ```robotframework
        @{actions}    Get Supported Actions
        Queue Messages    @{actions}
        ```
        """
        return list(self._queues.get(alias).actions)

    @keyword(tags=("queue", "lifecycle"))
    def close_queue(self, *, alias: str = "queue") -> None:
        """Closes a queue and removes the data written through it.

        Not needed at the end of a suite, where this happens by itself.

        Raises:
            UsageError: it is not open.

        Example:
        ```robotframework
        Open Queue    ${redis}    alias=other
        Close Queue    alias=other
        ```
        """
        self._queues.remove(alias, self.cleanup)

    @keyword(tags=("queue", "getter"))
    def new_charge_point_id(self, prefix: str = "CP") -> str:
        """Returns a charge point id that no other test and no other run uses.

        Args:
            prefix: how it begins.

        Returns:
            For example `CP-4k7x2mq-0001`; the middle part is the same for the whole run.

        Raises:
            UsageError: with this prefix the id would be invalid.

        Example:
        ```robotframework
        ${charge_point}    New Charge Point Id
        Queue Message    BootNotification    charge_point=${charge_point}
        ```
        """
        return self._ids.charge_point(prefix)

    @keyword(tags=("queue", "getter"))
    def get_message_formats(self, *, alias: str = "queue") -> list[str]:
        """Returns the forms of messages that the target takes, as its profile says.

        Returns:
            `envelope`, `flat` or both, to be given as `format`; `frame` where WebSockets carry the messages.

        Example:
        ```robotframework
        @{formats}    Get Message Formats
        Queue Message    Heartbeat    format=${formats}[0]
        ```
        """
        return [each.value for each in self._queues.get(alias).message_formats]

    @keyword(tags=("queue", "getter"))
    def new_similar_charge_point_ids(self) -> list[str]:
        """Returns very similar charge point ids, which a system must not confuse.

        One is a prefix of others, some differ by case or by an accent, two have 48 characters of which only the last
        differs, and some contain characters with a meaning in patterns and in URLs.

        Example:
        ```robotframework
        @{ids}    New Similar Charge Point Ids
        Queue Varied Sessions    ${ids}
        ```
        """
        base = self._ids.charge_point()
        longest = base.ljust(47, "x")
        ends = ("", "-1", "-11", "é", "e\u0301", "e", "*", "?", "[1]", "%31", "/1", "+1", "1")
        return [base.lower(), *(base + end for end in ends), longest + "1", longest + "2"]

    @keyword(tags=("queue", "getter"))
    def new_charge_point_ids(self, count: int, prefix: str = "CP") -> list[str]:
        """Returns several charge point ids that no other test and no other run uses.

        Args:
            count: how many.
            prefix: the text that they begin with.

        Raises:
            UsageError: with this prefix the ids would be invalid, or the count is below 1.

        Example:
        ```robotframework
        ${charge_points}    New Charge Point Ids    50
        Queue Generated Messages    5000    charge_points=${charge_points}
        ```
        """
        if count < 1:
            raise UsageError(f"count is {count}, at least 1 is required.")
        return [self._ids.charge_point(prefix) for _ in range(count)]
