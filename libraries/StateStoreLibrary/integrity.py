"""Whether records and the indexes that name them belong together; looks at every key."""

from __future__ import annotations

import json
from typing import Any

from ocpp_resilience.redis.snapshot import SCAN_COUNT
from StateStoreLibrary.session import StateSession


def find_partial_writes(session: StateSession) -> list[str]:
    """A sentence for each record without its index entries, each entry without its record, and each broken value."""
    return _Look(session).problems()


class _Look:
    def __init__(self, session: StateSession) -> None:
        self._session = session
        self._names = session.keys
        client: Any = session.client
        self._client = client
        keys = sorted(set(client.scan_iter(count=SCAN_COUNT)))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.type(key)
        kinds = [kind.decode() for kind in pipeline.execute()]
        self._kinds = {key.decode("utf-8", "backslashreplace"): kind for key, kind in zip(keys, kinds, strict=True)}
        self._values = self._read("string", lambda pipe, key: pipe.get(key))
        self._sets = self._read("set", lambda pipe, key: pipe.smembers(key))
        self._sorted = self._read("zset", lambda pipe, key: pipe.zrange(key, 0, -1))
        self._found: list[str] = []

    def _read(self, kind: str, command: Any) -> dict[str, Any]:
        keys = [key for key, found in self._kinds.items() if found == kind]
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            command(pipeline, key)
        return dict(zip(keys, pipeline.execute(), strict=True))

    def problems(self) -> list[str]:
        names = self._names
        points = {each.decode() for each in self._sets.get(names.charge_points, ())}
        for record in self._records("transaction").values():
            number, owner, status = (str(record.get(name)) for name in ("id", "charge_point_id", "status"))
            which = f"transaction {number} of {owner}"
            indexed = number in self._members(self._sorted, names.transactions(owner))
            self._expect(indexed, f"{which} is not in the index of its charge point")
            active = number in self._members(self._sets, names.active_transactions(owner))
            where = "in the index of active ones" if active else "not in the index of active ones"
            self._expect(active is (status == "active"), f"{which} is {status}, and {where}")
            self._expect(owner in points, f"charge point {owner} of transaction {number} is not listed")
        for point in points:
            known = self._members(self._sorted, names.transactions(point))
            for number in known | self._members(self._sets, names.active_transactions(point)):
                # An id that is text is the charge point's own, and its key has both (OCPP 2.x).
                keys = [names.transaction(number, point)]
                keys += [names.transaction(int(number))] if number.isdigit() else []
                there = any(key in self._values for key in keys)
                self._expect(there, f"transaction {number} of {point} is indexed, and has no record")
            for number in self._members(self._sets, names.connectors(point)):
                there = names.connector(point, number) in self._values
                self._expect(there, f"connector {number} of {point} is indexed, and has no record")
        for point in self._records("charge_point"):
            self._expect(point in points, f"charge point {point} has a record, and is not listed")
        for key in self._records("connector"):
            # A charge point id has no colon; the id of a connector has one in OCPP 2.x.
            point, _, number = key.partition(":")
            indexed = number in self._members(self._sets, names.connectors(point))
            self._expect(indexed, f"connector {number} of {point} is not in the index of its charge point")
        return self._found

    def _expect(self, fine: bool, problem: str) -> None:
        if not fine:
            self._found.append(problem)

    @staticmethod
    def _members(indexes: dict[str, Any], key: str) -> set[str]:
        return {each.decode() for each in indexes.get(key, ())}

    def _records(self, name: str) -> dict[str, dict[str, Any]]:
        """The records of one kind, by the variable part of their key."""
        pattern = str(getattr(self._session.target.redis.keys, name))
        prefix = pattern[: pattern.index("{")]
        found = {}
        for key, value in self._values.items():
            if key.startswith(prefix):
                try:
                    record = json.loads(value)
                except ValueError:
                    record = None
                if isinstance(record, dict):
                    found[key.removeprefix(prefix)] = record
                else:
                    self._found.append(f"the value of {key} is broken")
        return found
