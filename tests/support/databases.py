"""What tests do to a database beside the store."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from dev import postgres
from domain.access import SYSTEM
from runtime import schema
from runtime.settings import Settings
from store import database as database_module
from store.database import Database, Transaction
from tests.support.conditions import eventually

T = TypeVar("T")

ROLES = ("database_owner_url", "database_url", "auth_database_url")
"""Settings that lead to the one database, each as another role."""

_block: ContextVar[list[str] | None] = ContextVar("block", default=None)
"""Where the statements of the block go in which the caller is, if it is in one."""


@asynccontextmanager
async def connected(url: str, pool_size: int = 1, **more: float) -> AsyncIterator[Database]:
    """A pool for the length of the block. One that a failed test left open would be complained of
    in whatever test comes later."""
    pool = database_module.connect(url, pool_size, **more)
    try:
        yield pool
    finally:
        await pool.dispose()


@asynccontextmanager
async def database_of_its_own(owner_url: str, name: str) -> AsyncIterator[None]:
    """Made for the length of the block, and dropped with whoever is still connected to it."""
    await made(owner_url, name)
    try:
        yield
    finally:
        await dropped(owner_url, name)


async def made(owner_url: str, name: str) -> None:
    """As the README has one made: nobody but our roles may use it."""
    for statement in (f"CREATE DATABASE {name}", *postgres.opened_to_ours(name)):
        await execute(owner_url, statement)


async def dropped(owner_url: str, name: str) -> None:
    """With whoever is still connected to it."""
    await eventually(partial(_dropped, owner_url, name))


def named(url: str, name: str) -> str:
    """The address of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


async def _dropped(owner_url: str, name: str) -> bool:
    """While PostgreSQL itself tidies up in it, nobody but its superuser can send it away."""
    try:
        await execute(owner_url, f"DROP DATABASE {name} WITH (FORCE)")
    except ProgrammingError:
        return False
    return True


async def crowd(works: Iterable[Coroutine[Any, Any, T]], at_a_time: int = 20) -> list[T]:
    """Very many transactions, as many at a time as there are connections. One that waits for a
    connection for more than 5 s gives up: with a thousand of them on a busy machine some would."""
    turns = asyncio.Semaphore(at_a_time)

    async def in_turn(work: Coroutine[Any, Any, T]) -> T:
        async with turns:
            return await work

    return await asyncio.gather(*map(in_turn, works))


async def execute(url: str, statement: str) -> list[str]:
    """Run one statement as databases come and go by; returns the first column."""
    async with connected(url) as database, database.engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        result = await connection.execute(text(statement))
        return [str(row[0]) for row in result] if result.returns_rows else []


@asynccontextmanager
async def locked(owner_url: str, table: str) -> AsyncIterator[Transaction]:
    """Nobody else reads the table meanwhile; yields its owner's transaction."""
    async with connected(owner_url) as owner, owner.begin(SYSTEM) as tx:
        await may_idle(tx)
        await tx.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield tx


async def may_idle(tx: Transaction) -> None:
    """It may be left open for as long as the test needs."""
    await tx.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What the block sends to PostgreSQL, apart from the bounds of transactions. What workers of
    the same process send meanwhile is not the block's."""
    sent: list[str] = []
    within = _block.set(sent)

    def listen(*arguments: Any) -> None:
        if _block.get() is sent:
            sent.append(arguments[2])

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", listen)
        _block.reset(within)


async def somebody_waits(tx: Transaction, table: str) -> None:
    """Wait until somebody wants to read the table."""
    waiting = text("""
        SELECT count(*) > 0 FROM pg_locks
        WHERE relation = CAST(:name AS regclass) AND NOT granted
    """)

    async def waits() -> bool:
        return bool(await tx.scalar(waiting, {"name": table}))

    await eventually(waits)


async def somebody_waits_for_a_row(database: Database) -> None:
    """Wait until a transaction waits for the end of another one."""
    waiting = text("""
        SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted
    """)

    async def waits() -> bool:
        async with database.engine.connect() as tx:
            return bool(await tx.scalar(waiting))

    await eventually(waits)


@asynccontextmanager
async def settings_of_its_own(settings: Settings) -> AsyncIterator[Settings]:
    """The same with an empty database of its own, up to date: for whoever looks at everything."""
    name = f"own_{uuid4().hex}"
    urls = {role: named(getattr(settings, role), name) for role in ROLES}
    async with database_of_its_own(settings.database_owner_url, name):
        await asyncio.to_thread(schema.upgrade, urls["database_owner_url"])
        yield settings.model_copy(update=urls)
