"""The parts that the components of FaultLibrary share: keywords of one fault, and their documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from FaultLibrary.state import FaultState
from ocpp_resilience.faults.fault import InjectableFault, Place
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.registry import faults
from ocpp_resilience.robot.library import Component, keyword

F = TypeVar("F", bound=Callable[..., Any])
_TAGS = {Place.NETWORK: "network", Place.COMMAND: "commands", Place.REDIS: "redis", Place.REDIS_FILES: "redis"}


def fault_keyword(kind: type[InjectableFault], name: str | None = None) -> Callable[[F], F]:
    """Make a method the keyword of one fault; proof, result and errors are documented from the registry.

    Args:
        kind: the fault.
        name: the keyword's name, where it is not that of the method.
    """

    def made(method: F) -> F:
        summary, _, rest = inspect.cleandoc(method.__doc__ or "").partition("\n\n")
        about = (
            f"Proven by {kind.evidence}{', when it has happened (`Fault Should Take Effect`)' if kind.waits else ''}."
        )
        if kind.own_proxy_only:
            about += " Only the proxy of this project can do this."
        method.__doc__ = f"{summary}\n\n{about}\n\n{_with_result(kind, rest)}"
        return keyword(name, tags=("fault", _TAGS[kind.place]))(method)

    return made


def _with_result(kind: type[InjectableFault], text: str) -> str:
    """The sections of a keyword's documentation, with the result, if it is not described, and the errors."""
    before, example, code = text.partition("Example:\n")
    if "Returns:\n" not in before:
        also = "`Fault Should Take Effect` and " if kind.waits else ""
        before += f"Returns:\n    The fault, for {also}`Heal Fault`.\n\n"
    errors = []
    if kind.place is Place.COMMAND:
        errors.append("LacksCapability: the target profile does not name this command.")
    if kind.own_proxy_only:
        errors.append("LacksCapability: the proxy is a real Toxiproxy.")
    if kind.place is Place.REDIS:
        errors.append("ServiceError: Redis does not answer, or does not let itself be configured.")
    if errors:
        before += "Raises:\n" + "".join(f"    {each}\n" for each in errors) + "\n"
    return before + example + code


def listing_faults(method: F) -> F:
    """Fill `{faults}` in the documentation of a keyword with the faults that there are."""
    lines = []
    for place in Place:
        names = ", ".join(f"`{name}`" for name in faults().names(place))
        lines.append(f"- {place.value[0].lower()}{place.value[1:]}: {names}")
    method.__doc__ = inspect.cleandoc(method.__doc__ or "").replace("{faults}", "\n".join(lines))
    return method


class FaultKeywords(Component):
    """Keywords that begin one fault."""

    def __init__(self, state: FaultState) -> None:
        self._state = state

    def _begin(
        self, kind: type[InjectableFault], alias: str, *, target: str | None = None, **arguments: Any
    ) -> FaultRecord:
        return self._state.begin(kind(self._state.subjects(alias, target=target), **arguments), alias)
