"""The transactional outbox: events commit together with the state they tell of."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Row, func, select, text, update
from uuid_utils.compat import uuid7

from domain.event import Event, shard_of
from store.database import Transaction
from store.tables import outbox

_APPEND = text("""
WITH incoming AS (
    SELECT *, row_number() OVER (PARTITION BY aggregate_id ORDER BY place) AS nth
    FROM unnest(
        CAST(:event_ids AS uuid[]), CAST(:topics AS text[]), CAST(:aggregate_ids AS uuid[]),
        CAST(:shards AS smallint[]), CAST(:customer_ids AS text[]), CAST(:datas AS text[]),
        CAST(:idempotency_keys AS text[]), CAST(:traceparents AS text[])
    ) WITH ORDINALITY AS event (
        event_id, topic, aggregate_id, shard, customer_id, data, idempotency_key, traceparent, place
    )
), counted AS (
    SELECT aggregate_id, CAST(count(*) AS int) AS added FROM incoming GROUP BY aggregate_id
), bumped AS (
    INSERT INTO aggregate_versions AS current (aggregate_id, version)
    SELECT aggregate_id, added FROM counted ORDER BY aggregate_id
    ON CONFLICT (aggregate_id) DO UPDATE SET version = current.version + excluded.version
    RETURNING aggregate_id, version
)
INSERT INTO outbox (
    shard, topic, event_id, aggregate_id, aggregate_version,
    customer_id, data, idempotency_key, traceparent
)
SELECT
    shard, topic, event_id, aggregate_id, bumped.version - counted.added + nth,
    customer_id, CAST(data AS jsonb), idempotency_key, traceparent
FROM incoming JOIN counted USING (aggregate_id) JOIN bumped USING (aggregate_id)
ORDER BY place
""")


async def append(tx: Transaction, *events: Event) -> None:
    """Append events. The counter row of each aggregate is locked first and held to the commit, so
    its events get their outbox ids in the order in which they commit, without a gap."""
    await tx.execute(
        _APPEND,
        {
            "event_ids": [uuid7() for _ in events],
            "topics": [event.topic.value for event in events],
            "aggregate_ids": [event.aggregate_id for event in events],
            "shards": [shard_of(event.aggregate_id) for event in events],
            "customer_ids": [event.customer_id for event in events],
            "datas": [orjson.dumps(event.data).decode() for event in events],
            "idempotency_keys": [event.origin.idempotency_key for event in events],
            "traceparents": [event.origin.traceparent for event in events],
        },
    )


async def unpublished(tx: Transaction, shard: int, limit: int) -> Sequence[Row[Any]]:
    """The oldest unpublished rows of a shard in sequence order, without locks.

    Two relays that overlap after a freeze publish duplicates, never a reordered first delivery;
    `SKIP LOCKED` would reorder, and "id > last seen" loses rows that commit late.
    """
    return (
        await tx.execute(
            select(outbox)
            .where(outbox.c.shard == shard, outbox.c.published_at.is_(None))
            .order_by(outbox.c.id)
            .limit(limit)
        )
    ).all()


async def mark_published(tx: Transaction, ids: Sequence[int]) -> None:
    """To be called only after the broker has acknowledged every one of them."""
    await tx.execute(
        update(outbox)
        .where(outbox.c.id == func.any(list(ids)), outbox.c.published_at.is_(None))
        .values(published_at=func.now())
    )


async def republish(tx: Transaction, topic: str) -> int:
    """Let the relays publish every event of a topic again, under its old id; returns how many."""
    again = update(outbox).where(outbox.c.topic == topic, outbox.c.published_at.is_not(None))
    return (await tx.execute(again.values(published_at=None))).rowcount


async def of_aggregates(tx: Transaction, aggregate_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Every event of these aggregates, oldest first."""
    return (
        await tx.execute(
            select(outbox).where(outbox.c.aggregate_id.in_(aggregate_ids)).order_by(outbox.c.id)
        )
    ).all()


async def oldest_unpublished_age_seconds(tx: Transaction) -> float:
    """0 when nothing waits."""
    age = func.extract("epoch", func.now() - func.min(outbox.c.occurred_at))
    query = select(age).where(outbox.c.published_at.is_(None))
    return float((await tx.execute(query)).scalar() or 0)
