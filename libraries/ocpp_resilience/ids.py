"""Charge point ids and message ids that belong to one run."""

from __future__ import annotations

import secrets

from ocpp_resilience.errors import UsageError

_TOKEN_CHARACTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # noqa: S105 - no secret: without i, l, o, u, easy to read aloud


class Ids:
    """Charge point ids and message ids that no other run uses: each holds the token of this run."""

    def __init__(self) -> None:
        self.token = "".join(secrets.choice(_TOKEN_CHARACTERS) for _ in range(7))
        self._given: list[str] = []
        self._messages = 0

    def charge_point(self, prefix: str = "CP") -> str:
        """A new charge point id, such as `CP-4k7x2mq-0001`.

        Raises:
            UsageError: with this prefix the id would not be a valid one.
        """
        made = f"{prefix}-{self.token}-{len(self._given) + 1:04d}"
        if not usable_charge_point_id(made):
            raise UsageError(
                f"The charge point id '{made}' would be invalid: allowed are 1 to 48 printable characters without ':' "
                f"and white space. Choose a shorter or plainer prefix."
            )
        self._given.append(made)
        return made

    @property
    def charge_points(self) -> list[str]:
        """All charge point ids that were given, oldest first."""
        return list(self._given)

    def message(self) -> str:
        """A new message id, such as `4k7x2mq-1`."""
        self._messages += 1
        return f"{self.token}-{self._messages}"


def usable_charge_point_id(value: object) -> bool:
    """Whether `value` may be a charge point's id: 1 to 48 printable characters, no `:` and no white space."""
    return isinstance(value, str) and 0 < len(value) <= 48 and value.isprintable() and not {":", " "} & set(value)
