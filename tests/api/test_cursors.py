"""Cursors: ours, whole, and for one filter."""

import base64
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import MAX_LENGTH, decode, encode
from domain.errors import InvalidRequest
from service.page import Position
from store.seen import Seen
from tests.api.documents import refused
from tests.support.billing import Billing
from tests.support.samples import new_id

SEEN = Seen(5_000_000_000, (4_999_999_990, 4_999_999_998))
PLACE = Position(datetime(2026, 5, 1, 9, 30, 0, 123456, tzinfo=UTC), new_id(), SEEN)
FILTERS: dict[str, str | None] = {"customerId": "demo", "status": None}
MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(MOMENTS, st.uuids())
def test_a_position_comes_back_to_the_microsecond(moment: datetime, id_: object) -> None:
    place = Position(moment, str(id_), SEEN)

    assert decode(("s",), encode(("s",), place, FILTERS), FILTERS, Position) == place


def test_a_cursor_is_text_for_a_query() -> None:
    cursor = encode(("s",), PLACE, FILTERS)

    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert len(cursor) < 200
    busy = PLACE._replace(seen=Seen(2**62, tuple(range(2**62 - 100, 2**62))))
    assert len(encode(("s",), busy, FILTERS)) < MAX_LENGTH


@pytest.mark.parametrize("filters", [{}, {**FILTERS, "status": "PAID"}, {"customerId": "x"}])
def test_another_filter_needs_another_cursor(filters: dict[str, str | None]) -> None:
    with pytest.raises(InvalidRequest):
        decode(("s",), encode(("s",), PLACE, FILTERS), filters, Position)


def test_another_secret_made_another_cursor() -> None:
    with pytest.raises(InvalidRequest):
        decode(("t",), encode(("s",), PLACE, FILTERS), FILTERS, Position)


def test_while_the_secret_is_changed_cursors_of_both_are_good() -> None:
    before = encode(("old",), PLACE, FILTERS)
    after = encode(("new", "old"), PLACE, FILTERS)

    for cursor in (before, after):
        assert decode(("new", "old"), cursor, FILTERS, Position) == PLACE
    assert decode(("new",), after, FILTERS, Position) == PLACE
    with pytest.raises(InvalidRequest):
        decode(("new",), before, FILTERS, Position)


def tampered(cursor: str, count: int, seed: int) -> set[str]:
    """Texts that are nearly this cursor: a character changed, dropped, doubled, added; cut short;
    its place moved under the old signature."""
    chance = random.Random(seed)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/. !"
    made = {"", "A", cursor + "=", cursor + "A", cursor[:-1], cursor.swapcase(), cursor * 2}
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    moved = PLACE._replace(created_at=PLACE.created_at + timedelta(days=1))
    foreign = base64.urlsafe_b64decode(encode(("t",), moved, FILTERS) + "==")
    made.add(base64.urlsafe_b64encode(raw[:16] + foreign[16:]).rstrip(b"=").decode())
    while len(made) < count:
        at = chance.randrange(len(cursor))
        letter = chance.choice(letters)
        made.add(
            chance.choice(
                [
                    cursor[:at] + letter + cursor[at + 1 :],
                    cursor[:at] + letter + cursor[at:],
                    cursor[:at] + cursor[at + 1 :],
                    cursor[:at],
                ]
            )
        )
        made.discard(cursor)
    return made


async def test_two_hundred_tampered_cursors_are_refused(billing: Billing) -> None:
    """Also those that a lenient decoder takes for the same bytes."""
    unasked: dict[str, str | None] = dict.fromkeys(("status", "period", "from", "to"))
    cursor = encode(("development-only",), PLACE, {"customerId": billing.customer_id, **unasked})
    path = "/api/v2/invoices"
    query = {"customerId": billing.customer_id}
    good = await billing.api.get(path, params={**query, "cursor": cursor})
    assert good.status_code == 200, "the cursor that all of these were made from is good"

    for each in sorted(tampered(cursor, 200, seed=1)):
        answer = await billing.api.get(path, params={**query, "cursor": each})
        refused(answer, 400, "invalid-request")
