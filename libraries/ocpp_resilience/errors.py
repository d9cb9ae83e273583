"""The exceptions that keywords raise, one tree with clean text.

Robot Framework leaves the class name out of the failure (`ROBOT_SUPPRESS_NAME`), so the message has to be complete: the
expectation, the observation, the time that it took and advice.
"""

from __future__ import annotations

from collections.abc import Collection


class ResilienceError(Exception):
    """Base of everything that the keyword libraries raise on purpose."""

    ROBOT_SUPPRESS_NAME = True


class ExpectationFailed(ResilienceError, AssertionError):
    """The system under test did something else than the keyword expects."""


class UsageError(ResilienceError, ValueError):
    """A keyword got an unusable argument; the message names it and the allowed values."""


class LacksCapability(UsageError):
    """The target lacks a capability that a keyword needs: the test is skipped with this reason.

    A requirement that could not be tried for it is not applicable; it is neither met nor missed.

    Attributes:
        declared: whether the profile declares it; only then is the requirement not applicable.
    """

    ROBOT_SKIP_EXECUTION = True
    declared = True


class NotPossibleHere(LacksCapability):
    """This run cannot try it, although the target may well have it: the test is skipped, the requirement inconclusive.

    For example Redis is external, or the proxy is a real Toxiproxy.
    """

    declared = False


class MissedRequirement(ExpectationFailed):
    """A threshold of a requirement was missed.

    Attributes:
        requirement: its id.
    """

    def __init__(self, message: str, *, requirement: str) -> None:
        super().__init__(message)
        self.requirement = requirement


VIOLATIONS = (
    "lost",
    "still on the queue",
    "answered twice",
    "unexpected",
    "out of order",
    "valid but refused",
    "invalid but accepted",
    "refused with another code",
    "answered wrongly",
)
"""The kinds of what can be wrong with the answers to messages."""


class WrongAnswers(ExpectationFailed):
    """Messages were not answered as they have to be.

    Attributes:
        violations: in which ways, of `VIOLATIONS`. A requirement can claim one for itself: it then counts against that
            requirement and not against the others of the test.
    """

    def __init__(self, message: str, *, violations: Collection[str]) -> None:
        super().__init__(message)
        self.violations = tuple(violations)


class Inconclusive(ExpectationFailed):
    """The observations decide nothing: an unproven fault, a late generator, a run that was too short.

    Attributes:
        requirement: the id that it does not decide; `None` when it decides nothing of the test.
    """

    def __init__(self, message: str, *, requirement: str | None = None) -> None:
        super().__init__(message)
        self.requirement = requirement


class SkippedAsInconclusive(Inconclusive):
    """The same; the test is skipped, rather than failed."""

    ROBOT_SKIP_EXECUTION = True


class WaitTimeout(ExpectationFailed):
    """An expected event did not happen before the timeout.

    Attributes:
        waited: how long was waited, in seconds.
        last_seen: the last observation, as text.
    """

    def __init__(self, message: str, *, waited: float, last_seen: str) -> None:
        super().__init__(message)
        self.waited = waited
        self.last_seen = last_seen


class ServiceError(ResilienceError):
    """A process that the library owns (Redis, the server) cannot be started, reached or stopped."""


class ProgramNotStarted(ServiceError):
    """A process that the library owns could not even be begun: there is no such program or folder, or no permission."""
