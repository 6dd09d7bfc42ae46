"""Usage events that tests make."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from domain.access import SYSTEM
from domain.usage import UsageEvent
from store import customer
from store.database import Database

MAY = datetime(2026, 5, 10, 12, tzinfo=UTC)


async def new_customer(database: Database) -> str:
    """A customer without anything; returns its id."""
    customer_id = f"c-{uuid4().hex}"
    async with database.begin(SYSTEM) as tx:
        await customer.put(tx, customer_id)
    return customer_id


def event(
    customer_id: str,
    event_id: str | None = None,
    quantity: str = "1",
    occurred_at: datetime = MAY,
    resource_type: str = "API_CALL",
) -> UsageEvent:
    """An event as the store takes it."""
    name = event_id or f"e-{uuid4().hex}"
    return UsageEvent(customer_id, name, resource_type, Decimal(quantity), occurred_at)


def document(customer_id: str, event_id: str | None = None, **more: Any) -> dict[str, Any]:
    """An event as callers write it, of this moment."""
    return {
        "eventId": event_id or f"e-{uuid4().hex}",
        "customerId": customer_id,
        "resourceType": "API_CALL",
        "quantity": 1,
        "occurredAt": datetime.now(UTC).isoformat(),
        **more,
    }
