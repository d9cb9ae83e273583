"""The state store in Redis (6.2 or later).

How concurrent writers lose nothing and no write is done in part: every write is one Lua script, which first checks that
each value it relies on is still the one that was read and that each key has the type it should have, and only then
writes. Redis runs a script as one step. What could refuse it as a whole (read-only, out of memory) refuses the first
write, which always is one that needs memory unless the script only deletes.

Nothing is listed by scanning: `ocpp:chargepoints`, `ocpp:connectors:{id}` and the indexes of transactions say what is
there. The processor keeps the same indexes in its commit (`server.store.view`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from server.errors import CorruptState, StateError, shown
from server.ids import usable_charge_point_id
from server.redis.address import Address
from server.redis.link import REPLY_TIMEOUT
from server.redis.script import Script
from server.store.errors import (
    StateConflict,
    StateNotFound,
    StateOutOfMemory,
    StateReadOnly,
    StateTimeout,
    StateTooLarge,
    StateUnavailable,
)
from server.store.keys import Keys
from server.store.models import (
    ChargePoint,
    ConfigurationKey,
    Connector,
    Transaction,
    TransactionStatus,
    Variable,
    unix_seconds,
)
from server.store.transaction_ids import TransactionIds

R = TypeVar("R", ChargePoint, Connector, Transaction)
V = TypeVar("V", ChargePoint, Connector, Transaction, ConfigurationKey, Variable)

CONNECTIONS = 8
LONGEST_PAUSE = 0.05
"""Seconds between two attempts of an update that met another writer."""
CHUNK = 1000
"""Values read, and arguments of one Redis command, at a time."""

_NUMBER = re.compile("-?[0-9]{1,18}")
"""A number in an index; more digits may not fit into 64 bits."""
_CONNECTOR_OF_EVSE = re.compile("[0-9]{1,18}:[0-9]{1,18}")
"""A connector of OCPP 2.0.1 and 2.1 in the index."""
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (ChargePoint, Connector, Transaction, ConfigurationKey, Variable)
}

_WRITE = """
-- ARGV: MessagePack of {types, conditions, operations}.
-- types: {key, type}: the key has this type or is not there. conditions: {key, field or false, SHA-1 of the value or
-- false for none}. Returns {'written', reply of the last operation}, {'type', key, its type} or
-- {'conflict', key, value}.
local work = cmsgpack.unpack(ARGV[1])
for _, each in ipairs(work[1]) do
    local found = redis.call('TYPE', each[1]).ok
    if found ~= 'none' and found ~= each[2] then return {'type', each[1], found} end
end
for _, each in ipairs(work[2]) do
    local value
    if each[2] then value = redis.call('HGET', each[1], each[2]) else value = redis.call('GET', each[1]) end
    if (value and redis.sha1hex(value)) ~= each[3] then return {'conflict', each[1], value} end
end
local reply
for _, each in ipairs(work[3]) do reply = redis.call(unpack(each)) end
return {'written', reply}
"""

_FORGET = """
-- The set of charge points names those of which something is stored.
local function forget(points, id, keys)
    for _, key in ipairs(keys) do
        if redis.call('EXISTS', key) == 1 then return end
    end
    redis.call('SREM', points, id)
end
"""

_DELETE = (
    _FORGET
    + """
-- ARGV: MessagePack of {types, conditions, operations}, then of {set of charge points, id, keys that keep it there}.
-- Returns as the script that writes, with how many keys, fields and members were removed.
local work, rest = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
for _, each in ipairs(work[1]) do
    local found = redis.call('TYPE', each[1]).ok
    if found ~= 'none' and found ~= each[2] then return {'type', each[1], found} end
end
for _, each in ipairs(work[2]) do
    local value = redis.call('GET', each[1])
    if (value and redis.sha1hex(value)) ~= each[3] then return {'conflict', each[1], value} end
end
local removed = 0
for _, each in ipairs(work[3]) do removed = removed + redis.call(unpack(each)) end
forget(rest[1], rest[2], rest[3])
return {'written', removed}
"""
)

_DELETE_CHARGE_POINT = """
-- KEYS: charge point, its connectors, transactions, active transactions, configuration, device model; the set of all
-- charge points.
-- ARGV: id, prefix of its connectors, prefix of numbered transactions, prefix of its own transactions. Returns as the
-- script that writes, with how many keys were removed.
local types = {'string', 'set', 'zset', 'set', 'hash', 'hash', 'set'}
for i, key in ipairs(KEYS) do
    local found = redis.call('TYPE', key).ok
    -- The record itself goes whatever it is: this is how a corrupt one is got rid of.
    if i > 1 and found ~= 'none' and found ~= types[i] then return {'type', key, found} end
end
local removed = 0
local function drop(prefix, members)
    for _, member in ipairs(members) do removed = removed + redis.call('DEL', prefix .. member) end
end
local function anothers(key)
    local value = redis.pcall('GET', key)
    local read, record = pcall(cjson.decode, type(value) == 'string' and value or '')
    return read and type(record) == 'table' and record.charge_point_id and record.charge_point_id ~= ARGV[1]
end
local function drop_transactions(members)
    drop(ARGV[4], members)
    for _, member in ipairs(members) do
        -- Its own id of a transaction may be the number of another's.
        local key = ARGV[3] .. member
        if string.match(member, '^%-?%d+$') and not anothers(key) then removed = removed + redis.call('DEL', key) end
    end
end
drop(ARGV[2], redis.call('SMEMBERS', KEYS[2]))
drop_transactions(redis.call('ZRANGE', KEYS[3], 0, -1))
drop_transactions(redis.call('SMEMBERS', KEYS[4]))
removed = removed + redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
removed = removed + redis.call('DEL', KEYS[6])
redis.call('SREM', KEYS[7], ARGV[1])
return {'written', removed}
"""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a store.

    Attributes:
        value_bytes: the largest record, or value of a configuration key with its name, as JSON in bytes.
        write_bytes: the largest configuration that is saved in one go.
        attempts: how often an update meets another writer before it gives up.
    """

    value_bytes: int = 2 * 1024 * 1024
    write_bytes: int = 16 * 1024 * 1024
    attempts: int = 500


def _sha1(value: str | bytes) -> str:
    data = value.encode() if isinstance(value, str) else value
    return hashlib.sha1(data).hexdigest()  # noqa: S324 - Redis' own sha1hex


_write, _delete, _delete_charge_point = Script(_WRITE), Script(_DELETE), Script(_DELETE_CHARGE_POINT)


class _Work(NamedTuple):
    """Types to check, conditions and operations of one script call."""

    types: list[tuple[str, str]]
    conditions: list[tuple[str, str | bool, str | bool]]
    operations: list[list[Any]]


class RedisStateStore:
    """Charge points, connectors, transactions and configuration in Redis; safe for any number of concurrent users.

    `get_…` raises `StateNotFound` where there is nothing. `save_…` creates a record, or replaces one that still has the
    version that the given record carries (`StateConflict` otherwise), and returns the record as written, its version
    one higher. `update_…` reads, applies a function to the record and writes; it starts again when somebody else was
    quicker, so no update is lost. The function may be called several times and must do nothing else. `delete_…` removes
    everything that hangs on the record and says whether there was anything.

    Args:
        client: connections to Redis that hand out bytes; the caller closes them.
        keys: key names.
        limits: see `Limits`.
    """

    def __init__(self, client: Redis, keys: Keys | None = None, limits: Limits | None = None) -> None:
        self._client = client
        self._keys = keys or Keys()
        self._limits = limits or Limits()
        self._ids = TransactionIds(client, self._keys)
        # Writers of this process take turns at a record instead of outdoing each other.
        self._turns: dict[str, _Turn] = {}

    @classmethod
    def open(
        cls,
        url: Address | str,
        keys: Keys | None = None,
        limits: Limits | None = None,
        *,
        reply_timeout: float = REPLY_TIMEOUT,
        connections: int = CONNECTIONS,
    ) -> Self:
        """A store with separate connections; `close` ends them.

        Args:
            url: where Redis is.
            keys: key names.
            limits: see `Limits`.
            reply_timeout: seconds without an answer, to a connection too, after which an operation counts as failed.
            connections: the most that are open at a time; operations take turns at them.
        """
        address = Address.parse(url) if isinstance(url, str) else url
        client = address.client(
            connections=connections, reply_timeout=reply_timeout, timeout=60, socket_connect_timeout=reply_timeout
        )
        return cls(client, keys, limits)

    @property
    def client(self) -> Redis:
        """The client whose connections the store uses."""
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        await self._client.connection_pool.disconnect()
        await self._client.aclose()

    # --- charge points ------------------------------------------------------------------------------------------------

    async def get_charge_point(self, charge_point_id: str) -> ChargePoint:
        """Read a charge point."""
        key = self._keys.charge_point(_usable(charge_point_id))
        return await self._get(key, ChargePoint, "read", charge_point_id)

    async def save_charge_point(self, record: ChargePoint) -> ChargePoint:
        """Create or replace a charge point."""
        key = self._keys.charge_point(_usable(record.id))
        return await self._save(key, record, "save charge point", self._charge_point_work)

    async def update_charge_point(
        self, charge_point_id: str, function: Callable[[ChargePoint], ChargePoint]
    ) -> ChargePoint:
        """Change a charge point."""
        key = self._keys.charge_point(_usable(charge_point_id))
        return await self._update(
            key, ChargePoint, "update charge point", function, self._charge_point_work, charge_point_id
        )

    async def delete_charge_point(self, charge_point_id: str) -> bool:
        """Remove a charge point, its connectors, its transactions and its configuration."""
        names = self._keys
        key = names.charge_point(_usable(charge_point_id))
        keys = [
            key,
            names.connectors(charge_point_id),
            names.transactions(charge_point_id),
            names.active_transactions(charge_point_id),
            names.configuration(charge_point_id),
            names.variables(charge_point_id),
            names.charge_points,
        ]
        arguments = [
            charge_point_id,
            names.connector(charge_point_id, ""),
            _prefix(names.transaction(0)),
            names.transaction("", charge_point_id),
        ]
        operation = "delete charge point"
        reply = await run(operation, key, _delete_charge_point.run(self._client.execute_command, keys, arguments))
        return bool(_removed(reply, operation))

    async def list_charge_points(self, *, problems: list[CorruptState] | None = None) -> list[ChargePoint]:
        """Every charge point, by id; corrupt ones are added to `problems`, or raised without that argument."""
        ids = await self._members(self._keys.charge_points, "list charge points", problems)
        found = await self._all(
            {self._keys.charge_point(each): each for each in sorted(ids)}, ChargePoint, "list charge points", problems
        )
        return list(found.values())

    def _charge_point_work(self, key: str, record: ChargePoint) -> _Work:
        index = self._keys.charge_points
        return _Work([(key, "string"), (index, "set")], [], [["SADD", index, record.id]])

    # --- connectors ---------------------------------------------------------------------------------------------------

    async def get_connector(self, charge_point_id: str, connector_id: int | str) -> Connector:
        """Read a connector."""
        return await self._get(self._keys.connector(_usable(charge_point_id), connector_id), Connector, "read")

    async def save_connector(self, charge_point_id: str, connector_id: int | str, record: Connector) -> Connector:
        """Create or replace a connector."""
        key = self._keys.connector(_usable(charge_point_id), connector_id)
        return await self._save(key, record, "save connector", self._connector_work(charge_point_id, connector_id))

    async def update_connector(
        self, charge_point_id: str, connector_id: int | str, function: Callable[[Connector], Connector]
    ) -> Connector:
        """Change a connector."""
        key = self._keys.connector(_usable(charge_point_id), connector_id)
        work = self._connector_work(charge_point_id, connector_id)
        return await self._update(key, Connector, "update connector", function, work)

    async def delete_connector(self, charge_point_id: str, connector_id: int | str) -> bool:
        """Remove a connector."""
        key = self._keys.connector(_usable(charge_point_id), connector_id)
        index = self._keys.connectors(charge_point_id)
        work = _Work([(index, "set")], [], [["DEL", key], ["SREM", index, connector_id]])
        return await self._remove(charge_point_id, key, "delete connector", work)

    async def list_connectors(
        self, charge_point_id: str, *, problems: list[CorruptState] | None = None
    ) -> dict[int | str, Connector]:
        """A charge point's connectors by their id, in order; corrupt ones as with `list_charge_points`."""
        index = self._keys.connectors(_usable(charge_point_id))
        members = await self._members(index, "list connectors", problems)
        ids: list[int | str] = []
        for member in members:
            if _NUMBER.fullmatch(member):
                ids.append(int(member))
            elif _CONNECTOR_OF_EVSE.fullmatch(member):
                ids.append(member)
            else:
                _note(CorruptState(index, f"{shown(member)} is no id of a connector", "list connectors"), problems)
        return await self._all(
            {self._keys.connector(charge_point_id, each): each for each in sorted(ids, key=_connector_order)},
            Connector,
            "list connectors",
            problems,
        )

    def _connector_work(self, charge_point_id: str, connector_id: int | str) -> Callable[[str, Connector], _Work]:
        index, points = self._keys.connectors(charge_point_id), self._keys.charge_points

        def work(key: str, _record: Connector) -> _Work:
            return _Work(
                [(key, "string"), (index, "set"), (points, "set")],
                [],
                [["SADD", index, connector_id], ["SADD", points, charge_point_id]],
            )

        return work

    # --- transactions -------------------------------------------------------------------------------------------------

    async def new_transaction_id(self) -> int:
        """An id that no other transaction has or will have."""
        reserved: range = await run("new transaction id", self._keys.transaction_id, self._ids.reserve(1))
        return reserved.start

    async def get_transaction(self, transaction_id: int | str, charge_point_id: str = "") -> Transaction:
        """Read a transaction."""
        key = self._keys.transaction(transaction_id, charge_point_id)
        return await self._get(key, Transaction, "read", transaction_id)

    async def save_transaction(self, record: Transaction) -> Transaction:
        """Create or replace a transaction, and keep the indexes."""
        _usable(record.charge_point_id)
        key = self._keys.transaction(record.id, record.charge_point_id)
        return await self._save(key, record, "save transaction", self._transaction_work)

    async def update_transaction(
        self, transaction_id: int | str, function: Callable[[Transaction], Transaction], charge_point_id: str = ""
    ) -> Transaction:
        """Change a transaction, and keep the indexes."""

        def checked(record: Transaction) -> Transaction:
            changed = function(record)
            if changed.charge_point_id != record.charge_point_id:
                raise ValueError(f"transaction {record.id} belongs to charge point {record.charge_point_id}")
            return changed

        key = self._keys.transaction(transaction_id, charge_point_id)
        return await self._update(
            key, Transaction, "update transaction", checked, self._transaction_work, transaction_id
        )

    async def delete_transaction(self, transaction_id: int | str, charge_point_id: str = "") -> bool:
        """Remove a transaction."""
        key = self._keys.transaction(transaction_id, charge_point_id)
        operation = "delete transaction"
        for attempt in range(self._limits.attempts):
            value = await run(operation, key, self._client.get(key))
            if value is None:
                return False
            owner = _decode(key, value, Transaction, operation, transaction_id).charge_point_id
            index, active = self._keys.transactions(owner), self._keys.active_transactions(owner)
            work = _Work(
                [(index, "zset"), (active, "set")],
                [(key, False, _sha1(value))],
                [["DEL", key], ["ZREM", index, transaction_id], ["SREM", active, transaction_id]],
            )
            try:
                return await self._remove(owner, key, operation, work)
            except StateConflict:
                await _pause(attempt)
        raise StateConflict(key, f"it changed through {self._limits.attempts} attempts", operation)

    async def list_transactions(
        self,
        charge_point_id: str | None = None,
        *,
        active: bool | None = None,
        problems: list[CorruptState] | None = None,
    ) -> list[Transaction]:
        """Transactions, of one charge point or all, oldest start first; only the active ones, or only the others."""
        operation = "list transactions"
        owners = [_usable(charge_point_id)] if charge_point_id is not None else None
        if owners is None:
            owners = sorted(await self._members(self._keys.charge_points, operation, problems))
        members: list[tuple[str, str]] = []
        for owner in owners:
            try:
                found = await self._transaction_ids(owner, operation, problems, active=active)
                members += [(owner, each) for each in found]
            except CorruptState as error:
                if charge_point_id is not None:
                    raise
                _note(error, problems)
        records = await self._transactions_of(members, operation, problems)
        wanted = [each for each in records if active is None or (each.status is TransactionStatus.ACTIVE) is active]
        return sorted(wanted, key=lambda each: (unix_seconds(each.start_time), isinstance(each.id, str), each.id))

    async def _transactions_of(
        self, members: list[tuple[str, str]], operation: str, problems: list[CorruptState] | None
    ) -> list[Transaction]:
        """The records of charge points' index entries; an entry of digits may be an id of either kind."""
        numbers = {self._keys.transaction(int(each)): int(each) for _, each in members if _NUMBER.fullmatch(each)}
        known = await self._all(numbers, Transaction, operation, problems, own=True)
        texts: dict[str, Any] = {}
        found = []
        for owner, each in members:
            record = known.get(int(each)) if _NUMBER.fullmatch(each) else None
            if record is not None and record.charge_point_id == owner:
                found.append(record)
            else:
                texts[self._keys.transaction(each, owner)] = (owner, each)
        return found + list((await self._all(texts, Transaction, operation, problems)).values())

    async def _transaction_ids(
        self, owner: str, operation: str, problems: list[CorruptState] | None, *, active: bool | None
    ) -> list[str]:
        if active:
            index = self._keys.active_transactions(owner)
            members = await self._members(index, operation, problems)
        else:
            index = self._keys.transactions(owner)
            found = await run(operation, index, self._client.zrange(index, 0, -1))
            members = _texts(index, found, operation, problems)
        return members

    def _transaction_work(self, key: str, record: Transaction) -> _Work:
        owner = record.charge_point_id
        index, active = self._keys.transactions(owner), self._keys.active_transactions(owner)
        points = self._keys.charge_points
        runs = record.status is TransactionStatus.ACTIVE
        return _Work(
            [(key, "string"), (index, "zset"), (active, "set"), (points, "set")],
            [],
            [
                ["ZADD", index, unix_seconds(record.start_time), record.id],
                ["SADD" if runs else "SREM", active, record.id],
                ["SADD", points, owner],
            ],
        )

    # --- device model -------------------------------------------------------------------------------------------------

    async def get_variables(
        self, charge_point_id: str, *, problems: list[CorruptState] | None = None
    ) -> dict[str, Variable]:
        """Read the device model of a charge point; corrupt attributes as with `list_charge_points`."""
        return await self._hash(self._keys.variables(_usable(charge_point_id)), Variable, problems)

    # --- configuration ------------------------------------------------------------------------------------------------

    async def get_configuration(
        self, charge_point_id: str, *, problems: list[CorruptState] | None = None
    ) -> dict[str, ConfigurationKey]:
        """Read the whole configuration of a charge point; corrupt keys as with `list_charge_points`."""
        return await self._hash(self._keys.configuration(_usable(charge_point_id)), ConfigurationKey, problems)

    async def save_configuration(self, charge_point_id: str, record: Mapping[str, ConfigurationKey]) -> None:
        """Replace the whole configuration of a charge point; an empty one removes it."""
        key, points = self._keys.configuration(_usable(charge_point_id)), self._keys.charge_points
        operation = "save configuration"
        if not record:
            await self.delete_configuration(charge_point_id)
            return
        pairs = {name: self._field(key, name, each, operation) for name, each in record.items()}
        total = sum(len(name.encode()) + len(value.encode()) for name, value in pairs.items())
        if total > self._limits.write_bytes:
            raise StateTooLarge(key, operation, size=total, limit=self._limits.write_bytes)
        # The first write needs memory, so that a Redis that has none refuses the whole.
        flat = [each for pair in pairs.items() for each in pair]
        types = [(key, "hash"), (points, "set")]
        for attempt in range(self._limits.attempts):
            there = _texts(key, await run(operation, key, self._client.hkeys(key)), operation)
            gone = [name for name in there if name not in pairs]
            # A key that appears in between would stay: the number of fields tells.
            work = _Work(
                types,
                [],
                [
                    *(["HSET", key, *flat[start : start + 2 * CHUNK]] for start in range(0, len(flat), 2 * CHUNK)),
                    *(["HDEL", key, *gone[start : start + CHUNK]] for start in range(0, len(gone), CHUNK)),
                    ["SADD", points, charge_point_id],
                    ["HLEN", key],
                ],
            )
            reply = await self._apply(key, operation, work)
            if reply == len(pairs):
                return
            await _pause(attempt)
        raise StateConflict(key, f"it changed through {self._limits.attempts} attempts", operation)

    async def get_configuration_key(self, charge_point_id: str, key: str) -> ConfigurationKey:
        """Read one configuration key."""
        name = self._keys.configuration(_usable(charge_point_id))
        value = await run("read", name, self._client.hget(name, key))
        if value is None:
            raise StateNotFound(name, f"there is no key {key}")
        return _decode(name, value, ConfigurationKey, "read", field=key)

    async def save_configuration_key(self, charge_point_id: str, key: str, record: ConfigurationKey) -> None:
        """Write one configuration key, whether or not it was there; the others stay."""
        name, operation = self._keys.configuration(_usable(charge_point_id)), "save configuration key"
        value = self._field(name, key, record, operation)
        await self._apply(name, operation, self._field_work(charge_point_id, name, key, value))

    async def update_configuration_key(
        self, charge_point_id: str, key: str, function: Callable[[ConfigurationKey], ConfigurationKey]
    ) -> ConfigurationKey:
        """Change one configuration key."""
        name, operation = self._keys.configuration(_usable(charge_point_id)), "update configuration key"

        async def attempt(value: bytes | None) -> _Done[ConfigurationKey] | _Changed:
            if value is None:
                raise StateNotFound(name, f"there is no key {key}", operation)
            changed = function(_decode(name, value, ConfigurationKey, operation, field=key))
            text = self._field(name, key, changed, operation)
            work = self._field_work(charge_point_id, name, key, text)
            work.conditions.append((name, key, _sha1(value)))
            reply = await self._send(name, operation, work)
            return reply if isinstance(reply, _Changed) else _Done(changed, text.encode())

        # Not the hash: each field has its own queue.
        return await self._in_turn(name, operation, lambda: self._client.hget(name, key), attempt, field=key)

    async def delete_configuration_key(self, charge_point_id: str, key: str) -> bool:
        """Remove one configuration key."""
        name = self._keys.configuration(_usable(charge_point_id))
        work = _Work([(name, "hash")], [], [["HDEL", name, key]])
        return await self._remove(charge_point_id, name, "delete configuration key", work)

    async def delete_configuration(self, charge_point_id: str) -> bool:
        """Remove the whole configuration of a charge point."""
        name = self._keys.configuration(_usable(charge_point_id))
        return await self._remove(charge_point_id, name, "delete configuration", _Work([], [], [["DEL", name]]))

    async def list_configurations(self) -> list[str]:
        """Ids of the charge points that have a configuration."""
        operation, index = "list configurations", self._keys.charge_points
        ids = sorted(await self._members(index, operation))
        found: list[str] = []
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            async with self._client.pipeline(transaction=False) as pipe:
                for each in some:
                    pipe.exists(self._keys.configuration(each))
                there = await run(operation, index, pipe.execute())
            found += [each for each, exists in zip(some, there, strict=True) if exists]
        return found

    def _field(self, key: str, name: str, record: ConfigurationKey, operation: str) -> str:
        value = _encode(record)
        size = len(value) + len(name.encode())
        if size > self._limits.value_bytes:
            raise StateTooLarge(key, operation, size=size, limit=self._limits.value_bytes)
        return value.decode()

    def _field_work(self, charge_point_id: str, key: str, name: str, value: str) -> _Work:
        points = self._keys.charge_points
        return _Work(
            [(key, "hash"), (points, "set")],
            [],
            [["HSET", key, name, value], ["SADD", points, charge_point_id]],
        )

    # --- what they share ----------------------------------------------------------------------------------------------

    async def _hash(self, key: str, kind: type[V], problems: list[CorruptState] | None) -> dict[str, V]:
        """The fields of a hash by name."""
        fields = await run("read", key, self._client.hgetall(key))
        if not fields:
            raise StateNotFound(key)
        found: dict[str, V] = {}
        for raw, value in fields.items():
            try:
                (name,) = _texts(key, [raw], "read")
                found[name] = _decode(key, value, kind, "read", field=name)
            except CorruptState as error:
                _note(error, problems)
        return found

    async def _get(self, key: str, kind: type[R], operation: str, own_id: str | int | None = None) -> R:
        value = await run(operation, key, self._client.get(key))
        if value is None:
            raise StateNotFound(key, operation=operation)
        return _decode(key, value, kind, operation, own_id)

    async def _save(self, key: str, record: R, operation: str, work_of: Callable[[str, R], _Work]) -> R:
        # A record that is too large is refused before anything is read.
        self._encoded(key, record, operation)
        # An unknown record is not read first: the script notices an existing one.
        known_absent = record.version == 0

        async def read() -> Any:
            nonlocal known_absent
            look, known_absent = not known_absent, False
            return await self._client.get(key) if look else None

        async def attempt(value: bytes | None) -> _Done[R] | _Changed:
            if value is not None and (known := _decode(key, value, type(record), operation)).version != record.version:
                raise StateConflict(
                    key, f"the record has version {known.version}, not {record.version} as the one to save", operation
                )
            return await self._put(key, value, record, operation, work_of)

        return await self._in_turn(key, operation, read, attempt, afresh=True)

    async def _update(  # noqa: PLR0917
        self,
        key: str,
        kind: type[R],
        operation: str,
        function: Callable[[R], R],
        work_of: Callable[[str, R], _Work],
        own_id: str | int | None = None,
    ) -> R:
        async def attempt(value: bytes | None) -> _Done[R] | _Changed:
            if value is None:
                raise StateNotFound(key, operation=operation)
            known = _decode(key, value, kind, operation, own_id)
            changed = function(known)
            if getattr(changed, "id", None) != getattr(known, "id", None):
                raise ValueError(f"{key} cannot become the record of another")
            return await self._put(key, value, replace(changed, version=known.version), operation, work_of)

        return await self._in_turn(key, operation, lambda: self._client.get(key), attempt)

    async def _put(
        self, key: str, value: bytes | None, record: R, operation: str, work_of: Callable[[str, R], _Work]
    ) -> _Done[R] | _Changed:
        written = replace(record, version=record.version + 1)
        work = work_of(key, written)
        work.conditions.append((key, False, False if value is None else _sha1(value)))
        text = self._encoded(key, written, operation)
        work.operations.insert(0, ["SET", key, text])
        reply = await self._send(key, operation, work)
        return reply if isinstance(reply, _Changed) else _Done(written, text.encode())

    def _encoded(self, key: str, record: R, operation: str) -> str:
        value = _encode(record)
        if len(value) > self._limits.value_bytes:
            raise StateTooLarge(key, operation, size=len(value), limit=self._limits.value_bytes)
        return value.decode()

    async def _in_turn(
        self,
        key: str,
        operation: str,
        read: Callable[[], Any],
        attempt: Callable[[bytes | None], Awaitable[_Done[V] | _Changed]],
        *,
        field: str | None = None,
        afresh: bool = False,
    ) -> V:
        """Read, and attempt until the value is still the one that was read.

        A writer that waited for its turn begins with the record of the one before, unless it wants to read `afresh`.
        """
        name = key if field is None else f"{key} {field}"
        turn = self._turns.setdefault(name, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                value, turn.written = turn.written, None
                if value is None or afresh:
                    value = await run(operation, key, read())
                for number in range(self._limits.attempts):
                    result = await attempt(value)
                    if isinstance(result, _Done):
                        turn.written = result.value
                        record: V = result.record
                        return record
                    # Writers in other processes: the one that waits longest would have the least chance, so all wait at
                    # random.
                    value = result.value
                    if number > 0:
                        await _pause(number)
                        value = await run(operation, key, read())
                raise StateConflict(key, f"it changed through {self._limits.attempts} attempts", operation)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[name]

    async def _send(self, key: str, operation: str, work: _Work) -> Any:
        reply = await run(operation, key, _write.run(self._client.execute_command, [], [_pack(work)]))
        return _outcome(reply, operation)

    async def _apply(self, key: str, operation: str, work: _Work) -> Any:
        reply = await self._send(key, operation, work)
        if isinstance(reply, _Changed):
            raise StateConflict(key, "it has changed since it was read", operation)
        return reply

    async def _remove(self, charge_point_id: str, key: str, operation: str, work: _Work) -> bool:
        names = self._keys
        kept_by = [
            names.charge_point(charge_point_id),
            names.connectors(charge_point_id),
            names.transactions(charge_point_id),
            names.configuration(charge_point_id),
            names.variables(charge_point_id),
        ]
        work.types.append((names.charge_points, "set"))
        rest = (names.charge_points, charge_point_id, kept_by)
        reply = await run(operation, key, _delete.run(self._client.execute_command, [], [_pack(work), _pack(rest)]))
        return bool(_removed(reply, operation))

    async def _all(
        self,
        keys: dict[str, Any],
        kind: type[R],
        operation: str,
        problems: list[CorruptState] | None,
        *,
        own: bool = False,
    ) -> dict[Any, R]:
        """The records under `keys`; those that were deleted since the index was read are left out."""
        found: dict[Any, R] = {}
        names = list(keys)
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            values = await run(operation, some[0], self._client.mget(some))
            for key, value in zip(some, values, strict=True):
                member = keys[key]
                try:
                    if value is None:
                        await self._check_absent(key, operation)
                        continue
                    own_id = member if own or kind is ChargePoint else None
                    found[member] = _decode(key, value, kind, operation, own_id)
                except CorruptState as error:
                    _note(error, problems)
        return found

    async def _check_absent(self, key: str, operation: str) -> None:
        """MGET gives nil for a value of another type, too."""
        kind = await run(operation, key, self._client.type(key))
        if kind not in {b"none", b"string"}:
            raise CorruptState(key, f"it is a {kind.decode()}, not a string", operation)

    async def _members(self, index: str, operation: str, problems: list[CorruptState] | None = None) -> list[str]:
        return _texts(index, list(await run(operation, index, self._client.smembers(index))), operation, problems)


async def run(operation: str, key: str, awaitable: Any) -> Any:
    """Await a reply of Redis; any error becomes a `StateError`."""
    try:
        return await awaitable
    except RedisError as error:
        raise _state_error(error, key, operation) from error


class _Turn:
    """The writers of this process that want one record."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.written: bytes | None = None


class _Done(NamedTuple, Generic[V]):
    """The record was written, as `value`."""

    record: V
    value: bytes


class _Changed(NamedTuple):
    """The value was not the one that was read; it is `value` now."""

    value: bytes | None


def _outcome(reply: list[Any], operation: str) -> Any:
    match reply:
        case [b"written", result]:
            return result
        case [b"written"]:  # nil at the end of a Lua table
            return None
        case [b"type", key, found]:
            raise CorruptState(key.decode(), f"it is a {found.decode()}", operation)
        case [b"conflict", _, value]:
            return _Changed(value)
    return _Changed(None)


def _removed(reply: list[Any], operation: str) -> int:
    result = _outcome(reply, operation)
    if isinstance(result, _Changed):
        raise StateConflict(reply[1].decode(), "it has changed since it was read", operation)
    return int(result)


def _decode(  # noqa: PLR0917
    key: str, value: bytes, kind: type[V], operation: str, own_id: str | int | None = None, field: str | None = None
) -> V:
    where = "" if field is None else f"field {field}: "
    try:
        record: V = _DECODERS[kind].decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CorruptState(key, f"{where}{error}", operation) from None
    if own_id is not None and (found := getattr(record, "id", own_id)) != own_id:
        raise CorruptState(key, f"it is the record of {found}", operation)
    return record


def _texts(key: str, members: list[bytes], operation: str, problems: list[CorruptState] | None = None) -> list[str]:
    found = []
    for each in members:
        try:
            found.append(each.decode())
        except UnicodeDecodeError as error:
            _note(CorruptState(key, f"the member {shown(each)}: {error}", operation), problems)
    return found


def _note(error: CorruptState, problems: list[CorruptState] | None) -> None:
    """A record that cannot be read raises its error, unless the caller collects such errors."""
    if problems is None:
        raise error
    problems.append(error)


def _state_error(error: RedisError, key: str, operation: str) -> StateError:
    """The typed error for an error of Redis or of the client library."""
    text = str(error)
    if isinstance(error, RedisTimeoutError):
        return StateTimeout(key, f"no answer in time: {text}", operation)
    # Redis before 7 wraps the error of a command inside a script.
    if isinstance(error, ReadOnlyError) or "READONLY" in text or text.startswith(("MISCONF", "NOREPLICAS")):
        return StateReadOnly(key, text, operation)
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in text:
        return StateOutOfMemory(key, text, operation)
    if "WRONGTYPE" in text or "not an integer" in text:
        return CorruptState(key, text, operation)
    if isinstance(error, RedisConnectionError) or not isinstance(error, ResponseError):
        return StateUnavailable(key, text, operation)
    return StateUnavailable(key, f"Redis refused: {text}", operation)


def _usable(charge_point_id: str) -> str:
    if not usable_charge_point_id(charge_point_id):
        raise ValueError(
            f"{charge_point_id!r} is no charge point id: 1 to 48 printable characters, no ':' and no space"
        )
    return charge_point_id


def _prefix(key: str) -> str:
    return key.rpartition(":")[0] + ":"


async def _pause(attempt: int) -> None:
    longest = min(LONGEST_PAUSE, 0.001 * 2 ** min(attempt, 10))
    await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - not for secrets


def _connector_order(connector_id: int | str) -> tuple[int, ...]:
    """By number, or by EVSE and connector."""
    return tuple(int(each) for each in str(connector_id).split(":"))
