"""Applies the defect that the environment names, in processes that use the server's modules."""

import os
import sys
from pathlib import Path

_USERS = ("server", "robot", "resilience.correlation.direct")


def _concerned() -> bool:
    arguments = sys.orig_argv[1:]
    module = arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""
    return module in _USERS


if os.environ.get("DEFECT") and _concerned():
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from catalogue import apply

    apply(os.environ["DEFECT"])
