"""The clock that business goes by."""

from sqlalchemy import func, select

from domain.access import SYSTEM
from store import clock
from store.database import Database


async def test_it_goes_on_within_a_transaction(database: Database) -> None:
    """Whoever waited for a lock must not be told when it began to wait."""
    async with database.begin(SYSTEM) as tx:
        began = (await tx.execute(select(func.now()))).scalar_one()
        moments = [await clock.now(tx) for _ in range(2)]

    assert began < moments[0] < moments[1]
