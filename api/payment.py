"""Payments: one attempt each to collect an order."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.payment import Attempt, Payment, Payments
from api.fields import Amount, Currency, CustomerId, Document, Duration, Empty, Id, Reason, utc
from api.idempotency import answer, cached, keyed
from api.listing import Listing, page
from api.parameters import PathId
from domain.access import Access
from domain.errors import InvalidRequest
from domain.gateway import GatewayAttempt
from domain.money import MAX_MINOR_UNITS
from domain.payment import Method, PayableType, PaymentStatus, Wanted
from domain.review import Outcome, Resolution
from domain.roles import Action
from domain.workflow_id import payment_workflow_id
from service import payment
from service.call import Call
from service.payment import PaymentRecord

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


class PaymentResolution(Document):
    """What an operator found out, and where."""

    outcome: Annotated[
        Literal["captured", "authorized", "voided", "failed"],
        Field(
            description="The answer to the question in `reviewReason`, which names those it takes."
        ),
    ]
    reason: Reason


class PaymentListing(Listing):
    """By what payments are found."""

    customer_id: CustomerId | None = None
    status: PaymentStatus | None = None
    open: Annotated[bool, Field(description="Only those that have not ended.")] = False
    older_than: Annotated[
        Duration | None, Field(description="Only those that were made longer ago.")
    ] = None
    order_id: Id | None = None
    payable_id: Annotated[Id | None, Field(description="Of an order, invoice or top-up.")] = None
    gateway: Annotated[str | None, Field(max_length=64, examples=["simulator"])] = None
    gateway_reference: Annotated[
        str | None,
        Field(
            max_length=255,
            description="The PG's number of a charge or refund, or ours: its Idempotency-Key, or"
            " the payment's or refund's id.",
        ),
    ] = None
    currency: Currency | None = None
    min_amount: Annotated[
        int | None, Field(ge=0, le=MAX_MINOR_UNITS, description="In minor units of `currency`.")
    ] = None
    max_amount: Annotated[
        int | None, Field(ge=0, le=MAX_MINOR_UNITS, description="In minor units of `currency`.")
    ] = None


@router.post("", status_code=201, response_model=Payment, responses={202: {"model": Payment}})
async def create_payment(
    body: NewPayment, call: Annotated[Call, keyed(Action.PAYMENT_CREATE)], context: Using
) -> Response:
    """Pay an order. A declined payment is an answer: 201 with status FAILED and the code."""
    if (stored := await cached(context, call)) is not None:
        return stored
    wanted = payment.NewPayment(
        body.order_id, Method(body.method), body.wallet_amount, body.payment_method_id
    )
    created = await payment.create(context.desk, call, wanted)
    return await answer(context, call, created, document, LOCATION)


@router.get("/{payment_id}", response_model=Payment)
async def get_payment(
    payment_id: PathId, access: Annotated[Access, may(Action.PAYMENT_READ)], context: Using
) -> Payment:
    """A payment as it stands, with every attempt at the PG."""
    return document(await payment.get(context.desk, access, payment_id))


@router.get("", response_model=Payments)
async def list_payments(
    asked: Annotated[PaymentListing, Query()],
    access: Annotated[Access, may(Action.PAYMENT_READ)],
    context: Replicated,
) -> Payments:
    """Payments, newest first. `open=true&olderThan=PT10M` are those that hang; `workflowId` owns
    each."""
    wanted = _wanted(asked, access)
    find = partial(payment.listed, context.desk, access, wanted)
    return await page(context, asked, ("payments", wanted.customer_id), Payments, find, document)


@router.post("/{payment_id}/cancel", response_model=Payment, responses={202: {"model": Payment}})
async def cancel_payment(
    payment_id: PathId,
    call: Annotated[Call, keyed(Action.PAYMENT_CANCEL)],
    context: Using,
    body: Empty | None = None,
) -> Response:
    """Ask for a cancellation. The payment ends CANCELLED without residue or COMPLETED whole."""
    cancelled = await payment.cancel(context.desk, call, payment_id)
    return await answer(context, call, cancelled, document, LOCATION, status=200)


@router.post("/{payment_id}/resolve", response_model=Payment, responses={202: {"model": Payment}})
async def resolve_payment(
    payment_id: PathId,
    body: PaymentResolution,
    call: Annotated[Call, keyed(Action.PAYMENT_RESOLVE)],
    context: Using,
) -> Response:
    """Answer what only a person may: what has the PG done? The question and its answers stand in
    `reviewReason`. One about an authorization may wait after the payment has ended, too."""
    resolution = Resolution(Outcome(body.outcome), body.reason)
    resolved = await payment.resolve(context.desk, call, payment_id, resolution)
    return await answer(context, call, resolved, document, LOCATION, status=200)


def _wanted(asked: PaymentListing, access: Access) -> Wanted:
    """Raises `InvalidRequest` for amounts of no currency."""
    if asked.currency is None and (asked.min_amount, asked.max_amount) != (None, None):
        raise InvalidRequest("currency: is needed with minAmount and maxAmount.")
    return Wanted(
        customer_id=access.whose(asked.customer_id),
        order_id=asked.order_id,
        payable_id=asked.payable_id,
        status=asked.status,
        open=asked.open,
        older_than=asked.older_than,
        gateway=asked.gateway,
        gateway_reference=asked.gateway_reference,
        currency=asked.currency,
        min_amount=asked.min_amount,
        max_amount=asked.max_amount,
        since=asked.since,
        until=asked.until,
    )


def document(found: PaymentRecord) -> Payment:
    """The payment as callers see it."""
    row = found.payment
    payable = row.payable_type
    return Payment(
        id=row.id,
        payableType=payable,
        orderId=row.payable_id if payable is PayableType.ORDER else None,
        invoiceId=row.payable_id if payable is PayableType.INVOICE else None,
        customerId=row.customer_id,
        currency=row.currency,
        method=row.method,
        amount=row.money,
        walletAmount=row.wallet_amount,
        cardAmount=row.card_amount,
        pointsAmount=row.points_amount,
        status=row.status,
        failureCode=row.failure_code,
        failureMessage=row.failure_message,
        gateway=row.gateway or None,
        gatewayCode=row.gateway_code,
        gatewayReference=row.gateway_reference,
        reviewReason=found.review_reason,
        refundedAmount=row.refunded_amount,
        pointsEarned=row.points_earned,
        workflowId=payment_workflow_id(row.id),
        attempts=[_attempt(attempt) for attempt in found.attempts],
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
