"""Which key signs and which are published is told by the time alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.signing_key import (
    PUBLISHED_AFTER,
    SigningKey,
    Standing,
    current,
    is_due,
    published,
    standings,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def key(id_: str, signs: timedelta, withdrawn: bool = False) -> SigningKey:
    """One that signs from so long before now on."""
    gone = NOW if withdrawn else None
    return SigningKey(id_, {}, NOW - signs - MINUTE, NOW - signs, gone)


def test_before_the_first_key_there_is_none() -> None:
    assert current([], NOW) is None
    assert is_due([], NOW, MINUTE)


@pytest.mark.parametrize("turned", [False, True])
def test_the_newest_that_has_begun_signs(turned: bool) -> None:
    keys = [key("a", 60 * MINUTE), key("b", MINUTE), key("c", -MINUTE)]
    if turned:
        keys.reverse()

    assert current(keys, NOW) == "b"
    assert standings(keys, NOW) == {
        "a": Standing.RETIRED,
        "b": Standing.CURRENT,
        "c": Standing.NEXT,
    }
    assert published(keys, NOW) == keys


def test_a_key_goes_when_the_last_token_of_it_has_ended() -> None:
    keys = [key("a", 60 * MINUTE), key("b", PUBLISHED_AFTER)]

    assert standings(keys, NOW)["a"] is Standing.GONE
    assert standings(keys, NOW - MINUTE)["a"] is Standing.RETIRED
    assert [each.id for each in published(keys, NOW)] == ["b"]


def test_of_three_the_oldest_goes_by_its_own_successor() -> None:
    keys = [key("a", 60 * MINUTE), key("b", PUBLISHED_AFTER), key("c", MINUTE)]

    assert standings(keys, NOW) == {
        "a": Standing.GONE,
        "b": Standing.RETIRED,
        "c": Standing.CURRENT,
    }


def test_what_was_withdrawn_is_gone_and_the_one_before_does_not_come_back() -> None:
    """That would be a key which nobody published any more; withdrawn are all of them at once."""
    keys = [key("a", 60 * MINUTE, withdrawn=True), key("b", MINUTE, withdrawn=True)]
    assert current(keys, NOW) is None
    assert published(keys, NOW) == []
    assert is_due(keys, NOW, 90 * MINUTE)
    assert current([*keys, key("c", timedelta(0))], NOW) == "c"


def test_one_is_due_when_the_last_is_old() -> None:
    old = key("a", 90 * MINUTE)
    assert is_due([old], NOW, 90 * MINUTE)
    assert not is_due([old], NOW, 91 * MINUTE)
    assert not is_due([old, key("b", -MINUTE)], NOW, 90 * MINUTE)
    assert is_due([old, replace(key("b", -MINUTE), withdrawn_at=NOW)], NOW, 90 * MINUTE)
