"""Payments: one live per payable, and a final status is never left."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from domain.access import SYSTEM
from domain.errors import HoldReleased
from domain.funding import Kind, Part, by_kind, worth
from domain.payment import FINAL, FailedPayment, Method, PayableType, PaymentRequest, PaymentStatus
from store import payment as payments
from store import tables
from store.database import Database
from tests.support.samples import a_payment, a_refund, new_id

FAILED, CANCELLED = PaymentStatus.FAILED, PaymentStatus.CANCELLED


async def create(database: Database, payment: PaymentRequest) -> PaymentRequest:
    async with database.begin(SYSTEM) as tx:
        await payments.create(tx, payment, Method.SPLIT)
    return payment


async def end(database: Database, payment: PaymentRequest, status: PaymentStatus) -> bool:
    async with database.begin(SYSTEM) as tx:
        if status is PaymentStatus.COMPLETED:
            return await payments.complete(tx, payment.payment_id, "pay_1", 0)
        return await payments.fail(tx, FailedPayment(payment, status, "declined", "No.", "lost"))


async def status_of(database: Database, payment: PaymentRequest) -> str:
    async with database.engine.connect() as tx:
        row = await payments.find(tx, payment.payment_id)
    assert row is not None
    return str(row.status)


async def test_of_16_concurrent_payments_of_an_order_one_is_made(database: Database) -> None:
    order_id = new_id()

    results = await asyncio.gather(
        *(create(database, a_payment(card_amount=10, payable_id=order_id)) for _ in range(16)),
        return_exceptions=True,
    )

    refused = [each for each in results if isinstance(each, IntegrityError)]
    assert len(refused) == 15
    assert all("uq_payments_live" in str(each) for each in refused)


@pytest.mark.parametrize("status", PaymentStatus)
async def test_an_order_may_be_paid_again_only_after_a_failure(
    database: Database, status: PaymentStatus
) -> None:
    first = await create(database, a_payment(card_amount=10))
    if status in FINAL:
        await end(database, first, status)
    else:
        async with database.begin(SYSTEM) as tx:
            await payments.mark(tx, first.payment_id, status)
    again = a_payment(card_amount=10, payable_id=first.payable_id)

    if status in (FAILED, CANCELLED):
        await create(database, again)
        async with database.engine.connect() as tx:
            rows = await payments.of_payable(tx, first.payable_id)
        assert [row.id for row in rows] == [first.payment_id, again.payment_id]
    else:
        with pytest.raises(IntegrityError, match="uq_payments_live"):
            await create(database, again)


async def test_an_order_and_a_top_up_are_different_things(database: Database) -> None:
    order = await create(database, a_payment(card_amount=10))

    top_up = PayableType.TOP_UP
    await create(
        database, a_payment(card_amount=10, payable_id=order.payable_id, payable_type=top_up)
    )


@pytest.mark.parametrize("final", sorted(FINAL))
async def test_a_final_status_is_never_left(database: Database, final: PaymentStatus) -> None:
    payment = await create(database, a_payment(100, 200))
    assert await end(database, payment, final)

    assert not await end(database, payment, final), "again is no change"
    for other in FINAL - {final}:
        with pytest.raises(HoldReleased, match=f"{final}, not {other}"):
            await end(database, payment, other)
    async with database.begin(SYSTEM) as tx:
        for status in set(PaymentStatus) - FINAL:
            assert not await payments.mark(tx, payment.payment_id, status, "late")
        assert not await payments.request_cancel(tx, payment.payment_id)
    assert await status_of(database, payment) == final


async def test_two_ends_at_once_are_one_end(database: Database) -> None:
    """A capture and a failure found at the same time: one stands, the other is told."""
    for _ in range(20):
        payment = await create(database, a_payment(card_amount=10))

        ends = await asyncio.gather(
            end(database, payment, PaymentStatus.COMPLETED),
            end(database, payment, FAILED),
            end(database, payment, PaymentStatus.COMPLETED),
            return_exceptions=True,
        )

        assert ends.count(True) == 1
        stands = await status_of(database, payment)
        refused = [each for each in ends if isinstance(each, HoldReleased)]
        assert len(refused) == (1 if stands == PaymentStatus.COMPLETED else 2)


async def test_the_end_of_a_payment_that_is_not_there_is_an_error(database: Database) -> None:
    with pytest.raises(RuntimeError, match="has no row"):
        await end(database, a_payment(card_amount=10), PaymentStatus.COMPLETED)


async def test_the_reason_of_a_review_ends_with_the_payment(database: Database) -> None:
    payment = await create(database, a_payment(card_amount=10))
    async with database.begin(SYSTEM) as tx:
        await payments.mark(tx, payment.payment_id, PaymentStatus.NEEDS_REVIEW, "undecided")

    await end(database, payment, FAILED)

    async with database.engine.connect() as tx:
        row = await payments.find(tx, payment.payment_id)
    assert row is not None
    assert (row.failure_code, row.gateway_code, row.review_reason) == ("declined", "lost", None)


async def test_the_first_request_to_cancel_is_the_one_that_is_noted(database: Database) -> None:
    payment = await create(database, a_payment(card_amount=10))
    noted = []
    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            assert await payments.request_cancel(tx, payment.payment_id)
        async with database.engine.connect() as tx:
            row = await payments.find(tx, payment.payment_id)
        assert row is not None
        noted.append(row.cancel_requested_at)

    assert noted[0] is not None
    assert noted[0] == noted[1]


async def test_nothing_of_an_open_or_failed_payment_can_be_refunded(database: Database) -> None:
    payment = await create(database, a_payment(100, 200))

    async def left() -> tuple[Part, ...]:
        async with database.begin(SYSTEM) as tx:
            locked = await payments.find_locked(tx, payment.payment_id)
        assert locked is not None
        return locked.refundable

    assert await left() == ()
    await end(database, payment, PaymentStatus.COMPLETED)
    assert by_kind(await left()) == {Kind.WALLET: 100, Kind.CARD: 200, Kind.POINTS: 0}


async def test_concurrent_refunds_reserve_no_more_than_the_capture(database: Database) -> None:
    payment = await create(database, a_payment(0, 1_000))
    await end(database, payment, PaymentStatus.COMPLETED)

    async def reserve() -> None:
        async with database.begin(SYSTEM) as tx:
            await payments.reserve_refund(tx, a_refund(payment, 300, 0))

    results = await asyncio.gather(*(reserve() for _ in range(8)), return_exceptions=True)

    refused = [each for each in results if each is not None]
    assert len(refused) == 5
    assert all("ck_payments_card_refunded" in str(each) for each in refused)


async def test_a_failed_refund_can_be_made_again(database: Database) -> None:
    payment = await create(database, a_payment(100, 200))
    await end(database, payment, PaymentStatus.COMPLETED)
    refund = a_refund(payment, 200, 100)

    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            await payments.reserve_refund(tx, refund)
        async with database.begin(SYSTEM) as tx:
            await payments.release_refund(tx, refund)
    async with database.begin(SYSTEM) as tx:
        locked = await payments.find_locked(tx, payment.payment_id)

    assert locked is not None
    assert worth(locked.refundable) == 300


async def test_no_more_is_refunded_than_was_reserved(database: Database) -> None:
    payment = await create(database, a_payment(100, 200))
    await end(database, payment, PaymentStatus.COMPLETED)
    async with database.begin(SYSTEM) as tx:
        await payments.reserve_refund(tx, a_refund(payment, 50, 0))

    with pytest.raises(IntegrityError, match="ck_payments_refunded_amount"):
        async with database.begin(SYSTEM) as tx:
            await payments.add_refunded(tx, a_refund(payment, 51, 0))


async def test_the_sweeper_sees_open_payments_page_by_page(database: Database) -> None:
    mine = [await create(database, a_payment(card_amount=10)) for _ in range(5)]
    await end(database, mine[2], FAILED)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    seen: list[str] = []
    after = None
    while True:
        async with database.engine.connect() as tx:
            page = await payments.open_since(tx, soon, after, limit=2)
        if not page:
            break
        seen += [row.id for row in page]
        after = seen[-1]

    assert len(seen) == len(set(seen))
    expected = {each.payment_id for each in mine} - {mine[2].payment_id}
    assert {each.payment_id for each in mine} & set(seen) == expected
    async with database.engine.connect() as tx:
        long_ago = datetime(2000, 1, 1, tzinfo=UTC)
        assert await payments.open_since(tx, long_ago, None, limit=2) == []


async def test_the_figures_for_operators(database: Database) -> None:
    payment = await create(database, a_payment(card_amount=10))
    async with database.begin(SYSTEM) as tx:
        await payments.mark(tx, payment.payment_id, PaymentStatus.UNKNOWN)

    async with database.engine.connect() as tx:
        counts = await payments.count_by_status(tx)
        of_open = await payments.count_open_by_status(tx)
        assert of_open == {status: counts[status] for status in counts.keys() - FINAL}
        assert of_open[PaymentStatus.UNKNOWN] >= 1
        assert await payments.oldest_unknown_age_seconds(tx) > 0
    await end(database, payment, FAILED)


async def test_what_a_person_is_asked_about_hides_nothing_that_is_being_found_out(
    database: Database, owner: Database
) -> None:
    """Its age would be that of all payments whose outcome is not known."""
    asked = await create(database, a_payment(card_amount=10))
    old = text(
        "UPDATE payments SET status = 'NEEDS_REVIEW', created_at = '2001-01-01' WHERE id = :id"
    )

    async with owner.begin(SYSTEM) as tx:
        await tx.execute(old, {"id": asked.payment_id})
        age = timedelta(seconds=await payments.oldest_unknown_age_seconds(tx))
        await tx.rollback()

    assert age < timedelta(days=365)
    await end(database, asked, FAILED)


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_the_database_keeps_a_final_status_whoever_asks(
    database: Database, owner: Database, status: PaymentStatus
) -> None:
    ended = await create(database, a_payment(card_amount=10))
    await end(database, ended, status)
    whose = update(tables.payments).where(tables.payments.c.id == ended.payment_id)

    for role in (database, owner):
        with pytest.raises(DBAPIError, match=f"is {status} for good"):
            async with role.begin(SYSTEM) as tx:
                await tx.execute(whose.values(status="PENDING"))

    assert await status_of(database, ended) == status
