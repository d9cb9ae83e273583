"""Redis' clock, as a process can tell it from its own monotonic one.

What several processes put in order has to be told by one clock, and wall clocks of hosts may disagree by minutes.
"""

from __future__ import annotations

import time

from server.redis.link import RedisWire

DRIFT = 1e-3
"""Seconds by which two clocks may part in a second; NTP changes a clock by half of that at most."""
LEAST_SLACK = 0.001
"""Seconds that are not worth telling apart."""


class RedisClock:
    """Compares the two clocks now and then, and translates.

    Attributes:
        slack: seconds by which a translated time may be wrong; infinite before the first comparison.
    """

    def __init__(self) -> None:
        self.slack = float("inf")
        self._offset = 0.0
        self._compared = float("-inf")

    async def compare(self, wire: RedisWire) -> None:
        """Compare the clocks; an earlier, more exact result stays.

        Raises:
            RedisError: Redis does not answer.
        """
        sent = time.monotonic()
        seconds, microseconds = await wire.execute("TIME")
        received = time.monotonic()
        found = max(received - sent, LEAST_SLACK)
        if found <= self.slack + (received - self._compared) * DRIFT:
            self._offset = int(seconds) + int(microseconds) / 1e6 - (sent + received) / 2
            self.slack, self._compared = found, received

    def forget(self) -> None:
        """The next Redis may be another one."""
        self.slack = float("inf")

    @property
    def known(self) -> bool:
        """Whether the clocks were compared since Redis last went."""
        return self.slack < float("inf")

    def milliseconds(self, moment: float) -> int:
        """A moment of the monotonic clock as Unix time in ms by Redis' clock."""
        return int((moment + self._offset) * 1000)
