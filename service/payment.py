"""Payments: paying an order, cancelling, and answering what only a person may."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from domain import payment as rules
from domain.access import SYSTEM, Access
from domain.customer import PaymentMethod
from domain.errors import AlreadyFinal, NotFound, OrderNotPayable, PaymentMethodMissing
from domain.gateway import GatewayAttempt
from domain.inventory import tracked
from domain.payment import FINAL, Method, PayableType, Payment, PaymentRequest
from domain.review import Resolution
from domain.workflow_id import payment_workflow_id
from service import review as reviews
from service.call import Answer, Call, Seen, followed
from service.desk import Desk
from service.owner import told
from service.starts import start_payment
from store import customer, gateway_attempt, idempotency, inventory, order, payment, review
from store.database import Transaction
from store.idempotency import StoredAnswer
from store.identifier import new_id


@dataclass(frozen=True)
class PaymentRecord:
    """A payment with every attempt at its PG. `review_reason`: why a person is asked about it."""

    payment: Payment
    attempts: list[GatewayAttempt]
    review_reason: str | None


@dataclass(frozen=True)
class NewPayment:
    """How an order is to be paid; `wallet_amount` with SPLIT only, the customer's default card
    without `payment_method_id`."""

    order_id: str
    method: Method
    wallet_amount: int | None = None
    payment_method_id: str | None = None


async def create(
    desk: Desk, call: Call, wanted: NewPayment
) -> Answer[PaymentRecord] | StoredAnswer:
    """Pay an order, and wait shortly for the end. A declined payment is an answer."""
    async with desk.database.begin(SYSTEM) as tx:
        claimed = await idempotency.claim(tx, call.claim, new_id())
        if claimed.answer is not None:
            return claimed.answer
        if claimed.repeated:
            row = await found(tx, claimed.resource_id)
            request = payment.request(row, desk.terms.waits)
        else:
            request = await _create(tx, desk, call, claimed.resource_id, wanted)
    begin = partial(start_payment, desk.temporal, request)
    return await followed(desk, claimed, begin, partial(_seen, desk, claimed.resource_id))


async def get(desk: Desk, access: Access, payment_id: str) -> PaymentRecord:
    """A payment as it stands; raises `NotFound`."""
    async with desk.database.read(SYSTEM) as tx:
        row = await found(tx, payment_id)
        access.require(row.customer_id)
        return await record(tx, row)


async def of_order(desk: Desk, access: Access, order_id: str) -> list[PaymentRecord]:
    """Every payment of an order, oldest first."""
    async with desk.database.read(SYSTEM) as tx:
        ordered = await order.find(tx, order_id)
        if ordered is None:
            raise NotFound(f"There is no order {order_id}.")
        access.require(ordered.customer_id)
        return [await record(tx, row) for row in await payment.of_payable(tx, order_id)]


async def cancel(desk: Desk, call: Call, payment_id: str) -> Answer[PaymentRecord] | StoredAnswer:
    """Ask for a cancellation. The payment ends CANCELLED without residue or COMPLETED whole."""
    async with desk.database.begin(SYSTEM) as tx:
        await found(tx, payment_id)
        claimed = await idempotency.claim(tx, call.claim, payment_id)
        if claimed.answer is not None:
            return claimed.answer
        if not claimed.repeated and not await payment.request_cancel(tx, payment_id):
            raise AlreadyFinal("The payment has ended; a completed one can be refunded.")
        request = payment.request(await found(tx, payment_id), desk.terms.waits)
    return await followed(
        desk, claimed, partial(_cancel, desk, request), partial(_seen, desk, payment_id)
    )


async def resolve(
    desk: Desk, call: Call, payment_id: str, resolution: Resolution
) -> Answer[PaymentRecord] | StoredAnswer:
    """Answer the question that waits about a payment, which may have ended meanwhile."""
    async with desk.database.read(SYSTEM) as tx:
        id_ = (await found(tx, payment_id)).id
    update = await reviews.answering(desk, call, id_, payment_workflow_id(id_), resolution)
    return await told(desk, call, id_, update, lambda _: _seen(desk, id_))


async def _cancel(desk: Desk, request: PaymentRequest) -> Any:
    handle = await start_payment(desk.temporal, request)
    await handle.cancel()
    return handle


async def _create(
    tx: Transaction, desk: Desk, call: Call, payment_id: str, wanted: NewPayment
) -> PaymentRequest:
    ordered = await order.find(tx, wanted.order_id)
    if ordered is None:
        raise NotFound(f"There is no order {wanted.order_id}.")
    call.access.require(ordered.customer_id)
    payable = ordered.amount - ordered.discount - ordered.points
    wallet_part, card_part = rules.split(wanted.method, payable, wanted.wallet_amount)
    card = None
    if card_part:
        card = await card_of(tx, ordered.customer_id, wanted.payment_method_id)
    lines = ordered.lines
    if not await order.begin_paying(tx, ordered.id):
        raise OrderNotPayable(f"The order is {ordered.status}.")
    request = PaymentRequest(
        payment_id=payment_id,
        payable_type=PayableType.ORDER,
        payable_id=ordered.id,
        customer_id=ordered.customer_id,
        currency=ordered.currency,
        wallet_amount=wallet_part,
        card_amount=card_part,
        points_amount=ordered.points,
        coupon_code=ordered.coupon_code or "",
        discount=ordered.discount,
        stock=tracked(lines, await inventory.tracked(tx, {line.sku for line in lines})),
        gateway=card.gateway if card else "",
        billing_key=card.billing_key if card else "",
        two_calls=card is not None and desk.gateways[card.gateway].two_calls,
        origin=call.origin,
        waits=desk.terms.waits,
    )
    await payment.create(tx, request, wanted.method)
    return request


async def card_of(
    tx: Transaction, customer_id: str, payment_method_id: str | None
) -> PaymentMethod:
    """The customer's card; raises `PaymentMethodMissing`."""
    card = await customer.payment_method(tx, customer_id, payment_method_id)
    if card is None:
        raise PaymentMethodMissing(f"{customer_id} has no such card; add one first.")
    return card


async def found(tx: Transaction, payment_id: str) -> Payment:
    """The payment; raises `NotFound`."""
    row = await payment.find(tx, payment_id)
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return row


async def record(tx: Transaction, row: Payment) -> PaymentRecord:
    """Everything that callers see of a payment."""
    attempts = await gateway_attempt.of_payment(tx, row.id) if row.card_amount else []
    reason = row.review_reason
    if row.two_calls and row.status in FINAL:
        # Its authorization can wait for a person longer than itself.
        asked = await review.latest(tx, row.id)
        reason = asked.reason if asked is not None and asked.closed_at is None else None
    return PaymentRecord(row, attempts, reason)


async def _seen(desk: Desk, payment_id: str) -> Seen[PaymentRecord]:
    async with desk.database.read(SYSTEM) as tx:
        row = await found(tx, payment_id)
        return Seen(await record(tx, row), row.status in FINAL)
