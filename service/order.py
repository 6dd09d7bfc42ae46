"""Orders: what a customer is to pay for goods."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain import order as rules
from domain import points
from domain.access import Access
from domain.audit import Action, Entry, Noun, actor
from domain.coupon import discount as discounted
from domain.errors import CouponNotApplicable, CouponNotIssued, NotFound
from domain.event import JSON, Event, Topic
from domain.order import Order, OrderLine, Wanted
from domain.saga import SagaStep
from service.audit import looked_through, viewed
from service.call import Answer, Call
from service.desk import Desk
from store import audit, change, clock, coupon, customer, idempotency, order, outbox, payment, saga
from store.database import Transaction
from store.idempotency import StoredAnswer
from store.identifier import new_id
from store.page import Page, Place


@dataclass(frozen=True)
class NewOrder:
    """What is ordered, by the caller unless another customer is named."""

    currency: str
    lines: tuple[OrderLine, ...]
    customer_id: str | None = None
    coupon_code: str | None = None
    points: int | None = None


@dataclass(frozen=True)
class OrderRecord:
    """An order with the steps of its payments."""

    order: Order
    steps: list[SagaStep]


async def create(desk: Desk, call: Call, wanted: NewOrder) -> Answer[OrderRecord] | StoredAnswer:
    """Make an order. Its total and its discount are fixed now and never change."""
    async with desk.database.begin(call.access.scope) as tx:
        claimed = await idempotency.claim(tx, call.claim, new_id())
        if claimed.answer is not None:
            return claimed.answer
        if not claimed.repeated:
            await _create(tx, call, claimed.resource_id, wanted)
        made = await _record(tx, await _found(tx, claimed.resource_id))
    return Answer(claimed.resource_id, made, True, claimed.repeated)


async def get(desk: Desk, access: Access, order_id: str) -> OrderRecord:
    """An order as it stands; raises `NotFound`."""
    async with desk.database.read(access.scope) as tx:
        row = await _found(tx, order_id)
        access.require(row.customer_id)
        seen = await _record(tx, row)
    await viewed(desk, access, Noun.ORDER, row.id, row.customer_id)
    return seen


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[OrderRecord]:
    """Those below a place, newest first, each as it stands now."""
    async with desk.database.read(access.scope) as tx:
        found = await order.listed(tx, wanted, place, limit)
        seen = await _records(tx, found.items)
    await looked_through(desk, access, Noun.ORDER, wanted.customer_id)
    return Page(seen, found.following)


async def _create(tx: Transaction, call: Call, order_id: str, wanted: NewOrder) -> None:
    customer_id = call.access.named(wanted.customer_id)
    amount = rules.total(wanted.currency, wanted.lines)
    if await customer.find(tx, customer_id) is None:
        raise NotFound(f"There is no customer {customer_id}.")
    discount = await _discount(tx, customer_id, wanted, amount)
    if wanted.points is not None:
        points.check(wanted.points, wanted.currency, amount - discount)
    row = await order.create(
        tx,
        order_id,
        customer_id,
        wanted.currency,
        wanted.lines,
        amount,
        wanted.coupon_code,
        discount,
        wanted.points or 0,
    )
    data: dict[str, JSON] = {
        "orderId": order_id,
        "customerId": customer_id,
        "currency": wanted.currency,
        "amount": amount,
        "discount": discount,
        "points": row.points,
        "items": [line.to_json() for line in row.lines],
    }
    await change.make(
        tx,
        outbox.appending(Event(Topic.ORDER_CREATED, order_id, customer_id, data, call.origin)),
        audit.appending(_created(call.access, row)),
    )


def _created(access: Access, row: Order) -> Entry:
    after: dict[str, JSON] = {
        "currency": row.currency,
        "amount": row.amount,
        "discount": row.discount,
        "points": row.points,
        "couponCode": row.coupon_code,
    }
    who, what = actor(access), Action.ORDER_CREATED
    return Entry(who, what, Noun.ORDER, row.id, row.customer_id, after=after)


async def _discount(tx: Transaction, customer_id: str, wanted: NewOrder, amount: int) -> int:
    """What the coupon takes off. Its limits are checked again, for good, when the order is paid."""
    if wanted.coupon_code is None:
        return 0
    found = await coupon.find(tx, wanted.coupon_code)
    if found is None:
        raise CouponNotApplicable(f"There is no coupon {wanted.coupon_code}.")
    if found.issue_limit is not None and not await coupon.claims(tx, found.code, customer_id):
        raise CouponNotIssued(f"{customer_id} has not claimed coupon {found.code}.")
    return discounted(found, wanted.currency, amount, await clock.now(tx))


async def _found(tx: Transaction, order_id: str) -> Order:
    row = await order.find(tx, order_id)
    if row is None:
        raise NotFound(f"There is no order {order_id}.")
    return row


async def _record(tx: Transaction, row: Order) -> OrderRecord:
    [found] = await _records(tx, [row])
    return found


async def _records(tx: Transaction, rows: Sequence[Order]) -> list[OrderRecord]:
    paid = await payment.of_payable(tx, *(row.id for row in rows))
    steps = await saga.of_each(tx, [each.id for each in paid])
    of: dict[str, list[SagaStep]] = {row.id: [] for row in rows}
    for each in paid:
        of[each.payable_id] += steps[each.id]
    return [OrderRecord(row, of[row.id]) for row in rows]
