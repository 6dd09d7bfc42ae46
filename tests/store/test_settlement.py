"""What a month came to: the last word about each customer counts."""

from uuid import uuid4

from sqlalchemy import Integer, column, select, text, update

from domain.access import SYSTEM
from domain.settlement import EndedSettlement, SettlementRequest, SettlementStatus
from store import clock, customer, settlement, usage
from store.database import Database, Transaction
from store.tables import usage_events
from tests.support.samples import new_customer, new_period
from tests.support.usage import event


async def tell(database: Database, period: str, who: str, status: SettlementStatus) -> None:
    reason = "no price" if status is SettlementStatus.FAILED else None
    async with database.begin(SYSTEM) as tx:
        await settlement.record(tx, EndedSettlement(SettlementRequest(who, period), status, reason))


async def test_the_last_word_counts(database: Database) -> None:
    period, who = new_period(), new_customer()
    await tell(database, period, who, SettlementStatus.FAILED)
    async with database.engine.connect() as tx:
        assert [row.reason for row in await settlement.unsettled(tx, period)] == ["no price"]
        assert await settlement.counts(tx, period) == {"FAILED": 1}

    await tell(database, period, who, SettlementStatus.SETTLED)

    async with database.engine.connect() as tx:
        assert await settlement.unsettled(tx, period) == []
        assert await settlement.counts(tx, period) == {"SETTLED": 1}
        row = await settlement.find(tx, period, who)
    assert row is not None
    assert (row.status, row.reason) == ("SETTLED", None)


async def test_whoever_has_ended_since_the_run_began_is_not_left_behind(
    database: Database,
) -> None:
    period, early, late, never = new_period(), new_customer(), new_customer(), new_customer()
    await tell(database, period, early, SettlementStatus.FAILED)
    async with database.begin(SYSTEM) as tx:
        began = await clock.now(tx)
    await tell(database, period, late, SettlementStatus.SETTLED)

    async with database.begin(SYSTEM) as tx:
        await settlement.leave_behind(tx, period, [early, late, never], "slow", began)

    async with database.engine.connect() as tx:
        assert await settlement.counts(tx, period) == {"RUNNING": 2, "SETTLED": 1}
        left = {row.customer_id: row.reason for row in await settlement.unsettled(tx, period)}
    assert left == {early: "slow", never: "slow"}


async def rows_read(tx: Transaction, table: int) -> int:
    """Up to now. PostgreSQL counts for the session, up to a second back, not the transaction."""
    counted = text(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = :t"
    )
    return int(await tx.scalar(counted, {"t": table}) or 0)


async def test_a_page_of_customers_reads_the_usage_of_those_on_it_only(
    database: Database, owner: Database
) -> None:
    """However much usage everybody else has that is not billed yet."""
    everybody, batch = 400, uuid4().hex
    names = [f"c-{batch}-{number:04}" for number in range(everybody)]
    async with database.begin(SYSTEM) as tx:
        for name in names:
            await customer.put(tx, name)
        await usage.ingest(tx, [event(name) for name in names for _ in range(10)])
    async with owner.begin(SYSTEM) as tx:
        await tx.execute(text("ANALYZE usage_events"))

    async with database.begin(SYSTEM) as tx:
        # Of the partition that holds these events: small ones may be read whole, as is cheapest.
        one = select(column("tableoid", Integer)).where(usage_events.c.customer_id == names[0])
        partition = (await tx.execute(one.limit(1))).scalar_one()
        before = await rows_read(tx, partition)
        page = await settlement.customers_after(tx, names[9], 10)
        read = await rows_read(tx, partition) - before
        void = update(usage_events).where(usage_events.c.customer_id.in_(names))
        await tx.execute(void.values(void_reason="a test"))

    assert page == names[10:20]
    assert read <= 10 * len(page)


async def test_a_run_that_is_asked_for_again_keeps_its_beginning(database: Database) -> None:
    period = new_period()
    async with database.begin(SYSTEM) as tx:
        assert await settlement.run(tx, period) is None
        await settlement.announce_run(tx, period)
    async with database.begin(SYSTEM) as tx:
        await settlement.begin_run(tx, period)
    async with database.engine.connect() as tx:
        begun = await settlement.run(tx, period)

    async with database.begin(SYSTEM) as tx:
        await settlement.announce_run(tx, period)
        await settlement.end_run(tx, period)

    async with database.engine.connect() as tx:
        ended = await settlement.run(tx, period)
    assert begun is not None
    assert ended is not None
    assert ended.started_at == begun.started_at
    assert begun.finished_at is None
    assert ended.finished_at is not None


async def test_a_run_that_begins_again_is_not_over(database: Database) -> None:
    period = new_period()
    for end in (True, False):
        async with database.begin(SYSTEM) as tx:
            await settlement.begin_run(tx, period)
            if end:
                await settlement.end_run(tx, period)

    async with database.engine.connect() as tx:
        run = await settlement.run(tx, period)
    assert run is not None
    assert run.finished_at is None
