"""Ids on the wire: which text may be one, and new ones."""

from __future__ import annotations

import uuid

LONGEST_CHARGE_POINT_ID = 48
LONGEST_MESSAGE_ID = 36


def usable_charge_point_id(value: str) -> bool:
    """Whether `value` may be a charge point's id and part of key names: 1 to 48 printable, no `:`, no white space."""
    return 0 < len(value) <= LONGEST_CHARGE_POINT_ID and value.isprintable() and ":" not in value and " " not in value


def usable_message_id(value: object) -> bool:
    """Whether `value` may be a message id: 1 to 36 printable characters."""
    return type(value) is str and 0 < len(value) <= LONGEST_MESSAGE_ID and value.isprintable()


def new_message_id() -> str:
    """A fresh message id, 36 characters (OCPP-J 1.6 section 4.1.4 recommends a UUID)."""
    return str(uuid.uuid4())
