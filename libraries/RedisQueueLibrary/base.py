"""Shared parts of the keyword components."""

from __future__ import annotations

from robot.api import logger

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.robot.library import Component
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.text import counted, shortened
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.messages import SentMessage, SentMessages
from ocpp_resilience.waiting import in_words

LOGGED_CHARACTERS = 2_000


class QueueComponent(Component):
    """A topic's keywords on the open queues.

    Args:
        queues: the open queues.
        ids: gives ids that belong to this run.
    """

    def __init__(self, queues: Registry[QueueClient], ids: Ids) -> None:
        self._queues = queues
        self._ids = ids


def log_sent(client: QueueClient, message: SentMessage) -> None:
    """Log one message that was queued."""
    logger.info(f"Queued {message} on {client.place}: {shortened(message.text, LOGGED_CHARACTERS)}")


def log_all_sent(client: QueueClient, sent: SentMessages) -> None:
    """Log that many were."""
    seed = "" if sent.seed is None else f" Seed: {sent.seed}."
    what = f"{counted(sent.count, 'message')} of {counted(len(sent.charge_points), 'charge point')}"
    logger.info(
        f"Queued {what} on {client.place} in "
        f"{in_words(sent.seconds)}: {sent.acknowledged} acknowledged, {sent.unknown} unknown, "
        f"{sent.failed} failed.{seed}"
    )


def supported_mix(client: QueueClient, mix: dict[str, int]) -> dict[str, int]:
    """Of actions with their weights, those that the target supports; the log names the others.

    Raises:
        LacksCapability: it supports none of them.
    """
    supported = client.supported_mix(mix)
    if left_out := [action for action in mix if client.version.named(action) not in supported]:
        logger.info(f"Left out, since the target does not support them: {', '.join(left_out)}.")
    return supported


def points(charge_points: int | list[str], ids: Ids) -> list[str]:
    """The charge points that are meant: this many new ones, or these.

    Raises:
        UsageError: there is none.
    """
    if isinstance(charge_points, int):
        if charge_points < 1:
            raise UsageError(f"charge_points is {charge_points}; allowed is 1 or more, or a list of ids.")
        return [ids.charge_point() for _ in range(charge_points)]
    return list(charge_points)


def one_message(message: object) -> SentMessage:
    """`message`, if it is one that was queued.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(message, SentMessage):
        return message
    if isinstance(message, SentMessages):
        raise UsageError(
            f"This keyword takes one message, not {message.count}. Take one of them, such as ${{sent}}[0], or use "
            f"`All Messages Should Be Answered`."
        )
    raise UsageError(f"Expected the result of `Queue Message` or another sending keyword, not {message!r}.")


def several_messages(messages: object) -> SentMessages:
    """`messages` as a collection, whether one was given or several.

    Raises:
        UsageError: they are something else.
    """
    if isinstance(messages, SentMessages):
        return messages
    if isinstance(messages, SentMessage):
        return SentMessages([messages])
    if isinstance(messages, list | tuple):
        return SentMessages(one_message(each) for each in messages)
    raise UsageError(f"Expected the result of `Queue Messages` or another sending keyword, not {messages!r}.")
