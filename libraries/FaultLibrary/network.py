"""Keywords for faults on the way to Redis or to a gateway."""

from __future__ import annotations

from datetime import timedelta

from FaultLibrary.base import FaultKeywords, fault_keyword
from ocpp_resilience.faults.fault import Direction
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.kinds.bandwidth import Bandwidth
from ocpp_resilience.faults.kinds.black_hole import BlackHole
from ocpp_resilience.faults.kinds.disconnect import Disconnect
from ocpp_resilience.faults.kinds.half_open import Gone, HalfOpen
from ocpp_resilience.faults.kinds.keep_resetting import KeepResetting
from ocpp_resilience.faults.kinds.latency import Latency
from ocpp_resilience.faults.kinds.nat_timeout import NatTimeout
from ocpp_resilience.faults.kinds.packet_loss import PacketLoss
from ocpp_resilience.faults.kinds.reset_connections import ResetConnections
from ocpp_resilience.faults.kinds.slow_drip import SlowDrip


class Network(FaultKeywords):
    """Slow, silent and broken connections."""

    @fault_keyword(Latency)
    def add_latency(
        self,
        latency: timedelta,
        jitter: timedelta = timedelta(0),
        *,
        direction: Direction = Direction.DOWNSTREAM,
        toxicity: float = 1.0,
        alias: str = "faults",
    ) -> FaultRecord:
        """Delays all data, also on open connections.

        Args:
            latency: how much longer.
            jitter: by how much that varies, up and down.

        Example:
        ```robotframework
        Add Latency    200 ms    jitter=50 ms
        ```
        """
        return self._begin(Latency, alias, latency=latency, jitter=jitter, direction=direction, toxicity=toxicity)

    @fault_keyword(Bandwidth)
    def limit_bandwidth(
        self,
        rate: int,
        *,
        direction: Direction = Direction.DOWNSTREAM,
        toxicity: float = 1.0,
        alias: str = "faults",
    ) -> FaultRecord:
        """Limits the bandwidth of each connection.

        Args:
            rate: KB (1,000 bytes) a second, at least 1.

        Example:
        ```robotframework
        Limit Bandwidth    50
        ```
        """
        return self._begin(Bandwidth, alias, rate=rate, direction=direction, toxicity=toxicity)

    @fault_keyword(BlackHole)
    def black_hole(self, *, toxicity: float = 1.0, alias: str = "faults") -> FaultRecord:
        """Drops all data in both directions; connections stay open, and new ones are accepted.

        Connections that lost something are closed when it is healed.

        Example:
        ```robotframework
        Black Hole
        Wait Until Health Is    degraded    timeout=10 s
        ```
        """
        return self._begin(BlackHole, alias, toxicity=toxicity)

    @fault_keyword(HalfOpen)
    def half_open(self, *, gone: Gone | None = None, alias: str = "faults") -> FaultRecord:
        """Makes the open connections half-open: one end is gone, as after a power failure.

        The peer gets no error; new connections work.

        Args:
            gone: the end that is gone; by default Redis, and before a gateway the charge points.

        Returns:
            The fault, for `Heal Fault`; the dead connections are closed then.

        Example:
        ```robotframework
        Half Open
        ```
        """
        return self._begin(HalfOpen, alias, gone=gone)

    @fault_keyword(PacketLoss)
    def lose_packets(
        self, loss: float = 0.1, rto: timedelta = timedelta(milliseconds=200), *, alias: str = "faults"
    ) -> FaultRecord:
        """Loses a share of the TCP segments, in both directions.

        TCP sends a lost segment again, so that it comes late, and everything behind it waits.

        Args:
            loss: the share that is lost, above 0 and below 1.
            rto: how late a segment comes that was lost once; twice as late for each further time.

        Example:
        ```robotframework
        Lose Packets    0.05
        ```
        """
        return self._begin(PacketLoss, alias, loss=loss, rto=rto)

    @fault_keyword(NatTimeout)
    def forget_idle_connections(self, idle: timedelta = timedelta(seconds=2), *, alias: str = "faults") -> FaultRecord:
        """Silently drops the packets of idle connections, as a NAT router does; neither side gets an error.

        The proof waits for `idle` once. Connections that lost something are closed when it is healed.

        Args:
            idle: how long a connection may be without traffic.

        Example:
        ```robotframework
        Forget Idle Connections    idle=5 s
        ```
        """
        return self._begin(NatTimeout, alias, idle=idle)

    @fault_keyword(ResetConnections)
    def reset_connections(self, *, alias: str = "faults") -> FaultRecord:
        """Resets (RST) the connections that are open now, once.

        `Keep Resetting Connections` works with a real Toxiproxy too.

        Returns:
            The fault.

        Example:
        ```robotframework
        Reset Connections
        ```
        """
        return self._begin(ResetConnections, alias)

    @fault_keyword(KeepResetting)
    def keep_resetting_connections(
        self, after: timedelta = timedelta(milliseconds=100), *, alias: str = "faults"
    ) -> FaultRecord:
        """Resets (RST) every connection, open or new, a while after it was opened.

        Args:
            after: how long a connection lives.

        Example:
        ```robotframework
        Keep Resetting Connections    after=50 ms
        ```
        """
        return self._begin(KeepResetting, alias, after=after)

    @fault_keyword(SlowDrip)
    def slow_drip(
        self, size: int = 8, pause: timedelta = timedelta(milliseconds=20), *, alias: str = "faults"
    ) -> FaultRecord:
        """Lets replies arrive a few bytes at a time.

        Args:
            size: bytes in a piece.
            pause: the time between two pieces.

        Example:
        ```robotframework
        Slow Drip    size=4    pause=50 ms
        ```
        """
        return self._begin(SlowDrip, alias, size=size, pause=pause)

    @fault_keyword(Disconnect)
    def disconnect_redis(self, *, alias: str = "faults") -> FaultRecord:
        """Closes every connection and refuses new ones, while Redis keeps running.

        Messages can be queued meanwhile on Redis' own address.

        Example:
        ```robotframework
        ${gone}    Disconnect Redis
        Wait Until Health Is    degraded    timeout=10 s
        Heal Fault    ${gone}
        ```
        """
        return self._begin(Disconnect, alias)
