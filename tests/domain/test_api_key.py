"""The form of API keys: what is none is seen without asking anybody."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.api_key import (
    ALPHABET,
    CHANCE_LENGTH,
    ID_LENGTH,
    KEY,
    ApiKey,
    Mode,
    check_holder,
    digest,
    overlap_end,
    read,
    text_of,
)
from domain.errors import InvalidRequest
from domain.roles import Role

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SECRETS = {"new": "n" * 32, "old": "o" * 32}

texts = st.builds(
    text_of,
    st.sampled_from(Mode),
    st.text(ALPHABET, min_size=ID_LENGTH, max_size=ID_LENGTH),
    st.text(ALPHABET, min_size=CHANCE_LENGTH, max_size=CHANCE_LENGTH),
)


def key(expires_at: datetime | None = None, revoked_at: datetime | None = None) -> ApiKey:
    made = ("abcd1234", "family00", "metering", Role.SERVICE, "", None, (), "operator", NOW)
    return ApiKey(*made, expires_at, revoked_at, None)


@given(texts)
def test_a_key_is_read_as_what_it_is(text: str) -> None:
    found = read(text)

    assert KEY.fullmatch(text)
    assert found is not None
    assert text.startswith(f"dbk_{found.mode}_{found.id}_")


@given(texts, st.data())
def test_one_mistyped_character_is_seen(text: str, data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([each for each in ALPHABET if each != text[where]]))

    assert read(text[:where] + other + text[where + 1 :]) is None


@given(texts)
def test_two_characters_that_changed_places_are_seen(text: str) -> None:
    for where in range(len(text) - 1):
        swapped = text[:where] + text[where + 1] + text[where] + text[where + 2 :]
        assert swapped == text or read(swapped) is None


@given(st.text())
def test_what_is_no_key_is_none(text: str) -> None:
    assert read(text) is None
    assert read(f"dbk_live_{text}") is None


@pytest.mark.parametrize("odd", ["{} ", "{}\n", "{}{}", "Bearer {}", ""])
def test_what_holds_a_key_is_none(odd: str) -> None:
    text = text_of(Mode.LIVE, "a" * ID_LENGTH, "b" * CHANCE_LENGTH)

    assert read(odd.format(text, text)) is None


def test_a_key_is_known_by_each_secret_that_is_there_and_kept_under_the_first() -> None:
    text = text_of(Mode.LIVE, "a" * ID_LENGTH, "b" * CHANCE_LENGTH)
    presented = read(text)
    assert presented is not None
    kept_before = digest(text, {"old": SECRETS["old"]})

    assert digest(text, SECRETS).secret == "new"
    assert presented.is_of(kept_before, SECRETS)
    assert not presented.is_of(kept_before, {"new": SECRETS["new"]})
    assert not presented.is_of(kept_before, {"old": "another"})
    assert text.encode() not in kept_before.value


def test_a_key_lives_until_it_expires_or_is_revoked() -> None:
    later = NOW + timedelta(seconds=1)

    assert key().is_live(NOW)
    assert key(expires_at=later).is_live(NOW)
    assert not key(expires_at=NOW).is_live(NOW)
    assert not key(revoked_at=NOW).is_live(NOW)
    assert not key(expires_at=later, revoked_at=NOW).is_live(NOW)


def test_a_key_that_is_replaced_lives_no_longer_than_before() -> None:
    week, soon = timedelta(days=7), NOW + timedelta(days=1)

    assert overlap_end(key(), NOW, week) == NOW + week
    assert overlap_end(key(expires_at=soon), NOW, week) == soon
    assert overlap_end(key(), NOW, timedelta()) == NOW


@pytest.mark.parametrize(
    ("role", "customer_id"),
    [(Role.OPERATOR, ""), (Role.CUSTOMER, ""), (Role.SERVICE, "acme"), (Role.OPERATOR, "acme")],
)
def test_a_key_is_for_a_customer_or_a_service_and_for_no_person(
    role: Role, customer_id: str
) -> None:
    with pytest.raises(InvalidRequest):
        check_holder(role, customer_id)


def test_a_customer_is_named_for_a_key_of_a_customer() -> None:
    check_holder(Role.CUSTOMER, "acme")
    check_holder(Role.SERVICE, "")
