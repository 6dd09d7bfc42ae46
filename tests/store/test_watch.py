"""What is watched stands in a row, so that whoever watches can be replaced."""

from datetime import UTC, datetime, timedelta

from domain.access import SYSTEM
from domain.gateway import Operation
from domain.payment import Watch
from store import payment as payments
from store import watch
from store.database import Database
from tests.store.test_payment import FAILED, create, end
from tests.support.samples import a_payment

TOMORROW = datetime.now(UTC) + timedelta(days=1)


async def test_a_watched_payment_is_found_until_its_watch_ends(database: Database) -> None:
    payment = await create(database, a_payment(card_amount=10))
    await end(database, payment, FAILED)
    begun = Watch(Operation.CHARGE, TOMORROW)
    async with database.begin(SYSTEM) as tx:
        await watch.begin(tx, payment.payment_id, begun)
        await watch.begin(tx, payment.payment_id, Watch(Operation.CAPTURE, TOMORROW))
        assert await watch.of(tx, payment.payment_id) == begun

    async def found() -> bool:
        async with database.engine.connect() as tx:
            rows = await payments.watched(tx, TOMORROW, None, 10_000)
        return payment.payment_id in {row.id for row in rows}

    assert await found()
    async with database.begin(SYSTEM) as tx:
        before = await watch.count_open(tx)
        await watch.end(tx, payment.payment_id)
        await watch.end(tx, payment.payment_id)
        assert await watch.of(tx, payment.payment_id) is None
        assert await watch.count_open(tx) == before - 1
    assert not await found()
