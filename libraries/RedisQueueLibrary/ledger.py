"""Keywords that keep a ledger of a queue and judge it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.ledger import Ledger, LedgerReport, Verdict, check
from ocpp_resilience.report import series
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.robot.variables import evidence_folder
from ocpp_resilience.text import file_name
from RedisQueueLibrary.base import QueueComponent


class LedgerKeywords(QueueComponent):
    """The ledger of a queue."""

    @keyword(tags=("queue", "ledger"))
    def keep_ledger(self, file: Path | None = None, *, seed: int | None = None, alias: str = "queue") -> str:
        """Records every valid message that is queued from now on, and every answer, until the ledger is judged.

        A line is written before a message is handed to Redis, and another one when its fate is known, so that the file
        is correct whenever the run is cut off. It is kept in the folder `evidence` beside Robot's output, and
        can be judged again: `python -m ocpp_resilience.ledger check FILE`.

        Args:
            file: the file to append to; if not given a new one, `evidence/ledger-<alias>-<n>.jsonl` in Robot's output
                folder.
            seed: the seed of whatever chance there is in the run, kept in the file.

        Returns:
            The path of the file.

        Raises:
            UsageError: the queue is not open, or there is no output folder.

        Example:
        ```robotframework
        Keep Ledger
        ${sent}    Queue Generated Messages    1000
        Restart Redis    kill
        All Messages Should Be Answered    ${sent}
        Ledger Should Be Clean
        ```
        """
        client = self._queues.get(alias)
        path = file
        if path is None:
            folder = evidence_folder()
            if folder is None:
                raise UsageError("There is no output folder outside Robot Framework; give the path of the ledger file.")
            path = _first_free(folder, f"ledger-{file_name(alias)}")
        client.keep_ledger(Ledger(path, seed=seed))
        return str(path)

    @keyword(tags=("queue", "ledger", "check"))
    def ledger_should_be_clean(self, *, together_with: Sequence[str] = (), alias: str = "queue") -> LedgerReport:
        """Ends the ledger of a queue and fails unless nothing was lost, duplicated, reordered or unexpected.

        Answers are read once more first; wait for them before (`All Messages Should Be Answered`, `Wait Until Queue Is
        Empty`), since a missing answer now counts as lost. The whole file is judged.

        Args:
            together_with: further files of ledgers, which have ended; all are judged as one history.

        Returns:
            The judgement, with `summary`, the counts `invoked`, `acknowledged`, `failed`, `undecided`, `recovered`, and
            the lists `lost`, `duplicated`, `reordered`, `unexpected`, `refused_and_applied`.

        Raises:
            ExpectationFailed: something was; shows the first few of each kind.
            UsageError: no ledger is kept.
            QueueUnavailable: Redis cannot be reached, so that the last answers cannot be read; the ledger goes on.

        Example:
        ```robotframework
        ${ledger}    Ledger Should Be Clean
        Log    ${ledger.summary}
        ```
        """
        ended = self._queues.get(alias).end_ledger()
        report = check([ended.path, *together_with])
        series.keep_judgement(ended.path, report)
        names = ", ".join(Path(each).name for each in [str(ended.path), *together_with])
        text = "\n".join([f"Ledger {names} is {report.verdict}: {report.summary}", *report.details()])
        if report.verdict is not Verdict.CLEAN:
            raise ExpectationFailed(text)
        logger.info(text)
        return report


def _first_free(folder: Path, stem: str) -> Path:
    return next(path for number in itertools.count(1) if not (path := folder / f"{stem}-{number}.jsonl").exists())
