"""Test 15: state."""

from __future__ import annotations

import time
from typing import Any

from catalogue import defect
from queue_defects import replaced

from server.gateway import session_registry
from server.ocpp.v16.actions import ACTIONS
from server.ocpp.version import Outcome
from server.processor.processor import Processor
from server.processor.request_queue import RequestQueue
from server.redis.script import Script
from server.store import redis_store
from server.store.redis_store import RedisStateStore
from server.store.view import StateView

WRITERS = "Fifty Concurrent Writers Of One Record Lose No Update"
FAILURES = "Each Failure Of Redis Has Its Own Error And Leaves No Write Half Done"
CONNECTED_KEYS = "The Keys Of Connected Charge Points Are Documented, Each With Its Type And Lifetime"
KEYS = "Only Documented Keys Exist, Each With Its Type And Lifetime"
STARTS = "Five Thousand Charge Points That Start At Once Get Distinct Ids"
SAVED = "Five Thousand Transactions Saved At Once Have Distinct Ids"
DELETED = "A Charge Point Is Read As It Was Written And Deleted Without A Trace"
CASCADE = "Deleting A Charge Point Takes Everything With It"
STOPPED = "A Transaction That Messages Start And Stop Is Active And Then Completed"
OVER_LIMIT = "A Value Over The Limit Is Refused And Nothing Is Written"
CORRUPT = "A Corrupt Record Is Reported And Not Half Read"


@defect("R15.2", STARTS, says=r"Given more than once: \d+ \(\d+ times\).* repeated_ids: required == 0", timing=True)
def transaction_id_from_the_clock() -> None:
    """Transactions are numbered by the second."""
    StateView.new_transaction_id = lambda self: int(time.time())


@defect("R15.2", SAVED, says=r"StateConflict: save transaction|repeated_ids: required == 0", timing=True)
def transaction_ids_of_the_store_are_guessed() -> None:
    """The store takes milliseconds for ids."""

    async def new_transaction_id(self: RedisStateStore) -> int:
        return int(time.time() * 1000)

    RedisStateStore.new_transaction_id = new_transaction_id


@defect("R15.4", WRITERS, says=r"5000 updates acknowledged, \d+ visible.* updates: required == 5,000", timing=True)
def lost_update() -> None:
    """A write does not check whether the record has changed since it was read."""
    text = replaced(redis_store._WRITE, "~= each[3] then return {'conflict'", "== 0 then return {'conflict'")
    redis_store._write = Script(text)


@defect("R15.8", KEYS, says=r"ocpp:responses:\S+ has lifetime none.* wrong_lifetime: required == 0")
def answers_without_a_lifetime() -> None:
    """Lists of answers stay for ever."""
    sound = Processor._answer_operations

    def operations(self: Processor, answers: Any) -> list[Any]:
        return [each for each in sound(self, answers) if each[0] != "EXPIRE"]

    Processor._answer_operations = operations


@defect("R15.8", CONNECTED_KEYS, says=r"ocpp:session:\S+ has lifetime none.* wrong_lifetime: required == 0")
def sessions_without_a_lifetime() -> None:
    """The session of a charge point stays when its gateway dies."""
    for name in ("announce", "renew"):
        script = getattr(session_registry, f"_{name}")
        text = replaced(script._text, "redis.call('PEXPIRE'", "redis.call('EXISTS'")
        setattr(session_registry, f"_{name}", Script(text))


@defect("R15.1", DELETED, says=r"'Get Charge Point' should fail with 'not_found', but it worked")
def delete_leaves_the_record() -> None:
    """Deleting a charge point takes it out of the index only."""
    text = replaced(
        redis_store._DELETE_CHARGE_POINT,
        "removed = removed + redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])",
        "removed = removed + 1",
    )
    redis_store._delete_charge_point = Script(text)


@defect("R15.1", CASCADE, says=r"4 added \(ocpp:\S+.* keys_left: required == 0")
def delete_does_not_cascade() -> None:
    """Connectors and transactions of a deleted charge point stay."""
    text = replaced(redis_store._DELETE_CHARGE_POINT, "for _, member in ipairs(members) do", "for _ = 1, 0 do")
    text = replaced(text, "redis.call('DEL', prefix .. member)", "0")
    redis_store._delete_charge_point = Script(text)


@defect("R15.2", STOPPED, says=r"Transaction \d+ is kept with status active, expected completed")
def stopped_transactions_stay_active() -> None:
    """StopTransaction is answered and not recorded."""
    ACTIONS["StopTransaction"].handle = lambda call, view: Outcome({})


@defect("R15.6", OVER_LIMIT, says=r"'Save Charge Point' should fail with 'too_large', but it worked")
def no_limit_for_values() -> None:
    """Values of any size are written."""
    sound = RedisStateStore.__init__

    def init(self: RedisStateStore, client: Any, keys: Any = None, limits: Any = None) -> None:
        sound(self, client, keys, redis_store.Limits(value_bytes=2**40, write_bytes=2**40))

    RedisStateStore.__init__ = init


@defect("R15.8", KEYS, says=r"ocpp:last-answer:.* undocumented: required == 0")
def writes_keys_that_nobody_knows_of() -> None:
    """A copy of each answer is kept under a key that the contract does not have."""
    sound = Processor._answer_operations

    def operations(self: Processor, answers: Any) -> list[Any]:
        copies = [["SET", f"ocpp:last-answer:{point}", "kept", "EX", 60] for point in answers]
        return [*sound(self, answers), *copies]

    Processor._answer_operations = operations


@defect(
    "R15.5",
    "State Without Concurrent Writes Survives A Restart Of Redis",
    says=r"\d+ removed \(ocpp:.* R15\.5 lost: required == 0 writes",
)
def state_is_lost_on_a_restart() -> None:
    """Redis is told to keep nothing on disk, since that is quicker."""
    sound = RequestQueue.claim

    async def claim(self: RequestQueue) -> Any:
        await self._wire.execute("CONFIG", "SET", "appendonly", "no", "save", "")
        return await sound(self)

    RequestQueue.claim = claim


@defect(
    "R0.4",
    "Removing Test Data Leaves Nothing Behind And Touches Nothing Foreign",
    says=r"\d+ removed \(.*R0\.4 \w+: required == 0",
)
def foreign_keys_are_flushed() -> None:
    """The server tidies up when it starts: it flushes the whole database."""
    sound = RequestQueue.claim
    flushed: list[bool] = []

    async def claim(self: RequestQueue) -> Any:
        if not flushed:
            await self._wire.execute("FLUSHDB")
            flushed.append(True)
        return await sound(self)

    RequestQueue.claim = claim
