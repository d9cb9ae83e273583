"""Applies the defect that the environment names, in processes that use the server's modules.

`GRADE_LONGEST_WAIT` (seconds) caps what Robot's keywords wait for something: what a broken server does not do within
that time it never does, and a catalogue of a hundred defects cannot wait a minute for each.
"""

import os
import sys
from pathlib import Path

_USERS = ("server", "robot", "resilience.correlation.direct")


def _module() -> str:
    arguments = sys.orig_argv[1:]
    return arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""


def _cap_waits(longest: float) -> None:
    from resilience import waiting

    sound = waiting.wait_until

    def wait_until(probe, *, timeout, **options):
        return sound(probe, timeout=min(waiting.seconds(timeout), longest), **options)

    waiting.wait_until = wait_until


if os.environ.get("DEFECT") and _module() in _USERS:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from catalogue import apply

    apply(os.environ["DEFECT"])
if os.environ.get("GRADE_LONGEST_WAIT") and _module() == "robot":
    _cap_waits(float(os.environ["GRADE_LONGEST_WAIT"]))
