"""Stock: what is on hand, what is reserved by payments, what can still be ordered."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field, StrictBool

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Using
from api.documents.inventory import Stock
from api.documents.order import SKU
from api.fields import Document
from domain import inventory as rules
from domain.access import Access
from domain.roles import Action
from service import inventory

router = APIRouter(prefix="/api/v1/inventory", tags=["inventory"], route_class=StrictJSONRoute)

PathSku = Annotated[str, Path(pattern=SKU)]


class NewStock(Document):
    """The stock of a SKU from now on."""

    on_hand: Annotated[
        int,
        Field(strict=True, ge=0, le=10**12, description="Pieces there are, reserved ones too."),
    ]
    withdrawn: Annotated[
        StrictBool, Field(description="No longer sold: nothing more can be reserved.")
    ] = False


@router.put("/{sku}", response_model=Stock, responses={201: {"model": Stock}})
async def put_stock(
    sku: PathSku,
    body: NewStock,
    access: Annotated[Access, may(Action.STOCK_PUT)],
    context: Using,
    response: Response,
) -> Stock:
    """Track a SKU (201), or change its stock (200). Not below what is reserved."""
    row, made = await inventory.put(context.desk, access, sku, body.on_hand, body.withdrawn)
    response.status_code = 201 if made else 200
    return _document(row)


@router.get("/{sku}", response_model=Stock)
async def get_stock(
    sku: PathSku, access: Annotated[Access, may(Action.STOCK_READ)], context: Using
) -> Stock:
    """The stock of a tracked SKU; one that is not tracked can always be ordered."""
    return _document(await inventory.get(context.desk, access, sku))


def _document(row: rules.Stock) -> Stock:
    return Stock(
        sku=row.sku,
        onHand=row.on_hand,
        reserved=row.reserved,
        available=row.available,
        withdrawn=row.withdrawn,
    )
