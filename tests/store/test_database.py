"""Connections: whoever stops in the middle of a transaction keeps nobody else waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Select, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from domain.access import SYSTEM
from runtime.settings import Settings
from store.database import ERRORS, Database, Transaction, refuses_values
from store.tables import inbox, outbox, sku_rankings
from tests.support.cables import starting_up
from tests.support.databases import connected, database_of_its_own, execute, named
from tests.support.samples import new_id

LOCK = select(func.pg_advisory_xact_lock(20_261_120))


async def test_the_locks_of_a_frozen_process_are_free_again_soon(database: Database) -> None:
    async with database.engine.connect() as frozen:
        await frozen.execute(LOCK)

        async with database.begin(SYSTEM) as tx:
            # Waits for the lock; a statement of ours may wait 10 s.
            await tx.execute(LOCK)

        with pytest.raises(DBAPIError):
            await frozen.execute(select(1))


async def test_a_temporary_table_stands_in_for_none_of_ours(settings: Settings) -> None:
    """Whoever has the application's role may make one where the database lets everybody."""
    name = f"shadowed_{new_id().replace('-', '')}"
    owner_url, url = (
        named(each, name) for each in (settings.database_owner_url, settings.database_url)
    )
    async with database_of_its_own(settings.database_owner_url, name):
        await execute(owner_url, "CREATE TABLE postings (amount bigint)")
        await execute(owner_url, "GRANT SELECT ON postings TO billing_app")
        await execute(owner_url, f"GRANT TEMPORARY ON DATABASE {name} TO billing_app")
        async with connected(url) as application, application.begin(SYSTEM) as tx:
            await tx.execute(text("CREATE TEMPORARY TABLE postings AS SELECT 1000 AS amount"))

            assert await tx.scalar(text("SELECT count(*) FROM pg_temp.postings")) == 1
            assert await tx.scalar(text("SELECT count(*) FROM postings")) == 0


async def test_a_statement_takes_no_longer_than_it_may(settings: Settings) -> None:
    async with (
        connected(settings.database_url, statement_seconds=1) as impatient,
        impatient.engine.connect() as tx,
    ):
        with pytest.raises(TimeoutError):
            await tx.execute(select(func.pg_sleep(3600)))


async def test_whoever_only_reads_sees_one_moment_and_cannot_write(settings: Settings) -> None:
    """Nor does a connection that was used so remember it."""
    isolation = text("SELECT current_setting('transaction_isolation')")
    write = text("INSERT INTO invoice_numbers VALUES ('test', 1, now()) ON CONFLICT DO NOTHING")
    async with connected(settings.database_url) as single:
        for _ in range(2):
            async with single.read(SYSTEM) as tx:
                assert await tx.scalar(isolation) == "repeatable read"
                with pytest.raises(DBAPIError, match="read-only transaction"):
                    await tx.execute(write)
            async with single.engine.connect() as tx:
                assert await tx.scalar(isolation) == "read committed"
                await tx.execute(write)


@pytest.mark.parametrize(
    "row",
    [
        {"sku": "a NUL \0"},
        {"sku": "half of a character \ud800"},
        {"quantity": 2**63},
        {"quantity": "many"},
        {"quantity": float("nan")},
        {"quantity": None},
        {"sku": "".join(str(number) for number in range(9_000))},
    ],
    ids=["NUL", "surrogate", "bigint", "type", "NaN", "NULL", "index"],
)
async def test_what_is_wrong_with_a_value_is_known_as_that(
    database: Database, row: dict[str, object]
) -> None:
    wrong = insert(sku_rankings).values({"sku": new_id(), "orders": 1, "quantity": 1, **row})
    with pytest.raises(ERRORS) as caught:
        async with database.begin(SYSTEM) as tx:
            await tx.execute(wrong)

    assert refuses_values(caught.value)


async def test_so_is_a_value_that_the_driver_cannot_send(database: Database) -> None:
    async with database.engine.connect() as tx:
        with pytest.raises(ERRORS) as caught:
            await tx.execute(insert(outbox).values(data={"a set": {1}}))

    assert refuses_values(caught.value)


async def test_so_is_a_second_row_of_one_key(database: Database) -> None:
    row = {"consumer": "test", "event_id": new_id()}
    with pytest.raises(ERRORS) as caught:
        async with database.begin(SYSTEM) as tx:
            await tx.execute(insert(inbox).values([row, row]))

    assert refuses_values(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM a_table_that_comes_with_the_next_migration",
        "DELETE FROM payments",
        "SET TRANSACTION READ ONLY; INSERT INTO inbox VALUES ('test', gen_random_uuid())",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)",
        "SET LOCAL lock_timeout = 1; LOCK TABLE inbox",
    ],
    ids=["table", "right", "read-only", "terminated", "too slow", "lock"],
)
async def test_what_is_wrong_with_the_database_says_nothing_of_the_values(
    database: Database, statement: str
) -> None:
    async with database.engine.connect() as holder, database.engine.connect() as tx:
        await holder.execute(text("LOCK TABLE inbox IN ROW EXCLUSIVE MODE"))
        with pytest.raises(ERRORS) as caught:
            await execute_all(tx, statement)
        assert not refuses_values(caught.value)
        await tx.invalidate()


async def execute_all(tx: Transaction, statements: str) -> None:
    for each in statements.split(";"):
        await tx.execute(text(each))


async def test_nor_does_a_deadlock(database: Database) -> None:
    first, second = (select(func.pg_advisory_xact_lock(number)) for number in (1_117, 1_118))
    both = asyncio.Barrier(2)

    async def meet(*locks: Select[Any]) -> None:
        async with database.begin(SYSTEM) as tx:
            await tx.execute(locks[0])
            await both.wait()
            await tx.execute(locks[1])

    results = await asyncio.gather(meet(first, second), meet(second, first), return_exceptions=True)

    [lost] = [each for each in results if each is not None]
    assert isinstance(lost, ERRORS)
    assert not refuses_values(lost)


async def test_nor_does_a_database_that_cannot_be_reached(settings: Settings) -> None:
    async with starting_up() as port, connecting_to(settings, port) as pool:
        with pytest.raises(ERRORS) as caught:
            async with pool.engine.connect():
                pass
    assert not refuses_values(caught.value)


@asynccontextmanager
async def connecting_to(settings: Settings, port: int) -> AsyncIterator[Database]:
    """A pool for whatever listens on this port."""
    head, _, tail = settings.database_url.rpartition(":")
    async with connected(f"{head}:{port}/{tail.partition('/')[2]}") as pool:
        yield pool


async def test_what_stands_behind_the_question_mark_reaches_the_driver(settings: Settings) -> None:
    """As libpq reads it. The server of the tests has no TLS, and is not spoken to without it where
    that is demanded."""
    plain = f"{settings.database_url}?sslmode=disable&application_name=billing-test"
    async with connected(plain) as pool, pool.begin(SYSTEM) as tx:
        shown = await tx.execute(text("SHOW application_name"))
        assert shown.scalar_one() == "billing-test"

    for demanded, error, words in (
        ("sslmode=require", ConnectionError, "SSL"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", FileNotFoundError, "No such file"),
    ):
        async with connected(f"{settings.database_url}?{demanded}") as pool:
            with pytest.raises(error, match=words):
                async with pool.begin(SYSTEM):
                    pass
