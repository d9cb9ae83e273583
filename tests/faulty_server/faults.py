"""The known faults of the server in this folder: kinds that were met in back ends in the field."""

from __future__ import annotations

import os

FAULTS: dict[str, str] = {
    "takes_before_handling": "takes messages off the list before it has handled them, and loses them when it is killed",
    "dies_of_input": "ends on five kinds of invalid messages",
    "drops_silently": "drops frames with an element too many, without an answer and without a log record",
    "always_healthy": "says that it is healthy while Redis is away",
    "matches_by_charge_point": "gives an answer to the command that waits for its charge point, whatever its id",
    "stuck_after_mass_timeout": "sends no command any more once a hundred have timed out",
    "repeats_transaction_ids": "takes the second of the clock for the id of a transaction",
    "status_erases_transaction": "forgets the transaction on a connector when its status changes",
    "unknown_is_null": "answers 200 with null when it is asked for what it does not know",
    "hangs_at_stop": "ignores every fifth SIGTERM",
    "confuses_error_codes": "answers NotSupported to actions that OCPP does not have",
    "exits_without_redis": "exits when Redis is away at its start",
    "keeps_results_to_itself": "keeps the results of commands in the memory of the instance that took them",
    "never_forgets_commands": "keeps the note of a command that nobody answered",
    "reorders_answers": "handles messages of a charge point at the same time, so that answers change places",
}
"""Name to what the server does, in words that follow `The server`."""

ALL = "all"


def chosen(text: str | None = None) -> frozenset[str]:
    """The faults that are switched on by `FAULTS`: names with commas between them, or `all`.

    Raises:
        ValueError: there is no such fault.
    """
    words = [word.strip() for word in (os.environ.get("FAULTS", "") if text is None else text).split(",")]
    names = [word for word in words if word]
    if names == [ALL]:
        return frozenset(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise ValueError(f"FAULTS has '{name}'; allowed are {ALL}, or some of {', '.join(FAULTS)}")
    return frozenset(names)
