"""Keywords that measure how long answers take."""

from __future__ import annotations

import time
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import UsageError
from ocpp_resilience.evidence.measure.times import ResponseTimes, response_times
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.waiting import in_words, seconds, wait_until
from RedisQueueLibrary.base import QueueComponent

NORMAL_FACTOR = 2.0
"""An answer time counts as normal up to this multiple of the time before, the threshold of R18.5."""


class Timing(QueueComponent):
    """Answer times."""

    @keyword(tags=("queue", "measurement"))
    def measure_answer_time(
        self, *, samples: int = 50, timeout: timedelta = timedelta(seconds=5), alias: str = "queue"
    ) -> ResponseTimes:
        """Queues Heartbeats one after the other and returns how long their answers took.

        Args:
            samples: how many.
            timeout: the longest wait for one of them.

        Returns:
            A dictionary with `samples`, and `min`, `median`, `p90`, `p95`, `p99` and `max` in milliseconds.

        Raises:
            WaitTimeout: one was not answered in time.

        Example:
        ```robotframework
        ${normal}    Measure Answer Time    samples=20
        Log    ${normal}[median] ms
        ```
        """
        if samples < 1:
            raise UsageError(f"samples is {samples}; allowed is 1 or more.")
        times = self._measure(self._queues.get(alias), samples, seconds(timeout))
        logger.info(f"{samples} answers: median {times['median']:.1f} ms, slowest {times['max']:.1f} ms.")
        return times

    @keyword(tags=("queue", "measurement", "getter"))
    def get_time_since_last_message(self, *, alias: str = "queue") -> timedelta:
        """Returns the time since this run queued its last message.

        Raises:
            UsageError: it never queued anything.

        Example:
        ```robotframework
        Measure Server CPU    10 s
        ${silence}    Get Time Since Last Message
        ```
        """
        silence = self._queues.get(alias).silence
        if silence is None:
            raise UsageError("No message was queued yet, so there is no last one.")
        return timedelta(seconds=silence)

    @keyword(tags=("queue", "measurement", "wait"))
    def wait_until_answer_time_is_normal(
        self,
        normal: ResponseTimes,
        *,
        timeout: timedelta = timedelta(seconds=60),
        samples: int = 20,
        alias: str = "queue",
    ) -> float:
        """Waits until answers take at most twice their time before, and returns how long that took, in seconds.

        Medians are compared, each of this many Heartbeats one after the other.

        Args:
            normal: the result of `Measure Answer Time` the disturbance.
            samples: how many Heartbeats make one comparison.

        Returns:
            Seconds from the call to the beginning of the first series of Heartbeats with normal answer times.

        Raises:
            WaitTimeout: the answers still took longer; the message says how long.

        Example:
        ```robotframework
        ${normal}    Measure Answer Time
        Queue Generated Invalid Messages    10000
        ${seconds}    Wait Until Answer Time Is Normal    ${normal}
        ```
        """
        client = self._queues.get(alias)
        began = time.monotonic()
        limit = seconds(timeout)
        median = 0.0

        def normal_again() -> float | None:
            nonlocal median
            passed = time.monotonic() - began
            median = self._measure(client, samples, max(1.0, limit - passed))["median"]
            if median <= normal["median"] * NORMAL_FACTOR:
                logger.info(f"Normal after {in_words(passed)}: median {median:.1f} ms.")
                return passed
            return None

        return wait_until(
            normal_again,
            timeout=timeout,
            failure=lambda: (
                f"Answers still take {median:.1f} ms (median of {samples}), more than {NORMAL_FACTOR:g} x "
                f"the {normal['median']:.1f} ms of before"
            ),
        )

    def _measure(self, client: QueueClient, samples: int, timeout: float) -> ResponseTimes:
        charge_point = self._ids.charge_point()
        taken = []
        for _ in range(samples):
            message = client.build("Heartbeat", {}, charge_point=charge_point)
            client.send([message])
            answer = waits.wait_for_answer(client, message, timeout, longest_pause=0.0005)
            taken.append(answer.seconds or 0.0)
        return response_times(taken)
