"""What counts, and how often."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from domain.errors import NotFound, UsageConflict, UsageInFuture, UsageTooOld
from domain.usage import LATE, Outcome, UsageEvent, check_time, receipts
from tests.support.usage import MAY, event

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize("moment", [NOW, NOW + timedelta(hours=1), NOW - LATE])
def test_up_to_an_hour_ahead_and_the_whole_bound_back_are_taken(moment: datetime) -> None:
    check_time(moment, NOW)


def test_more_than_an_hour_ahead_is_refused() -> None:
    with pytest.raises(UsageInFuture):
        check_time(NOW + timedelta(hours=1, microseconds=1), NOW)


def test_older_than_the_bound_is_refused() -> None:
    with pytest.raises(UsageTooOld, match="396 days"):
        check_time(NOW - LATE - timedelta(microseconds=1), NOW)
    with pytest.raises(UsageTooOld, match="2 days"):
        check_time(NOW - timedelta(days=3), NOW, timedelta(days=2))


def test_the_hash_is_of_what_is_said_and_not_of_how() -> None:
    korean = MAY.astimezone(timezone(timedelta(hours=9)))
    one = UsageEvent("c", "e", "API_CALL", Decimal("1.5"), MAY)
    same = UsageEvent("c", "e", "API_CALL", Decimal("1.500000"), korean)

    assert one.payload_hash == same.payload_hash


@pytest.mark.parametrize(
    "other",
    [
        event("c", "e", quantity="1.000001"),
        event("c", "e", resource_type="STORAGE"),
        event("c", "e", occurred_at=MAY + timedelta(microseconds=1)),
    ],
)
def test_every_part_of_the_content_is_in_the_hash(other: UsageEvent) -> None:
    assert event("c", "e").payload_hash != other.payload_hash


def test_receipts_come_in_order_and_the_first_of_a_batch_counts() -> None:
    first, other = event("c", "a"), event("c", "a", quantity="2")
    known, changed = event("c", "k"), event("c", "k", quantity="2")
    nobody = event("nobody", "n")

    found = receipts(
        [first, first, other, known, changed, nobody],
        {first.identity},
        {known.identity: known.payload_hash},
    )

    assert [receipt.outcome for receipt in found] == [
        Outcome.ACCEPTED,
        Outcome.DUPLICATE,
        Outcome.CONFLICT,
        Outcome.DUPLICATE,
        Outcome.CONFLICT,
        Outcome.REFUSED,
    ]
    assert isinstance(found[2].refusal, UsageConflict)
    assert isinstance(found[5].refusal, NotFound)
