"""The sections of a target profile about stored state: Redis databases and keys, and records."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ocpp_resilience.profile.sections import Path, Section

Database = Annotated[int, msgspec.Meta(ge=0)]
"""The number of a Redis database."""

KEY_PLACEHOLDERS: dict[str, tuple[str, ...]] = {
    "requests": (),
    "responses": (),
    "dead_letters": (),
    "processing": ("consumer",),
    "consumer": ("consumer",),
    "owner": (),
    "shard": ("shard",),
    "shard_owner": ("shard",),
    "shards": (),
    "shard_processors": (),
    "control_connect": (),
    "control_disconnect": (),
    "session": ("charge_point_id",),
    "connection": ("charge_point_id",),
    "gateway": ("instance",),
    "answers": ("instance",),
    "connected": (),
    "correlation": ("message_id",),
    "charge_point": ("charge_point_id",),
    "charge_points": (),
    "connector": ("charge_point_id", "connector_id"),
    "connectors": ("charge_point_id",),
    "transaction": ("transaction_id",),
    "own_transaction": ("charge_point_id", "transaction_id"),
    "transactions": ("charge_point_id",),
    "active_transactions": ("charge_point_id",),
    "transaction_id": (),
    "configuration": ("charge_point_id",),
    "variables": ("charge_point_id",),
}
"""Every key that a profile can name, with the placeholders that its pattern has to contain."""

CHOICES: dict[str, tuple[str, ...]] = {
    "requests": ("charge_point_id",),
    "responses": ("charge_point_id", "message_id", "gateway"),
}
"""Keys whose pattern may contain one of these placeholders."""


class Databases(Section, frozen=True):
    """The numbers of the Redis databases.

    Attributes:
        queue: the one with the messages, the answers, and the connections.
        state: the one with charge points, connectors, transactions and configuration.
    """

    queue: Database = 0
    state: Database = 0


class Keys(Section, frozen=True):
    """Patterns of the Redis keys; `null` for keys that the system does not have. Use them through `Target.key`."""

    requests: str | None = None
    responses: str | None = None
    dead_letters: str | None = None
    processing: str | None = None
    consumer: str | None = None
    owner: str | None = None
    shard: str | None = None
    shard_owner: str | None = None
    shards: str | None = None
    shard_processors: str | None = None
    control_connect: str | None = None
    control_disconnect: str | None = None
    session: str | None = None
    connection: str | None = None
    gateway: str | None = None
    answers: str | None = None
    connected: str | None = None
    correlation: str | None = None
    charge_point: str | None = None
    charge_points: str | None = None
    connector: str | None = None
    connectors: str | None = None
    transaction: str | None = None
    own_transaction: str | None = None
    transactions: str | None = None
    active_transactions: str | None = None
    transaction_id: str | None = None
    configuration: str | None = None
    variables: str | None = None


class Commit(Section, frozen=True):
    """Marks of the system's commit among its other commands, for faults that affect it.

    Attributes:
        command: the Redis command that makes the effects of messages last.
        keys: names in `redis.keys`; the command has such a key for each of them.
    """

    command: str
    keys: list[str] = msgspec.field(default_factory=list)


class OtherKeys(Section, frozen=True):
    """Keys that no name of ours fits: they are removed with the test data, and allowed to be there.

    Attributes:
        keys: patterns; `{charge_point_id}` is that of each charge point of the run, any other placeholder and `*` stand
            for any text. A pattern with `{charge_point_id}` belongs to the test data; one without is the system's own.
        database: the number of their database.
    """

    keys: list[str]
    database: Database = 0


class Redis(Section, frozen=True):
    """The system's data in Redis.

    Attributes:
        other: further keys, in any number of databases.
        keys: patterns of its keys.
        databases: which are where.
        commit: how its commit can be told from its other commands; `null` if it cannot.
    """

    keys: Keys = Keys()
    other: list[OtherKeys] = msgspec.field(default_factory=list)
    databases: Databases = Databases()
    commit: Commit | None = None


class StateRecord(Section, frozen=True):
    """The place and the format of one kind of record.

    Attributes:
        path: the HTTP path that gives it, with the placeholders of its key; without one it is read from its key in
            `redis.keys`, which holds a JSON text or a hash.
        data: the field of the HTTP answer with the record, names separated by dots; `null` if the answer is it.
        fields: our field names to theirs, which may be names separated by dots; what is not listed is not kept. All
            names are ours if there is no list.
        values: our field names to a list of their values with ours, such as `status: {running: active}`.
    """

    path: Path | None = None
    data: str | None = None
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    values: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)


class Variables(Section, frozen=True):
    """How the device model of a charge point (OCPP 2.0.1 and 2.1) is read: from the hash `redis.keys.variables`.

    Attributes:
        field: the name of the hash's field for one attribute of a variable, with placeholders, each of which is
            percent-encoded and empty where a report does not give it: `{component}`, `{component_instance}`, `{evse}`,
            `{connector}`, `{variable}`, `{variable_instance}` and `{attribute}`.
        value: where in the JSON object in that field the value is.
        mutability: where in it the mutability is.
    """

    field: str = "{component}/{component_instance}/{evse}/{connector}/{variable}/{variable_instance}/{attribute}"
    value: str = "value"
    mutability: str = "mutability"


VARIABLE_PLACEHOLDERS = (
    "component",
    "component_instance",
    "evse",
    "connector",
    "variable",
    "variable_instance",
    "attribute",
)
"""What may stand in braces in the name of a variable's field."""


class State(Section, frozen=True):
    """The readable state of the system; `null` for kinds of records that cannot be read.

    Attributes:
        charge_point: what is known of a charge point.
        connector: what is known of a connector.
        transaction: a charging session.
        variables: the device model of a charge point.
    """

    charge_point: StateRecord | None = None
    connector: StateRecord | None = None
    transaction: StateRecord | None = None
    variables: Variables | None = None


STATE_FIELDS: dict[str, tuple[str, ...]] = {
    "charge_point": (
        "id",
        "vendor",
        "model",
        "serial",
        "firmware",
        "status",
        "last_seen",
        "is_online",
        "boot_time",
        "firmware_status",
        "diagnostics_status",
        "protocol",
    ),
    "connector": ("status", "error_code", "transaction_id", "updated_at"),
    "transaction": (
        "id",
        "charge_point_id",
        "connector_id",
        "id_tag",
        "start_time",
        "stop_time",
        "meter_start",
        "meter_stop",
        "meter_current",
        "status",
        "reason",
        "seq_no",
        "missing",
        "offline",
        "charging_state",
        "evse",
        "id_token",
        "remote_start_id",
        "stopped_reason",
    ),
}
"""Fields that are read of each kind of record. Times are RFC 3339, energy is in Wh; status is `active`, then
`completed`. Those from `seq_no` on are of OCPP 2.0.1 and 2.1."""
