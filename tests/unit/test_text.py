"""Words for messages, and names for files."""

from __future__ import annotations

import re

import pytest

from ocpp_resilience.text import file_name


@pytest.mark.parametrize(
    "text", ["../../../x", "/etc/passwd", "a/b", "", "..", "x" * 10_000, "<b>", "c:\\x", "\0", "é" * 99]
)
def test_a_file_name_stays_in_its_folder(text: str) -> None:
    name = file_name(text)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", name)
    assert ".." not in name


def test_a_plain_name_stays_as_it_is_and_others_differ() -> None:
    assert file_name("queue") == "queue"
    assert file_name("somebody else") == "somebody-else"
    assert len({file_name(each) for each in ("a/b", "a-b", "a b/", "a\\b", "a:b")}) == 5
