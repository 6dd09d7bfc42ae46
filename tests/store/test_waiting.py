"""What waits for a PG, as the rows say it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import text

from domain.access import SYSTEM
from domain.gateway import Operation
from domain.gateway_health import Kind, Queue, Waiting
from domain.payment import PaymentRequest, PaymentStatus, Watch
from domain.refund import RefundRequest, RefundStatus
from store import payment as payments
from store import refund as refunds
from store import waiting, watch
from store.database import Database
from tests.store.test_payment import FAILED, create, end
from tests.support.samples import a_payment, a_refund

TOMORROW = datetime.now(UTC) + timedelta(days=1)


async def paid_by(database: Database, gateway: str, *parts: int) -> PaymentRequest:
    return await create(database, replace(a_payment(*parts), gateway=gateway))


async def marked(database: Database, payment: PaymentRequest, status: PaymentStatus) -> None:
    async with database.begin(SYSTEM) as tx:
        assert await payments.mark(tx, payment.payment_id, status)


async def given_back(
    database: Database, payment: PaymentRequest, status: RefundStatus
) -> RefundRequest:
    refund = a_refund(payment, 10, 0)
    async with database.begin(SYSTEM) as tx:
        assert await refunds.create(tx, refund)
        assert await refunds.mark(tx, refund.refund_id, status)
    return refund


async def found(database: Database, gateway: str) -> tuple[Queue, list[Waiting]]:
    async with database.read(SYSTEM) as tx:
        queue = (await waiting.queues(tx)).get(gateway, Queue())
        page = await waiting.page(tx, gateway, None, 100)
        assert sorted(await waiting.some(tx, gateway, 100), key=str) == sorted(page, key=str)
        first = await waiting.page(tx, gateway, None, 1)
        rest = await waiting.page(tx, gateway, first[0].id, 100) if first else []
    assert [*first, *rest] == page
    return queue, page


async def test_what_is_not_known_waits_and_what_only_a_person_decides_does_not(
    database: Database,
) -> None:
    name = f"pg-{uuid4().hex}"
    unknown = await paid_by(database, name, 0, 10)
    await marked(database, unknown, PaymentStatus.UNKNOWN)
    await marked(database, await paid_by(database, name, 0, 10), PaymentStatus.NEEDS_REVIEW)
    await marked(database, await paid_by(database, name, 10, 0), PaymentStatus.UNKNOWN)
    await end(database, completed := await paid_by(database, name, 0, 10), PaymentStatus.COMPLETED)
    await end(database, failed := await paid_by(database, name, 0, 10), FAILED)
    refund = await given_back(database, completed, RefundStatus.UNKNOWN)
    await given_back(database, completed, RefundStatus.NEEDS_REVIEW)
    async with database.begin(SYSTEM) as tx:
        await watch.begin(tx, failed.payment_id, Watch(Operation.CHARGE, TOMORROW))

    queue, page = await found(database, name)

    assert (queue.payments, queue.refunds, queue.watches) == (1, 1, 1)
    async with database.read(SYSTEM) as tx:
        row = await payments.find(tx, unknown.payment_id)
    assert row is not None
    assert queue.since == row.created_at
    assert page == [
        Waiting(Kind.PAYMENT, unknown.payment_id),
        Waiting(Kind.WATCH, failed.payment_id),
        Waiting(Kind.REFUND, refund.refund_id),
    ]
    async with database.begin(SYSTEM) as tx:
        await watch.end(tx, failed.payment_id)
    assert (await found(database, name))[0].watches == 0


async def test_what_has_just_begun_does_not_wait_yet(database: Database, owner: Database) -> None:
    name = f"pg-{uuid4().hex}"
    pending = await paid_by(database, name, 0, 10)
    assert await found(database, name) == (Queue(), [])

    older = text("UPDATE payments SET created_at = now() - interval '6 seconds' WHERE id = :id")
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(older, {"id": pending.payment_id})

    queue, page = await found(database, name)
    assert queue.payments == 1
    assert page == [Waiting(Kind.PAYMENT, pending.payment_id)]
