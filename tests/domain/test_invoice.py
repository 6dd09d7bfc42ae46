"""An invoice's statuses and what the world is told of it."""

from datetime import UTC, datetime

import pytest

from domain.event import Topic
from domain.invoice import (
    CLOSED,
    CLOSES_AS,
    OPEN,
    ClosedInvoice,
    Closing,
    InvoiceRequest,
    InvoiceStatus,
    Notice,
    created_event,
    dead_letter_event,
    given_up,
    notice_event,
    overdue_event,
)

DUE = datetime(2026, 6, 15, tzinfo=UTC)
OWED = InvoiceRequest("i-1", "c-1", "2026-05", "KRW", 5000, DUE)


def test_an_issued_invoice_is_open_or_closed_and_never_both() -> None:
    drafts = {InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL, InvoiceStatus.REJECTED}

    assert not OPEN & CLOSED
    assert OPEN | CLOSED | drafts | {InvoiceStatus.SKIPPED} == set(InvoiceStatus)


def test_whoever_closes_an_invoice_closes_it() -> None:
    assert set(CLOSES_AS) == set(Closing)
    assert set(CLOSES_AS.values()) <= CLOSED


def test_every_event_is_on_the_invoices_own_line() -> None:
    closed = ClosedInvoice(OWED, InvoiceStatus.UNCOLLECTIBLE, "declined", "ladder")
    events = [
        created_event(OWED, 7),
        overdue_event(OWED),
        notice_event(Notice(OWED, 2, "card_declined", DUE)),
        dead_letter_event(closed, []),
    ]

    assert {event.aggregate_id for event in events} == {"i-1"}
    assert [event.topic for event in events] == [
        Topic.INVOICE_CREATED,
        Topic.INVOICE_OVERDUE,
        Topic.OVERDUE_NOTICE,
        Topic.OVERDUE_NOTICE_DLT,
    ]
    assert events[2].data["nextAttemptAt"] == DUE.isoformat()
    assert events[3].data["reason"] == "declined"


@pytest.mark.parametrize(
    ("charges", "reason"),
    [
        (0, "there was no card to charge: card_declined"),
        (1, "still not paid after 1 charge: card_declined"),
        (5, "still not paid after 5 charges: card_declined"),
    ],
)
def test_whoever_gives_up_says_how_often_it_was_charged(charges: int, reason: str) -> None:
    gone = ClosedInvoice(OWED, InvoiceStatus.UNCOLLECTIBLE, "card_declined", "ladder")

    assert given_up(gone, charges).reason == reason
