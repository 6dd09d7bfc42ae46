"""What a reader has seen of a list that he reads page by page.

A row gets its place in the list before its transaction commits, so it can come up behind a page
that was read meanwhile. Whoever reads on is given such rows as well: a row tells by `created_xid`
which transaction inserted it, and a page tells which transactions it could not see.
"""

from typing import NamedTuple

from sqlalchemy import BigInteger, Column, ColumnElement, Text, and_, cast, func, or_, select

from store.database import Transaction


class Seen(NamedTuple):
    """Every transaction before `xmax`, apart from those that were under way."""

    xmax: int
    under_way: tuple[int, ...]


async def seen(tx: Transaction) -> Seen:
    """What this transaction sees, which must be one that sees one moment (`Database.read`)."""
    text: str = (await tx.execute(select(cast(func.pg_current_snapshot(), Text)))).scalar_one()
    _, xmax, under_way = text.split(":")
    return Seen(int(xmax), tuple(int(xid) for xid in under_way.split(",") if xid))


def unseen(created_xid: Column[int], before: Seen) -> ColumnElement[bool]:
    """Rows of transactions that could not be seen before, and can be now. Numbers that are yet to
    come were given by another cluster, of which this one's data were restored: long committed."""
    now = cast(cast(func.pg_snapshot_xmax(func.pg_current_snapshot()), Text), BigInteger)
    return or_(
        created_xid.in_(before.under_way),
        and_(created_xid >= before.xmax, created_xid < now),
    )
