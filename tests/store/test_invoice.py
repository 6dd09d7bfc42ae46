"""Invoices: numbers without gaps, one for a month, and no way back from closed."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import literal_column, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, NoResultFound

from domain.access import SYSTEM
from domain.invoice import CLOSED, GAVE_BACK, Invoice, InvoiceStatus, Wanted
from domain.period import Period
from domain.pricing_snapshot import LineKind, PricedLine
from store import clock, invoice
from store.database import Database, Transaction
from store.tables import invoice_numbers, invoices
from tests.support.databases import somebody_waits_for_a_row
from tests.support.invoices import draft
from tests.support.samples import new_customer, new_id

NEVER_ISSUED = {
    InvoiceStatus.DRAFT,
    InvoiceStatus.AWAITING_APPROVAL,
    InvoiceStatus.REJECTED,
    InvoiceStatus.SKIPPED,
}
DUE = datetime(2026, 7, 1, tzinfo=UTC)
DUE_IN = timedelta(days=14)
DECISION = {"at": "2026-06-02T00:00:00Z", "actor": "o", "decision": "x", "reason": "y"}


class Abandoned(Exception):
    """A transaction that does not commit."""


async def issued_in(tx: Transaction, invoice_id: str) -> tuple[Invoice, int]:
    return await invoice.issue(tx, invoice_id, DUE_IN, None)


async def issued(database: Database, invoice_id: str, rolled_back: bool = False) -> int | None:
    try:
        async with database.begin(SYSTEM) as tx:
            _, number = await issued_in(tx, invoice_id)
            if rolled_back:
                raise Abandoned
            return number
    except Abandoned:
        return None


async def found(database: Database, invoice_id: str) -> Invoice:
    async with database.engine.connect() as tx:
        row = await invoice.find(tx, invoice_id)
    assert row is not None
    return row


async def put_into(database: Database, invoice_id: str, status: InvoiceStatus) -> None:
    closed_at = None if status not in {*CLOSED, InvoiceStatus.REJECTED} else DUE
    async with database.begin(SYSTEM) as tx:
        changed = update(invoices).where(invoices.c.id == invoice_id)
        await tx.execute(changed.values(status=status.value, closed_at=closed_at))


async def test_numbers_have_no_gaps_whoever_is_quick_and_whoever_gives_up(
    database: Database,
) -> None:
    """Thirty at once, every third of which is rolled back after it had its number."""
    ids = [await draft(database) for _ in range(30)]
    [before] = [await issued(database, await draft(database))]
    assert before is not None

    given = await asyncio.gather(
        *[issued(database, each, rolled_back=place % 3 == 0) for place, each in enumerate(ids)]
    )

    numbers = sorted(number for number in given if number is not None)
    assert numbers == list(range(before + 1, before + 21))


async def test_dates_rise_with_numbers_whoever_has_begun_first(database: Database) -> None:
    """200 at once, and ten whose transactions began in the other order."""
    ids = [await draft(database) for _ in range(210)]
    reverse, at_once = ids[:10], ids[10:]
    async with AsyncExitStack() as stack:
        begun = [await stack.enter_async_context(database.engine.connect()) for _ in reverse]
        for tx in begun:
            await clock.now(tx)
        for tx, id_ in zip(reversed(begun), reverse, strict=True):
            await issued_in(tx, id_)
            await tx.commit()
    await asyncio.gather(*[issued(database, each) for each in at_once])

    async with database.engine.connect() as tx:
        query = select(invoices).where(invoices.c.id.in_(ids)).order_by(invoices.c.number)
        rows = (await tx.execute(query)).all()
    dates = [row.issued_at for row in rows]
    assert dates == sorted(dates)
    assert [row.due_at for row in rows] == [each + DUE_IN for each in dates]


async def test_a_clock_that_is_put_back_puts_no_date_back(database: Database) -> None:
    one = await draft(database)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    async with database.engine.connect() as tx:
        await issued_in(tx, await draft(database))
        await tx.execute(update(invoice_numbers).values(last_at=ahead))

        row, _ = await issued_in(tx, one)

        assert row.issued_at == ahead
        await tx.rollback()


async def test_an_invoice_keeps_its_number(database: Database) -> None:
    one = await draft(database)

    numbers = await asyncio.gather(*[issued(database, one) for _ in range(10)])

    assert len(set(numbers)) == 1
    following = await issued(database, await draft(database))
    assert following == (numbers[0] or 0) + 1


async def test_a_customer_has_one_invoice_for_a_month(database: Database) -> None:
    """Ten settlements at once make one draft; a rejected one makes room."""
    who = new_customer()

    async def make() -> str | None:
        invoice_id = new_id()
        try:
            async with database.begin(SYSTEM) as tx:
                await invoice.create_draft(tx, invoice_id, who, "2026-05", "KRW", "w", "r")
        except IntegrityError:
            return None
        return invoice_id

    made = [each for each in await asyncio.gather(*[make() for _ in range(10)]) if each]
    assert len(made) == 1
    await put_into(database, made[0], InvoiceStatus.REJECTED)
    second = await make()

    assert second is not None
    assert await make() is None
    async with database.engine.connect() as tx:
        current = await invoice.of_month(tx, who, "2026-05")
    assert current is not None
    assert current.id == second


@pytest.mark.parametrize("status", [*sorted(CLOSED), InvoiceStatus.REJECTED])
async def test_closed_is_never_left(database: Database, status: InvoiceStatus) -> None:
    closed = await draft(database)
    if status is not InvoiceStatus.REJECTED:
        await issued(database, closed)
    await put_into(database, closed, status)
    before = await found(database, closed)

    async with database.begin(SYSTEM) as tx:
        for other in sorted(CLOSED):
            assert not await invoice.close(tx, closed, other, DECISION)
        assert not await invoice.reject(tx, closed, DECISION)
        assert not await invoice.mark_overdue(tx, closed)
        if status is not InvoiceStatus.REJECTED:
            await invoice.issue(tx, closed, DUE_IN, DECISION)

    assert await found(database, closed) == before


async def test_a_rejected_draft_is_not_issued(database: Database) -> None:
    rejected = await draft(database)
    await put_into(database, rejected, InvoiceStatus.REJECTED)

    with pytest.raises(NoResultFound):
        await issued(database, rejected)

    assert (await found(database, rejected)).number is None


async def test_what_is_issued_is_not_rejected(database: Database) -> None:
    """An approval and a rejection that meet: one of them comes first, and stays."""
    one = await draft(database)
    await issued(database, one)

    async with database.begin(SYSTEM) as tx:
        assert not await invoice.reject(tx, one, DECISION)

    assert (await found(database, one)).status == "ISSUED"


async def test_a_draft_cannot_be_closed(database: Database) -> None:
    one = await draft(database)

    async with database.begin(SYSTEM) as tx:
        assert not await invoice.close(tx, one, InvoiceStatus.PAID)

    assert (await found(database, one)).status == "DRAFT"


async def test_it_is_overdue_once(database: Database) -> None:
    one = await draft(database)
    await issued(database, one)

    marked = []
    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            marked.append(await invoice.mark_overdue(tx, one))

    assert marked == [True, False]
    async with database.begin(SYSTEM) as tx:
        assert await invoice.close(tx, one, InvoiceStatus.WRITTEN_OFF, DECISION)
    assert (await found(database, one)).decisions == (DECISION,)


async def test_pages_and_crawls_show_the_same_rows(database: Database) -> None:
    who = new_customer()
    ids = [await draft(database, who) for _ in range(5)]
    async with database.engine.connect() as tx:
        _, first, seen = await invoice.crawl(tx, Wanted(who), None, None, 2)
        rows = [row.invoice for row in first]
        place = (rows[-1].created_at, rows[-1].id)
        _, following, _ = await invoice.crawl(tx, Wanted(who), place, seen, 10)
        more = [row.invoice for row in following]
        newest = await invoice.page(tx, who, 0, 10)

    whole = (*rows, *more)
    assert [row.id for row in whole] == ids == [row.invoice.id for row in newest][::-1]


@pytest.mark.parametrize("status", list(InvoiceStatus))
async def test_what_is_owed_or_was_stays_billed_and_what_was_given_back_does_not(
    database: Database, status: InvoiceStatus
) -> None:
    who, month = new_customer(), Period(2026, 5)
    fee = PricedLine(LineKind.FLAT_FEE, None, month, Decimal(1), 500, ())
    async with database.begin(SYSTEM) as tx:
        id_ = new_id()
        await invoice.create_draft(tx, id_, who, str(month), "KRW", "w", "r")
        await invoice.fill_draft(tx, id_, "r", "KRW", 500, {}, [], [fee])
        if status not in NEVER_ISSUED:
            await issued_in(tx, id_)
    await put_into(database, id_, status)

    async with database.engine.connect() as tx:
        billed = await invoice.billed(tx, who, str(month))
        of_month = await invoice.of_month(tx, who, str(month))

    drafts = {InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL}
    assert bool(billed) is (status not in GAVE_BACK | drafts)
    assert (of_month is None) is (status in GAVE_BACK)


async def test_nothing_was_billed_of_a_month_that_nobody_knows(database: Database) -> None:
    async with database.engine.connect() as tx:
        assert await invoice.billed(tx, f"c-{uuid4().hex}", "2026-05") == []


CHANGED = {
    "number": "number + 1000000",
    "customer_id": "'somebody else'",
    "period": "'2026-04'",
    "currency": "'USD'",
    "total": "total + 1",
    "snapshot": """'{"other": 1}'""",
    "checks": "'[1]'",
    "workflow_id": "'another'",
    "run_id": "'another'",
    "issued_at": "issued_at - interval '1 day'",
    "due_at": "due_at + interval '1 day'",
    "created_at": "created_at - interval '1 day'",
    "status": "'DRAFT'",
    "decisions": "'[]'",
}
"""What an invoice that was issued must keep, and what it might be changed to."""


@pytest.mark.parametrize("column", CHANGED)
async def test_what_was_issued_stays_whoever_asks(
    database: Database, owner: Database, column: str
) -> None:
    one = await draft(database, total=1000)
    async with database.begin(SYSTEM) as tx:
        await invoice.issue(tx, one, DUE_IN, DECISION)
    before = await found(database, one)
    change = update(invoices).where(invoices.c.id == one)
    values: dict[str, Any] = {column: literal_column(CHANGED[column])}

    for role in (database, owner):
        with pytest.raises(DBAPIError, match=r"was issued and stays|permission denied"):
            async with role.begin(SYSTEM) as tx:
                await tx.execute(change.values(**values))

    assert await found(database, one) == before


async def test_a_draft_may_be_written_anew(database: Database) -> None:
    one = await draft(database, total=1000)

    async with database.begin(SYSTEM) as tx:
        await invoice.empty_draft(tx, one)
        await invoice.fill_draft(tx, one, "another run", "USD", 7, {"other": 1}, [], [])

    row = await found(database, one)
    assert (row.total, row.currency, row.run_id) == (7, "USD", "another run")


@pytest.mark.parametrize("status", ["ISSUED", "PAID", "REJECTED", "AWAITING_APPROVAL"])
async def test_only_a_draft_gets_and_loses_lines(
    database: Database, owner: Database, status: str
) -> None:
    one = await draft(database)
    line = PricedLine(LineKind.USAGE, "API_CALL", Period(2026, 5), Decimal(1), 5, ())
    async with database.begin(SYSTEM) as tx:
        await invoice.fill_draft(tx, one, "-", "KRW", 5, {}, [], [line])
    if status in ("ISSUED", "PAID"):
        await issued(database, one)
    await put_into(database, one, InvoiceStatus(status))

    for role in (database, owner):
        for change in (
            "DELETE FROM invoice_lines WHERE invoice_id = :id",
            "UPDATE invoice_lines SET amount = 6 WHERE invoice_id = :id",
            "INSERT INTO invoice_lines SELECT invoice_id, 2, kind, resource_type, period, quantity,"
            " amount, steps FROM invoice_lines WHERE invoice_id = :id",
            "INSERT INTO aggregated_usage VALUES (:id, 'A', '2026-05', 1, 1, now(), now(), '')",
        ):
            with pytest.raises(DBAPIError, match=r"refused: the invoice is|permission denied"):
                async with role.begin(SYSTEM) as tx:
                    await tx.execute(text(change), {"id": one})

    async with database.engine.connect() as tx:
        [kept] = await invoice.lines(tx, one)
    assert kept.amount == 5


async def test_a_line_that_comes_while_the_invoice_is_issued_waits_and_is_refused(
    database: Database,
) -> None:
    one = await draft(database)
    line = PricedLine(LineKind.USAGE, "API_CALL", Period(2026, 5), Decimal(1), 5, ())

    async def late() -> None:
        async with database.begin(SYSTEM) as tx:
            await invoice.fill_draft(tx, one, "-", "KRW", 5, {}, [], [line])

    async with database.begin(SYSTEM) as tx:
        await invoice.issue(tx, one, DUE_IN, None)
        adding = asyncio.create_task(late())
        await somebody_waits_for_a_row(database)

    with pytest.raises(DBAPIError, match="the invoice is ISSUED"):
        await adding


@pytest.mark.parametrize("status", sorted(CLOSED))
async def test_a_closed_invoice_is_not_opened_again_by_anybody(
    database: Database, owner: Database, status: InvoiceStatus
) -> None:
    closed = await draft(database)
    await issued(database, closed)
    await put_into(database, closed, status)

    whose = update(invoices).where(invoices.c.id == closed)

    for role in (database, owner):
        with pytest.raises(DBAPIError, match=f"is {status} for good"):
            async with role.begin(SYSTEM) as tx:
                await tx.execute(whose.values(status="ISSUED", closed_at=None))
