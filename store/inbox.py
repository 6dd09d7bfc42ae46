"""What a consumer of events has taken, so that each event has its effect once."""

from collections.abc import Sequence

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from store.change import Change
from store.database import Transaction
from store.tables import inbox

_TAKE = """
taken AS (
    INSERT INTO inbox (consumer, event_id)
    SELECT :consumer, event_id FROM unnest(CAST(:taken_ids AS uuid[])) AS event_id
    ON CONFLICT DO NOTHING
    RETURNING event_id
)"""


async def take(tx: Transaction, consumer: str, event_id: str) -> bool:
    """False when this consumer took the event before; the effect goes into the same transaction."""
    row = insert(inbox).values(consumer=consumer, event_id=event_id)
    return (await tx.execute(row.on_conflict_do_nothing())).rowcount == 1


def taking(consumer: str, event_ids: Sequence[str]) -> Change:
    """The same as a part of a statement, of events that were all not taken before."""
    values = {"consumer": consumer, "taken_ids": list(event_ids)}
    return Change("taken", _TAKE, len(event_ids), values)


async def forget(tx: Transaction, consumer: str) -> int:
    """Let this consumer take every event again, to rebuild what it makes of them."""
    return (await tx.execute(delete(inbox).where(inbox.c.consumer == consumer))).rowcount
