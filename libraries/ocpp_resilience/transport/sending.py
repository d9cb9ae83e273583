"""Pipelined sending that records exactly which messages Redis acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import redis

from ocpp_resilience.redis.connection import AWAY, RedisClient
from ocpp_resilience.transport.messages import Delivery, SentMessage

CHUNK_MESSAGES = 500
CHUNK_BYTES = 1024 * 1024
WAIT_MS = 500
"""Milliseconds in which replicas have to have what was sent."""


MakeCommand = Callable[[SentMessage], tuple[Any, ...]]
Refuse = Callable[[SentMessage, Any], str | None]


def push(
    client: RedisClient,
    messages: Sequence[SentMessage],
    command: MakeCommand,
    refuse: Refuse = lambda _, __: None,
    *,
    wait_replicas: int = 0,
) -> str | None:
    """Send `messages` to Redis in their order, and record the result of each.

    Each message is a command of its own, so that each has its own acknowledgement. Nothing is ever sent a second time:
    after a broken connection the messages whose replies were not read are `UNKNOWN`, and those that were not handed to
    Redis are `FAILED`.

    Args:
        client: the connection.
        messages: the messages.
        command: makes the command of a message.
        refuse: returns the error in the reply to a message's command, `None` without one.
        wait_replicas: replicas that must have a message, or it is `UNKNOWN`.

    Returns:
        The first error, `None` if Redis acknowledged everything.
    """
    problem: str | None = None
    for chunk in _chunks(messages):
        if problem is None:
            problem = _push_chunk(client, chunk, command, refuse, wait_replicas)
        else:
            _settle(chunk, Delivery.FAILED)
    return problem


def settle_unsent(messages: Iterable[SentMessage]) -> None:
    """Note that none of `messages` was handed to Redis."""
    _settle(list(messages), Delivery.FAILED)


def _chunks(messages: Sequence[SentMessage]) -> Iterator[list[SentMessage]]:
    chunk: list[SentMessage] = []
    size = 0
    for message in messages:
        if chunk and (len(chunk) == CHUNK_MESSAGES or size + len(message.data) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += len(message.data)
    if chunk:
        yield chunk


def _push_chunk(
    client: RedisClient, chunk: Sequence[SentMessage], command: MakeCommand, refuse: Refuse, wait_replicas: int
) -> str | None:
    pool = client.connection_pool
    try:
        connection = pool.get_connection()
    except AWAY as error:
        _settle(chunk, Delivery.FAILED)
        return str(error)
    try:
        problem: str | None = None
        handed_over = time.monotonic()
        for message in chunk:
            message.sent_at = handed_over
        try:
            connection.send_packed_command(connection.pack_commands([command(each) for each in chunk]))
            for message in chunk:
                try:
                    reply = connection.read_response()
                except redis.ResponseError as refusal:
                    # Redis answered, so the connection is in order, and it did not run the command.
                    message.delivery = Delivery.FAILED
                    problem = problem or str(refusal)
                    continue
                if wrong := refuse(message, reply):
                    message.delivery = Delivery.FAILED
                    problem = problem or wrong
                else:
                    message.delivery = Delivery.ACKNOWLEDGED
                    message.acknowledged_at = time.monotonic()
            if wait_replicas:
                problem = problem or _replicated(connection, chunk, wait_replicas)
        except AWAY as error:
            _settle(chunk, Delivery.UNKNOWN)
            connection.disconnect()
            return str(error)
        except BaseException:
            # Robot's test timeout, for example: unread replies must not be taken for those of the next command.
            _settle(chunk, Delivery.UNKNOWN)
            connection.disconnect()
            raise
        return problem
    finally:
        pool.release(connection)


def _replicated(connection: Any, chunk: Sequence[SentMessage], wanted: int) -> str | None:
    """Wait until replicas have the writes of this connection; returns an error if they have not."""
    acknowledged = [message for message in chunk if message.delivery is Delivery.ACKNOWLEDGED]
    for message in acknowledged:  # until that is known, also where it never is
        message.delivery = Delivery.UNKNOWN
    connection.send_packed_command(connection.pack_command("WAIT", wanted, WAIT_MS))
    reached = int(connection.read_response())
    if reached < wanted:
        return f"{reached} of {wanted} replicas had the messages after {WAIT_MS} ms"
    for message in acknowledged:
        message.delivery = Delivery.ACKNOWLEDGED
    return None


def _settle(messages: Sequence[SentMessage], delivery: Delivery) -> None:
    for message in messages:
        if message.delivery is Delivery.NOT_SENT:
            message.delivery = delivery
