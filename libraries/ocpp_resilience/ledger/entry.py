"""One message and everything that is known of it: the one kind of record that the rules judge."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocpp_resilience.ledger.records import Event, Expect, Op


@dataclass(slots=True)
class Entry:
    """A message, from any source: a ledger file or a queue client.

    Attributes:
        cp, id, action: charge point, message id and action.
        seq: its place among those of its charge point that keep their order; `None` where order does not matter.
        via: the way that it went.
        expect: the required outcome once it is acknowledged.
        outcome: the sender's knowledge: `ok`, `fail`, `unknown`, or `None` for nothing.
        reason: of a failure or an unknown outcome.
        results: how many CALLRESULTs were seen.
        errors: codes of the CALLERRORs that were seen.
        invalid: errors of answers that OCPP-J or the response schemas forbid.
        effects: traces that were found in the state.
        event: of a TransactionEvent: its place in its transaction.
        allowed_answers: how many answers it may have; more than one where its id was used again on purpose.
    """

    cp: str
    id: str
    action: str | None = None
    seq: int | None = None
    via: str | None = None
    expect: Expect = Expect.ANSWER
    outcome: Op | None = None
    reason: str | None = None
    results: int = 0
    errors: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    event: Event | None = None
    allowed_answers: int = 1

    @property
    def answers(self) -> int:
        """Number of observed answers."""
        return self.results + len(self.errors) + len(self.invalid)

    @property
    def needs_effect(self) -> bool:
        """Whether a trace in the state is due: it was acknowledged, and its answer, if any, was no refusal."""
        return self.expect is not Expect.ANSWER and self.outcome is Op.OK and not self.errors

    @property
    def was_done(self) -> bool:
        """Whether the system acted on it; a refusal is no such thing."""
        return bool(self.results or self.effects)

    def __str__(self) -> str:
        return f"{self.action or 'message'} '{self.id}' of {self.cp}"
