"""Popular SKUs, counted from the events of completed orders."""

from domain.access import Access
from domain.ranking import Ranked
from service.desk import Desk
from store import ranking


async def top(desk: Desk, access: Access, limit: int) -> list[Ranked]:
    """Most sold first."""
    async with desk.database.read(access.scope) as tx:
        return await ranking.top(tx, limit)
