"""The transactional outbox: events commit together with the state they tell of."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    LargeBinary,
    Row,
    Text,
    Uuid,
    bindparam,
    exists,
    func,
    select,
    text,
    update,
)

from domain.event import Event, OutboxEvent, RawMessage, UnpublishedEvent
from store import change
from store.change import Change
from store.database import Transaction
from store.identifier import new_id, new_uuid
from store.tables import outbox

_APPEND = """
incoming AS (
    SELECT *, row_number() OVER (PARTITION BY aggregate_id ORDER BY place) AS nth
    FROM unnest(
        CAST(:event_ids AS uuid[]), CAST(:topics AS text[]), CAST(:aggregate_ids AS uuid[]),
        CAST(:customer_ids AS text[]), CAST(:datas AS text[]),
        CAST(:idempotency_keys AS text[]), CAST(:traceparents AS text[])
    ) WITH ORDINALITY AS event (
        event_id, topic, aggregate_id, customer_id, data, idempotency_key, traceparent, place
    )
), counted AS (
    SELECT aggregate_id, CAST(count(*) AS int) AS added FROM incoming GROUP BY aggregate_id
), bumped AS (
    INSERT INTO aggregate_versions AS current (aggregate_id, version)
    SELECT aggregate_id, added FROM counted ORDER BY aggregate_id
    ON CONFLICT (aggregate_id) DO UPDATE SET version = current.version + excluded.version
    RETURNING aggregate_id, version
), told AS (
    INSERT INTO outbox (
        topic, event_id, aggregate_id, aggregate_version,
        customer_id, data, idempotency_key, traceparent
    )
    SELECT
        topic, event_id, aggregate_id, bumped.version - counted.added + nth,
        customer_id, CAST(data AS jsonb), idempotency_key, traceparent
    FROM incoming JOIN counted USING (aggregate_id) JOIN bumped USING (aggregate_id)
    ORDER BY place
    RETURNING id
)"""

_APPEND_RAW = text("""
WITH bumped AS (
    INSERT INTO aggregate_versions AS current (aggregate_id, version) VALUES (:aggregate_id, 1)
    ON CONFLICT (aggregate_id) DO UPDATE SET version = current.version + 1
    RETURNING aggregate_id, version
)
INSERT INTO outbox (
    topic, event_id, aggregate_id, aggregate_version, customer_id, data,
    raw_key, raw_header_names, raw_header_values, raw_value
)
SELECT
    :topic, :event_id, aggregate_id, version, :customer_id, '{}',
    :raw_key, :raw_header_names, :raw_header_values, :raw_value
FROM bumped
""").bindparams(
    bindparam("topic", type_=Text),
    bindparam("event_id", type_=Uuid(as_uuid=False)),
    bindparam("aggregate_id", type_=Uuid(as_uuid=False)),
    bindparam("customer_id", type_=Text),
    bindparam("raw_key", type_=LargeBinary),
    bindparam("raw_header_names", type_=ARRAY(Text)),
    bindparam("raw_header_values", type_=ARRAY(LargeBinary)),
    bindparam("raw_value", type_=LargeBinary),
)

_ANY = text("SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL AND refused_at IS NULL)")
_WAITS = outbox.c.published_at.is_(None) & outbox.c.refused_at.is_(None)
_REFUSED = outbox.c.published_at.is_(None) & outbox.c.refused_at.is_not(None)
_earlier = outbox.alias("earlier")
_BEHIND = exists().where(
    _earlier.c.published_at.is_(None),
    _earlier.c.refused_at.is_not(None),
    _earlier.c.topic == outbox.c.topic,
    _earlier.c.aggregate_id == outbox.c.aggregate_id,
    _earlier.c.id < outbox.c.id,
)


_WAITING = (
    select(outbox, _BEHIND.label("behind"))
    .where(_WAITS)
    .order_by(outbox.c.id)
    .limit(bindparam("limit"))
)
_MARKED = (
    update(outbox)
    .where(outbox.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))
    .where(outbox.c.published_at.is_(None))
    .values(published_at=func.now())
    .returning(outbox.c.topic, outbox.c.refusal)
    .cte("marked")
)
_MARK = (
    update(outbox)
    .where(
        _REFUSED,
        outbox.c.topic.in_(select(_MARKED.c.topic).where(_MARKED.c.refusal.is_not(None))),
    )
    .values(refused_at=None)
)
_REFUSE = text("""
UPDATE outbox SET refused_at = now(), refusal = refused.reason
FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS refused (id, reason)
WHERE outbox.id = refused.id AND outbox.published_at IS NULL
""")
"""Put together once: that costs more than the statement."""


async def append(tx: Transaction, *events: Event) -> None:
    """Append events. The counter row of each aggregate is locked first and held to the commit, so
    its events get their outbox ids in the order in which they commit, without a gap."""
    await change.make(tx, appending(*events))


def appending(*events: Event) -> Change:
    """The same as a part of a statement."""
    values = {
        "event_ids": [new_uuid() if event.id is None else UUID(event.id) for event in events],
        "topics": [event.topic for event in events],
        "aggregate_ids": [event.aggregate_id for event in events],
        "customer_ids": [event.customer_id for event in events],
        "datas": [orjson.dumps(event.data).decode() for event in events],
        "idempotency_keys": [event.origin.idempotency_key for event in events],
        "traceparents": [event.origin.traceparent for event in events],
    }
    return Change("told", _APPEND, len(events), values)


async def append_raw(
    tx: Transaction, aggregate_id: str, customer_id: str, topic: str, raw: RawMessage
) -> None:
    """Append a message that leaves as it is. Its aggregate is whatever wants it sent, so that the
    versions of what it tells of do not move."""
    values = {
        "topic": topic,
        "event_id": new_id(),
        "aggregate_id": aggregate_id,
        "customer_id": customer_id,
        "raw_key": raw.key,
        "raw_header_names": [name for name, _ in raw.headers],
        "raw_header_values": [value for _, value in raw.headers],
        "raw_value": raw.value,
    }
    await tx.execute(_APPEND_RAW, values)


async def unpublished(tx: Transaction, limit: int) -> list[UnpublishedEvent]:
    """The oldest rows that wait to be published, in sequence order, without locks.

    Two relays that overlap after a freeze publish duplicates, never a reordered first delivery;
    `SKIP LOCKED` would reorder, and "id > last seen" loses rows that commit late.
    """
    if not await tx.scalar(_ANY):  # Most often: much cheaper to ask.
        return []
    rows = await tx.execute(_WAITING, {"limit": limit})
    return [UnpublishedEvent(_event(row), row.behind) for row in rows]


async def mark_published(tx: Transaction, ids: Sequence[int]) -> None:
    """To be called only after the broker has acknowledged every one of them. When one was refused
    before, its cause is mended: whatever was refused of its topic is tried again."""
    await tx.execute(_MARK, {"ids": list(ids)})


async def refuse(tx: Transaction, reasons: Mapping[int, str]) -> None:
    """Set these aside: they and what comes behind them stay until they are tried again."""
    if reasons:
        await tx.execute(_REFUSE, {"ids": [*reasons], "reasons": [*reasons.values()]})


async def try_again(tx: Transaction, limit: int) -> None:
    """Let refused events be read again: of each topic and aggregate the first, and of these so many
    as were not tried for the longest time."""
    first = select(outbox.c.id).where(_REFUSED, ~_BEHIND)
    oldest = first.order_by(outbox.c.refused_at, outbox.c.id).limit(limit)
    again = update(outbox).where(outbox.c.id.in_(oldest), _REFUSED)
    await tx.execute(again.values(refused_at=None))


async def free(tx: Transaction, topics: Sequence[str]) -> None:
    """Let all that was refused of these topics be read again: they are mended."""
    if topics:
        again = update(outbox).where(_REFUSED, outbox.c.topic.in_(topics))
        await tx.execute(again.values(refused_at=None))


async def count_waiting(tx: Transaction) -> int:
    """How many events wait for their turn."""
    return int(await tx.scalar(select(func.count()).where(_WAITS)) or 0)


async def count_refused(tx: Transaction) -> int:
    """How many events wait because the broker has refused them or one before them."""
    return int(await tx.scalar(select(func.count()).where(_REFUSED)) or 0)


async def republish(tx: Transaction, topic: str) -> int:
    """Let the relay publish every event of a topic again, under its old id; returns how many. Not
    what was a repetition itself."""
    again = update(outbox).where(
        outbox.c.topic == topic,
        outbox.c.published_at.is_not(None),
        outbox.c.raw_header_names.is_(None),
    )
    return (await tx.execute(again.values(published_at=None))).rowcount


async def of_aggregates(tx: Transaction, aggregate_ids: Sequence[str]) -> list[OutboxEvent]:
    """Every event of these aggregates, oldest first."""
    query = select(outbox).where(outbox.c.aggregate_id.in_(aggregate_ids))
    return [_event(row) for row in await tx.execute(query.order_by(outbox.c.id))]


async def oldest_unpublished_age_seconds(tx: Transaction) -> float:
    """Of the event that waits longest for its turn, or was refused first; 0 when there is none."""
    first = [
        select(outbox.c.occurred_at).where(which).order_by(outbox.c.id).limit(1).subquery()
        for which in (_WAITS, _REFUSED)
    ]
    ages = [func.extract("epoch", func.now() - select(each).scalar_subquery()) for each in first]
    return float(await tx.scalar(select(func.greatest(*ages))) or 0)


def _event(row: Row[Any]) -> OutboxEvent:
    return OutboxEvent(
        id=row.id,
        topic=row.topic,
        event_id=row.event_id,
        aggregate_id=row.aggregate_id,
        aggregate_version=row.aggregate_version,
        customer_id=row.customer_id,
        data=row.data,
        idempotency_key=row.idempotency_key,
        traceparent=row.traceparent,
        occurred_at=row.occurred_at,
        published_at=row.published_at,
        refused_at=row.refused_at,
        refusal=row.refusal,
        raw=_raw(row),
    )


def _raw(row: Row[Any]) -> RawMessage | None:
    if row.raw_header_names is None:
        return None
    headers = zip(row.raw_header_names, row.raw_header_values, strict=True)
    return RawMessage(row.raw_key, tuple(headers), row.raw_value)
