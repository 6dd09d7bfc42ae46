"""Every step of an invoice's owner, run twice: the same state, the same answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from activities.invoice import InvoiceActivities
from domain.access import SYSTEM
from domain.invoice import ClosedInvoice, InvoiceCharge, InvoiceRequest, InvoiceStatus, Notice
from domain.payment import FailedPayment, PaymentRequest, PaymentStatus
from store import payment
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.dunning import Dunning
from tests.support.samples import new_id

NEXT = datetime(2099, 8, 1, 1, 2, 3, 456_789, tzinfo=UTC)


async def opened(database: Database, owed: InvoiceRequest, twice: Twice) -> PaymentRequest:
    charge = InvoiceCharge(owed, new_id())
    found = await twice(InvoiceActivities(database).open_payment, charge)
    assert found.payment is not None
    return found.payment


async def declined(database: Database, request: PaymentRequest, code: str) -> None:
    failed = FailedPayment(request, PaymentStatus.FAILED, "declined", "No.", code)
    async with database.begin(SYSTEM) as tx:
        await payment.fail(tx, failed)


async def test_one_payment_is_live_however_many_are_asked_for(
    database: Database, dunning: Dunning, twice: Twice
) -> None:
    owed = await dunning.issue()

    first = await opened(database, owed, twice)
    second = await opened(database, owed, twice)

    assert (first.payment_id, first.card_amount) == (second.payment_id, 5000)


async def test_a_card_declined_for_good_is_answered_without_a_payment(
    database: Database, dunning: Dunning, twice: Twice
) -> None:
    owed = await dunning.issue()
    await declined(database, await opened(database, owed, twice), "lost_card")

    charge = InvoiceCharge(owed, new_id())
    refused = await twice(InvoiceActivities(database).open_payment, charge)

    assert refused.payment is None
    assert refused.failure is not None
    assert refused.failure.gateway_code == "lost_card"
    assert len(await dunning.payments(owed)) == 1


async def test_a_run_finds_where_the_one_before_it_stopped(
    database: Database, dunning: Dunning, twice: Twice
) -> None:
    owed = await dunning.issue()
    invoice = InvoiceActivities(database)
    fresh = await twice(invoice.open, InvoiceCharge(owed, new_id()))
    assert (fresh.step, fresh.first_failure_at, fresh.last) == (0, None, None)

    live = await opened(database, owed, twice)
    assert fresh.payment == live
    again = InvoiceCharge(owed, new_id())
    assert (await twice(invoice.open, again)).payment == live
    await declined(database, live, "card_declined")
    failed = await twice(invoice.open, again)
    assert failed.first_failure_at is not None
    await twice(invoice.note, Notice(owed, 2, "card_declined", NEXT))

    later = await twice(invoice.open, again)

    assert (later.step, later.first_failure_at) == (2, NEXT - timedelta(days=5))
    assert later.last is not None
    assert later.last.gateway_code == "card_declined"


@pytest.mark.parametrize("overdue", [False, True])
async def test_a_step_is_noted_and_told_once(
    database: Database, dunning: Dunning, twice: Twice, overdue: bool
) -> None:
    owed = await dunning.issue()

    notice = Notice(owed, 1, "card_declined", NEXT, overdue)
    await twice(InvoiceActivities(database).note, notice)

    row = await dunning.row(owed)
    assert (row.retries, row.next_attempt_at) == (1, NEXT)
    assert await dunning.told(owed) == ["billing.overdue.notice"] * overdue


async def test_an_invoice_becomes_overdue_once(
    database: Database, dunning: Dunning, twice: Twice
) -> None:
    owed = await dunning.issue()

    await twice(InvoiceActivities(database).overdue, owed)

    assert (await dunning.row(owed)).status == "OVERDUE"
    assert await dunning.told(owed) == ["billing.invoice.overdue"]


@pytest.mark.parametrize(
    ("status", "topics"),
    [
        (InvoiceStatus.PAID, ["billing.invoice.paid"]),
        (InvoiceStatus.WRITTEN_OFF, []),
        (InvoiceStatus.CANCELLED, []),
    ],
)
async def test_an_invoice_is_closed_once(
    database: Database, dunning: Dunning, twice: Twice, status: InvoiceStatus, topics: list[str]
) -> None:
    owed = await dunning.issue()

    closed = ClosedInvoice(owed, status, "why", "operator-1")
    closure = await twice(InvoiceActivities(database).close, closed)
    other = ClosedInvoice(owed, InvoiceStatus.PAID, "later", "operator-2")
    again = await twice(InvoiceActivities(database).close, other)

    assert (closure.status, again.status) == (status, status)
    assert await dunning.told(owed) == topics
    assert len((await dunning.row(owed)).decisions) == 1
    charge = InvoiceCharge(owed, new_id())
    refused = await twice(InvoiceActivities(database).open_payment, charge)
    assert (refused.payment, refused.failure) == (None, None)


async def test_what_is_given_up_is_told_once_and_can_still_be_paid(
    database: Database, dunning: Dunning, twice: Twice
) -> None:
    owed = await dunning.issue()
    gone = ClosedInvoice(owed, InvoiceStatus.UNCOLLECTIBLE, "payment-method-missing", "ladder")
    paid = ClosedInvoice(owed, InvoiceStatus.PAID, "by bank transfer", "operator-1")

    given_up = await twice(InvoiceActivities(database).close, gone)
    closed = await twice(InvoiceActivities(database).close, paid)

    assert (given_up.status, closed.status) == ("UNCOLLECTIBLE", "PAID")
    assert await dunning.told(owed) == ["billing.overdue.notice.DLT", "billing.invoice.paid"]
    letter = await dunning.buried(owed)
    assert letter is not None
    assert letter.failure_reason == "there was no card to charge: payment-method-missing"
    assert letter.state == "RESOLVED"


async def test_an_invoice_is_not_closed_while_a_payment_is_under_way(
    database: Database, dunning: Dunning, twice: Twice
) -> None:
    owed = await dunning.issue()
    live = await opened(database, owed, twice)

    closed = ClosedInvoice(owed, InvoiceStatus.PAID, "by bank transfer", "operator-1")
    closure = await twice(InvoiceActivities(database).close, closed)

    assert closure.payment == live
    assert (await dunning.row(owed)).status == "ISSUED"
    assert await dunning.booked_outside(owed) == []


async def test_how_a_payment_ended_is_known_once_it_has(
    database: Database, dunning: Dunning, twice: Twice
) -> None:
    owed = await dunning.issue()
    live = await opened(database, owed, twice)
    invoice = InvoiceActivities(database)
    assert await twice(invoice.payment_outcome, live.payment_id) is None

    await declined(database, live, "card_declined")

    ended = await twice(invoice.payment_outcome, live.payment_id)
    assert ended is not None
    assert (ended.status, ended.gateway_code) == (PaymentStatus.FAILED, "card_declined")
    assert (
        await twice(invoice.payment_outcome, replace(live, payment_id=new_id()).payment_id) is None
    )
