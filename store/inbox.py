"""What a consumer of events has taken, so that each event has its effect once."""

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from store.database import Transaction
from store.tables import inbox


async def take(tx: Transaction, consumer: str, event_id: str) -> bool:
    """False when this consumer took the event before; the effect goes into the same transaction."""
    row = insert(inbox).values(consumer=consumer, event_id=event_id)
    return (await tx.execute(row.on_conflict_do_nothing())).rowcount == 1


async def forget(tx: Transaction, consumer: str) -> int:
    """Let this consumer take every event again, to rebuild what it makes of them."""
    return (await tx.execute(delete(inbox).where(inbox.c.consumer == consumer))).rowcount
