"""Shared parts of the keyword libraries: scope, clean-up at the end of a suite, and closing outside Robot Framework."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from robot.api import deco, logger

from ocpp_resilience.errors import UsageError
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.removed import removed_keywords
from ocpp_resilience.robot.shared_documentation import complete
from ocpp_resilience.robot.variables import robot_variable
from ocpp_resilience.text import nearest

if TYPE_CHECKING:

    class DynamicCore:
        """The interface of robotlibcore with types; without them a type checker would accept everything."""

        keywords: dict[str, Callable[..., Any]]

        def __init__(self, library_components: Sequence[object]) -> None: ...
        def run_keyword(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Any: ...

else:
    from robotlibcore import DynamicCore

F = TypeVar("F", bound=Callable[..., Any])


def keyword(name: str | None = None, *, tags: Sequence[str] = ()) -> Callable[[F], F]:
    """Make a method a keyword, as Robot Framework's own decorator does, and complete its documentation.

    Args:
        name: the keyword's name, where it is not that of the method.
        tags: its tags.
    """

    def made(method: F) -> F:
        method.__doc__ = complete(method)
        return cast(F, deco.keyword(name=name, tags=tags)(method))

    return made


class Cleanup:
    """Things to close, each with the suite that opened it.

    A library instance is shared by all suites (`GLOBAL` scope), so a process started in the root suite's setup must
    outlive its child suites, while one started in a test file ends with that file.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[str, str, Callable[[], None]]] = []

    def add(self, what: str, close: Callable[[], None]) -> None:
        """Register `close` for the end of the running suite; `what` names the object in a warning if closing fails."""
        self._entries.append(((robot_variable("SUITE NAME") or ""), what, close))

    def discard(self, close: Callable[[], None]) -> None:
        """Forget a thing that was closed already."""
        self._entries = [entry for entry in self._entries if entry[2] != close]

    def close(self, suite: str | None = None) -> None:
        """Close the objects that `suite` opened, newest first; `None` closes everything.

        A failure here is a warning: it must never hide the failure of the test. Should the closing itself be broken
        off (Ctrl-C), what is not closed yet stays for the next call.
        """
        for entry in [entry for entry in reversed(self._entries) if suite is None or entry[0] == suite]:
            _, what, close = entry
            try:
                close()
            except Exception as error:  # noqa: BLE001 - whatever fails in here, the rest still has to be closed
                logger.warn(f"Cleaning up {what} failed: {type(error).__name__}: {error}")
            if entry in self._entries:
                self._entries.remove(entry)


class KeywordLibrary(DynamicCore):
    """Base of the keyword libraries: `GLOBAL` scope, Markdown documentation, clean-up by a listener.

    Keywords live in component classes (see `Component`); they are plain Python methods too. Outside Robot Framework use
    the library as a context manager, or call `close_all`.
    """

    ROBOT_LIBRARY_SCOPE = "GLOBAL"
    ROBOT_LIBRARY_VERSION = version("robotframework-ocpp-resilience")
    ROBOT_LIBRARY_DOC_FORMAT = "MARKDOWN"
    ROBOT_LISTENER_API_VERSION = 3

    free_names: Callable[[], frozenset[str]] = staticmethod(frozenset)
    """Names that keywords with free named arguments take, though they look like a misspelt argument of their own."""

    def __init__(self, components: list[Component]) -> None:
        self.cleanup = Cleanup()
        for component in components:
            component.library = self
        super().__init__([*components, removed_keywords(type(self).__name__)])
        # `@library(listener="SELF")` does nothing on a DynamicCore.
        self.ROBOT_LIBRARY_LISTENER = self

    def run_keyword(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a keyword for Robot Framework, and record the meaning of a failure.

        Raises:
            UsageError: a keyword that takes any named arguments got one that is its own, misspelt.
        """
        try:
            _refuse_misspelt(name, self.keywords[name], kwargs or {}, self.free_names)
            return super().run_keyword(name, args, kwargs)
        except Exception as error:
            RECORDER.raised(error)
            raise

    def _end_suite(self, _data: Any, result: Any) -> None:
        self.cleanup.close(result.full_name)

    def _close(self) -> None:
        """Robot Framework's last call to a library listener."""
        self.close_all()

    def close_all(self) -> None:
        """Close everything that this library opened."""
        self.cleanup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_all()


def _refuse_misspelt(
    name: str, method: Callable[..., Any], given: Mapping[str, Any], free_names: Callable[[], frozenset[str]]
) -> None:
    """Refuse a free named argument that is one letter beside an argument of the keyword's own, unless it is known."""
    parameters = inspect.signature(method).parameters.values()
    if not given or not any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    known = [each.name for each in parameters if each.kind in {each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD}]
    for each in given:
        meant = None if each in known or each.isupper() else nearest(each, known)
        if meant is not None and abs(len(each) - len(meant)) <= 1 and each not in free_names():
            title = name.replace("_", " ").title()
            raise UsageError(
                f"`{title}` has no argument '{each}'; did you mean '{meant}'? Its own arguments: {', '.join(known)}."
            )


class Component:
    """One topic's keywords; `library` is the library that they belong to, set when that is made."""

    library: KeywordLibrary

    @property
    def cleanup(self) -> Cleanup:
        return self.library.cleanup
