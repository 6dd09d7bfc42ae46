"""What a reader has seen of a list that he reads page by page.

A row gets its place in the list before its transaction commits, so it can come up behind a page
that was read meanwhile. Whoever reads on is given such rows as well: a row tells by `created_xid`
which transaction inserted it, and a page tells which transactions it could not see.
"""

from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Text,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
)

from store.database import Transaction


class Seen(NamedTuple):
    """Every transaction before `xmax`, apart from those that were under way."""

    xmax: int
    under_way: tuple[int, ...]


SNAPSHOT = cast(func.pg_current_snapshot(), Text)
"""What a statement sees; `read` reads it."""


async def seen(tx: Transaction) -> Seen:
    """What this transaction sees, which must be one that sees one moment (`Database.read`)."""
    return read((await tx.execute(select(SNAPSHOT))).scalar_one())


def read(snapshot: str) -> Seen:
    """From PostgreSQL's own form."""
    _, xmax, under_way = snapshot.split(":")
    return Seen(int(xmax), tuple(int(xid) for xid in under_way.split(",") if xid))


def unseen(created_xid: Column[int]) -> ColumnElement[bool]:
    """Rows of transactions that could not be seen before, and can be now: executed with the fields
    of that `Seen`. Numbers that are yet to come were given by another cluster, of which this one's
    data were restored: long committed."""
    now = cast(cast(func.pg_snapshot_xmax(func.pg_current_snapshot()), Text), BigInteger)
    return or_(
        created_xid.in_(bindparam("under_way", expanding=True)),
        and_(created_xid >= bindparam("xmax", type_=BigInteger), created_xid < now),
    )
