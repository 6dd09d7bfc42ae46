"""What could not be done or taken, and waits for an operator: each once, in its very bytes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Row,
    Select,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects.postgresql import insert

from domain.dead_letter import (
    LIVE,
    DeadLetter,
    LetterHead,
    LetterSource,
    LetterState,
    NewLetter,
    Wanted,
)
from domain.identifier import UUID, has_form
from domain.message import Headers
from store import change
from store.change import Change
from store.database import Transaction
from store.identifier import new_id
from store.page import Order, Page, Place, page
from store.tables import dead_letters

SHOWN_KEY = 256
"""So many bytes of a key are shown in lists: it may be as long as a message."""
TOP = 100
"""Groups of a statistic at most."""

_LISTED = Order((dead_letters.c.position,), dead_letters.c.created_xid)
_LIVE = dead_letters.c.state.in_(LIVE)
_HEAD = (
    *(
        each
        for each in dead_letters.c
        if each.name not in ("key", "payload", "header_names", "header_values", "stacktrace")
    ),
    func.substring(dead_letters.c.key, 1, SHOWN_KEY).label("key"),
    func.octet_length(dead_letters.c.payload).label("payload_length"),
)
_COULD_BE_SEEN = text(
    "pg_visible_in_snapshot(dead_letters.created_xid::text::xid8, CAST(:snapshot AS pg_snapshot))"
)
_ALL = (*dead_letters.c, func.octet_length(dead_letters.c.payload).label("payload_length"))


async def put(tx: Transaction, letter: NewLetter, id_: str | None = None) -> str | None:
    """Returns its id; None when it is there already, by its origin."""
    parent = dead_letters.alias("parent")
    values = {
        "id": id_ or new_id(),
        "source": letter.source,
        "reference": letter.reference,
        "origin": letter.origin,
        "message_id": letter.message_id,
        "dlt_topic": letter.dlt_topic,
        "original_topic": letter.original_topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "key": letter.key,
        **_headers(letter.headers),
        "payload": letter.payload,
        "error_class": letter.error_class,
        "failure_reason": letter.failure_reason,
        "stacktrace": letter.stacktrace,
        "consumer_group": letter.consumer_group,
        "original_at": letter.original_at,
        "retry_count": letter.retry_count,
        "idempotency_key": letter.idempotency_key,
        "customer_id": letter.customer_id,
        # Whatever a header says: only of a letter that there is.
        "replay_of": select(parent.c.id).where(parent.c.id == letter.replay_of).scalar_subquery(),
    }
    if letter.occurred_at is not None:
        values["occurred_at"] = letter.occurred_at
    row = insert(dead_letters).values(values).on_conflict_do_nothing(index_elements=["origin"])
    inserted: str | None = await tx.scalar(row.returning(dead_letters.c.id))
    return inserted


async def bury(tx: Transaction, letter: NewLetter) -> str | None:
    """A thing of our own could not be done: one letter waits for it. Returns its id where it is a
    new one; a letter that was replayed has come back with it."""
    query = select(*_ALL).where(dead_letters.c.reference == letter.reference, _LIVE)
    row = (await tx.execute(query.with_for_update())).first()
    if row is None:
        return await put(tx, letter)
    before = _letter(row)
    if before.state is LetterState.OPEN:
        why = letter.failure_reason
        if why != before.failure_reason:
            this = dead_letters.c.id == before.id
            await tx.execute(update(dead_letters).where(this).values(failure_reason=why))
        return None
    assert await move(
        tx, before.id, LetterState.REPLAYING, LetterState.REPLAYED, "It failed again."
    )
    count = before.retry_count + 1
    return await put(tx, replace(letter, replay_of=before.id, retry_count=count))


async def is_replaying(tx: Transaction, reference: str) -> bool:
    """Whether a thing of our own was asked for once more, and has not come to an end since."""
    replaying = dead_letters.c.state == LetterState.REPLAYING
    query = select(exists().where(dead_letters.c.reference == reference, replaying))
    return bool(await tx.scalar(query))


async def resolve(tx: Transaction, reference: str) -> None:
    """The thing of our own is in order again, by a replay or otherwise."""
    await change.make(tx, resolving(reference))


_RESOLVE = """
resolved AS (
    UPDATE dead_letters
    SET state = CASE state WHEN 'REPLAYING' THEN 'REPLAYED' ELSE 'RESOLVED' END, state_at = now()
    WHERE reference = :mended AND state IN ('OPEN', 'REPLAYING')
    RETURNING id
), mended AS (SELECT count(*) FROM resolved)"""


def resolving(reference: str) -> Change:
    """The same as a part of a statement, whether anything waited for it or not."""
    return Change("mended", _RESOLVE, 1, {"mended": reference})


async def adopt(tx: Transaction, letter: NewLetter, ids: Sequence[str]) -> bool:
    """Our own event about a thing of our own has come by: its letter gets its place. False when
    none of these is the id of such a letter."""
    named = [each.lower() for each in ids if has_form(each, UUID)]
    this = dead_letters.c.id.in_(named) & dead_letters.c.reference.is_not(None)
    place = {
        "message_id": letter.message_id,
        "dlt_topic": letter.dlt_topic,
        "original_topic": letter.original_topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "key": letter.key,
        **_headers(letter.headers),
    }
    new = this & dead_letters.c.message_id.is_(None)
    if (await tx.execute(update(dead_letters).where(new).values(place))).rowcount:
        return True
    return bool(await tx.scalar(select(exists().where(this))))


async def move(
    tx: Transaction,
    id_: str,
    before: LetterState,
    after: LetterState,
    reason: str | None = None,
    actor: str | None = None,
    job_id: str | None = None,
) -> bool:
    """False when it does not stand there any more."""
    stands = (dead_letters.c.id == id_) & (dead_letters.c.state == before)
    moving = update(dead_letters).where(stands)
    moving = moving.values(state=after, state_reason=reason, state_at=func.now())
    if actor is not None:
        moving = moving.values(state_actor=actor, job_id=job_id)
    return (await tx.execute(moving)).rowcount == 1


async def sent(tx: Transaction, ids: Sequence[str]) -> None:
    """The brokers have acknowledged what these were replayed with."""
    replaying = dead_letters.c.state == LetterState.REPLAYING
    query = update(dead_letters).where(_among(ids), replaying)
    await tx.execute(query.values(state=LetterState.REPLAYED, state_at=func.now()))


async def refused(tx: Transaction, reasons: Mapping[str, str]) -> None:
    """The brokers do not take what these were replayed with: it waits until they do."""
    for id_, reason in reasons.items():
        replaying = dead_letters.c.state == LetterState.REPLAYING
        query = update(dead_letters).where(dead_letters.c.id == id_, replaying)
        await tx.execute(query.values(state_reason=reason))


async def find(tx: Transaction, called: str, *, lock: bool = False) -> DeadLetter | None:
    """By its id, or by its place on a topic of dead letters: the newest one that was there."""
    query = select(*_ALL).order_by(dead_letters.c.position.desc()).limit(1)
    is_id = has_form(called, UUID)
    which = dead_letters.c.id == called if is_id else dead_letters.c.message_id == called
    query = query.where(which)
    row = (await tx.execute(query.with_for_update() if lock else query)).first()
    return None if row is None else _letter(row)


async def listed(
    tx: Transaction, wanted: Wanted, state: LetterState | None, place: Place | None, limit: int
) -> Page[LetterHead]:
    """Those below a place, the newest first."""
    query = select(*_HEAD).where(*_filters(wanted))
    if state is not None:
        query = query.where(dead_letters.c.state == state)
    return await page(tx, query, _LISTED, place, limit, _head)


async def replaying_since(
    tx: Transaction, before: datetime, after: str | None, limit: int
) -> list[LetterHead]:
    """Things of our own that were asked for once more before then, in the order of their ids."""
    query = select(*_HEAD).where(
        dead_letters.c.state == LetterState.REPLAYING,
        dead_letters.c.reference.is_not(None),
        dead_letters.c.state_at < before,
    )
    if after is not None:
        query = query.where(dead_letters.c.id > after)
    rows = await tx.execute(query.order_by(dead_letters.c.id).limit(limit))
    return [_head(row) for row in rows]


async def count_waiting(tx: Transaction) -> Mapping[str, int]:
    """How many messages wait, by the consumer group that gave them up."""
    group = dead_letters.c.consumer_group
    query = select(group, func.count()).where(
        dead_letters.c.state == LetterState.OPEN, group.is_not(None)
    )
    rows = await tx.execute(query.group_by(group))
    return {row.consumer_group: row[1] for row in rows}


async def oldest_open(tx: Transaction) -> datetime | None:
    """Since when the first of them waits."""
    first = select(func.min(dead_letters.c.occurred_at))
    moment: datetime | None = await tx.scalar(first.where(dead_letters.c.state == LetterState.OPEN))
    return moment


async def count_by_source(tx: Transaction) -> Mapping[str, int]:
    """How many wait, whatever they are."""
    query = select(dead_letters.c.source, func.count())
    waiting = query.where(dead_letters.c.state == LetterState.OPEN)
    rows = await tx.execute(waiting.group_by(dead_letters.c.source))
    return {row.source: row[1] for row in rows}


async def count_by_bucket(
    tx: Transaction, wanted: Wanted, since: datetime, width: timedelta
) -> dict[datetime, int]:
    """How many came, by the begin of their bucket; those that have none are not there."""
    bucket = func.date_bin(width, dead_letters.c.occurred_at, since)
    query = select(bucket.label("bucket"), func.count()).where(*_filters(wanted))
    return {row.bucket: row[1] for row in await tx.execute(query.group_by("bucket"))}


async def count_by(tx: Transaction, wanted: Wanted, name: str) -> list[tuple[str, int]]:
    """How many came, by `source`, `error_class` or `customer_id`, the most frequent first."""
    column = dead_letters.c[name]
    query = select(column, func.count().label("count")).where(*_filters(wanted))
    query = query.where(column.is_not(None)).group_by(column)
    rows = await tx.execute(query.order_by(func.count().desc(), column).limit(TOP))
    return [(row[0], row[1]) for row in rows]


def open_matching(wanted: Wanted, snapshot: str, *columns: ColumnElement[Any]) -> Select[Any]:
    """Of the letters that are open, and could be seen when the snapshot was taken."""
    return select(*columns).where(
        dead_letters.c.state == LetterState.OPEN,
        _COULD_BE_SEEN.bindparams(snapshot=snapshot),
        *_filters(wanted),
    )


def _filters(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    columns = dead_letters.c
    named: dict[Column[Any], str | None] = {
        columns.source: wanted.source,
        columns.consumer_group: wanted.consumer_group,
        columns.error_class: wanted.error_class,
        columns.customer_id: wanted.customer_id,
    }
    yield from (column == value for column, value in named.items() if value is not None)
    if wanted.topic is not None:
        yield or_(columns.dlt_topic == wanted.topic, columns.original_topic == wanted.topic)
    if wanted.since is not None:
        yield columns.occurred_at >= wanted.since
    if wanted.until is not None:
        yield columns.occurred_at < wanted.until


def _among(ids: Sequence[str]) -> ColumnElement[bool]:
    return dead_letters.c.id == func.any(literal(list(ids), ARRAY(UuidType(as_uuid=False))))


def _headers(headers: Headers) -> dict[str, list[Any]]:
    return {
        "header_names": [name for name, _ in headers],
        "header_values": [value for _, value in headers],
    }


def _head(row: Row[Any]) -> LetterHead:
    return LetterHead(**_seen_of(row))


def _letter(row: Row[Any]) -> DeadLetter:
    return DeadLetter(
        **_seen_of(row),
        payload=row.payload,
        headers=tuple(zip(row.header_names, row.header_values, strict=True)),
        timestamp=row.timestamp,
        stacktrace=row.stacktrace,
        original_at=row.original_at,
        idempotency_key=row.idempotency_key,
        replay_of=row.replay_of,
        job_id=row.job_id,
    )


def _seen_of(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "position": row.position,
        "message_id": row.message_id,
        "source": LetterSource(row.source),
        "reference": row.reference,
        "dlt_topic": row.dlt_topic,
        "original_topic": row.original_topic,
        "partition": row.partition,
        "offset": row.offset,
        "key": row.key,
        "error_class": row.error_class,
        "failure_reason": row.failure_reason,
        "occurred_at": row.occurred_at,
        "payload_length": row.payload_length,
        "customer_id": row.customer_id,
        "consumer_group": row.consumer_group,
        "retry_count": row.retry_count,
        "state": LetterState(row.state),
        "state_reason": row.state_reason,
        "state_actor": row.state_actor,
        "state_at": row.state_at,
    }
