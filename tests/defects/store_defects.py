"""Test 15: the state store under failures of Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from catalogue import defect
from queue_defects import replaced
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from server import api
from server.processor import request_queue
from server.processor.request_queue import RequestQueue
from server.redis.script import Script
from server.store import redis_store
from server.store.errors import StateError, StateUnavailable
from server.store.models import ChargePoint, ConfigurationKey, Transaction
from server.store.redis_store import RedisStateStore
from server.store.view import StateView

RESTART = "Every Acknowledged Write Survives A Restart Of Redis"
FAILURES = "Each Failure Of Redis Has Its Own Error And Leaves No Write Half Done"
CORRUPT = "A Corrupt Record Is Reported And Not Half Read"
CONFIGURATION = "A Configuration Is Read As It Was Written And Deleted Without A Trace"
DELETED = "A Charge Point Is Read As It Was Written And Deleted Without A Trace"
ANSWERED = "Transactions Whose Start Was Answered Survive Kill -9"
MEBIBYTE = "A Value Of A Mebibyte Survives Unchanged"
LISTED = "All Of A Thousand Charge Points Are Listed"
CONNECTOR = "A Connector Is Read As It Was Written And Deleted Without A Trace"
TRANSACTION = "A Transaction Is Read As It Was Written And Deleted Without A Trace"
OVER_HTTP = "Configuration That Is Stored Over HTTP Is Kept And Read"
NOTHING_BACK = "Messages Of A Deleted Charge Point Bring Nothing Of It Back"
NOT_FOUND = "Things That Do Not Exist Are Not Found"
THOUSAND_KEYS = "A Configuration Of A Thousand Keys Survives Unchanged"


@defect("R15.1", NOT_FOUND, says=r"answered 200 .*null.* R15\.1 unknown_found: required == 0")
def unknown_things_are_null() -> None:
    """What does not exist is answered as if it did, with nothing in it."""
    sound = api.answer

    async def answer(operation: Any, request: Any, api_token: str) -> Any:
        try:
            return await sound(operation, request, api_token)
        except HTTPException as refusal:
            if refusal.status_code == 404 and request.method == "GET":
                return JSONResponse({"success": True, "message": "", "data": None})
            raise

    api.answer = answer


@defect("R15.5", RESTART, says=r"[1-9]\d* lost \(\w.*R15\.5 lost: required == 0 writes", timing=True)
def acknowledged_before_it_is_written() -> None:
    """Writes are acknowledged at once and written a tenth of a second later."""
    sound = RedisStateStore._send
    tasks: set[asyncio.Task[None]] = set()

    async def later(self: RedisStateStore, key: str, operation: str, work: Any) -> None:
        await asyncio.sleep(0.1)
        with contextlib.suppress(StateError):
            await sound(self, key, operation, work._replace(conditions=[]))

    async def send(self: RedisStateStore, key: str, operation: str, work: Any) -> Any:
        if operation != "save transaction":
            return await sound(self, key, operation, work)
        task = asyncio.ensure_future(later(self, key, operation, work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return None

    RedisStateStore._send = send


@defect("R15.7", FAILURES, says=r"Expected the error '\w+', met 'unavailable'")
def every_failure_is_one_error() -> None:
    """Every error of Redis is reported as unavailable."""
    redis_store._state_error = lambda error, key, operation: StateUnavailable(key, str(error), operation)


@defect("R15.7", FAILURES, says=r"Errors that do not name key and operation: [a-z ]+: use ocpp:")
def errors_do_not_name_the_operation() -> None:
    """An error names the key only."""
    sound = redis_store._state_error
    redis_store._state_error = lambda error, key, operation: sound(error, key, "use")


@defect("R15.7", RESTART, says=r"partial_writes: required == 0 writes", timing=True)
def multi_key_writes_in_several_steps() -> None:
    """The indexes are written before the record, in a step of their own: they stay when the second step fails."""
    sound = RedisStateStore._send

    async def send(self: RedisStateStore, key: str, operation: str, work: Any) -> Any:
        for each in work.operations if operation == "save transaction" else ():
            if each[0] in {"SADD", "ZADD"}:
                command: Any = self._client.execute_command
                await redis_store.run(operation, key, command(*each))
        await asyncio.sleep(0.01)
        return await sound(self, key, operation, work)

    RedisStateStore._send = send


@defect("R15.7", CORRUPT, says=r"'Get Charge Point' should fail with 'corrupt', but it worked")
def corrupt_records_are_read_as_blank_ones() -> None:
    """An unreadable record is taken for a record without values."""
    sound = redis_store._decode

    def decode(key: str, value: bytes, kind: Any, *rest: Any, **more: Any) -> Any:
        try:
            return sound(key, value, kind, *rest, **more)
        except redis_store.CorruptState:
            if kind is ChargePoint:
                return ChargePoint(id=key.rpartition(":")[2])
            raise

    redis_store._decode = decode


@defect(
    "R15.3",
    CONFIGURATION,
    says=r"Not as written: \[Key\d+\]\S*: read nothing, written .* differing_fields: required == 0",
)
def updating_one_key_drops_the_others() -> None:
    """A configuration key is updated by replacing the whole configuration."""
    sound = RedisStateStore._field_work

    def field_work(self: RedisStateStore, charge_point_id: str, key: str, name: str, value: str) -> Any:
        work = sound(self, charge_point_id, key, name, value)
        work.operations.insert(0, ["DEL", key])
        return work

    RedisStateStore._field_work = field_work


def saves_without_removing(*, said: bool) -> None:
    """Leave the keys that a new configuration does not have; `said`: the store takes that for the whole."""
    sound = RedisStateStore._apply

    async def apply(self: RedisStateStore, key: str, operation: str, work: Any) -> Any:
        if operation != "save configuration":
            return await sound(self, key, operation, work)
        kept = [each for each in work.operations if each[0] != "HDEL"]
        reply = await sound(self, key, operation, work._replace(operations=kept))
        return sum(len(each[2::2]) for each in kept if each[0] == "HSET") if said else reply

    RedisStateStore._apply = apply


@defect("R15.3", CONFIGURATION, says=r"StateConflict: save configuration \S+: it changed through 500 attempts")
def a_shorter_configuration_cannot_be_saved() -> None:
    """The keys that a new configuration does not have stay, and saving it never comes to an end."""
    saves_without_removing(said=False)


@defect("R15.3", CONFIGURATION, says=r"differing_fields: required == 0")
def saving_a_configuration_adds_to_the_one_before() -> None:
    """A configuration that is saved in the place of another keeps the keys of that one."""
    saves_without_removing(said=True)


@defect("R15.1", DELETED, says=r"1 field differs: serial: None and")
def an_update_forgets_a_field() -> None:
    """Serial numbers are lost when a charge point is updated."""
    sound = RedisStateStore.update_charge_point

    async def update(self: RedisStateStore, charge_point_id: str, function: Any) -> Any:
        return await sound(self, charge_point_id, lambda known: redis_store.replace(function(known), serial=None))

    RedisStateStore.update_charge_point = update


@defect("R15.6", MEBIBYTE, says=r"1 field differs: vendor: .* \(\d+ characters\)")
def long_values_are_cut() -> None:
    """Text is cut at 64 KiB."""
    sound = RedisStateStore.save_charge_point

    async def save(self: RedisStateStore, record: ChargePoint) -> Any:
        short = redis_store.replace(record, vendor=record.vendor and record.vendor[:65536])
        return redis_store.replace(await sound(self, short), vendor=record.vendor)

    RedisStateStore.save_charge_point = save


@defect(
    "R15.5",
    ANSWERED,
    says=r"transaction \d+ of CP-\S+ is not in the index of its charge point.* partial_writes: required == 0 writes",
    timing=True,
)
def every_hundredth_start_is_not_indexed() -> None:
    """A transaction is answered and stored, and missing among those of its charge point."""
    sound = StateView.apply

    def apply(self: StateView, charge_point_id: str, writes: Any, operations: Any, **more: Any) -> None:
        numbers = [each[-1] for each in operations if each[0] == "ZADD"]
        sound(self, charge_point_id, writes, [] if numbers and numbers[0] % 100 == 0 else operations, **more)

    StateView.apply = apply


@defect("R15.1", LISTED, says=r"Of 1000 charge points: [1-9]\d* not listed")
def the_list_of_charge_points_ends_at_a_page() -> None:
    """Charge points are listed a page at a time, and there is never a second page."""
    sound = RedisStateStore._members

    async def members(self: RedisStateStore, index: str, operation: str, *rest: Any) -> list[str]:
        return (await sound(self, index, operation, *rest))[:250]

    RedisStateStore._members = members


@defect("R15.1", CONNECTOR, says=r"R15\.1 keys_left: required == 0")
def a_deleted_connector_stays_in_the_index() -> None:
    """Deleting a connector takes its record away, and leaves its number in the index."""
    sound = RedisStateStore._remove

    async def remove(self: RedisStateStore, charge_point_id: str, key: str, operation: str, work: Any) -> bool:
        if operation == "delete connector":
            work = work._replace(operations=[each for each in work.operations if each[0] != "SREM"])
        return await sound(self, charge_point_id, key, operation, work)

    RedisStateStore._remove = remove


@defect("R15.2", TRANSACTION, says=r"fields? differs?: id_tag: 'TAG-\?' and 'TAG-ü'")
def text_is_kept_as_ascii() -> None:
    """Characters outside ASCII are stored as a question mark."""
    sound = RedisStateStore.save_transaction

    async def save(self: RedisStateStore, record: Transaction) -> Transaction:
        plain = redis_store.replace(record, id_tag=record.id_tag.encode("ascii", "replace").decode())
        return redis_store.replace(await sound(self, plain), id_tag=record.id_tag)

    RedisStateStore.save_transaction = save


@defect("R15.6", THOUSAND_KEYS, says=r"fields? differs?: \[Key\d+\]\S*: nothing and ")
def a_long_configuration_is_cut() -> None:
    """Of a configuration no more than 500 keys are read."""
    sound = RedisStateStore.get_configuration

    async def read(self: RedisStateStore, charge_point_id: str, **options: Any) -> dict[str, ConfigurationKey]:
        return dict(sorted((await sound(self, charge_point_id, **options)).items())[:500])

    RedisStateStore.get_configuration = read


@defect("R15.7", CORRUPT, says=r"'List Charge Points' should fail with 'corrupt', but it worked")
def a_list_leaves_out_records_of_another_type() -> None:
    """A record that is no string is left out of lists without a word, as if it were not there."""

    async def check_absent(*_: Any) -> None:
        return

    RedisStateStore._check_absent = check_absent


# --- configuration over HTTP ------------------------------------------------------------------------------------------


def stored_value(change: Callable[[str | None], str | None]) -> None:
    """Change the values of configuration keys that the HTTP API stores."""
    sound = RedisStateStore.save_configuration_key

    async def save(self: RedisStateStore, charge_point_id: str, key: str, record: ConfigurationKey) -> None:
        changed = ConfigurationKey(value=change(record.value), readonly=record.readonly)
        await sound(self, charge_point_id, key, changed)

    RedisStateStore.save_configuration_key = save


@defect("R15.3", OVER_HTTP, says=r"configuration key Empty is None, expected ''.* R15\.3 differing_fields: required")
def empty_values_are_stored_as_none() -> None:
    """A configuration key with an empty value is stored as one without a value."""
    stored_value(lambda value: value or None)


@defect("R15.3", OVER_HTTP, says=r"configuration key Number is '7', expected '007'.* R15\.3 differing_fields: required")
def values_that_look_like_numbers_are_stored_as_numbers() -> None:
    """The value of a configuration key goes through a number where it looks like one."""
    stored_value(lambda value: str(int(value)) if value and value.isdecimal() and len(value) < 10 else value)


@defect("R15.3", OVER_HTTP, says=r"configuration key (Script|Longest) is .* R15\.3 differing_fields: required")
def values_are_stored_in_latin_letters() -> None:
    """Letters beyond Latin-1 in the value of a configuration key are stored as question marks."""
    stored_value(lambda value: value and value.encode("latin-1", "replace").decode("latin-1"))


@defect("R15.3", OVER_HTTP, says=r"configuration key Longest is .* R15\.3 differing_fields: required")
def values_are_cut_at_255_characters() -> None:
    """The value of a configuration key is stored up to 255 characters."""
    stored_value(lambda value: value and value[:255])


# --- records that were deleted ----------------------------------------------------------------------------------------


@defect("R15.1", NOTHING_BACK, says=r"Back of the deleted charge point: .* R15\.1 differing_fields: required == 0")
def deleted_records_come_back() -> None:
    """A processor takes its cached record for the stored one where there is none any more."""
    request_queue._commit = Script(
        replaced(request_queue._COMMIT, "elseif value ~= work[2][i] then", "elseif value and value ~= work[2][i] then")
    )


@defect(
    "R15.1", NOTHING_BACK, says=r"Back of the deleted charge point: \['Acc.* R15\.1 differing_fields: required == 0"
)
def deleted_charge_points_come_back() -> None:
    """A processor looks at the stored records of connectors and transactions before it writes, not of charge points."""
    _unlooked_at(":chargepoint:")


@defect("R15.1", NOTHING_BACK, says=r"Back of the deleted charge point: \[\d+\]\. R15\.1 differing_fields: required")
def deleted_connectors_come_back() -> None:
    """A processor looks at the stored records of charge points and transactions before it writes, not of connectors."""
    _unlooked_at(":connector:")


def _unlooked_at(part: str) -> None:
    sound = RequestQueue.commit

    async def commit(self: RequestQueue, batch: Any, conditions: Any, *more: Any) -> Any:
        return await sound(self, batch, [each for each in conditions if part not in each[0]], *more)

    RequestQueue.commit = commit
