"""A page of a list that grows while it is read, newest first.

The order of a list never changes: its key is unique, and a row keeps it. Whoever reads on from a
place doubles nothing and misses nothing, whatever is inserted meanwhile; see `store.seen`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Column, ColumnElement, DateTime, Row, Select, literal, tuple_

from store.database import Transaction
from store.seen import Seen, seen, unseen

Key = tuple[str | int, ...]
"""The place of a row in the order of its list; moments are written out."""


class Place(NamedTuple):
    """Below which row the next page begins; `newest` is where the first one began."""

    newest: Key
    last: Key
    seen: Seen


Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """What was found, and where the next page begins; None at the end."""

    items: list[Item]
    following: Place | None


@dataclass(frozen=True)
class Order:
    """In which order something is listed: by the last key first. `created_xid`: see
    `store.seen`."""

    key: tuple[Column[Any], ...]
    created_xid: Column[int]


async def page(
    tx: Transaction,
    query: Select[Any],
    order: Order,
    place: Place | None,
    limit: int,
    read: Callable[[Row[Any]], Item],
) -> Page[Item]:
    """The rows of a query below a place, with those above it that committed late, beyond the limit.
    Must be asked in a transaction that sees one moment (`Database.read`)."""
    newest_first = query.order_by(*(each.desc() for each in order.key))
    onward, late = newest_first, []
    if place is not None:
        newest, last = _values(order, place.newest), _values(order, place.last)
        passed = newest_first.where(
            tuple_(*order.key) > last, tuple_(*order.key) < newest, unseen(order.created_xid)
        )
        late = list(await tx.execute(passed, place.seen._asdict()))
        onward = newest_first.where(tuple_(*order.key) < last)
    found = list(await tx.execute(onward.limit(limit + 1)))
    return await cut(tx, late, found, place, limit, partial(_key, order), read)


async def cut(
    tx: Transaction,
    late: Sequence[Row[Any]],
    found: Sequence[Row[Any]],
    place: Place | None,
    limit: int,
    key: Callable[[Row[Any]], Key],
    read: Callable[[Row[Any]], Item],
) -> Page[Item]:
    """The page of what was found: a row more than the limit tells that another one follows."""
    rows = found[:limit]
    following = None
    if len(found) > limit:
        first = key(rows[0]) if place is None else place.newest
        following = Place(first, key(rows[-1]), await seen(tx))
    return Page([read(row) for row in (*late, *rows)], following)


def matching(wanted: Mapping[Column[Any], object | None]) -> Iterator[ColumnElement[bool]]:
    """Which rows have these values; what is None does not matter."""
    yield from (column == value for column, value in wanted.items() if value is not None)


def within(
    column: Column[Any], since: datetime | None, until: datetime | None
) -> Iterator[ColumnElement[bool]]:
    """From then on, and until before then."""
    if since is not None:
        yield column >= since
    if until is not None:
        yield column < until


def _key(order: Order, row: Row[Any]) -> Key:
    found = (row._mapping[column] for column in order.key)
    return tuple(each.isoformat() if isinstance(each, datetime) else each for each in found)


def _values(order: Order, key: Key) -> ColumnElement[Any]:
    return tuple_(*(_value(*each) for each in zip(order.key, key, strict=True)))


def _value(column: Column[Any], written: str | int) -> ColumnElement[Any]:
    moment = isinstance(column.type, DateTime)
    return literal(datetime.fromisoformat(str(written)) if moment else written, column.type)
