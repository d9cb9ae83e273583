"""A Redis with another password."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisSettingsFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT


@dataclass(eq=False)
class WrongPassword(RedisSettingsFault):
    """Redis asks for another password than its clients have, and they have to log in again."""

    name = "wrong password"
    effect = "commands are refused with `WRONGPASS` or `NOAUTH`"
    evidence = "a PING without the password is answered NOAUTH"

    def settings(self) -> Mapping[str, str | int]:
        return {"requirepass": secrets.token_hex(8)}

    def begin(self) -> None:
        super().begin()
        self.redis.kill_others()

    def prove(self) -> Proof:
        seen = self.redis.look("PING", limit=PROOF_LIMIT)
        return seen.text.startswith(("-NOAUTH", "-WRONGPASS")), f"PING: {seen}"
