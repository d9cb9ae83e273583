"""Keywords that validate the variables of a run (`robot --variable`) before anything starts."""

from __future__ import annotations

from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.variables import as_choice, as_duration, as_number, robot_variable


class Variables(Component):
    """Variables of the run; to be checked in the setup of a suite, so that a mistake is reported early."""

    @keyword(tags=("variable", "assertion"))
    def variables_should_be_numbers(
        self,
        *names: str,
        at_least: float | None = None,
        at_most: float | None = None,
        whole: bool = True,
        may_be_empty: bool = False,
    ) -> None:
        """Fails unless each of these variables is a number.

        Args:
            names: the variables, without `${}`.
            at_least: the smallest number that is allowed; any if not given.
            at_most: the largest number that is allowed; any if not given.
            whole: whether it has to be a whole number.
            may_be_empty: whether a variable may be empty, or not be set.

        Raises:
            UsageError: one is invalid; the message names the variable, its value and the allowed values.

        Example:
        ```robotframework
        Variables Should Be Numbers    RUNS    RATE    at_least=1
        ```
        """
        for name in names:
            value = robot_variable(name)
            if value is not None or not may_be_empty:
                as_number(name, value or "", at_least=at_least, at_most=at_most, whole=whole)

    @keyword(tags=("variable", "assertion"))
    def variables_should_be_times(self, *names: str, may_be_empty: bool = False) -> None:
        """Fails unless each of these variables is a time above 0, as Robot Framework writes it (`10 min`, `90`).

        Args:
            names: the variables, without `${}`.
            may_be_empty: whether a variable may be empty, or not be set.

        Raises:
            UsageError: one is invalid; the message names the variable, its value and the allowed values.

        Example:
        ```robotframework
        Variables Should Be Times    SOAK
        ```
        """
        for name in names:
            value = robot_variable(name)
            if value is not None or not may_be_empty:
                as_duration(name, value or "")

    @keyword(tags=("variable", "assertion"))
    def variable_should_be_one_of(self, name: str, *choices: str, may_be_empty: bool = False) -> None:
        """Fails unless the variable has one of these values.

        Args:
            name: the variable, without `${}`.
            choices: the allowed values.
            may_be_empty: whether it may be empty, or not be set.

        Raises:
            UsageError: it is invalid; the message names the variable, its value and the allowed values.

        Example:
        ```robotframework
        Variable Should Be One Of    SOAK BESIDE    yes    no
        ```
        """
        value = robot_variable(name)
        if value is not None or not may_be_empty:
            as_choice(name, value or "", choices)
