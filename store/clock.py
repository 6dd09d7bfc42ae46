"""What time it is for business: the database's clock, one for all processes.

Whatever decides about money or months asks here. When a row was written is told by the defaults of
the tables, and decides nothing.
"""

from datetime import datetime

from sqlalchemy import func, select

from store.database import Transaction

NOW = func.clock_timestamp()
"""The same within a statement."""


async def now(tx: Transaction) -> datetime:
    """This moment, not the begin of the transaction."""
    moment: datetime = (await tx.execute(select(NOW))).scalar_one()
    return moment
