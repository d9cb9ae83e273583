"""The sections of a target profile about stored state: Redis databases and keys, and records."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ocpp_resilience.profile.sections import CommandRequest, Path, Section

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
    """Marks of the system's commit, or of another of its writes, among its other commands, for faults that affect it.

    Attributes:
        command: the Redis command; of the commit, the one that makes the effects of messages last.
        keys: names in `redis.keys`; the command has such a key for each of them.
        arguments: patterns (`*` for anything); the command has such an argument for each of them.
    """

    command: str
    keys: list[str] = msgspec.field(default_factory=list)
    arguments: list[str] = msgspec.field(default_factory=list)


WRITES = ("push", "deliver", "sessions", "store", "send")
"""The names that `redis.writes` may have."""


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
        writes: the same of other commands with effects, by name: `push` (messages of charge points onto the queue),
            `deliver` (a gateway takes what is for charge points), `sessions` (who is connected), `store`
            (configuration), `send` (commands to charge points).
    """

    keys: Keys = Keys()
    other: list[OtherKeys] = msgspec.field(default_factory=list)
    databases: Databases = Databases()
    commit: Commit | None = None
    writes: dict[str, Commit] = msgspec.field(default_factory=dict)


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


class StateView(StateRecord, frozen=True):
    """The content of one path of the HTTP API: a record, or a list of records.

    Attributes:
        path: the path, with its placeholders.
        data: the field of the answer with the record or the list, names separated by dots; `null` if the answer is it.
        id: the field of a record with its id: that of a charge point, a transaction, or the number of a connector.
        fields: our field names to theirs; all names are ours if there is no list.
        values: our field names to a list of their values with ours.
    """

    id: str = "id"


class StateApi(Section, frozen=True):
    """The paths of the HTTP API with stored state; `null` for missing ones.

    Attributes:
        charge_points: all charge points.
        charge_point: the one with `{charge_point_id}`.
        connectors: those of `{charge_point_id}`.
        connector: the one with `{charge_point_id}` and `{connector_id}`.
        transactions: all transactions.
        transactions_of_charge_point: those of `{charge_point_id}`.
        active_transactions: of these, those that have not stopped.
        completed_transactions: of these, those that have.
        transaction: the one with `{transaction_id}`, and `{charge_point_id}` where its id is not enough.
        clients: the charge points that are connected.
        connected_at: the field of an entry of `clients` with the time of connecting.
        last_activity: the field of an entry of `clients` with the time at which it was last heard of.
        bad_requests: paths that are answered 400, such as that of a list with a filter that is none.
    """

    charge_points: StateView | None = None
    charge_point: StateView | None = None
    connectors: StateView | None = None
    connector: StateView | None = None
    transactions: StateView | None = None
    transactions_of_charge_point: StateView | None = None
    active_transactions: StateView | None = None
    completed_transactions: StateView | None = None
    transaction: StateView | None = None
    clients: StateView | None = None
    connected_at: str | None = None
    last_activity: str | None = None
    bad_requests: list[Path] = msgspec.field(default_factory=list)


API_VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "charge_points": ("charge_point", ()),
    "charge_point": ("charge_point", ("charge_point_id",)),
    "connectors": ("connector", ("charge_point_id",)),
    "connector": ("connector", ("charge_point_id", "connector_id")),
    "transactions": ("transaction", ()),
    "transactions_of_charge_point": ("transaction", ("charge_point_id",)),
    "active_transactions": ("transaction", ("charge_point_id",)),
    "completed_transactions": ("transaction", ("charge_point_id",)),
    "transaction": ("transaction", ("transaction_id",)),
    "clients": ("charge_point", ()),
}
"""The paths in `StateApi`, each with the kind of its records and the placeholders that it has to have."""


class StateConfiguration(Section, frozen=True):
    """The configuration that the system stores of charge points. It is read from the hash `redis.keys.configuration`,
    whose values are JSON objects with `value` and `readonly`, from the HTTP path, or from both.

    Attributes:
        path: the HTTP path that gives it: an object of key to `value` and `readonly`.
        data: the field of the HTTP answer with that object; `null` if the answer is it.
        store: the HTTP request that stores one key; the placeholders are `{charge_point_id}`, `{key}`, `{value}` and
            `{readonly}`.
    """

    store: CommandRequest
    path: Path | None = None
    data: str | None = None


class Variables(Section, frozen=True):
    """The place and format of the device model of a charge point (OCPP 2.0.1 and 2.1): the hash `redis.keys.variables`.

    Attributes:
        field: the name of the hash's field for one attribute of a variable, with placeholders, each of which is
            percent-encoded and empty if a report does not give it: `{component}`, `{component_instance}`, `{evse}`,
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
"""Placeholders in the name of a variable's field."""


class State(Section, frozen=True):
    """The readable state of the system; `null` for kinds of records that cannot be read.

    Attributes:
        charge_point: what is known of a charge point.
        connector: what is known of a connector.
        transaction: a charging session.
        configuration: the stored configuration of a charge point.
        api: what the HTTP API says of the same: lists, filters, single records.
        variables: the device model of a charge point.
    """

    charge_point: StateRecord | None = None
    connector: StateRecord | None = None
    transaction: StateRecord | None = None
    configuration: StateConfiguration | None = None
    api: StateApi | None = None
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
        "version",
    ),
    "connector": ("status", "error_code", "transaction_id", "updated_at", "version"),
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
        "version",
    ),
}
"""Fields that are read of each kind of record. Times are RFC 3339, energy is in Wh; status is `active`, then
`completed`; `is_online` tells whether the charge point is connected, `version` how often the record was written. Those
of a transaction from `seq_no` to `stopped_reason` are of OCPP 2.0.1 and 2.1."""
