"""Messages that a consumer could not take: each kept once, in its very bytes."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from domain.message import DeadMessage, Message, Refused
from store.database import Transaction
from store.tables import dead_messages


async def put(tx: Transaction, consumer: str, refused: Refused) -> bool:
    """False when it is there already: until its offset is committed a message comes again."""
    message = refused.message
    row = insert(dead_messages).values(
        id=str(uuid7()),
        consumer=consumer,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
        key=message.key,
        header_names=[name for name, _ in message.headers],
        header_values=[value for _, value in message.headers],
        value=message.value,
        error=refused.error,
        reason=refused.reason,
    )
    return (await tx.execute(row.on_conflict_do_nothing())).rowcount == 1


async def waiting(tx: Transaction) -> list[DeadMessage]:
    """Those that nobody has seen to, oldest first."""
    query = select(dead_messages).where(dead_messages.c.resolved_at.is_(None))
    rows = await tx.execute(query.order_by(dead_messages.c.created_at, dead_messages.c.id))
    return [_dead_message(row) for row in rows]


async def count_waiting(tx: Transaction) -> Mapping[str, int]:
    """How many wait, by consumer."""
    query = select(dead_messages.c.consumer, func.count()).where(
        dead_messages.c.resolved_at.is_(None)
    )
    rows = await tx.execute(query.group_by(dead_messages.c.consumer))
    return {row.consumer: row[1] for row in rows}


async def resolve(tx: Transaction, id_: str) -> bool:
    """An operator has seen to it; False when that was noted before."""
    resolved = await tx.execute(
        update(dead_messages)
        .where(dead_messages.c.id == id_, dead_messages.c.resolved_at.is_(None))
        .values(resolved_at=func.now())
    )
    return resolved.rowcount == 1


async def find(tx: Transaction, id_: str) -> DeadMessage | None:
    row = (await tx.execute(select(dead_messages).where(dead_messages.c.id == id_))).first()
    return None if row is None else _dead_message(row)


def _dead_message(row: Row[Any]) -> DeadMessage:
    return DeadMessage(
        id=row.id,
        consumer=row.consumer,
        message=Message(
            topic=row.topic,
            partition=row.partition,
            offset=row.offset,
            timestamp=row.timestamp,
            key=row.key,
            headers=tuple(zip(row.header_names, row.header_values, strict=True)),
            value=row.value,
        ),
        error=row.error,
        reason=row.reason,
        created_at=row.created_at,
        resolved_at=row.resolved_at,
    )
