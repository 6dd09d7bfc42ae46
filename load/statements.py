"""How many SQL statements something takes, over all processes: PostgreSQL's own log is counted."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from load.meter import Call
from load.system import System

_STATEMENT = re.compile(rb"LOG:  (?:statement|execute [^:]*):\s*(\w+)")


async def of_each(system: System, call: Call, count: int) -> dict[str, float]:
    """Statements of one operation by their first word, those of whoever looks for work included:
    so many operations, one after the other."""
    log = system.stack.directory / "postgresql.log"
    async with _logged(system.superuser_url):
        await call(0)
        before = log.stat().st_size
        for _ in range(count):
            await call(0)
        with log.open("rb") as file:
            file.seek(before)
            found = Counter(_STATEMENT.findall(file.read()))
    return {word.decode().upper(): times / count for word, times in found.most_common()}


def in_words(by_word: Mapping[str, float]) -> str:
    """How the statements divide."""
    return "statements: " + ", ".join(f"{times:.1f} {word}" for word, times in by_word.items())


@asynccontextmanager
async def _logged(superuser_url: str) -> AsyncIterator[None]:
    """Every statement is written to the log, by connections that are open already too."""
    connection = await asyncpg.connect(superuser_url)
    try:
        await connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        await connection.execute("SELECT pg_reload_conf()")
        yield
        await connection.execute("ALTER SYSTEM RESET log_statement")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()
