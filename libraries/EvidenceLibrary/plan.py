"""The plan of a run: its suites are known before the first keyword."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from robot.api import logger

from ocpp_resilience.errors import UsageError
from ocpp_resilience.evidence.requirements import requirement_id
from ocpp_resilience.robot.library import Component, keyword


class Plan(Component):
    """The requirements that later tests of the run prove."""

    def __init__(self) -> None:
        self._files: list[set[str | None]] = []
        self._following: set[str | None] = set()

    def start_suite(self, data: Any) -> None:
        """A suite begins; the topmost one holds all of the run."""
        if data.parent is None:
            self._files = [
                {requirement_id(tag) for test in suite.tests for tag in test.tags} for suite in _with_tests(data)
            ]

        self._following = {requirement_id(tag) for test in data.tests for tag in test.tags}

    def start_test(self, data: Any) -> None:
        """A test begins; those behind it in its file follow."""
        tests = list(data.parent.tests)
        self._following = {requirement_id(tag) for test in tests[tests.index(data) + 1 :] for tag in test.tags}

    @keyword(tags=("evidence", "getter"))
    def requirement_is_proven_later(self, requirement: str, *, in_suite: bool = False) -> bool:
        """Returns whether this run has a test of a requirement in a later suite file, or later in the running one.

        For the setup of a folder of suites: a long wait of a later test can begin there, so that the tests before it
        shorten the wait. A run of that file alone, or one that begins with it, gains nothing.

        Args:
            requirement: the id, for example `R14.2`, which the test has as a tag.
            in_suite: asks for a test behind the running one in the same file.

        Raises:
            UsageError: that is not the id of a requirement.

        Example:
        ```robotframework
        ${later}    Requirement Is Proven Later    R14.2
        IF    ${later}    Start Commands    1    alias=silent
        ```
        """
        wanted = requirement_id(requirement)
        if wanted is None:
            raise UsageError(f"'{requirement}' is not the id of a requirement, such as 'R14.2'.")
        if in_suite:
            return wanted in self._following
        first = next((place for place, tags in enumerate(self._files) if wanted in tags), 0)
        logger.info(f"{first} files of tests come before those of {requirement}.")
        return first > 0


def _with_tests(suite: Any) -> Iterator[Any]:
    """The files of a suite that have tests, in the order of the run."""
    if suite.tests:
        yield suite
    for each in suite.suites:
        yield from _with_tests(each)
