"""Load: a fleet of charge points in separate processes, and its measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ocpp_resilience.load.data import FILE_NAME
from ocpp_resilience.robot.data_files import data_file
from ocpp_resilience.robot.library import KeywordLibrary

try:
    from LoadLibrary.capacity import Capacity
    from LoadLibrary.floods import Floods
    from LoadLibrary.loads import Loads
    from LoadLibrary.state import State
    from LoadLibrary.workshop import LoadSetup
except ModuleNotFoundError as error:
    if error.name not in {"hdrh", "hdrh.histogram", "picows", "uvloop"}:
        raise
    raise ImportError(
        f"LoadLibrary needs the package that has {error.name}: pip install 'robotframework-ocpp-resilience[load]'."
    ) from None

__all__ = ["LoadLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, Capacity, Floods, Loads, State):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class LoadLibrary(_Keywords):
    """Loads the gateway of a system under test with charge points on real WebSockets, in its OCPP version.

    `Set Load Target` sets the target of the load. `Run Load` runs one and returns its result; `Start Load` starts one
    in the background, `Wait For Load` or `Stop Load` ends it. A load runs in processes of its own and never outlives
    the suite that started it.

    # Models

    Without a `rate` the load is *closed*: each charge point sends its next message a `pause` after the answer to the
    last one. Numbers that are not given come from `load_test_data.json`: 50 charge points x 100 messages, 10 ms apart.

    With a `rate` it is *open*: messages are due on a schedule, independent of the answers, and latency counts from when
    a message was due. A charge point has one CALL outstanding (OCPP-J 1.6 section 4.1.1), so that a message may have to
    wait for its turn; `queueing` and `service` are that wait and the time on the wire.

    `Load Schedule` describes ramps, spikes, chance and blackouts, for `schedule`.

    # Profiles

    `heartbeat`; `session`: boot, authorize, start, meter values, stop, again and again; `mix`: a working day of both;
    `churn`: a few messages on each connection. `Load Profile` returns one of them with its particulars, for `profile`.

    # Results

    An object with `due`, `sent`, `answered`, `refused` (code to number), `failures` (kind to number), `invalid` (kind
    to number: messages of the server that OCPP-J or the schemas forbid), `invalid_examples`, `unanswered`,
    `answered_percent`, `rate` (answers a second), `latency`, `queueing`, `service`, `connecting`, `reconnecting` (each
    with `samples`, `min`, `mean`, `p50`, `p90`, `p95`, `p99`, `p99_9`, `max`, in milliseconds), `seconds` (the same
    second by second), `connected_at_start`, `connected_at_end`, `most_charging`, `sessions`, `ledgers`, `saturated` and
    `summary`. It is kept as `evidence/load-*.json` in Robot's output folder, and every message in a ledger
    `load-*.jsonl` beside it.

    A generator that could not keep its own schedule is reported: `saturated` holds the reasons, and `Load Should Be
    Conclusive` fails.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Library         OcppServerLibrary
    Library         LoadLibrary
    Suite Setup     Start Everything

    *** Test Cases ***
    A Hundred Messages A Second Are Answered
        ${load}    Run Load    rate=100    duration=10s
        Load Should Be Answered    ${load}

    *** Keywords ***
    Start Everything
        ${redis}    Start Redis
        Start Server    ${redis}
        ${url}    Get Gateway Url
        Set Load Target    ${url}    redis=${redis}
    ```
    """

    def __init__(self, data: Path | None = None) -> None:
        """Give another file than the usual one.

        Args:
            data: charge points, messages and limits of the default load; if not given,
                `resources/load_test_data.json` beside the suites, else the one that comes with the library.
        """
        workshop = LoadSetup(data_file(data or FILE_NAME))
        super().__init__([Loads(workshop), Capacity(workshop), Floods(workshop), State(workshop)])
