"""The official OCPP 1.6 schemas of requests, as they come with the `ocpp` package."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from ocpp_resilience.ocpp.messages import ACTIONS

_SUFFIX = ".json"
_RESPONSE = "Response.json"


@cache
def schema(action: str) -> dict[str, Any]:
    """The schema of the request `action`; not to be changed by whoever gets it."""
    text = (files("ocpp") / "v16" / "schemas" / f"{action}{_SUFFIX}").read_text(encoding="utf-8-sig")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def unsupported_actions() -> tuple[str, ...]:
    """The actions that OCPP 1.6 knows and that are not among the ten that a charge point's messages use."""
    names = [entry.name for entry in (files("ocpp") / "v16" / "schemas").iterdir()]
    known = {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX) and not name.endswith(_RESPONSE)}
    return tuple(sorted(known - set(ACTIONS)))
