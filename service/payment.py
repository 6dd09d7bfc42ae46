"""Payments: paying an order, cancelling, and answering what only a person may."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from domain import payment as rules
from domain.access import Access
from domain.audit import Action, Entry, Noun, actor
from domain.customer import PaymentMethod
from domain.errors import (
    AlreadyFinal,
    NotFound,
    OrderNotPayable,
    PaymentMethodMissing,
    Rejected,
)
from domain.event import JSON
from domain.gateway import GatewayAttempt
from domain.inventory import tracked
from domain.order import PAYABLE
from domain.payment import FINAL, Method, PayableType, Payment, PaymentRequest, Wanted
from domain.review import Resolution
from domain.workflow_id import payment_workflow_id
from service import review as reviews
from service.audit import looked_through, viewed
from service.call import Answer, Call, Seen, followed
from service.desk import Desk
from service.owner import told
from service.starts import start_payment
from store import audit, change, customer, gateway_attempt, idempotency, order, payment, review
from store.database import Transaction
from store.idempotency import Claimed, StoredAnswer
from store.identifier import new_id
from store.page import Page, Place


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
    made = await _create_at_once(desk, call, wanted) or await _create(desk, call, wanted)
    if isinstance(made, StoredAnswer):
        return made
    claimed, request = made
    begin = partial(start_payment, desk.temporal, request)
    return await followed(
        desk, claimed, begin, partial(_seen, desk, call.access, claimed.resource_id)
    )


async def _create_at_once(
    desk: Desk, call: Call, wanted: NewPayment
) -> tuple[Claimed, PaymentRequest] | None:
    """By one statement, where nothing is in the way; None, and nothing made, where anything is."""
    async with desk.database.statements(call.access.scope) as tx:
        to_pay = await order.to_pay(tx, wanted.order_id, wanted.payment_method_id)
        if to_pay is None or to_pay.order.status not in PAYABLE:
            return None
        claimed = Claimed(new_id(), repeated=False, answer=None)
        try:
            request = _request(desk, call, claimed.resource_id, wanted, to_pay)
        except Rejected:
            return None  # The key may have an answer that came before.
        made = await change.tried(
            tx,
            idempotency.claiming(call.claim, claimed.resource_id),
            order.beginning_to_pay(to_pay.order.id),
            *payment.creating(request, wanted.method),
            audit.appending(created(call.access, request)),
        )
    return (claimed, request) if made else None


async def _create(
    desk: Desk, call: Call, wanted: NewPayment
) -> tuple[Claimed, PaymentRequest] | StoredAnswer:
    async with desk.database.begin(call.access.scope) as tx:
        claimed = await idempotency.claim(tx, call.claim, new_id())
        if claimed.answer is not None:
            return claimed.answer
        if claimed.repeated:
            row = await found(tx, claimed.resource_id)
            return claimed, payment.request(row, desk.terms.waits)
        to_pay = await order.to_pay(tx, wanted.order_id, wanted.payment_method_id)
        if to_pay is None:
            raise NotFound(f"There is no order {wanted.order_id}.")
        request = _request(desk, call, claimed.resource_id, wanted, to_pay)
        if not await order.begin_paying(tx, to_pay.order.id):
            # Read again: what was read before may have been overtaken by who pays it now.
            stands = await order.find(tx, to_pay.order.id) or to_pay.order
            raise OrderNotPayable(f"The order is {stands.status}.")
        await change.make(
            tx,
            *payment.creating(request, wanted.method),
            audit.appending(created(call.access, request)),
        )
    return claimed, request


def created(access: Access, request: PaymentRequest) -> Entry:
    """That somebody has a payment made, and of what."""
    after: dict[str, JSON] = {
        "payableType": request.payable_type,
        "payableId": request.payable_id,
        "currency": request.currency,
        "walletAmount": request.wallet_amount,
        "cardAmount": request.card_amount,
        "pointsAmount": request.points_amount,
    }
    who, id_, whose = actor(access), request.payment_id, request.customer_id
    return Entry(who, Action.PAYMENT_CREATED, Noun.PAYMENT, id_, whose, after=after)


async def get(desk: Desk, access: Access, payment_id: str) -> PaymentRecord:
    """A payment as it stands; raises `NotFound`."""
    async with desk.database.read(access.scope) as tx:
        row = await found(tx, payment_id)
        access.require(row.customer_id)
        seen = await record(tx, row)
    await viewed(desk, access, Noun.PAYMENT, row.id, row.customer_id)
    return seen


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[PaymentRecord]:
    """Those below a place, newest first, each as it stands now."""
    async with desk.database.read(access.scope) as tx:
        found = await payment.listed(tx, wanted, place, limit)
        attempts = await gateway_attempt.of_payments(tx, [row.id for row in found.items])
        seen = [
            PaymentRecord(row, attempts[row.id], await _review_reason(tx, row))
            for row in found.items
        ]
    await looked_through(desk, access, Noun.PAYMENT, wanted.customer_id)
    return Page(seen, found.following)


async def cancel(desk: Desk, call: Call, payment_id: str) -> Answer[PaymentRecord] | StoredAnswer:
    """Ask for a cancellation. The payment ends CANCELLED without residue or COMPLETED whole."""
    async with desk.database.begin(call.access.scope) as tx:
        row = await found(tx, payment_id)
        claimed = await idempotency.claim(tx, call.claim, payment_id)
        if claimed.answer is not None:
            return claimed.answer
        if not claimed.repeated:
            await _request_cancel(tx, call.access, row)
        request = payment.request(await found(tx, payment_id), desk.terms.waits)
    return await followed(
        desk,
        claimed,
        partial(_cancel, desk, request),
        partial(_seen, desk, call.access, payment_id),
    )


async def resolve(
    desk: Desk, call: Call, payment_id: str, resolution: Resolution
) -> Answer[PaymentRecord] | StoredAnswer:
    """Answer the question that waits about a payment, which may have ended meanwhile."""
    async with desk.database.read(call.access.scope) as tx:
        id_ = (await found(tx, payment_id)).id
    update = await reviews.answering(desk, call, id_, payment_workflow_id(id_), resolution)
    return await told(desk, call, id_, update, lambda _: _seen(desk, call.access, id_))


async def _request_cancel(tx: Transaction, access: Access, row: Payment) -> None:
    if not await payment.request_cancel(tx, row.id):
        raise AlreadyFinal("The payment has ended; a completed one can be refunded.")
    who, what = actor(access), Action.PAYMENT_CANCEL_REQUESTED
    await audit.append(tx, Entry(who, what, Noun.PAYMENT, row.id, row.customer_id))


async def _cancel(desk: Desk, request: PaymentRequest) -> Any:
    handle = await start_payment(desk.temporal, request)
    await handle.cancel()
    return handle


def _request(
    desk: Desk, call: Call, payment_id: str, wanted: NewPayment, to_pay: rules.ToPay
) -> PaymentRequest:
    """What the saga is to do; raises every refusal that does not depend on who comes first."""
    ordered = to_pay.order
    call.access.require(ordered.customer_id)
    payable = ordered.amount - ordered.discount - ordered.points
    wallet_part, card_part = rules.split(wanted.method, payable, wanted.wallet_amount)
    card = _charged(ordered.customer_id, to_pay.card) if card_part else None
    return PaymentRequest(
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
        lines=ordered.lines,
        stock=tracked(ordered.lines, to_pay.tracked),
        gateway=card.gateway if card else "",
        billing_key=card.billing_key if card else "",
        two_calls=card is not None and desk.gateways[card.gateway].two_calls,
        new=True,
        origin=call.origin,
        waits=desk.terms.waits,
    )


async def card_of(
    tx: Transaction, customer_id: str, payment_method_id: str | None
) -> PaymentMethod:
    """The customer's card; raises `PaymentMethodMissing`."""
    return _charged(customer_id, await customer.payment_method(tx, customer_id, payment_method_id))


def _charged(customer_id: str, card: PaymentMethod | None) -> PaymentMethod:
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
    return PaymentRecord(row, attempts, await _review_reason(tx, row))


async def _review_reason(tx: Transaction, row: Payment) -> str | None:
    reason = row.review_reason
    if row.two_calls and row.status in FINAL:
        # Its authorization can wait for a person longer than itself.
        asked = await review.latest(tx, row.id)
        reason = asked.reason if asked is not None and asked.closed_at is None else None
    return reason


async def _seen(desk: Desk, access: Access, payment_id: str) -> Seen[PaymentRecord]:
    async with desk.database.statements(access.scope) as tx:
        seen = await payment.find_with_attempts(tx, payment_id)
        if seen is None:
            raise NotFound(f"There is no payment {payment_id}.")
        row, attempts = seen
        record = PaymentRecord(row, attempts, await _review_reason(tx, row))
    return Seen(record, row.status in FINAL)
