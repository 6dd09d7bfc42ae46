"""Popular SKUs, counted from the events of completed orders."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from service.desk import Desk
from store import ranking


async def top(desk: Desk, limit: int) -> Sequence[Row[Any]]:
    """Most sold first."""
    async with desk.reads.connect() as tx:
        return await ranking.top(tx, limit)
