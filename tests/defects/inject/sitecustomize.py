"""Applies the defect that the environment names, in processes that use the server's modules.

`GRADE_LONGEST_WAIT` (seconds) caps what Robot's keywords wait for something, and `GRADE_LONGEST_ANSWER` what the
charge points of a load wait for an answer, or to be let in: what a broken server does not do within that time it never
does, and a catalogue of a hundred defects cannot wait a minute for each. With a defect, the first failure of a test
decides: what `Run Keyword And Continue On Failure` would go on with is left out.
"""

import os
import sys
from pathlib import Path

_USERS = ("server", "robot", "ocpp_resilience.correlation.direct")


def _module() -> str:
    arguments = sys.orig_argv[1:]
    return arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""


def _cap_waits(longest: float) -> None:
    from ocpp_resilience import waiting

    sound = waiting.wait_until

    def wait_until(probe, *, timeout, **options):
        return sound(probe, timeout=min(waiting.seconds(timeout), longest), **options)

    waiting.wait_until = wait_until


def _cap_answers(longest: float) -> None:
    import msgspec

    from ocpp_resilience.load.run import LoadRun

    sound = LoadRun.__init__

    def init(self, name, plan, **options):
        limits = {"timeout": min(plan.timeout, longest), "connect_timeout": min(plan.connect_timeout, longest)}
        sound(self, name, msgspec.structs.replace(plan, **limits), **options)

    LoadRun.__init__ = init


def _stop_at_the_first_failure() -> None:
    from robot.libraries.BuiltIn import BuiltIn

    BuiltIn.run_keyword_and_continue_on_failure = lambda self, name, *arguments: self.run_keyword(name, *arguments)


if os.environ.get("DEFECT") and _module() in _USERS:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from catalogue import apply

    apply(os.environ["DEFECT"])
if _module() == "robot":
    if os.environ.get("GRADE_LONGEST_WAIT"):
        _cap_waits(float(os.environ["GRADE_LONGEST_WAIT"]))
    if os.environ.get("GRADE_LONGEST_ANSWER"):
        _cap_answers(float(os.environ["GRADE_LONGEST_ANSWER"]))
    if os.environ.get("DEFECT"):
        _stop_at_the_first_failure()
