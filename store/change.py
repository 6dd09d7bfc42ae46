"""Changes that are made at once: one statement, which does all of it or nothing.

A step that reads, decides and writes costs a round trip for each, with its rows locked meanwhile.
Most often everything is as expected, and nothing needs to be decided. A `Change` says what a step
writes, and of how many rows it is right; several are made together, and where one does not find
what it expects, PostgreSQL refuses the whole statement. The step by step way stands beside each:
it finds out why, and says so.

A statement sees the rows of its beginning, whoever it has to wait for. What a change depends on
must therefore stand in the row that it changes, where it is looked at again after the wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError

from domain.access import Scope
from store.database import Database, Transaction, refuses_values


@dataclass(frozen=True)
class Change:
    """`sql` is one or more common table expressions; the one called `counted` must return exactly
    `rows` rows. Names and values are shared by all changes of a statement."""

    counted: str
    sql: str
    rows: int
    values: Mapping[str, object]


async def at_once(database: Database, scope: Scope, *changes: Change) -> bool:
    """Make them in a transaction of their own; False, and nothing made, where one does not find its
    rows: step by step it is found out why."""
    async with database.statements(scope) as statements:
        return await tried(statements, *changes)


async def tried(statements: Transaction, *changes: Change) -> bool:
    """The same by somebody whose statements are transactions each (`Database.statements`)."""
    try:
        await make(statements, *changes)
    except DBAPIError as error:
        if refuses_values(error):
            return False
        raise
    return True


async def make(tx: Transaction, *changes: Change) -> None:
    """Make them in this order, all or none; raises `DBAPIError` where one does not find its rows,
    of a kind that `refuses_values` knows."""
    values: dict[str, object] = {}
    for change in changes:
        values |= change.values
        values[f"{change.counted}_rows"] = change.rows
    await tx.execute(_statement(tuple((each.counted, each.sql) for each in changes)), values)


@cache
def _statement(parts: Sequence[tuple[str, str]]) -> TextClause:
    """`CASE` counts one after another, which makes them in this order. There is no other way for a
    statement to take itself back than to fail, here by what is no truth value."""
    expressions = ",\n".join(sql for _, sql in parts)
    expected = " AND ".join(
        f"(SELECT count(*) FROM {counted}) = :{counted}_rows"  # noqa: S608 - names of ours
        for counted, _ in parts
    )
    return text(
        f"WITH {expressions}\n"
        f"SELECT CAST(CASE WHEN {expected} THEN 'true' ELSE 'not as expected' END AS boolean)"
    )
