"""Popular SKUs, counted from the events of completed orders."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import may
from api.context import Replicated
from api.documents.ranking import Ranked
from domain.access import Access
from domain.roles import Action
from service import ranking

router = APIRouter(prefix="/api/v1/rankings", tags=["rankings"])


@router.get("", response_model=list[Ranked])
async def get_rankings(
    access: Annotated[Access, may(Action.RANKING_READ)],
    context: Replicated,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> list[Ranked]:
    """Most sold first. Follows completed orders by the time that their events take."""
    rows = await ranking.top(context.desk, access, limit)
    return [
        Ranked(rank=rank, sku=row.sku, orders=row.orders, quantity=row.quantity)
        for rank, row in enumerate(rows, start=1)
    ]
