"""Keywords that read the state that the server stores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.ocpp.model import ConfigurationModel, History
from ocpp_resilience.ocpp.version import TransactionName
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.state.comparison import StateComparison, compare, compare_in_time
from ocpp_resilience.state.configuration import configuration_problems
from ocpp_resilience.state.reading import Ids, Record, device_models, read
from ocpp_resilience.system.server import OcppServer


class StoredState(Component):
    """Charge points and transactions, as the system keeps them."""

    def __init__(self, servers: Registry[OcppServer], configurations: dict[str, ConfigurationModel]) -> None:
        self._servers = servers
        self._configurations = configurations

    @keyword(tags=("server", "state", "getter"))
    def get_charge_point_record(self, charge_point: str, *, alias: str = "server") -> dict[str, Any]:
        """Returns the stored record of a charge point.

        The target profile describes the place (Redis or HTTP) and the names of the fields (`state`). Without that
        description the test is skipped.

        Args:
            charge_point: its id.

        Returns:
            Our field names to values: `vendor`, `model`, `serial`, `firmware`, `status`, `last_seen`, `is_online`,
            `boot_time`, `protocol`, `version`; those that the system keeps.

        Raises:
            ExpectationFailed: there is no record, or it cannot be read.

        Example:
        ```robotframework
        ${record}    Get Charge Point Record    CP-001
        Should Be Equal    ${record}[vendor]    Vendor
        ```
        """
        return self._one("charge_point", alias, charge_point_id=charge_point)

    @keyword(tags=("server", "state", "getter"))
    def get_connector_record(
        self, charge_point: str, connector: int = 1, *, evse: int | None = None, alias: str = "server"
    ) -> dict[str, Any]:
        """Returns the stored record of a connector, as `Get Charge Point Record` does for a charge point.

        Args:
            charge_point: the id of its charge point.
            connector: its number.
            evse: the number of its EVSE, in OCPP 2.0.1 and 2.1.

        Returns:
            Our field names to values: `status`, `error_code` (1.6), `transaction_id`, `updated_at`; those that the
            system keeps.

        Raises:
            ExpectationFailed: nothing is kept of it, or what there is cannot be read.

        Example:
        ```robotframework
        ${record}    Get Connector Record    CP-001    1    evse=2
        Should Be Equal    ${record}[status]    Available
        ```
        """
        number = connector if evse is None else f"{evse}:{connector}"
        return self._one("connector", alias, charge_point_id=charge_point, connector_id=number)

    @keyword(tags=("server", "state", "getter"))
    def get_device_model(self, charge_point: str, *, alias: str = "server") -> dict[str, dict[str, Any]]:
        """Returns the stored device model of a charge point (OCPP 2.0.1 and 2.1).

        Args:
            charge_point: its id.

        Returns:
            A name of each attribute, such as `EVSE[a]@1:2.Power[L1] (Actual)` (component with its instance, EVSE and
            connector, variable with its instance, type), to its `value` and `mutability`.

        Raises:
            LacksCapability: the profile does not say where device models are; the test is skipped.

        Example:
        ```robotframework
        ${variables}    Get Device Model    CP-001
        Should Be Equal    ${variables}[OCPPCommCtrlr.HeartbeatInterval (Actual)][value]    300
        ```
        """
        server = self._servers.get(alias)
        found = device_models(server.target, [charge_point], redis_url=server.redis_url)[0]
        return {str(name): dict(value) for name, value in found.items()}

    @keyword(tags=("server", "state", "getter"))
    def get_transaction_record(
        self, transaction: int | str, *, charge_point: str | None = None, alias: str = "server"
    ) -> dict[str, Any]:
        """Returns the stored record of a transaction, as `Get Charge Point Record` does for a charge point.

        Args:
            transaction: its id.
            charge_point: the id of its charge point; needed where charge points choose the ids of transactions (OCPP
                2.0.1 and 2.1).

        Returns:
            Our field names to values: `id`, `charge_point_id`, `connector_id`, `id_tag`, `start_time`, `stop_time`,
            `meter_start`, `meter_stop`, `meter_current` (Wh), `status` (`active` or `completed`), `reason`; in OCPP
            2.0.1 and 2.1 also `seq_no`, `missing`, `offline`, `charging_state`, `evse`, `id_token`, `remote_start_id`
            and `stopped_reason`; those that the system keeps.

        Raises:
            ExpectationFailed: there is no record, or it cannot be read.

        Example:
        ```robotframework
        ${record}    Get Transaction Record    ${id}    charge_point=CP-001
        Should Be Equal    ${record}[status]    active
        ```
        """
        return self._one("transaction", alias, **self._named(transaction, charge_point, alias))

    @keyword(tags=("server", "state", "getter"))
    def get_transactions_with_other_status(
        self,
        status: str,
        transactions: Sequence[int | str | TransactionName],
        *,
        charge_point: str | None = None,
        alias: str = "server",
    ) -> list[int | str | TransactionName]:
        """Returns the transactions among these that are not stored, or have another status.

        Args:
            status: `active` or `completed`.
            transactions: their ids, or what `Get Started Transactions` of RedisQueueLibrary returned.
            charge_point: the id of their charge point; needed where charge points choose the ids of transactions (OCPP
                2.0.1 and 2.1).

        Returns:
            Those that are missing or have another status.

        Example:
        ```robotframework
        @{wrong}    Get Transactions With Other Status    active    ${ids}
        Should Be Empty    ${wrong}
        ```
        """
        ids = list(transactions)
        names = [
            (each.id or 0, each.charge_point) if isinstance(each, TransactionName) else (each, charge_point)
            for each in ids
        ]
        found = self._read(alias, "transaction", [self._named(*each, alias) for each in names])
        return [
            each for each, record in zip(ids, found, strict=True) if record is None or record.get("status") != status
        ]

    @keyword(tags=("server", "state", "getter"))
    def compare_state_with_the_model(
        self,
        *histories: History,
        timeout: timedelta = timedelta(seconds=1),
        redis_url: str | None = None,
        alias: str = "server",
    ) -> StateComparison:
        """Returns the answers, fields, index entries and scores that differ from a model of the protocol.

        The model computes the state of each charge point, connector and transaction, in OCPP 2.0.1 and 2.1 also of
        the device model, from the messages that were sent and answered. Configuration that `Store Configuration Key`
        stored, whether a charge point at the gateway is online, and how often records were written, belong to the
        state. A message of unknown outcome may have been applied or not; all others allow one state. Where the
        specification leaves a choice, the target's profile names that of the system (`behaviour`).

        Args:
            histories: results of `Get Message History` of RedisQueueLibrary and `Get Charge Point History` of
                ChargePointLibrary.
            timeout: how long the state may take to be as computed.
            redis_url: where it is read from Redis, if not where the server has it from: its user may be allowed less.

        Returns:
            `charge_points` and `transactions` (the numbers of compared records), `answers` and `differences` (the
            problems), `problems` (both), `unjudged` (charge points that were left out, each with the reason) and
            `summary`.

        Raises:
            ExpectationFailed: a stored value is no record.
            LacksCapability: the profile does not describe where state is kept; the test is skipped.

        Example:
        ```robotframework
        ${history}    Get Message History
        ${comparison}    Compare State With The Model    ${history}
        Should Be Empty    ${comparison.problems}    ${comparison.summary}
        ```
        """
        server = self._servers.get(alias)
        url = redis_url or server.redis_url

        def look(history: History) -> StateComparison:
            seen = compare(history.model, server.target, redis_url=url, get=server.get)
            if (stored := self._configurations.get(alias)) is not None:
                points = history.model.charge_points
                seen.differences += configuration_problems(stored, points, server.target, redis_url=url, get=server.get)
            return seen

        return compare_in_time(histories, look, timeout=timeout)

    @keyword(tags=("server", "state", "check"))
    def state_should_equal_the_model(
        self, *histories: History, timeout: timedelta = timedelta(seconds=1), alias: str = "server"
    ) -> StateComparison:
        """Fails unless all answers and the stored state equal the results of a model of the protocol.

        Args:
            histories: as `Compare State With The Model`.
            timeout: how long the state may take to be as computed.

        Returns:
            As `Compare State With The Model`.

        Raises:
            ExpectationFailed: something differs; the message says how much and shows the first fields with both values.
            LacksCapability: the profile does not describe where state is kept; the test is skipped.

        Example:
        ```robotframework
        ${history}    Get Message History
        State Should Equal The Model    ${history}
        ```
        """
        report: StateComparison = self.compare_state_with_the_model(*histories, timeout=timeout, alias=alias)
        if report.problems:
            raise ExpectationFailed(f"{report.summary}.")
        return report

    def _one(self, kind: str, alias: str, **ids: str | int) -> dict[str, Any]:
        (record,) = self._read(alias, kind, [ids])
        if record is None:
            what = " ".join(str(each) for each in ids.values())
            raise ExpectationFailed(f"Server '{alias}' has no record of {kind.replace('_', ' ')} {what}.")
        return record

    def _read(self, alias: str, kind: str, ids: Sequence[Ids]) -> list[Record | None]:
        server = self._servers.get(alias)
        return read(server.target, kind, ids, redis_url=server.redis_url, get=server.get)

    def _named(self, transaction: int | str, charge_point: str | None, alias: str) -> Ids:
        """The identity of a transaction; an id that a charge point has chosen is text, even if it looks like a
        number.

        Raises:
            UsageError: the id cannot be one, or it needs the charge point.
        """
        target = self._servers.get(alias).target
        if not target.version.chooses_ids:
            try:
                return {"transaction_id": int(transaction)}
            except ValueError:
                raise UsageError(
                    f"'{transaction}' is no id of a transaction in {target.version}, allowed is a whole number. What "
                    "`Start Queued Transaction` returns has it as ${transaction.id}."
                ) from None
        if charge_point is None:
            raise UsageError(
                f"Transaction {transaction} needs charge_point: in {target.version} its id is unique there only."
            )
        return {"transaction_id": str(transaction), "charge_point_id": charge_point}
