"""The names of the keys, in one place. The wire contract's tables describe their values."""

from __future__ import annotations


class Keys:
    """Key names under a prefix and a queue name.

    Args:
        prefix: the prefix of all keys, without the colon.
        queue: the list that requests come from.
    """

    def __init__(self, prefix: str = "ocpp", queue: str = "ocpp:requests") -> None:
        self._prefix = prefix
        self.requests = queue
        self.owner = self.owner_of(queue)
        self.shards = f"{queue}:shards"
        self.processors = f"{queue}:processors"
        self.dead_letters = f"{prefix}:dead-letters"
        self.transaction_id = f"{prefix}:transaction-id"
        self.charge_points = f"{prefix}:chargepoints"
        self.connected = f"{prefix}:active"
        self.control_connect = f"{prefix}:control:connect"
        self.control_disconnect = f"{prefix}:control:disconnect"

    @property
    def reserved(self) -> list[str]:
        """Whole key names that can be nothing else."""
        return [self.dead_letters, self.transaction_id, self.charge_points, self.connected]

    @staticmethod
    def owner_of(queue: str) -> str:
        """Hash: the owner of a queue, the number of its last commit and the fencing token."""
        return f"{queue}:owner"

    def shard(self, number: int | str) -> str:
        """List: messages of the charge points that belong to one shard of the request queue."""
        return f"{self.requests}:shard:{number}"

    def responses(self, charge_point_id: str) -> str:
        """List: messages to one charge point."""
        return f"{self._prefix}:responses:{charge_point_id}"

    def session(self, charge_point_id: str) -> str:
        """Hash with a lifetime: a charge point's connection and the gateway that holds it."""
        return f"{self._prefix}:session:{charge_point_id}"

    def connection(self, charge_point_id: str) -> str:
        """String with a lifetime: a charge point's newest connection and when it began, also once it is over."""
        return f"{self._prefix}:connection:{charge_point_id}"

    def gateway(self, instance: str) -> str:
        """Hash with a lifetime: number and fence of a gateway's last push to the request queue."""
        return f"{self._prefix}:gateway:{instance}"

    def wake(self, server_id: str) -> str:
        """Channel: something waits for charge points of this server, or for the server itself."""
        return f"{self._prefix}:wake:{server_id}"

    def delivery(self, server_id: str) -> str:
        """Channel: responses to charge points of this server, as they are put in their lists."""
        return f"{self._prefix}:delivery:{server_id}"

    def correlation(self, message_id: str) -> str:
        """String that lives as long as the timeout: the instance that waits for this answer."""
        return f"{self._prefix}:correlation:{message_id}"

    def answers(self, instance: str) -> str:
        """List with a lifetime: charge points' answers to commands that an instance waits for."""
        return f"{self._prefix}:answers:{instance}"

    def consumer(self, consumer: str) -> str:
        """String with a short lifetime: the consumer is alive."""
        return f"{self._prefix}:consumer:{consumer}"

    def charge_point(self, charge_point_id: str) -> str:
        """String, JSON: a `ChargePoint`."""
        return f"{self._prefix}:chargepoint:{charge_point_id}"

    def variables(self, charge_point_id: str) -> str:
        """Hash: the device model (OCPP 2.0.1 and 2.1), attribute of a variable to JSON of value and mutability."""
        return f"{self._prefix}:variables:{charge_point_id}"

    def connectors(self, charge_point_id: str) -> str:
        """Set: ids of a charge point's connectors."""
        return f"{self._prefix}:connectors:{charge_point_id}"

    def configuration(self, charge_point_id: str) -> str:
        """Hash: configuration key to JSON of value and readonly."""
        return f"{self._prefix}:config:{charge_point_id}"

    def connector(self, charge_point_id: str, connector_id: int | str) -> str:
        """String, JSON: a `Connector`; its id is a number in OCPP 1.6, `{evse}:{connector}` in 2.0.1 and 2.1."""
        return f"{self._prefix}:connector:{charge_point_id}:{connector_id}"

    def transaction(self, transaction_id: int | str, charge_point_id: str = "") -> str:
        """String, JSON: a `Transaction`; an id that is text is the charge point's own (OCPP 2.0.1 and 2.1)."""
        if isinstance(transaction_id, str):
            return f"{self._prefix}:transaction:{charge_point_id}:{transaction_id}"
        return f"{self._prefix}:transaction:{transaction_id}"

    def transactions(self, charge_point_id: str) -> str:
        """Sorted set: a charge point's transaction ids by start time (Unix seconds)."""
        return f"{self._prefix}:transactions:{charge_point_id}"

    def active_transactions(self, charge_point_id: str) -> str:
        """Set: ids of a charge point's transactions that have not stopped."""
        return f"{self._prefix}:transactions:{charge_point_id}:active"
