"""Invoices that tests put into the database, in any state."""

from datetime import datetime
from uuid import uuid4

from sqlalchemy import update

from domain.access import SYSTEM
from store import invoice
from store.database import Database
from store.tables import invoices
from tests.support.samples import new_customer, new_id, new_period


async def draft(
    database: Database, customer_id: str | None = None, currency: str = "KRW", total: int = 0
) -> str:
    """A draft of somebody for some month; returns its id."""
    invoice_id = new_id()
    async with database.begin(SYSTEM) as tx:
        who = customer_id or new_customer()
        month = new_period()
        await invoice.create_draft(tx, invoice_id, who, month, currency, "settlement/-", "-")
        await invoice.fill_draft(tx, invoice_id, "-", currency, total, {}, [], [])
    return invoice_id


async def owed(
    database: Database,
    currency: str,
    total: int,
    due_at: datetime,
    issued_at: datetime,
    closed_at: datetime | None = None,
) -> str:
    """An invoice that was issued, and perhaps closed, at these moments."""
    invoice_id = await draft(database, None, currency, total)
    async with database.begin(SYSTEM) as tx:
        dates = {"issued_at": issued_at, "due_at": due_at, "closed_at": closed_at}
        status = "ISSUED" if closed_at is None else "PAID"
        issued = update(invoices).where(invoices.c.id == invoice_id)
        await tx.execute(issued.values(number=uuid4().int >> 66, status=status, **dates))
    return invoice_id
