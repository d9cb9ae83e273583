"""Keywords that read what the server keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.state.reading import Ids, Record, read
from ocpp_resilience.system.server import OcppServer


class Kept(Component):
    """Charge points and transactions, as the system keeps them."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers

    @keyword(tags=("server", "state", "getter"))
    def get_charge_point_record(self, charge_point: str, *, alias: str = "server") -> dict[str, Any]:
        """Returns what the system keeps of a charge point.

        Where it is read, from Redis or over HTTP, and what its fields are called there is in the target profile
        (`state`). A target that does not say so skips the test.

        Args:
            charge_point: its id.
            alias: which server.

        Returns:
            Our field names to values: `vendor`, `model`, `serial`, `firmware`, `status`, `last_seen`, `is_online`,
            `boot_time`; those that the system keeps.

        Raises:
            ExpectationFailed: nothing is kept of it, or what there is cannot be read.

        Example:
        ```robotframework
        ${record}    Get Charge Point Record    CP-001
        Should Be Equal    ${record}[vendor]    Vendor
        ```
        """
        return self._one("charge_point", alias, charge_point_id=charge_point)

    @keyword(tags=("server", "state", "getter"))
    def get_transaction_record(self, transaction: int, *, alias: str = "server") -> dict[str, Any]:
        """Returns what the system keeps of a transaction, as `Get Charge Point Record` does of a charge point.

        Args:
            transaction: its id.
            alias: which server.

        Returns:
            Our field names to values: `id`, `charge_point_id`, `connector_id`, `id_tag`, `start_time`, `stop_time`,
            `meter_start`, `meter_stop`, `meter_current` (Wh), `status` (`active` or `completed`), `reason`; those that
            the system keeps.

        Raises:
            ExpectationFailed: nothing is kept of it, or what there is cannot be read.

        Example:
        ```robotframework
        ${record}    Get Transaction Record    ${id}
        Should Be Equal    ${record}[status]    active
        ```
        """
        return self._one("transaction", alias, transaction_id=transaction)

    @keyword(tags=("server", "state", "getter"))
    def get_transactions_not_kept_as(
        self, status: str, transactions: Sequence[int], *, alias: str = "server"
    ) -> list[int]:
        """Returns which of these transactions are not kept, or with another status.

        Args:
            status: `active` or `completed`.
            transactions: their ids.
            alias: which server.

        Returns:
            The ids of those that are missing or have another status.

        Example:
        ```robotframework
        @{wrong}    Get Transactions Not Kept As    active    ${ids}
        Should Be Empty    ${wrong}
        ```
        """
        ids = list(transactions)
        found = self._read(alias, "transaction", [{"transaction_id": each} for each in ids])
        return [
            each for each, record in zip(ids, found, strict=True) if record is None or record.get("status") != status
        ]

    def _one(self, kind: str, alias: str, **ids: str | int) -> dict[str, Any]:
        (record,) = self._read(alias, kind, [ids])
        if record is None:
            what = " ".join(str(each) for each in ids.values())
            raise ExpectationFailed(f"Server '{alias}' keeps nothing of {kind.replace('_', ' ')} {what}.")
        return record

    def _read(self, alias: str, kind: str, ids: Sequence[Ids]) -> list[Record | None]:
        server = self._servers.get(alias)
        return read(server.target, kind, ids, redis_url=server.redis_url, get=server.get)
