"""Words for messages, and names for files."""

from __future__ import annotations

import re

import pytest

from ocpp_resilience.text import file_name, with_short_numbers


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


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("mean at the limit, within 9.674363955631145 %", "mean at the limit, within 9.674 %"),
        ("0.00012345678 s", "0.0001235 s"),
        ("offered 8336.123456789 a second", "offered 8336 a second"),
        ("seed 1733022567, version 9.1.2, 99.95 %", "seed 1733022567, version 9.1.2, 99.95 %"),
        ("10.20.30.123456", "10.20.30.123456"),
    ],
)
def test_numbers_in_a_text_have_four_digits(text: str, short: str) -> None:
    assert with_short_numbers(text) == short
