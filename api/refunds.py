"""Refunds: give back all or a part of what a payment captured."""

from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from api import reviews
from api.access import Operator, ServiceOrOperator
from api.bodies import StrictJSONRoute
from api.context import Context, Using
from api.fields import (
    Amount,
    Currency,
    CustomerId,
    Document,
    Id,
    PathId,
    Reason,
    new_id,
    rendered,
    utc,
)
from api.idempotency import Keyed, KeyedRequest, View, replay, settle
from api.updates import Handover, hand_over, update_id
from domain import points
from domain import refund as rules
from domain.errors import NotFound, NotRefundable
from domain.payment import PayableType, Payment
from domain.refund import FINAL, RefundRequest, RefundSplit, RefundStatus
from domain.review import Outcome, Resolution
from domain.wallet import check_room
from domain.workflow_id import refund_workflow_id
from service.starts import start_refund
from store import customer, idempotency, payment, refund, wallet
from store.database import Transaction

router = APIRouter(prefix="/api/v1/refunds", tags=["refunds"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/refunds/{}"


class NewRefund(Document):
    """What to give back. Partial refunds add up to at most the capture."""

    payment_id: Id
    amount: Annotated[Amount | None, Field(description="All that is left, without it.")] = None
    reason: Reason


class NewResolution(Document):
    """What an operator found out, and where."""

    outcome: Annotated[
        Literal["refunded", "failed"], Field(description="Did the PG give the money back?")
    ]
    reason: Reason


class Refund(Document):
    """A refund: card first up to its capture, then wallet, points last."""

    id: Id
    payment_id: Id
    customer_id: CustomerId
    currency: Currency
    amount: int
    card_amount: int
    wallet_amount: int
    points_amount: int
    reason: str
    status: RefundStatus
    failure_code: Annotated[str | None, Field(examples=["declined"])]
    failure_message: str | None
    gateway_code: str | None
    gateway_reference: str | None
    review_reason: str | None
    workflow_id: str
    created_at: datetime
    updated_at: datetime


@router.post("", status_code=201, response_model=Refund, responses={202: {"model": Refund}})
async def create_refund(
    body: NewRefund, keyed: KeyedRequest, access: ServiceOrOperator, context: Using
) -> Response:
    """Refund a payment. What the PG refuses is an answer: 201 with status FAILED."""
    if (stored := await context.replays.get(keyed.claim)) is not None:
        return replay(stored)
    async with context.database.begin() as tx:
        claimed = await idempotency.claim(tx, keyed.claim, new_id())
        if claimed.answer is not None:
            return replay(claimed.answer)
        if claimed.repeated:
            request = refund.request(await _found(tx, claimed.resource_id), context.terms.waits)
        else:
            request = await _create(tx, claimed.resource_id, body, keyed, context)
    return await settle(
        context,
        keyed,
        claimed,
        begin=partial(start_refund, context.temporal, request),
        view=partial(_view, context, claimed.resource_id),
        location=LOCATION.format(claimed.resource_id),
    )


@router.get("/{refund_id}", response_model=Refund)
async def get_refund(refund_id: PathId, access: ServiceOrOperator, context: Using) -> Refund:
    """A refund as it stands."""
    async with context.reads.connect() as tx:
        return _document(await _found(tx, refund_id))


@router.post("/{refund_id}/resolve", response_model=Refund, responses={202: {"model": Refund}})
async def resolve_refund(
    refund_id: PathId, body: NewResolution, keyed: KeyedRequest, access: Operator, context: Using
) -> Response:
    """Decide about a refund in NEEDS_REVIEW: did the PG give the money back?"""
    outcome = Outcome(body.outcome)
    async with context.reads.connect() as tx:
        row = await _found(tx, refund_id)
        refused = await reviews.refusal(tx, refund_id, outcome)
    handover = Handover(
        resource_id=row.id,
        workflow_id=refund_workflow_id(row.id),
        update="resolve",
        argument=Resolution(outcome, body.reason),
        refusal=refused,
        view=partial(_view, context, row.id),
        decided=partial(reviews.decided, context, row.id, update_id(keyed.claim)),
        location=LOCATION.format(row.id),
    )
    return await hand_over(context, keyed, handover)


async def _create(
    tx: Transaction, refund_id: str, body: NewRefund, keyed: Keyed, context: Context
) -> RefundRequest:
    locked = await payment.lock_refundable(tx, body.payment_id)
    if locked is None:
        raise NotFound(f"There is no payment {body.payment_id}.")
    row, refundable = locked
    if row.payable_type is PayableType.TOP_UP:
        # Its money is in the wallet: back on the card as well, it would be there twice.
        raise NotRefundable("A top-up is not refunded; its money can be spent from the wallet.")
    if not refundable.left:
        raise NotRefundable("Nothing of this payment is left to be refunded.")
    parts = rules.split(refundable, body.amount or refundable.left)
    await _check_room(tx, row, parts)
    request = RefundRequest(
        refund_id=refund_id,
        payment_id=row.id,
        customer_id=row.customer_id,
        currency=row.currency,
        card_amount=parts.card,
        wallet_amount=parts.wallet,
        points_amount=parts.points,
        gateway=row.gateway,
        reason=body.reason,
        origin=keyed.origin,
        waits=context.terms.waits,
    )
    await payment.reserve_refund(tx, request)
    await refund.create(tx, request)
    return request


async def _check_room(tx: Transaction, paid: Payment, parts: RefundSplit) -> None:
    """What goes back into the wallet must fit: nothing that is under way may get stuck."""
    if parts.wallet or parts.points:
        await customer.lock(tx, paid.customer_id)
    for amount, unit in ((parts.wallet, paid.currency), (parts.points, points.UNIT)):
        if amount:
            check_room(await wallet.expected(tx, paid.customer_id, unit), amount, unit)


async def _found(tx: Transaction, refund_id: str) -> rules.Refund:
    row = await refund.find(tx, refund_id)
    if row is None:
        raise NotFound(f"There is no refund {refund_id}.")
    return row


async def _view(context: Context, refund_id: str) -> View:
    async with context.reads.connect() as tx:
        row = await _found(tx, refund_id)
    return View(row.status in FINAL, rendered(_document(row)))


def _document(row: rules.Refund) -> Refund:
    return Refund(
        id=row.id,
        paymentId=row.payment_id,
        customerId=row.customer_id,
        currency=row.currency,
        amount=row.card_amount + row.wallet_amount + row.points_amount,
        cardAmount=row.card_amount,
        walletAmount=row.wallet_amount,
        pointsAmount=row.points_amount,
        reason=row.reason,
        status=row.status,
        failureCode=row.failure_code,
        failureMessage=row.failure_message,
        gatewayCode=row.gateway_code,
        gatewayReference=row.gateway_reference,
        reviewReason=row.review_reason,
        workflowId=refund_workflow_id(row.id),
        createdAt=utc(row.created_at),
        updatedAt=utc(row.updated_at),
    )
