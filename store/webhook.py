"""Webhooks of the PG: stored once per event id, then treated as hints."""

from collections.abc import Mapping

from sqlalchemy.dialects.postgresql import insert

from store.database import Transaction
from store.tables import gateway_webhooks


async def store(tx: Transaction, gateway: str, event_id: str, body: Mapping[str, object]) -> bool:
    """False when this event was stored before."""
    row = insert(gateway_webhooks).values(gateway=gateway, event_id=event_id, body=body)
    return (await tx.execute(row.on_conflict_do_nothing())).rowcount == 1
