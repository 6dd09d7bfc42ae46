"""Orders: what a customer owes for goods."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.order import SKU, Line, Order, Orders, Sku, Step
from api.fields import Amount, Currency, CustomerId, Document, utc
from api.idempotency import answer, cached, keyed
from api.listing import Listing, page
from api.parameters import PathId
from domain.access import Access
from domain.money import MAX_MINOR_UNITS
from domain.order import OrderLine, OrderStatus, Wanted
from domain.roles import Action
from domain.saga import SagaStep
from service import order
from service.call import Call
from service.order import OrderRecord

router = APIRouter(prefix="/api/v1/orders", tags=["orders"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/orders/{}"


class NewLine(Document):
    """One line of an order."""

    sku: Sku
    quantity: Annotated[int, Field(strict=True, ge=1, le=1_000_000, examples=[2])]
    unit_price: Amount


class NewOrder(Document):
    """What is ordered. Its total and its discount are fixed now and never change."""

    currency: Currency
    items: Annotated[
        list[NewLine], Field(min_length=1, max_length=100, description="1 to 100 lines.")
    ]
    customer_id: Annotated[
        CustomerId | None, Field(description="Who owes it; the caller without it.")
    ] = None
    coupon_code: Annotated[
        str | None, Field(pattern=SKU, description="Checked now, used when the order is paid.")
    ] = None
    points: Annotated[
        int | None,
        Field(strict=True, ge=1, le=MAX_MINOR_UNITS, description="Points that pay a part of it."),
    ] = None


class OrderListing(Listing):
    """By what orders are found."""

    customer_id: CustomerId | None = None
    status: OrderStatus | None = None


@router.post("", status_code=201, response_model=Order)
async def create_order(
    body: NewOrder, call: Annotated[Call, keyed(Action.ORDER_CREATE)], context: Using
) -> Response:
    """Make an order. It can then be paid with `POST /api/v1/payments`."""
    if (stored := await cached(context, call)) is not None:
        return stored
    lines = tuple(OrderLine(each.sku, each.quantity, each.unit_price) for each in body.items)
    wanted = order.NewOrder(body.currency, lines, body.customer_id, body.coupon_code, body.points)
    created = await order.create(context.desk, call, wanted)
    return await answer(context, call, created, _document, LOCATION)


@router.get("", response_model=Orders)
async def list_orders(
    asked: Annotated[OrderListing, Query()],
    access: Annotated[Access, may(Action.ORDER_READ)],
    context: Replicated,
) -> Orders:
    """Orders, newest first."""
    owner = access.whose(asked.customer_id)
    wanted = Wanted(owner, asked.status, asked.since, asked.until)
    find = partial(order.listed, context.desk, access, wanted)
    return await page(context, asked, ("orders", owner), Orders, find, _document)


@router.get("/{order_id}", response_model=Order)
async def get_order(
    order_id: PathId, access: Annotated[Access, may(Action.ORDER_READ)], context: Using
) -> Order:
    """An order as it stands."""
    return _document(await order.get(context.desk, access, order_id))


def _document(found: OrderRecord) -> Order:
    row = found.order
    return Order(
        id=row.id,
        customerId=row.customer_id,
        currency=row.currency,
        items=[Line.model_validate(line.to_json()) for line in row.lines],
        amount=row.amount,
        couponCode=row.coupon_code,
        discount=row.discount,
        points=row.points,
        payable=row.amount - row.discount - row.points,
        status=row.status,
        reviewReason=row.review_reason,
        steps=[_step(each) for each in found.steps],
        createdAt=utc(row.created_at),
        updatedAt=utc(row.updated_at),
    )


def _step(row: SagaStep) -> Step:
    return Step(paymentId=row.saga_id, step=row.step, state=row.state, at=utc(row.at))
