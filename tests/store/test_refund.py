"""Refunds: made once, ended once."""

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from domain.access import SYSTEM
from domain.payment import Method
from domain.refund import FINAL, FailedRefund, RefundRequest, RefundStatus, of_late_capture
from store import payment as payments
from store import refund as refunds
from store.database import Database
from tests.support.samples import a_payment, a_refund


async def a_stored_refund(database: Database) -> RefundRequest:
    payment = a_payment(300, 700)
    refund = a_refund(payment, 700, 300)
    async with database.begin(SYSTEM) as tx:
        await payments.create(tx, payment, Method.SPLIT)
        assert await refunds.create(tx, refund)
    return refund


async def end(database: Database, refund: RefundRequest, status: RefundStatus) -> bool:
    async with database.begin(SYSTEM) as tx:
        if status is RefundStatus.COMPLETED:
            return await refunds.complete(tx, refund.refund_id, "re_1")
        return await refunds.fail(tx, FailedRefund(refund, "declined", "No.", "refund_declined"))


async def test_a_late_capture_is_refunded_once_however_often_it_is_found(
    database: Database,
) -> None:
    payment = a_payment(0, 700)
    async with database.begin(SYSTEM) as tx:
        await payments.create(tx, payment, Method.CARD)

    async def find() -> bool:
        async with database.begin(SYSTEM) as tx:
            return await refunds.create(tx, of_late_capture(payment))

    found = await asyncio.gather(*(find() for _ in range(8)))

    assert found.count(True) == 1
    async with database.engine.connect() as tx:
        [row] = await refunds.of_payment(tx, payment.payment_id)
    assert (row.status, row.reason, row.card_amount) == ("PENDING", "LATE_CAPTURE", 700)


@pytest.mark.parametrize("final", sorted(FINAL))
async def test_a_final_status_is_never_left(database: Database, final: RefundStatus) -> None:
    refund = await a_stored_refund(database)
    assert await end(database, refund, final)

    for status in FINAL:
        assert not await end(database, refund, status)
    async with database.begin(SYSTEM) as tx:
        for status in set(RefundStatus) - FINAL:
            assert not await refunds.mark(tx, refund.refund_id, status, "late")
        row = await refunds.find(tx, refund.refund_id)
    assert row is not None
    assert (row.status, row.review_reason) == (final, None)


async def test_of_concurrent_ends_one_counts(database: Database) -> None:
    for _ in range(10):
        refund = await a_stored_refund(database)

        ends = await asyncio.gather(
            *(end(database, refund, status) for status in [*FINAL, *FINAL, *FINAL])
        )

        assert ends.count(True) == 1


@pytest.mark.parametrize(("card", "wallet"), [(0, 0), (-1, 2), (2, -1)])
async def test_a_refund_of_nothing_or_less_is_refused(
    database: Database, card: int, wallet: int
) -> None:
    payment = a_payment(300, 700)
    async with database.begin(SYSTEM) as tx:
        await payments.create(tx, payment, Method.SPLIT)

    with pytest.raises(IntegrityError, match="ck_refunds_amounts"):
        async with database.begin(SYSTEM) as tx:
            await refunds.create(tx, a_refund(payment, card, wallet))


async def test_a_refund_belongs_to_a_payment(database: Database) -> None:
    with pytest.raises(IntegrityError, match="fk_refunds_payment_id_payments"):
        async with database.begin(SYSTEM) as tx:
            await refunds.create(tx, a_refund(a_payment(0, 10), 10, 0))
