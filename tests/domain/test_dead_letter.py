"""What letters are about, what a replay sends, and when a job has to stop."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.dead_letter import (
    FEW,
    LetterSource,
    buckets,
    comes_back_too_often,
    ended,
    from_topic,
    require_expected,
    source_of,
)
from domain.errors import IllegalDlqOperation, InvalidRequest
from domain.message import Message


@pytest.mark.parametrize(
    ("topic", "source"),
    [
        ("billing.payment.captured", LetterSource.PAYMENT),
        ("billing.refund.completed", LetterSource.REFUND),
        ("billing.settlement.completed", LetterSource.SETTLEMENT),
        ("billing.pg-webhook.received", LetterSource.PG_WEBHOOK),
        ("billing.overdue.notice", LetterSource.INVOICE),
        ("billing.invoice.paid", LetterSource.INVOICE),
        ("billing.usage", LetterSource.USAGE),
        ("billing.order.step", LetterSource.ORDER),
        ("billing.audit.sealed", LetterSource.OUTBOX),
        ("billing.usages", LetterSource.OUTBOX),
        ("", LetterSource.OUTBOX),
    ],
)
def test_a_topic_says_what_a_letter_is_about(topic: str, source: LetterSource) -> None:
    assert source_of(topic) is source


@pytest.mark.parametrize("milliseconds", [-(2**63), -1, 2**63 - 1])
def test_a_moment_that_nobody_can_mean_is_none(milliseconds: int) -> None:
    letter = from_topic(Message("billing.usage.DLT", 0, 0, milliseconds, None, (), None))

    assert letter.occurred_at is None
    assert letter.timestamp == milliseconds


@pytest.mark.parametrize(
    ("replayed", "came_back", "stops"),
    [(FEW - 1, FEW - 1, False), (FEW, 4, False), (FEW, 5, True), (100, 20, False), (100, 21, True)],
)
def test_a_job_stops_at_more_than_a_fifth(replayed: int, came_back: int, stops: bool) -> None:
    assert comes_back_too_often(replayed, came_back) is stops


def test_a_job_ends_as_its_letters_did() -> None:
    assert [ended(*counts) for counts in ((0, 0), (5, 0), (4, 1), (0, 5))] == [
        "SUCCEEDED",
        "SUCCEEDED",
        "PARTIAL_FAILURE",
        "FAILED",
    ]


@pytest.mark.parametrize(("expected", "found"), [(0, 1), (10, 12), (10, 8), (100, 89)])
def test_more_than_a_tenth_off_is_refused(expected: int, found: int) -> None:
    with pytest.raises(IllegalDlqOperation):
        require_expected(expected, found)


@pytest.mark.parametrize(("expected", "found"), [(None, 7), (0, 0), (10, 11), (100, 90)])
def test_about_as_many_as_expected_will_do(expected: int | None, found: int) -> None:
    require_expected(expected, found)


def test_the_last_bucket_may_be_a_part_and_a_thousand_is_the_most() -> None:
    since = datetime(2026, 5, 17, 8, tzinfo=UTC)
    minute = timedelta(minutes=1)

    assert list(buckets(since, since + 2.5 * minute, minute)) == [
        since,
        since + minute,
        since + 2 * minute,
    ]
    assert len(list(buckets(since, since + 1_000 * minute, minute))) == 1_000
    with pytest.raises(InvalidRequest):
        buckets(since, since + 1_000 * minute + timedelta(microseconds=1), minute)
