"""Orders: what a customer owes for goods."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from api.access import Anybody, ServiceOrOperator
from api.bodies import StrictJSONRoute
from api.context import Using
from api.fields import Amount, Currency, CustomerId, Document, Id, PathId, new_id, rendered, utc
from api.idempotency import KeyedRequest, keep, replay, respond
from domain import order as rules
from domain import points
from domain.coupon import discount as discounted
from domain.errors import CouponNotApplicable, CouponNotIssued, NotFound
from domain.event import JSON, Event, Origin, Topic
from domain.identifier import NAME
from domain.money import MAX_MINOR_UNITS
from domain.order import OrderLine, OrderStatus
from domain.saga import StepState
from store import clock, coupon, customer, idempotency, order, outbox, payment, saga
from store.database import Transaction
from store.idempotency import StoredAnswer

router = APIRouter(prefix="/api/v1/orders", tags=["orders"], route_class=StrictJSONRoute)

SKU = NAME.pattern
Sku = Annotated[str, Field(pattern=SKU, examples=["SKU-1"])]


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


class Line(Document):
    sku: Sku
    quantity: int
    unit_price: int


class Step(Document):
    """One step of the payment's saga, as it stands."""

    payment_id: Id
    step: Annotated[str, Field(examples=["wallet.hold"])]
    state: StepState
    at: datetime


class Order(Document):
    """An order with the state of each step of its payments."""

    id: Id
    customer_id: CustomerId
    currency: Currency
    items: list[Line]
    amount: Annotated[int, Field(description="Sum of the lines, in minor units.")]
    coupon_code: str | None
    discount: Annotated[int, Field(description="What the coupon takes off.")]
    points: Annotated[int, Field(description="Paid in points.")]
    payable: Annotated[int, Field(description="What a payment has to collect in money.")]
    status: OrderStatus
    review_reason: str | None
    steps: list[Step]
    created_at: datetime
    updated_at: datetime


@router.post("", status_code=201, response_model=Order)
async def create_order(
    body: NewOrder, keyed: KeyedRequest, access: ServiceOrOperator, context: Using
) -> Response:
    """Make an order. It can then be paid with `POST /api/v1/payments`."""
    if (stored := await context.replays.get(keyed.claim)) is not None:
        return replay(stored)
    customer_id = body.customer_id or access.customer_id
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, new_id())
        if not claimed.repeated:
            await _create(tx, claimed.resource_id, customer_id, body, keyed.origin)
        answer = claimed.answer or StoredAnswer(201, await _text(tx, claimed.resource_id))
    answer = await keep(context, keyed.claim, answer)
    if claimed.repeated:
        return replay(answer)
    return respond(answer, f"/api/v1/orders/{claimed.resource_id}")


@router.get("/{order_id}", response_model=Order)
async def get_order(order_id: PathId, access: Anybody, context: Using) -> Order:
    """An order as it stands."""
    async with context.reads.connect() as tx:
        row = await _found(tx, order_id)
        access.require(row.customer_id)
        return await _order(tx, row)


async def _create(
    tx: Transaction, order_id: str, customer_id: str, body: NewOrder, origin: Origin
) -> None:
    lines = tuple(OrderLine(item.sku, item.quantity, item.unit_price) for item in body.items)
    amount = rules.total(body.currency, lines)
    if await customer.find(tx, customer_id) is None:
        raise NotFound(f"There is no customer {customer_id}.")
    discount = await _discount(tx, customer_id, body, amount)
    if body.points is not None:
        points.check(body.points, body.currency, amount - discount)
    row = await order.create(
        tx,
        order_id,
        customer_id,
        body.currency,
        lines,
        amount,
        body.coupon_code,
        discount,
        body.points or 0,
    )
    data: dict[str, JSON] = {
        "orderId": order_id,
        "customerId": customer_id,
        "currency": body.currency,
        "amount": amount,
        "discount": discount,
        "points": row.points,
        "items": [line.to_json() for line in row.lines],
    }
    await outbox.append(tx, Event(Topic.ORDER_CREATED, order_id, customer_id, data, origin))


async def _discount(tx: Transaction, customer_id: str, body: NewOrder, amount: int) -> int:
    """What the coupon takes off. Its limits are checked again, for good, when the order is paid."""
    if body.coupon_code is None:
        return 0
    found = await coupon.find(tx, body.coupon_code)
    if found is None:
        raise CouponNotApplicable(f"There is no coupon {body.coupon_code}.")
    if found.issue_limit is not None and not await coupon.claims(tx, found.code, customer_id):
        raise CouponNotIssued(f"{customer_id} has not claimed coupon {found.code}.")
    return discounted(found, body.currency, amount, await clock.now(tx))


async def _text(tx: Transaction, order_id: str) -> str:
    return rendered(await _order(tx, await _found(tx, order_id)))


async def _found(tx: Transaction, order_id: str) -> rules.Order:
    row = await order.find(tx, order_id)
    if row is None:
        raise NotFound(f"There is no order {order_id}.")
    return row


async def _order(tx: Transaction, row: rules.Order) -> Order:
    steps = [
        Step(paymentId=step.saga_id, step=step.step, state=step.state, at=utc(step.at))
        for paid in await payment.of_payable(tx, row.id)
        for step in await saga.of(tx, paid.id)
    ]
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
        steps=steps,
        createdAt=utc(row.created_at),
        updatedAt=utc(row.updated_at),
    )
