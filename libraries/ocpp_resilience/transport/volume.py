"""Many messages: actions, charge points and order."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Mapping, Sequence

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.version import Version
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.messages import ENVELOPE_BODY, MessageFormat, SentMessage, build


class Order(enum.Enum):
    """Orders of messages of several charge points.

    `interleaved`: one of each charge point in turn. `blocked`: all of the first, then all of the second. `shuffled`: in
    an order made from the seed. Each charge point has as many messages as the others, give or take one.
    """

    INTERLEAVED = "interleaved"
    BLOCKED = "blocked"
    SHUFFLED = "shuffled"


def new_seed() -> int:
    """A seed for a run that was not given one."""
    return random.SystemRandom().randrange(2**32)


def generate(
    count: int,
    charge_points: Sequence[str],
    *,
    mix: Mapping[str, int],
    order: Order,
    seed: int,
    version: Version,
    message_format: MessageFormat,
    new_message_id: Callable[[], str],
    body: Body = ENVELOPE_BODY,
) -> list[SentMessage]:
    """Make `count` valid messages.

    Args:
        count: how many.
        charge_points: whose; each gets its share.
        mix: the actions with their weights; the numbers of messages have these proportions, to the nearest message.
        order: how the charge points' messages follow each other.
        seed: of the order of the actions, and of a shuffled order.
        version: the OCPP version.
        message_format: the form on the queue.
        new_message_id: gives the message ids.
        body: writes the body of a queued message.

    Raises:
        UsageError: a number cannot be used.
    """
    if count < 0:
        raise UsageError(f"The count is {count}; allowed is 0 or more.")
    if not charge_points:
        raise UsageError("No charge point to queue messages for; at least one is required.")
    rng = random.Random(seed)  # noqa: S311 - has to be repeatable
    # Each transaction whose id the charge point chooses is another one.
    fresh = set(version.transaction_actions) if version.chooses_ids else set()
    payloads = {action: version.sample(action) for action in mix}
    return [
        build(
            action,
            version.sample(action) if action in fresh else payloads[action],
            charge_point=point,
            message_id=new_message_id(),
            message_format=message_format,
            body=body,
        )
        for action, point in zip(_actions(count, mix, rng), _points(count, charge_points, order, rng), strict=True)
    ]


def _points(count: int, charge_points: Sequence[str], order: Order, rng: random.Random) -> list[str]:
    turns = [charge_points[index % len(charge_points)] for index in range(count)]
    if order is Order.BLOCKED:
        places = {point: place for place, point in enumerate(charge_points)}
        turns.sort(key=places.__getitem__)
    elif order is Order.SHUFFLED:
        rng.shuffle(turns)
    return turns


def _actions(count: int, mix: Mapping[str, int], rng: random.Random) -> list[str]:
    total = sum(mix.values())
    if total <= 0 or min(mix.values()) < 0:
        raise UsageError(f"The mix is {dict(mix)}; allowed are actions with weights of 0 or more, not all of them 0.")
    if len(mix) == 1:
        return list(mix) * count
    # Round down, then give what is left to those that lost most by it.
    shares = {action: count * weight // total for action, weight in mix.items()}
    by_remainder = sorted(mix, key=lambda action: count * mix[action] % total, reverse=True)
    for action in by_remainder[: count - sum(shares.values())]:
        shares[action] += 1
    actions = [action for action, share in shares.items() for _ in range(share)]
    rng.shuffle(actions)
    return actions
