"""A user who lacks a permission."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import COMMIT, RedisFault, commit_of
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.profile import Target


@dataclass(eq=False)
class MissingPermission(RedisFault):
    """A user of Redis may not run a command any more (ACL SETUSER); connections stay open."""

    name = "missing permission"
    effect = "one command is answered `NOPERM`"
    evidence = "ACL DRYRUN denies the command to that user"

    command: str = COMMIT
    user: str = "default"

    def begin(self) -> None:
        chosen = self.command.lower()
        self._taken = commit_of(Target.load(self.on.profile)).command.lower() if chosen == COMMIT else chosen
        self.redis.run("ACL", "SETUSER", self.user, f"-{self._taken}")

    def prove(self) -> Proof:
        arity = abs(int(self.redis.run("COMMAND", "INFO", self._taken)[0][1]))
        words = ("ACL", "DRYRUN", self.user, self._taken, *["0"] * (arity - 1))
        # +OK where the user may; where not, a text that says so.
        refused, seen = self.redis.says("$", *words)
        return refused, f"ACL DRYRUN: {self.redis.run(*words)}" if refused else seen

    def end(self) -> None:
        if hasattr(self, "_taken"):
            self.redis.run("ACL", "SETUSER", self.user, f"+{self._taken}")
