"""What time it is for business: the database's clock, one for all processes."""

from datetime import datetime

from sqlalchemy import func, select

from store.database import Transaction


async def now(tx: Transaction) -> datetime:
    """This moment, not the begin of the transaction."""
    moment: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
    return moment
