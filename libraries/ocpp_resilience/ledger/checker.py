"""Judges a history: messages lost, unexpected, duplicated, reordered, refused and yet applied, or recovered.

The rules, one file each in `rules`, are those of Jepsen's total-queue checker, with order and state added: an
acknowledged message must have its outcome, no other outcome may appear, none twice, and a message of unknown state may
have it or not. The order in which the charge points' files are given does not matter; the order of lines within one
file does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ocpp_resilience.ledger import rules
from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.event_sequence import sequence_of
from ocpp_resilience.ledger.records import Expect, KeptEvents, LedgerError, Op, Record, read
from ocpp_resilience.ledger.rules import Fate

EXAMPLES = 3


class Verdict(StrEnum):
    """The verdict on a history."""

    CLEAN = "clean"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be.

    Attributes:
        kind: `lost`, `unexpected`, `duplicated`, `reordered`, `refused_and_applied` or `invalid`.
        about: in words, with charge point and message id.
        cp, id: of the message.
    """

    kind: str
    about: str
    cp: str
    id: str

    def __str__(self) -> str:
        return self.about


@dataclass(slots=True)
class LedgerReport:
    """The judgement.

    Attributes:
        invoked: messages that were sent or tried.
        acknowledged: of these, the ones that the system took over.
        failed: refused, or certainly not sent.
        undecided: outcome unknown, and no trace of them: allowed.
        recovered: outcome unknown, but they did arrive: allowed.
        lost: acknowledged messages without their required outcome; also sequence numbers of transaction events.
        unexpected: answers and effects that belong to no message, and sequence numbers that nobody sent.
        duplicated: messages with more than one answer or more than one effect; sequence numbers of two events.
        reordered: messages that were answered after a later one of their charge point; events that were sent behind a
            higher sequence number without being marked offline.
        refused_and_applied: messages that the system refused and acted on nevertheless.
        invalid: messages whose answer OCPP-J or the response schemas forbid, and answers that cannot be read.
        open_ended: parts that were not looked for: writers without an `end` (a killed run), or effects without an
            observer of the state. Nothing of that counts as lost, and the verdict can't be `clean`.
        seeds: the seeds in the files.
    """

    invoked: int = 0
    acknowledged: int = 0
    failed: int = 0
    undecided: int = 0
    recovered: int = 0
    lost: list[Violation] = field(default_factory=list)
    unexpected: list[Violation] = field(default_factory=list)
    duplicated: list[Violation] = field(default_factory=list)
    reordered: list[Violation] = field(default_factory=list)
    refused_and_applied: list[Violation] = field(default_factory=list)
    invalid: list[Violation] = field(default_factory=list)
    open_ended: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    @property
    def violations(self) -> list[Violation]:
        """All of them, the worst kind first."""
        return [
            *self.lost,
            *self.duplicated,
            *self.refused_and_applied,
            *self.unexpected,
            *self.reordered,
            *self.invalid,
        ]

    @property
    def verdict(self) -> Verdict:
        """`violated` where anything is wrong; else `inconclusive` where the history is not whole, or empty."""
        if self.violations:
            return Verdict.VIOLATED
        return Verdict.INCONCLUSIVE if self.open_ended or not self.invoked else Verdict.CLEAN

    @property
    def summary(self) -> str:
        """The whole in one line."""
        return (
            f"{self.invoked} messages: {self.acknowledged} acknowledged, {self.failed} refused, "
            f"{self.recovered} recovered, {self.undecided} undecided; {len(self.lost)} lost, "
            f"{len(self.duplicated)} duplicated, {len(self.reordered)} out of order, "
            f"{len(self.unexpected)} unexpected, {len(self.refused_and_applied)} refused and applied"
        ) + (f", {len(self.invalid)} invalid" if self.invalid else "")

    def details(self, examples: int = EXAMPLES) -> list[str]:
        """The first few of each kind of violation, and why the verdict is open where it is, a line each."""
        lines = []
        for kind, count in Counter(each.kind for each in self.violations).items():
            found = [each for each in self.violations if each.kind == kind]
            name = {"reordered": "out of order"}.get(kind, kind.replace("_", " "))
            lines += [f"{name}: {each}" for each in found[:examples]]
            if count > examples:
                lines.append(f"{name}: … and {count - examples} more")
        lines += [f"inconclusive: {each}" for each in self.open_ended]
        if not self.invoked:
            lines.append("inconclusive: no message was sent")
        return lines

    def to_json(self) -> dict[str, object]:
        """Counts, verdict and violations, for machines."""
        kinds = ("lost", "duplicated", "reordered", "unexpected", "refused_and_applied", "invalid")
        counts = {name: getattr(self, name) for name in ("invoked", "acknowledged", "failed", "undecided", "recovered")}
        violations = [
            {"kind": each.kind, "cp": each.cp, "id": each.id, "about": each.about} for each in self.violations
        ]
        return {
            "verdict": self.verdict.value,
            **counts,
            **{kind: len(getattr(self, kind)) for kind in kinds},
            "open_ended": self.open_ended,
            "seeds": self.seeds,
            "violations": violations,
        }


class Checker:
    """Takes in records one by one and judges them at the end.

    Records of one message may stand in several files (the sender's and the observer's); observations of a message may
    come before its `invoke` in that case.
    """

    def __init__(self) -> None:
        self._messages: dict[tuple[str, str], Entry] = {}
        self._seen_early: dict[tuple[str, str], list[Record]] = {}
        self._answer_order: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._open: dict[str, str] = {}
        self._seeds: list[int] = []
        self._observed: set[str | None] = set()
        self._kept: dict[tuple[str, str], KeptEvents] = {}

    def add(self, where: str, record: Record) -> None:
        """Take in a record; `where` names its place in messages.

        Raises:
            LedgerError: the record contradicts an earlier one.
        """
        if record.op is Op.BEGIN:
            self._open[record.writer or where] = where
            if record.seed is not None:
                self._seeds.append(record.seed)
            if record.expect is not Expect.ANSWER:
                self._observed.add(record.via)
            return
        if record.op is Op.END:
            self._open.pop(record.writer or where, None)
            return
        key = (record.cp or "", record.id or "")
        if record.op is Op.KEPT and record.kept is not None:
            self._kept[key] = record.kept
            return
        message = self._messages.get(key)
        if record.op is Op.INVOKE:
            if message is not None:
                raise LedgerError(where, 0, f"message '{record.id}' of {record.cp} was invoked before; ids are unique.")
            self._invoke(key, record)
        elif record.op in {Op.ANSWER, Op.EFFECT}:
            if record.op is Op.ANSWER:
                source = where.rpartition(", line ")[0]
                self._answer_order.setdefault((source, key[0]), []).append(key)
            if message is None:
                self._seen_early.setdefault(key, []).append(record)
            else:
                _see(message, record)
        elif message is None:
            raise LedgerError(
                where, 0, f"'{record.op}' of message '{record.id}' of {record.cp}, which was not invoked."
            )
        elif message.outcome in {Op.OK, Op.FAIL} and record.op is not message.outcome:
            raise LedgerError(where, 0, f"{message} is '{record.op}', but was '{message.outcome}' before.")
        else:
            # An unknown outcome may become known later.
            message.outcome, message.reason = record.op, record.what

    def _invoke(self, key: tuple[str, str], record: Record) -> None:
        message = Entry(
            cp=key[0],
            id=key[1],
            action=record.action,
            seq=record.seq,
            via=record.via,
            expect=record.expect,
            event=record.event,
        )
        self._messages[key] = message
        for early in self._seen_early.pop(key, ()):
            _see(message, early)

    def _looked_for(self, message: Entry) -> bool:
        """Whether effects of messages on this path were looked for."""
        return None in self._observed or message.via in self._observed

    def report(self) -> LedgerReport:
        """Judge the records so far."""
        self._observed.update(each.via for each in self._messages.values() if each.effects)
        report = LedgerReport(seeds=self._seeds)
        report.open_ended = [f"the writer that began at {where} did not end" for where in self._open.values()]
        for message in self._messages.values():
            self._judge(message, report)
        unseen = sum(each.needs_effect and not self._looked_for(each) for each in self._messages.values())
        if unseen:
            report.open_ended.append(
                f"nobody looked at the state, where {unseen} of the messages have to leave a trace: judge it with "
                "the file of effects too"
            )
        for (cp, message_id), records in self._seen_early.items():
            for record in records:
                if record.kind == "invalid":
                    about = f"{cp} received an invalid frame: {record.what}"
                    report.invalid.append(Violation("invalid", about, cp, message_id))
                    continue
                what = f"effect {record.what}" if record.op is Op.EFFECT else f"{record.kind or 'answer'}"
                about = f"{what} for message '{message_id}' of {cp}, which was never sent"
                report.unexpected.append(Violation("unexpected", about, cp, message_id))
        for keys in self._answer_order.values():
            self._judge_order(keys, report)
        self._judge_sequences(report)
        return report

    def _judge(self, message: Entry, report: LedgerReport) -> None:
        def violation(kind: str, about: str) -> Violation:
            return Violation(kind, f"{message} {about}", message.cp, message.id)

        report.invoked += 1
        found = rules.fate(message)
        report.acknowledged += found is Fate.ACKNOWLEDGED
        report.failed += found is Fate.REFUSED
        report.recovered += found is Fate.RECOVERED
        report.undecided += found is Fate.UNDECIDED
        missing = rules.missing(message, looked_for=self._looked_for(message))
        if missing and not self._open:
            report.lost.append(violation("lost", f"was acknowledged, but has no {missing}"))
        if rules.done_although_refused(message):
            seen = ", ".join(message.effects) or "a CALLRESULT"
            about = f"was refused ({message.reason}), and yet there is {seen}"
            report.refused_and_applied.append(violation("refused_and_applied", about))
        if rules.surplus_answers(message):
            report.duplicated.append(violation("duplicated", f"was answered {message.answers} times"))
        report.invalid += [violation("invalid", f"received an invalid answer: {each}") for each in message.invalid]
        if rules.surplus_effects(message):
            about = f"was applied {len(message.effects)} times: {', '.join(message.effects)}"
            report.duplicated.append(violation("duplicated", about))

    def _judge_order(self, keys: list[tuple[str, str]], report: LedgerReport) -> None:
        answered = [message for key in keys if (message := self._messages.get(key)) is not None]
        for message, before in rules.reordered(answered):
            about = f"{message} was answered after {before}, which was sent later"
            report.reordered.append(Violation("reordered", about, message.cp, message.id))

    def _judge_sequences(self, report: LedgerReport) -> None:
        sent: dict[tuple[str, str], list[Entry]] = {}
        for message in self._messages.values():
            if message.event is not None:
                sent.setdefault((message.cp, message.event.tx), []).append(message)
        for (cp, transaction), messages in sent.items():
            sequence = sequence_of(messages, self._kept.get((cp, transaction)))
            for message, what in rules.missed_events(sequence):
                report.lost.append(Violation("lost", f"{message} {what}", cp, message.id))
            for number, refused in rules.unsent_numbers(sequence):
                kind = "refused_and_applied" if refused else "unexpected"
                why = "was refused" if refused else "was not sent"
                about = f"event {number} of transaction {transaction} of {cp} {why}, and it counts as seen"
                getattr(report, kind).append(Violation(kind, about, cp, transaction))
            for message, before in rules.doubled_numbers(sequence):
                about = f"{message} has the sequence number of {before} in transaction {transaction}"
                report.duplicated.append(Violation("duplicated", about, cp, message.id))
            for message, before in rules.out_of_order(sequence):
                about = (
                    f"{message} was sent after {before}, which has a higher sequence number, and is not marked offline"
                )
                report.reordered.append(Violation("reordered", about, cp, message.id))
            if about := rules.offline_miscounted(sequence):
                report.unexpected.append(Violation("unexpected", f"{cp}: {about}", cp, transaction))


def check(paths: Iterable[Path | str]) -> LedgerReport:
    """Judge the history in some files, as one.

    Raises:
        LedgerError: a file cannot be read, or contradicts itself.
    """
    checker = Checker()
    for path in paths:
        for where, record in read(path):
            checker.add(where, record)
    return checker.report()


def _see(message: Entry, record: Record) -> None:
    if record.op is Op.EFFECT:
        message.effects.append(record.what or "an effect")
    elif record.kind == "invalid":
        message.invalid.append(record.what or "an invalid answer")
    elif record.kind == "error":
        message.errors.append(record.what or "an error")
    else:
        message.results += 1
