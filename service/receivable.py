"""Receivables: what was issued and unpaid at a moment."""

from dataclasses import dataclass
from datetime import datetime

from domain.access import SYSTEM
from service.desk import Desk
from store import clock, invoice

BUCKETS = ("current", "1-30", "31-60", "61-90", "90+")
"""Days past due."""


@dataclass(frozen=True)
class Bucket:
    """Unpaid invoices of one currency by the days that they are past due."""

    currency: str
    bucket: str
    invoices: int
    amount: int


async def aged(desk: Desk, as_of: datetime | None) -> list[Bucket]:
    """By age and currency, at a moment or now."""
    async with desk.database.statements(SYSTEM) as tx:
        rows = await invoice.receivables(tx, as_of or await clock.now(tx))
    return [Bucket(row.currency, BUCKETS[row.bucket], row.invoices, row.amount) for row in rows]
