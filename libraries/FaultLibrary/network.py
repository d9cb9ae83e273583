"""Keywords for faults on the way to Redis."""

from __future__ import annotations

import enum
from datetime import timedelta

from FaultLibrary.state import FaultState
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.robot.library import Component, keyword


class Direction(enum.Enum):
    """`upstream` is from the client to Redis, `downstream` is back."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class Network(Component):
    """Slow, silent and broken connections."""

    def __init__(self, state: FaultState) -> None:
        self._state = state

    @keyword(tags=("fault", "network"))
    def add_latency(
        self,
        latency: timedelta,
        jitter: timedelta = timedelta(0),
        *,
        direction: Direction = Direction.DOWNSTREAM,
        toxicity: float = 1.0,
        alias: str = "faults",
    ) -> FaultRecord:
        """Makes everything take longer on its way, on open connections too.

        Proven by round trips that take at least `latency` minus `jitter`.

        Args:
            latency: how much longer.
            jitter: by how much that varies, up and down.
            direction: on which way.
            toxicity: the share of the connections that it falls on, 0 to 1.
            alias: which proxy.

        Returns:
            The fault, for `Heal Fault`.

        Example:
        ```robotframework
        Add Latency    200 ms    jitter=50 ms
        ```
        """
        path = self._state.paths.get(alias)
        return self._state.injector.inject(
            path.latency(latency.total_seconds() * 1000, jitter.total_seconds() * 1000, direction.value, toxicity)
        )

    @keyword(tags=("fault", "network"))
    def limit_bandwidth(
        self,
        rate: int,
        *,
        direction: Direction = Direction.DOWNSTREAM,
        toxicity: float = 1.0,
        alias: str = "faults",
    ) -> FaultRecord:
        """Lets only so many bytes pass in a second, for each connection.

        Proven by the time that a reply of known size takes.

        Args:
            rate: KB (1,000 bytes) a second, at least 1.
            direction: on which way.
            toxicity: the share of the connections that it falls on, 0 to 1.
            alias: which proxy.

        Returns:
            The fault, for `Heal Fault`.

        Example:
        ```robotframework
        Limit Bandwidth    50
        ```
        """
        return self._state.injector.inject(self._state.paths.get(alias).bandwidth(rate, direction.value, toxicity))

    @keyword(tags=("fault", "network"))
    def black_hole(self, *, toxicity: float = 1.0, alias: str = "faults") -> FaultRecord:
        """Lets nothing through in either direction; connections stay open, and new ones are accepted.

        Proven by a PING that stays unanswered. Connections that lost something are closed when it is healed.

        Args:
            toxicity: the share of the connections that it falls on, 0 to 1.
            alias: which proxy.

        Returns:
            The fault, for `Heal Fault`.

        Example:
        ```robotframework
        Black Hole
        Wait Until Health Is    degraded    timeout=10 s
        ```
        """
        return self._state.injector.inject(self._state.paths.get(alias).black_hole(toxicity))

    @keyword(tags=("fault", "network"))
    def half_open(self, *, alias: str = "faults") -> FaultRecord:
        """Makes the connections that are open now dead without a word, as if the other end had lost its power.

        New connections work. Proven by a PING on an old connection, which stays unanswered, one on a new one, and the
        number of connections that are dead. Only the proxy of this project can do this.

        Args:
            alias: which proxy.

        Returns:
            The fault, for `Heal Fault`; the dead connections are closed then.

        Raises:
            LacksCapability: the proxy is a real Toxiproxy.

        Example:
        ```robotframework
        Half Open
        ```
        """
        return self._state.injector.inject(self._state.paths.get(alias).half_open())

    @keyword(tags=("fault", "network"))
    def reset_connections(self, *, alias: str = "faults") -> FaultRecord:
        """Resets (RST) the connections that are open now, once.

        Proven by a connection of the keyword's own, which is reset with others. Only the proxy of this project can do
        this; `Keep Resetting Connections` works with a real Toxiproxy too.

        Args:
            alias: which proxy.

        Returns:
            The fault.

        Raises:
            LacksCapability: the proxy is a real Toxiproxy.

        Example:
        ```robotframework
        Reset Connections
        ```
        """
        injector = self._state.injector
        record = injector.inject(self._state.paths.get(alias).reset_connections())
        injector.heal(record)
        return record

    @keyword(tags=("fault", "network"))
    def keep_resetting_connections(
        self, after: timedelta = timedelta(milliseconds=100), *, alias: str = "faults"
    ) -> FaultRecord:
        """Resets (RST) every connection, open or new, a while after it was opened.

        Proven by a connection of the keyword's own.

        Args:
            after: how long a connection lives.
            alias: which proxy.

        Returns:
            The fault, for `Heal Fault`.

        Example:
        ```robotframework
        Keep Resetting Connections    after=50 ms
        ```
        """
        path = self._state.paths.get(alias)
        return self._state.injector.inject(path.reset_peer(after.total_seconds() * 1000))

    @keyword(tags=("fault", "network"))
    def slow_drip(
        self, size: int = 8, pause: timedelta = timedelta(milliseconds=20), *, alias: str = "faults"
    ) -> FaultRecord:
        """Lets replies arrive a few bytes at a time.

        Proven by the time that a reply of known size takes.

        Args:
            size: bytes in a piece.
            pause: how long it takes from one piece to the next.
            alias: which proxy.

        Returns:
            The fault, for `Heal Fault`.

        Example:
        ```robotframework
        Slow Drip    size=4    pause=50 ms
        ```
        """
        return self._state.injector.inject(self._state.paths.get(alias).slow_drip(size, pause.total_seconds()))

    @keyword(tags=("fault", "network"))
    def disconnect_redis(self, *, alias: str = "faults") -> FaultRecord:
        """Closes every connection and refuses new ones, while Redis behind it goes on.

        Proven by a PING that is refused. Messages can be queued meanwhile on Redis' own address.

        Args:
            alias: which proxy.

        Returns:
            The fault, for `Heal Fault`.

        Example:
        ```robotframework
        ${gone}    Disconnect Redis
        Wait Until Health Is    degraded    timeout=10 s
        Heal Fault    ${gone}
        ```
        """
        return self._state.injector.inject(self._state.paths.get(alias).disconnected())
