"""State during the processing of one batch: the values read from Redis, overlaid with the batch's own writes.

Nothing here uses Redis except `StateCache.load`. A batch is handled against a `StateView`; the view then returns the
values that it relied on (`conditions`) and its writes (`operations`), and the commit does both or neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis

from server.errors import CorruptState
from server.store.keys import Keys
from server.store.models import ChargePoint, Connector, LastCall, Transaction, TransactionStatus, unix_seconds

Record = ChargePoint | Connector | Transaction
R = TypeVar("R", ChargePoint, Connector, Transaction)
Operation = list[Any]
"""A Redis command and its arguments."""
SET_AT_ONCE = 500
"""Keys in one MSET."""

_encode = msgspec.json.Encoder().encode
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (ChargePoint, Connector, Transaction)
}


class Starts(NamedTuple):
    """The transactions of a charge point that started at a given instant.

    Attributes:
        charge_point_id: the charge point.
        seconds: the instant, as the index has it (`unix_seconds`).
    """

    charge_point_id: str
    seconds: float


class NotLoaded(Exception):
    """A handler asked for a value that has not been read yet; load it and call the handler again.

    Attributes:
        wanted: a Redis key, or an entry of the index of transactions.
    """

    def __init__(self, wanted: str | Starts) -> None:
        super().__init__(wanted)
        self.wanted = wanted


class StateCache:
    """Values as last read or written, least recently loaded first.

    Stale entries do no harm: a commit that relied on one is refused, the entry is forgotten and the batch handled
    again.

    Args:
        client: for `load`.
        most: how many values are kept.
    """

    def __init__(self, client: Redis, *, most: int = 20_000) -> None:
        self._client = client
        self._most = most
        self.values: dict[str, str | None] = {}
        self.records: dict[str, Record | None] = {}
        self._unreadable: dict[str, str] = {}

    async def load(self, keys: Iterable[str]) -> None:
        """Read those of `keys` that are not known yet, in one MGET.

        Raises:
            RedisError: Redis did not answer.
        """
        missing = [key for key in keys if key not in self.values and key not in self._unreadable]
        if not missing:
            return
        # MGET gives nil for a value of another type; the commit's GET then finds it out.
        for key, value in zip(missing, await self._client.mget(missing), strict=True):
            try:
                self.values[key] = value.decode() if isinstance(value, bytes) else None
            except UnicodeDecodeError as error:
                self.unreadable(key, str(error))

    def record(self, key: str, kind: type[R]) -> R | None:
        """The record under `key`, `None` if there is none.

        Raises:
            NotLoaded: the key was not read yet.
            CorruptState: the stored value is no such record.
        """
        try:
            return self.records[key]  # type: ignore[return-value]
        except KeyError:
            pass
        if key in self._unreadable:
            raise CorruptState(key, self._unreadable[key])
        if key not in self.values:
            raise NotLoaded(key)
        value = self.values[key]
        record = None
        if value is not None:
            try:
                record = _DECODERS[kind].decode(value)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise CorruptState(key, str(error)) from None
        self.records[key] = record
        return record

    def unreadable(self, key: str, why: str) -> None:
        """Remember that `key` cannot be read, until it is forgotten."""
        self._drop(key)
        self._unreadable[key] = why

    def written(self, values: Mapping[str, tuple[str, Record]]) -> None:
        """Keep the writes of a commit, except finished transactions, which are not read again."""
        for key, (value, record) in values.items():
            if type(record) is Transaction and record.status is TransactionStatus.COMPLETED:
                self._drop(key)
                continue
            self.values[key] = value
            self.records[key] = record
        while len(self.values) > self._most:
            self._drop(next(iter(self.values)))

    def forget(self, keys: Iterable[str] | None = None) -> None:
        """Drop `keys`, or everything."""
        if keys is None:
            self.values.clear()
            self.records.clear()
            self._unreadable.clear()
        else:
            for key in keys:
                self._drop(key)

    def _drop(self, key: str) -> None:
        self.values.pop(key, None)
        self.records.pop(key, None)
        self._unreadable.pop(key, None)


class Changes(NamedTuple):
    """The state that a batch relied on and its writes, for the commit.

    Attributes:
        conditions: key and value of everything that was read, as the commit has to find it; `False` if nothing was.
        operations: the writes, in order.
        values: key to the new value and its record, for the cache once the commit is through.
    """

    conditions: list[tuple[str, str | bool]]
    operations: list[Operation]
    values: dict[str, tuple[str, Record]]


def _set_all(values: list[tuple[str, str]]) -> Iterator[Operation]:
    """Few commands for many keys; Lua cannot hand out any number of arguments."""
    for first in range(0, len(values), SET_AT_ONCE):
        yield ["MSET", *(part for pair in values[first : first + SET_AT_ONCE] for part in pair)]


class StateView:
    """The read-only view of state for handlers, for one batch; `apply` takes the writes that they return.

    Args:
        cache: the cached values of Redis.
        keys: key names.
        now: the time of the batch, RFC 3339.
        transaction_ids: ids reserved for the batch; taken from the front.

    Attributes:
        starts: entries of the index of transactions that were read, and those that the batch has added.
    """

    def __init__(self, cache: StateCache, keys: Keys, *, now: str, transaction_ids: deque[int]) -> None:
        self.now = now
        self.keys = keys
        self._cache = cache
        self._transaction_ids = transaction_ids
        self._read: set[str] = set()
        self._written: dict[str, Record] = {}
        self._operations: list[Operation] = []
        self._seen: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._last_calls: dict[str, LastCall] = {}
        self.starts: dict[Starts, list[int] | CorruptState] = {}

    def charge_point(self, charge_point_id: str) -> ChargePoint:
        """The charge point's record, a blank one where there is none yet; raises as `StateCache.record`."""
        return self._get(self.keys.charge_point(charge_point_id), ChargePoint) or ChargePoint(id=charge_point_id)

    def last_call(self, charge_point_id: str) -> LastCall | None:
        """The memory of the charge point's last message that may be sent again; raises as `StateCache.record`."""
        if charge_point_id in self._last_calls:
            return self._last_calls[charge_point_id]
        known = self.charge_point(charge_point_id).last_call
        return None if known is msgspec.UNSET else known

    def connector(self, charge_point_id: str, connector_id: int | str) -> Connector:
        """The connector's record, a blank one where there is none yet; raises as `StateCache.record`."""
        return self._get(self.keys.connector(charge_point_id, connector_id), Connector) or Connector()

    def transaction(self, transaction_id: int | str, charge_point_id: str = "") -> Transaction | None:
        """The transaction's record; raises as `StateCache.record`. An id that is text needs its charge point."""
        return self._get(self.keys.transaction(transaction_id, charge_point_id), Transaction)

    def transactions_started(self, starts: Starts) -> Iterator[Transaction]:
        """The transactions of a charge point that started at an instant; raises as `StateCache.record`."""
        found = self.starts.get(starts)
        if found is None:
            raise NotLoaded(starts)
        if isinstance(found, CorruptState):
            raise found
        for transaction_id in found:
            transaction = self.transaction(transaction_id)
            if transaction is not None and transaction.charge_point_id == starts.charge_point_id:
                yield transaction

    def _get(self, key: str, kind: type[R]) -> R | None:
        if key in self._written:
            return self._written[key]  # type: ignore[return-value]
        record = self._cache.record(key, kind)
        self._read.add(key)
        return record

    def new_transaction_id(self) -> int:
        """An id that no other transaction has or will have.

        Raises:
            NotLoaded: none is left of those reserved.
        """
        if not self._transaction_ids:
            raise NotLoaded(self.keys.transaction_id)
        return self._transaction_ids.popleft()

    def apply(
        self,
        charge_point_id: str,
        writes: dict[str, Record],
        operations: list[Operation],
        *,
        protocol: str,
        last_call: LastCall | None = None,
    ) -> None:
        """Add the outcome of a message that `charge_point_id` sent; later messages of the batch see its writes."""
        self._seen[charge_point_id] = protocol
        if last_call is not None:
            self._last_calls[charge_point_id] = last_call
        if writes:
            self._written.update(writes)
            for key in writes:
                # A key that is written unread must not be there: transaction ids are never given twice.
                self._read.add(key)
                self._owners[key] = charge_point_id
            for record in writes.values() if self.starts else ():
                if type(record) is Transaction and isinstance(record.id, int) and record.version == 1:
                    known = self.starts.get(Starts(charge_point_id, unix_seconds(record.start_time)))
                    if isinstance(known, list):
                        known.append(record.id)
        self._operations += operations

    def changes(self) -> Changes:
        """Everything that the batch relied on and writes; the view is used up then."""
        for charge_point_id, protocol in self._seen.items():
            record = self.charge_point(charge_point_id)
            self._written[self.keys.charge_point(charge_point_id)] = msgspec.structs.replace(
                record,
                last_seen=self.now,
                is_online=True,
                protocol=protocol,
                version=record.version + 1,
                last_call=self._last_calls.get(charge_point_id, record.last_call),
            )
        values = {key: (_encode(record).decode(), record) for key, record in self._written.items()}
        known = self._cache.values
        return Changes(
            conditions=[(key, False if (value := known.get(key)) is None else value) for key in self._read],
            operations=[
                *_set_all([(key, value) for key, (value, _) in values.items()]),
                *self._index(key for key in values if known.get(key) is None),
                *self._operations,
            ],
            values=values,
        )

    def _index(self, new: Iterable[str]) -> list[Operation]:
        """Entries in the indexes for records that were not there before; handlers index transactions themselves."""
        points: list[str] = []
        connectors: dict[str, list[str]] = {}
        for key in new:
            record = self._written[key]
            if type(record) is ChargePoint:
                points.append(record.id)
            elif type(record) is Connector:
                owner = self._owners[key]
                connectors.setdefault(owner, []).append(key.removeprefix(self.keys.connector(owner, "")))
        operations: list[Operation] = [["SADD", self.keys.charge_points, *points]] if points else []
        operations += [["SADD", self.keys.connectors(owner), *ids] for owner, ids in connectors.items()]
        return operations
