"""The content of `grade.json`: defects, the tests that must fail, and the verdicts.

The file is written by the defect catalogue's `make grade` beside the history, and shown at the end of the page.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

FILE_NAME = "grade.json"
FORMAT = 1
"""Version of the format, in the field `format`."""

TEARDOWN = "Teardown failed:"
SEVERAL = "Several failures occurred:"
"""Robot's heading of the message of a test that has failed more than once."""
JUDGED = re.compile(r"\bR\d+\.\d+ \w+: required .*")
SETUPS = ("Setup failed:", "Parent suite setup failed:")


class Failure(msgspec.Struct, kw_only=True, frozen=True):
    """A test that failed.

    Attributes:
        test: its name.
        message: all that it said.
    """

    test: str
    message: str

    @property
    def line(self) -> str:
        """The line that states the problem."""
        lines = [line.strip().removeprefix("1) ") for line in self.message.splitlines()]
        first = next((line for line in lines if line and line not in {SEVERAL, TEARDOWN, *SETUPS}), "")
        # A keyword's own message may go before the sentence on the requirement, in several lines.
        judged = next((found[0] for line in lines if (found := JUDGED.search(line))), "")
        return first if judged in first else f"{first} {judged}"


class GradedDefect(msgspec.Struct, kw_only=True, frozen=True):
    """A defect, and the results of the tests that must fail for it.

    Attributes:
        name: of the defect in the catalogue.
        requirement: the id that it violates.
        about: the fault of the server, in a sentence.
        caught: the tests that had to fail and did.
        otherwise: those that failed for another reason than the defect, which is no catch.
        missed: the tests that did not fail, each with its result.
        seconds: how long the run took.
        problem: the reason why the run proves nothing; `null` if it does.
    """

    name: str
    requirement: str
    about: str
    caught: list[Failure] = []
    otherwise: list[Failure] = []
    missed: list[Failure] = []
    seconds: float = 0.0
    problem: str | None = None

    @property
    def found(self) -> bool:
        """Whether every test that must fail did, for the expected reason."""
        return bool(self.caught) and not self.otherwise and not self.missed and self.problem is None

    @property
    def for_another_reason(self) -> bool:
        """Whether all of them failed, but not all for the expected reason."""
        return bool(self.otherwise) and not self.missed and self.problem is None


class Grade(msgspec.Struct, kw_only=True, frozen=True):
    """The suites, graded.

    Attributes:
        format: version of the format.
        began: when, RFC 3339.
        seconds: how long it took.
        seed: of the choice of defects.
        fraction: the part of the catalogue that was chosen; less than 1 proves nothing about the rest.
        catalogue: how many defects there are.
        defects: those that were chosen.
        false_alarms: tests that failed with the sound server.
        sound_runs: how many times the sound server ran these tests.
        sound_tests: how many tests it ran, all runs together, without those that showed nothing.
        sound_inconclusive: how many showed nothing: other programs had the machine, or the run left no result of them.
        burners: processes that kept the processor busy beside the sound server.
    """

    format: int = FORMAT
    began: str
    seconds: float
    seed: int
    fraction: float
    catalogue: int
    defects: list[GradedDefect]
    false_alarms: list[Failure]
    sound_runs: int
    sound_tests: int
    burners: int
    sound_inconclusive: int = 0

    @property
    def caught(self) -> int:
        """Number of defects that were caught."""
        return sum(each.found for each in self.defects)

    @property
    def otherwise(self) -> int:
        """Number of defects that were caught for another reason than the defect."""
        return sum(each.for_another_reason for each in self.defects)

    @property
    def missed(self) -> int:
        """Number of defects that were not caught."""
        return len(self.defects) - self.caught - self.otherwise


def read(path: Path) -> Grade | None:
    """The grade in a file, `None` if there is none.

    Raises:
        ValueError: the file exists and cannot be read; the message has the reason.
    """
    try:
        grade = msgspec.json.decode(path.read_bytes(), type=Grade)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"The grade {path} cannot be read: {error}. `make grade` writes a new one.") from None
    if grade.format != FORMAT:
        raise ValueError(f"The grade {path} has format {grade.format}, not {FORMAT}. `make grade` writes a new one.")
    return grade
