"""Generated invalid messages: each is invalid, and its expected answer is right.

The oracle is the reference server's own parser and validator: other code, written from the same contract.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp.version import ocpp_version
from ocpp_resilience.transport.invalid_generated import FORMS, MAX_MESSAGE_BYTES, InvalidMessages, generate_invalid
from ocpp_resilience.transport.messages import MessageFormat, SentMessage
from server.errors import ErrorCode, InvalidMessage
from server.ocpp.envelope import parse
from server.ocpp.frames import Call
from server.ocpp.schemas import check
from server.ocpp.v16.version import V16
from server.ocpp.versions import VERSIONS

POINTS = ["CP-1", "CP-2", "CP-3"]


def verdict(message: SentMessage) -> InvalidMessage | None:
    """The reference server's complaint about a message; `None` if it accepts it."""
    try:
        parsed = parse(message.data, longest=MAX_MESSAGE_BYTES)
        assert isinstance(parsed, Call)
        check(parsed, VERSIONS[parsed.protocol])
    except InvalidMessage as invalid:
        return invalid
    return None


def made(count: int, *, seed: int, valid_between: int = 0, ids: Ids | None = None) -> list[SentMessage]:
    new_id = (ids or Ids()).message
    return generate_invalid(count, POINTS, seed=seed, valid_between=valid_between, new_message_id=new_id)


@pytest.mark.parametrize("protocol", VERSIONS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_generated_message_is_invalid_in_the_way_that_is_expected(protocol: str, seed: int) -> None:
    version = ocpp_version(protocol)
    maker = InvalidMessages(
        random.Random(seed),
        Ids().message,
        version=version,
        actions=list(VERSIONS[protocol].actions),
        # A flat message names no version.
        forms=FORMS if protocol == "ocpp1.6" else (MessageFormat.ENVELOPE,),
    )
    for _ in range(50):
        message = maker.make("CP-1")
        found = verdict(message)
        assert found is not None, f"{message.about} is accepted: {message.text}"
        assert (found.code, found.answer_id) == (message.expected_code, message.answer_message_id), (
            f"{message.about}: {found}: {message.text[:500]}"
        )
        assert message.answerable is (found.answer_id is not None), message.about
        assert found.charge_point_id == message.charge_point, message.about
        assert found.message_id == message.message_id, message.about
        assert message.valid is False


def test_an_oversized_message_is_invalid_for_its_size_only() -> None:
    message = InvalidMessages(random.Random(1), Ids().message, max_message_bytes=1_000_000).make("CP-1", large=True)
    assert len(message.data) == 1_000_001
    parsed = parse(message.data, longest=1_000_001)
    assert isinstance(parsed, Call)
    check(parsed, V16)
    with pytest.raises(InvalidMessage, match="longer than"):
        parse(message.data, longest=1_000_000)


def test_all_kinds_of_breaks_come_up() -> None:
    messages = made(3_000, seed=1)
    assert {message.expected_code for message in messages} == {
        V16.codes.unreadable,
        V16.codes.missing,
        V16.codes.wrong_type,
        V16.codes.not_allowed,
        ErrorCode.NOT_IMPLEMENTED,
        ErrorCode.NOT_SUPPORTED,
        ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED,
    }
    kinds = Counter(message.about.split(":")[0].split(" ")[0] for message in messages)
    assert len(kinds) > 25, kinds
    assert sum(len(message.data) > MAX_MESSAGE_BYTES for message in messages) == 10
    assert 0.3 < sum(message.answerable is True for message in messages) / 3_000 < 0.8


def test_the_same_seed_breaks_the_same_places() -> None:
    one, other, different = made(300, seed=5), made(300, seed=5), made(300, seed=6)
    assert [message.about for message in one] == [message.about for message in other]
    assert [message.about for message in one] != [message.about for message in different]


def test_every_message_has_an_id_of_its_own_where_it_can_have_one() -> None:
    messages = made(1_000, seed=2, valid_between=100)
    answers = Counter(message.answer_message_id for message in messages if message.answerable)
    answers.pop("-1")
    assert set(answers.values()) == {1}


@pytest.mark.parametrize(("count", "valid"), [(1_000, 100), (10, 3), (7, 7), (1, 1), (10, 0)])
def test_valid_messages_are_evenly_spread_and_the_last_comes_last(count: int, valid: int) -> None:
    messages = made(count, seed=3, valid_between=valid)
    places = [place for place, message in enumerate(messages) if message.valid]
    assert (len(messages), len(places)) == (count + valid, valid)
    if valid:
        assert places[-1] == len(messages) - 1
        gaps = [later - earlier for earlier, later in zip([-1, *places], places, strict=False)]
        assert max(gaps) - min(gaps) <= 1
    for place in places:
        assert verdict(messages[place]) is None
        before = messages[place - 1]
        assert before.valid is False
        assert before.charge_point in {None, messages[place].charge_point}


@pytest.mark.parametrize(
    ("count", "valid", "points"), [(0, 0, POINTS), (-1, 0, POINTS), (5, 6, POINTS), (5, -1, POINTS), (5, 0, [])]
)
def test_a_number_that_cannot_be_used_is_refused(count: int, valid: int, points: list[str]) -> None:
    with pytest.raises(UsageError, match=r"cannot be made|No charge point"):
        generate_invalid(count, points, seed=1, valid_between=valid, new_message_id=Ids().message)
