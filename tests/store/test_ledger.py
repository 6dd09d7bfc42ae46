"""The ledger only grows, and only in balance, whoever asks."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from dev import postgres
from domain.access import SYSTEM
from domain.ledger import Posting, Transaction, transfer
from runtime.settings import Settings
from store import ledger
from store.database import Database
from tests.support.databases import connected
from tests.support.samples import new_id


@pytest.fixture(scope="module")
async def superuser(settings: Settings) -> AsyncIterator[Database]:
    """As the superuser, in sessions that skip ordinary triggers."""
    url = settings.database_owner_url.replace(postgres.OWNER, postgres.SUPERUSER)
    async with connected(url, pool_size=2) as pool:
        yield pool


async def execute(
    database: Database, statement: str, *, replica: bool = False, **values: str
) -> None:
    async with database.begin(SYSTEM) as tx:
        if replica:
            await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(text(statement), values)


async def append(database: Database, payment_id: str, *moved: Posting) -> None:
    async with database.begin(SYSTEM) as tx:
        await ledger.append(tx, Transaction(f"test/{payment_id}", "test", moved, payment_id))


async def entries(database: Database, payment_id: str) -> list[tuple[str, str, int]]:
    async with database.engine.connect() as tx:
        rows = await ledger.of_payment(tx, payment_id)
    return [(row.account, row.unit, row.amount) for row in rows]


async def test_what_is_appended_is_read_back_in_order(database: Database) -> None:
    payment_id = new_id()
    moved = (*transfer("a", "b", "KRW", 300), *transfer("b", "c", "POINT", 7))

    await append(database, payment_id, *moved)

    assert await entries(database, payment_id) == [
        ("a", "KRW", -300),
        ("b", "KRW", 300),
        ("b", "POINT", -7),
        ("c", "POINT", 7),
    ]


async def test_several_transactions_go_in_with_one_statement(database: Database) -> None:
    payment_id = new_id()
    both = [
        Transaction(f"{payment_id}/{name}", name, transfer("a", name, "KRW", amount), payment_id)
        for name, amount in [("first", 1), ("second", 2)]
    ]

    async with database.begin(SYSTEM) as tx:
        await ledger.append(tx, *both)

    async with database.engine.connect() as tx:
        rows = await ledger.of_payment(tx, payment_id)
    assert [(row.kind, row.amount) for row in rows] == [
        ("first", -1),
        ("first", 1),
        ("second", -2),
        ("second", 2),
    ]


async def test_a_business_fact_is_booked_once(database: Database) -> None:
    payment_id = new_id()
    await append(database, payment_id, *transfer("a", "b", "KRW", 300))

    with pytest.raises(IntegrityError, match="uq_ledger_transactions_key"):
        await append(database, payment_id, *transfer("a", "b", "KRW", 300))

    assert len(await entries(database, payment_id)) == 2


CHANGES = [
    "UPDATE postings SET amount = amount + 1",
    "UPDATE postings SET account = 'mine' WHERE amount > 0",
    "DELETE FROM postings",
    "TRUNCATE postings",
    "UPDATE ledger_transactions SET kind = 'other'",
    "DELETE FROM ledger_transactions",
    "TRUNCATE ledger_transactions CASCADE",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_the_application_may_not_change_what_is_written(
    database: Database, change: str
) -> None:
    await append(database, new_id(), *transfer("a", "b", "KRW", 300))

    with pytest.raises(DBAPIError, match="permission denied"):
        await execute(database, change)


@pytest.mark.parametrize("change", CHANGES)
async def test_the_owner_and_the_superuser_are_refused_too(
    owner: Database, superuser: Database, database: Database, change: str
) -> None:
    payment_id = new_id()
    await append(database, payment_id, *transfer("a", "b", "KRW", 300))

    with pytest.raises(DBAPIError, match="the ledger is append-only"):
        await execute(owner, change)
    with pytest.raises(DBAPIError, match="the ledger is append-only"):
        await execute(superuser, change, replica=True)

    assert await entries(database, payment_id) == [("a", "KRW", -300), ("b", "KRW", 300)]


@pytest.mark.parametrize(
    "lines",
    [
        "('a', 'KRW', 1)",
        "('a', 'KRW', 100), ('b', 'KRW', -99)",
        "('a', 'KRW', 100), ('b', 'USD', -100)",
        "('a', 'KRW', 1), ('b', 'KRW', -1), ('a', 'USD', 1)",
    ],
)
@pytest.mark.parametrize("role", ["application", "superuser"])
async def test_a_statement_out_of_balance_is_refused(
    database: Database, superuser: Database, role: str, lines: str
) -> None:
    payment_id = new_id()
    statement = """
        WITH entry AS (
            INSERT INTO ledger_transactions (key, kind, payment_id)
            VALUES (:key, 'test', CAST(:payment_id AS uuid)) RETURNING id
        )
        INSERT INTO postings (transaction_id, account, unit, amount)
        SELECT entry.id, line.* FROM entry, (VALUES LINES) AS line
    """.replace("LINES", lines)
    by_force = role == "superuser"

    with pytest.raises(DBAPIError, match="does not sum to zero"):
        await execute(
            superuser if by_force else database,
            statement,
            replica=by_force,
            key=new_id(),
            payment_id=payment_id,
        )

    assert await entries(database, payment_id) == []


async def test_two_wrong_transactions_do_not_balance_each_other(database: Database) -> None:
    statement = """
        WITH entry AS (
            INSERT INTO ledger_transactions (key, kind)
            VALUES (:first, 'test'), (:second, 'test') RETURNING id, key
        )
        INSERT INTO postings (transaction_id, account, unit, amount)
        SELECT id, 'a', 'KRW', CASE key WHEN :first THEN 5 ELSE -5 END FROM entry
    """

    with pytest.raises(DBAPIError, match="does not sum to zero"):
        await execute(database, statement, first=new_id(), second=new_id())


BALANCED = """
    INSERT INTO postings (transaction_id, account, unit, amount)
    SELECT id, line.* FROM ledger_transactions,
        (VALUES ('a', 'KRW', 1), ('b', 'KRW', -1)) AS line
    WHERE key = :key
"""
ALONE = "INSERT INTO ledger_transactions (key, kind) VALUES (:key, 'test')"


@pytest.mark.parametrize("role", ["application", "superuser"])
async def test_nothing_is_added_to_a_transaction_that_was_written_before(
    database: Database, superuser: Database, role: str
) -> None:
    """Not even in balance: what was read of it once is all of it."""
    payment_id, by_force = new_id(), role == "superuser"
    await append(database, payment_id, *transfer("a", "b", "KRW", 300))

    with pytest.raises(DBAPIError, match="was written before"):
        await execute(
            superuser if by_force else database,
            BALANCED,
            replica=by_force,
            key=f"test/{payment_id}",
        )

    assert await entries(database, payment_id) == [("a", "KRW", -300), ("b", "KRW", 300)]


@pytest.mark.parametrize("role", ["application", "superuser"])
async def test_a_transaction_without_postings_is_refused(
    database: Database, superuser: Database, role: str
) -> None:
    by_force = role == "superuser"

    with pytest.raises(DBAPIError, match="has no postings"):
        await execute(superuser if by_force else database, ALONE, replica=by_force, key=new_id())


async def test_postings_that_come_by_a_later_statement_are_too_late(database: Database) -> None:
    async def write() -> None:
        async with database.begin(SYSTEM) as tx:
            key = {"key": new_id()}
            await tx.execute(text(ALONE), key)
            await tx.execute(text(BALANCED), key)

    with pytest.raises(DBAPIError, match="has no postings"):
        await write()


async def test_a_savepoint_is_no_transaction_of_its_own(database: Database) -> None:
    kept, given_up = new_id(), new_id()
    moved = transfer("a", "b", "KRW", 300)

    async with database.begin(SYSTEM) as tx:
        async with tx.begin_nested():
            await ledger.append(tx, Transaction(f"test/{kept}", "test", moved, kept))
        savepoint = await tx.begin_nested()
        await ledger.append(tx, Transaction(f"test/{given_up}", "test", moved, given_up))
        await savepoint.rollback()

    assert len(await entries(database, kept)) == 2
    assert await entries(database, given_up) == []


async def test_a_posting_of_zero_is_refused(database: Database) -> None:
    statement = """
        WITH entry AS (
            INSERT INTO ledger_transactions (key, kind) VALUES (:key, 'test') RETURNING id
        )
        INSERT INTO postings (transaction_id, account, unit, amount)
        SELECT id, 'a', 'KRW', 0 FROM entry
    """

    with pytest.raises(IntegrityError, match="ck_postings_amount"):
        await execute(database, statement, key=new_id())


async def test_all_accounts_together_sum_to_zero(database: Database) -> None:
    account = f"test:{new_id()}"
    await append(database, new_id(), *transfer("sales", account, "KRW", 10**12))

    async with database.engine.connect() as tx:
        sums = await ledger.balances(tx)

    totals: dict[str, int] = {}
    for (_, unit), amount in sums.items():
        totals[unit] = totals.get(unit, 0) + amount
    assert not any(totals.values())
    assert [amount for (name, _), amount in sums.items() if name == account] == [10**12]
