"""Payments: one attempt each to collect an order."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api import reviews
from api.access import Anybody, Operator, ServiceOrOperator
from api.bodies import StrictJSONRoute
from api.context import Context, Using
from api.fields import (
    Amount,
    Currency,
    CustomerId,
    Document,
    Empty,
    Id,
    PathId,
    Reason,
    new_id,
    rendered,
    utc,
)
from api.idempotency import Keyed, KeyedRequest, View, replay, settle
from api.updates import Handover, hand_over, update_id
from domain import payment as rules
from domain.customer import PaymentMethod
from domain.errors import AlreadyFinal, NotFound, OrderNotPayable, PaymentMethodMissing
from domain.gateway import GatewayAttempt
from domain.identifier import UUID
from domain.inventory import tracked
from domain.payment import FINAL, Method, PayableType, PaymentRequest, PaymentStatus
from domain.review import Outcome, Resolution
from domain.workflow_id import payment_workflow_id
from service.starts import start_payment
from store import customer, gateway_attempt, idempotency, inventory, order, payment, review
from store.database import Transaction

router = APIRouter(prefix="/api/v1/payments", tags=["payments"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/payments/{}"


class NewPayment(Document):
    """How an order is to be paid."""

    order_id: Id
    method: Annotated[
        Literal["CARD", "WALLET", "SPLIT"],
        Field(description="All by card, all from the wallet, or a part from each."),
    ]
    wallet_amount: Annotated[
        Amount | None, Field(description="The part from the wallet; with SPLIT only.")
    ] = None
    payment_method_id: Annotated[
        Id | None, Field(description="Which card; the customer's default one without it.")
    ] = None


class NewResolution(Document):
    """What an operator found out, and where."""

    outcome: Annotated[
        Literal["captured", "authorized", "voided", "failed"],
        Field(
            description="The answer to the question in `reviewReason`, which names those it takes."
        ),
    ]
    reason: Reason


class Attempt(Document):
    """One request at the PG, pursued until its outcome was known."""

    operation: str
    reference_id: Id
    idempotency_key: str
    amount: int
    outcome: str | None
    gateway_reference: str | None
    code: Annotated[str | None, Field(description="The PG's own code.")]
    message: str | None
    opened_at: datetime
    closed_at: datetime | None


class Payment(Document):
    """A payment. `failureCode` is ours, `gatewayCode` the PG's."""

    id: Id
    payable_type: PayableType
    order_id: Id | None
    invoice_id: Id | None
    customer_id: CustomerId
    currency: Currency
    method: Method
    amount: int
    wallet_amount: int
    card_amount: int
    points_amount: Annotated[int, Field(description="Paid in points, beside `amount`.")]
    status: PaymentStatus
    failure_code: Annotated[str | None, Field(examples=["declined"])]
    failure_message: str | None
    gateway: str | None
    gateway_code: Annotated[str | None, Field(examples=["insufficient_funds"])]
    gateway_reference: str | None
    review_reason: str | None
    refunded_amount: int
    points_earned: int
    workflow_id: str
    attempts: list[Attempt]
    created_at: datetime
    updated_at: datetime


@router.post("", status_code=201, response_model=Payment, responses={202: {"model": Payment}})
async def create_payment(body: NewPayment, keyed: KeyedRequest, context: Using) -> Response:
    """Pay an order. A declined payment is an answer: 201 with status FAILED and the code."""
    if (stored := await context.replays.get(keyed.claim)) is not None:
        return replay(stored)
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, new_id())
        if claimed.answer is not None:
            return replay(claimed.answer)
        if claimed.repeated:
            row = await found(tx, claimed.resource_id)
            request = payment.request(row, context.terms.waits)
        else:
            request = await _create(tx, claimed.resource_id, body, keyed, context)
    return await settle(
        context,
        keyed,
        claimed,
        begin=partial(start_payment, context.temporal, request),
        view=partial(view, context, claimed.resource_id),
        location=LOCATION.format(claimed.resource_id),
    )


@router.get("/{payment_id}", response_model=Payment)
async def get_payment(payment_id: PathId, access: Anybody, context: Using) -> Payment:
    """A payment as it stands, with every attempt at the PG."""
    async with context.reads.connect() as tx:
        row = await found(tx, payment_id)
        access.require(row.customer_id)
        return await document(tx, row)


@router.get("", response_model=list[Payment])
async def list_payments(
    order_id: Annotated[str, Query(alias="orderId", pattern=UUID.pattern)],
    access: Anybody,
    context: Using,
) -> list[Payment]:
    """Every payment of an order, oldest first."""
    async with context.reads.connect() as tx:
        owed = await order.find(tx, order_id)
        if owed is None:
            raise NotFound(f"There is no order {order_id}.")
        access.require(owed.customer_id)
        return [await document(tx, row) for row in await payment.of_payable(tx, order_id)]


@router.post("/{payment_id}/cancel", response_model=Payment, responses={202: {"model": Payment}})
async def cancel_payment(
    payment_id: PathId,
    keyed: KeyedRequest,
    access: ServiceOrOperator,
    context: Using,
    body: Empty | None = None,
) -> Response:
    """Ask for a cancellation. The payment ends CANCELLED without residue or COMPLETED whole."""
    async with context.database.begin() as tx:
        await found(tx, payment_id)
        claimed = await idempotency.claim(tx, keyed.claim, payment_id)
        if claimed.answer is not None:
            return replay(claimed.answer)
        if not claimed.repeated and not await payment.request_cancel(tx, payment_id):
            raise AlreadyFinal("The payment has ended; a completed one can be refunded.")
        request = payment.request(await found(tx, payment_id), context.terms.waits)
    return await settle(
        context,
        keyed,
        claimed,
        begin=partial(_cancel, context, request),
        view=partial(view, context, request.payment_id),
        location=LOCATION.format(request.payment_id),
        status=200,
    )


@router.post("/{payment_id}/resolve", response_model=Payment, responses={202: {"model": Payment}})
async def resolve_payment(
    payment_id: PathId, body: NewResolution, keyed: KeyedRequest, access: Operator, context: Using
) -> Response:
    """Answer what only a person may: what has the PG done? The question and its answers stand in
    `reviewReason`. One about an authorization may wait after the payment has ended, too."""
    outcome = Outcome(body.outcome)
    async with context.reads.connect() as tx:
        row = await found(tx, payment_id)
        refused = await reviews.refusal(tx, payment_id, outcome)
    handover = Handover(
        resource_id=row.id,
        workflow_id=payment_workflow_id(row.id),
        update="resolve",
        argument=Resolution(outcome, body.reason),
        refusal=refused,
        view=partial(view, context, row.id),
        decided=partial(reviews.decided, context, row.id, update_id(keyed.claim)),
        location=LOCATION.format(row.id),
    )
    return await hand_over(context, keyed, handover)


async def _cancel(context: Context, request: PaymentRequest) -> Any:
    handle = await start_payment(context.temporal, request)
    await handle.cancel()
    return handle


async def _create(
    tx: Transaction, payment_id: str, body: NewPayment, keyed: Keyed, context: Context
) -> PaymentRequest:
    owed = await order.find(tx, body.order_id)
    if owed is None:
        raise NotFound(f"There is no order {body.order_id}.")
    keyed.access.require(owed.customer_id)
    method = Method(body.method)
    payable = owed.amount - owed.discount - owed.points
    wallet_part, card_part = rules.split(method, payable, body.wallet_amount)
    card = None
    if card_part:
        card = await card_of(tx, owed.customer_id, body.payment_method_id)
    if not await order.begin_paying(tx, owed.id):
        raise OrderNotPayable(f"The order is {owed.status}.")
    request = PaymentRequest(
        payment_id=payment_id,
        payable_type=PayableType.ORDER,
        payable_id=owed.id,
        customer_id=owed.customer_id,
        currency=owed.currency,
        wallet_amount=wallet_part,
        card_amount=card_part,
        points_amount=owed.points,
        coupon_code=owed.coupon_code or "",
        discount=owed.discount,
        stock=tracked(owed.lines, await inventory.tracked(tx, {line.sku for line in owed.lines})),
        gateway=card.gateway if card else "",
        billing_key=card.billing_key if card else "",
        two_calls=card is not None and context.gateways[card.gateway].two_calls,
        origin=keyed.origin,
        waits=context.terms.waits,
    )
    await payment.create(tx, request, method)
    return request


async def card_of(
    tx: Transaction, customer_id: str, payment_method_id: str | None
) -> PaymentMethod:
    """The customer's card; raises `PaymentMethodMissing`."""
    card = await customer.payment_method(tx, customer_id, payment_method_id)
    if card is None:
        raise PaymentMethodMissing(f"{customer_id} has no such card; add one first.")
    return card


async def found(tx: Transaction, payment_id: str) -> rules.Payment:
    """The payment's row; raises `NotFound`."""
    row = await payment.find(tx, payment_id)
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return row


async def view(context: Context, payment_id: str) -> View:
    """The payment as it would be answered now."""
    async with context.reads.connect() as tx:
        row = await found(tx, payment_id)
        return View(row.status in FINAL, rendered(await document(tx, row)))


async def document(tx: Transaction, row: rules.Payment) -> Payment:
    """The payment as callers see it."""
    owed = row.payable_type
    attempts = await gateway_attempt.of_payment(tx, row.id) if row.card_amount else []
    reason = row.review_reason
    if row.two_calls and row.status in FINAL:
        # Its authorization can wait for a person longer than itself.
        asked = await review.latest(tx, row.id)
        reason = asked.reason if asked is not None and asked.closed_at is None else None
    return Payment(
        id=row.id,
        payableType=owed,
        orderId=row.payable_id if owed is PayableType.ORDER else None,
        invoiceId=row.payable_id if owed is PayableType.INVOICE else None,
        customerId=row.customer_id,
        currency=row.currency,
        method=row.method,
        amount=row.wallet_amount + row.card_amount,
        walletAmount=row.wallet_amount,
        cardAmount=row.card_amount,
        pointsAmount=row.points_amount,
        status=row.status,
        failureCode=row.failure_code,
        failureMessage=row.failure_message,
        gateway=row.gateway or None,
        gatewayCode=row.gateway_code,
        gatewayReference=row.gateway_reference,
        reviewReason=reason,
        refundedAmount=row.refunded_amount,
        pointsEarned=row.points_earned,
        workflowId=payment_workflow_id(row.id),
        attempts=[_attempt(attempt) for attempt in attempts],
        createdAt=utc(row.created_at),
        updatedAt=utc(row.updated_at),
    )


def _attempt(row: GatewayAttempt) -> Attempt:
    return Attempt(
        operation=row.operation,
        referenceId=row.reference_id,
        idempotencyKey=row.idempotency_key,
        amount=row.amount,
        outcome=row.outcome,
        gatewayReference=row.gateway_reference,
        code=row.code,
        message=row.message,
        openedAt=utc(row.opened_at),
        closedAt=None if row.closed_at is None else utc(row.closed_at),
    )
