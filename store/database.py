"""Connections to PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn
from urllib.parse import urlencode

import asyncpg
import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.access import Actor, Scope

Transaction = AsyncConnection
"""What every function of the store takes first: none can run outside a transaction."""


_BECOME = text("""
SELECT set_config('role', 'billing_customer', true), set_config('app.customer', :customer_id, true)
""")
"""As SET LOCAL: both end with the transaction, however it ends."""


class Database:
    """PostgreSQL as everybody above the store sees it: transactions, for somebody.

    `scope` says for whom. A customer's transaction runs as a role of PostgreSQL that has few rights
    and sees that customer's rows only (row-level security), which costs it one round trip. Nothing
    else says for whom, and nothing changes it in the midst of a transaction.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._reading = _read_only(engine)
        self._statements = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._of_customers = engine.execution_options()
        event.listen(self._of_customers.sync_engine, "savepoint", _refuse)
        event.listen(
            self._of_customers.sync_engine, "before_cursor_execute", _of_a_customer, retval=True
        )
        self._read_by_customers = _read_only(self._of_customers)

    def begin(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that is committed at the end of the block."""
        if scope.actor is Actor.CUSTOMER:
            return _acting(self._of_customers.begin(), scope)
        return self.engine.begin()

    def read(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        """For whoever only reads: one transaction sees one moment, from its first statement to its
        last, and cannot write. A document made of several statements is whole."""
        if scope.actor is Actor.CUSTOMER:
            return _acting(self._read_by_customers.connect(), scope)
        return self._reading.connect()

    def statements(self, scope: Scope) -> AbstractAsyncContextManager[Transaction]:
        """Each statement sees what was committed before it: for whoever looks again and again. It
        is a transaction of its own where that is possible; for whom a transaction acts is known in
        a transaction only, so a customer's statements are one: where one fails it is the last."""
        if scope.actor is Actor.CUSTOMER:
            return self.begin(scope)
        return self._statements.connect()

    async def dispose(self) -> None:
        """Close every connection that is free."""
        await self.engine.dispose()


def _read_only(engine: AsyncEngine) -> AsyncEngine:
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@asynccontextmanager
async def _acting(
    opened: AbstractAsyncContextManager[Transaction], scope: Scope
) -> AsyncIterator[Transaction]:
    async with opened as tx:
        await tx.execute(_BECOME, {"customer_id": scope.id})
        yield tx


def _refuse(*_: object) -> NoReturn:
    """What is set after a savepoint stays when that is released, and goes when it is rolled back:
    nobody could tell any more for whom the transaction acts."""
    raise RuntimeError("A transaction of a customer has no savepoints.")


def _of_a_customer(
    _1: object, _2: object, statement: str, parameters: Any, _3: object, _4: bool
) -> tuple[str, Any]:
    """A prepared statement of another text: PostgreSQL plans one anew each time that it comes in
    another role, which costs several times what it takes to execute it. The system would pay too,
    on a connection that a customer had before."""
    return f"{statement} /* of a customer */", parameters


ERRORS = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a transaction raises; while connecting, the driver's own errors come as they are."""

_OF_VALUES = frozenset({"22", "23", "54", "P0"})
"""SQLSTATE classes: wrong data, a constraint, a limit of the program, a rule in a trigger."""

BATCH_SECONDS = 540
"""How long a statement over a whole month of a large customer may take: measured on two cores, one
invoice claims two million events in 17 s."""


FORM = "it should be an address such as postgresql://billing_app:…@host:5432/billing"


def connect(url: str, pool_size: int, statement_seconds: float = 10) -> Database:
    """A database; connects when first used.

    A statement may take so long, and a free connection 5 s to come: both are then errors, which
    Temporal retries, instead of a request that hangs. PostgreSQL ends a transaction whose process
    has been silent for 5 s: one that is frozen must not keep its locks from whoever takes over.
    """
    at, parameters = address(url)
    engine = create_async_engine(
        at,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        json_serializer=_json,
        json_deserializer=orjson.loads,
        hide_parameters=True,  # in the words of its errors
        connect_args={
            # The driver reads these as libpq does: sslmode, sslrootcert and their like.
            "dsn": f"postgresql://?{parameters}" if parameters else None,
            "timeout": 5,
            "command_timeout": statement_seconds,
            "prepared_statement_cache_size": 200,  # Many are kept twice: see `_of_a_customer`.
            "server_settings": {
                "idle_in_transaction_session_timeout": "5s",
                # Else a temporary table of this session comes before ours of the same name.
                "search_path": "public, pg_temp",
            },
        },
    )
    return Database(engine)


def address(url: str) -> tuple[URL, str]:
    """The address of a database, and its parameters as they stand behind the question mark. Raises
    ArgumentError where it is none, in words that do not repeat it: there may be a password in
    it."""
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise ArgumentError(FORM) from None
    if parts.get_backend_name() not in ("postgresql", "postgres"):
        raise ArgumentError(FORM)
    at = parts.set(drivername="postgresql+asyncpg", query={})
    return at, urlencode(parts.query, doseq=True)


def refuses_values(error: Exception) -> bool:
    """Whether a statement failed because of what it was given.

    Anything else says nothing of the values: no connection, no memory, a lost conflict, an
    operator, a table or a right that is not there yet.
    """
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return True  # The driver was never asked: a value has no form in which it could be sent.
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    return state[:2] in _OF_VALUES


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
