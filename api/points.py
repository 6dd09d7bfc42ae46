"""Loyalty points: earned with completed orders, spent in new ones."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import may
from api.context import Using
from api.documents.points import Points
from api.fields import CUSTOMER_ID
from domain import points
from domain.access import Access
from domain.roles import Action
from service import wallet

router = APIRouter(prefix="/api/v1/points", tags=["points"])


@router.get("", response_model=Points)
async def get_points(
    access: Annotated[Access, may(Action.POINTS_READ)],
    context: Using,
    customer_id: Annotated[
        str | None, Query(alias="customerId", pattern=CUSTOMER_ID, description="Default: yourself.")
    ] = None,
) -> Points:
    """What a customer can spend, and what is set aside."""
    owner = access.named(customer_id)
    rows = await wallet.balances(context.desk, access, owner)
    mine = next((row for row in rows if row.currency == points.UNIT), None)
    return Points(
        customerId=owner,
        available=0 if mine is None else mine.available,
        held=0 if mine is None else mine.held,
    )
