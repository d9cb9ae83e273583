"""Things that a library started, by the alias that the test gave them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ocpp_resilience.errors import UsageError
from ocpp_resilience.robot.library import Cleanup
from ocpp_resilience.robot.variables import robot_variable

T = TypeVar("T")


class Registry(Generic[T]):
    """Alias to thing; a thing is closed and forgotten when the suite ends that added it.

    Args:
        what: the name of the kind of object in messages, for example `Redis`.
        starter: the keyword that starts one.
        close: closes one.
    """

    def __init__(self, what: str, *, starter: str, close: Callable[[T], None]) -> None:
        self.what = what
        self._starter = starter
        self._close = close
        self._things: dict[str, T] = {}
        self._closers: dict[str, Callable[[], None]] = {}
        self._suites: dict[str, str | None] = {}

    def title(self, alias: str) -> str:
        """The name of the object with this alias in messages: `Redis 'redis'`."""
        return f"{self.what} '{alias}'"

    def find(self, alias: str) -> T | None:
        """The thing of this alias, if there is one."""
        return self._things.get(alias)

    def get(self, alias: str) -> T:
        """The thing of this alias.

        Raises:
            UsageError: there is none.
        """
        if alias in self._things:
            return self._things[alias]
        others = ", ".join(f"'{name}'" for name in self._things)
        known = f"there is only {others}" if others else f"call `{self._starter}` first"
        raise UsageError(f"There is no {self.title(alias)}; {known}.")

    def add(self, alias: str, thing: T, cleanup: Cleanup) -> None:
        """Keep a thing until the running suite ends, or until `remove`."""

        def close() -> None:
            self._things.pop(alias, None)
            self._closers.pop(alias, None)
            self._suites.pop(alias, None)
            self._close(thing)

        self._things[alias] = thing
        self._closers[alias] = close
        self._suites[alias] = robot_variable("SUITE NAME")
        cleanup.add(self.title(alias), close)

    def aliases(self, *, of_running_suite: bool = False) -> list[str]:
        """The aliases in use, oldest first; `of_running_suite` leaves out those of a folder's setup."""
        suite = robot_variable("SUITE NAME")
        return [alias for alias in self._things if not of_running_suite or self._suites.get(alias) == suite]

    def remove(self, alias: str, cleanup: Cleanup) -> None:
        """Close a thing now.

        Raises:
            UsageError: there is none of this alias.
        """
        self.get(alias)
        close = self._closers[alias]
        cleanup.discard(close)
        close()
