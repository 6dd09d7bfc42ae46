"""Connections to PostgreSQL."""

from typing import Any

import orjson
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

Database = AsyncEngine
Transaction = AsyncConnection
"""What every function of the store takes first: none can run outside a transaction."""


BATCH_SECONDS = 540
"""How long a statement over a whole month of a large customer may take: measured on two cores, one
invoice claims two million events in 17 s."""


def connect(url: str, pool_size: int, statement_seconds: float = 10) -> Database:
    """An engine; connects when first used.

    A statement may take so long, and a free connection 5 s to come: both are then errors, which
    Temporal retries, instead of a request that hangs. PostgreSQL ends a transaction whose process
    has been silent for 5 s: one that is frozen must not keep its locks from whoever takes over.
    """
    return create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        json_serializer=_json,
        json_deserializer=orjson.loads,
        connect_args={
            "timeout": 5,
            "command_timeout": statement_seconds,
            "server_settings": {"idle_in_transaction_session_timeout": "5s"},
        },
    )


def reading(database: Database) -> Database:
    """The same connections for whoever only reads: one transaction sees one moment, from its first
    statement to its last, and cannot write. A document made of several statements is whole."""
    return database.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
