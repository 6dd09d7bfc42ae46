"""Refunds: give back all or a part of what a payment captured."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.refund import Refund, Refunds
from api.fields import Amount, CustomerId, Document, Id, Reason, utc
from api.idempotency import answer, cached, keyed
from api.listing import Listing, page
from api.parameters import PathId
from domain import refund as rules
from domain.access import Access
from domain.refund import RefundStatus, Wanted
from domain.review import Outcome, Resolution
from domain.roles import Action
from domain.workflow_id import refund_workflow_id
from service import refund
from service.call import Call

router = APIRouter(prefix="/api/v1/refunds", tags=["refunds"], route_class=StrictJSONRoute)

LOCATION = "/api/v1/refunds/{}"


class NewRefund(Document):
    """What to give back. Partial refunds add up to at most the capture."""

    payment_id: Id
    amount: Annotated[Amount | None, Field(description="All that is left, without it.")] = None
    reason: Reason


class RefundResolution(Document):
    """What an operator found out, and where."""

    outcome: Annotated[
        Literal["refunded", "failed"], Field(description="Did the PG give the money back?")
    ]
    reason: Reason


class RefundListing(Listing):
    """By what refunds are found."""

    customer_id: CustomerId | None = None
    payment_id: Id | None = None
    status: RefundStatus | None = None


@router.post("", status_code=201, response_model=Refund, responses={202: {"model": Refund}})
async def create_refund(
    body: NewRefund, call: Annotated[Call, keyed(Action.REFUND_CREATE)], context: Using
) -> Response:
    """Refund a payment. What the PG refuses is an answer: 201 with status FAILED."""
    if (stored := await cached(context, call)) is not None:
        return stored
    wanted = refund.NewRefund(body.payment_id, body.reason, body.amount)
    created = await refund.create(context.desk, call, wanted)
    return await answer(context, call, created, document, LOCATION)


@router.get("", response_model=Refunds)
async def list_refunds(
    asked: Annotated[RefundListing, Query()],
    access: Annotated[Access, may(Action.REFUND_READ)],
    context: Replicated,
) -> Refunds:
    """Refunds, newest first."""
    owner = access.whose(asked.customer_id)
    wanted = Wanted(owner, asked.payment_id, asked.status, asked.since, asked.until)
    find = partial(refund.listed, context.desk, access, wanted)
    return await page(context, asked, ("refunds", owner), Refunds, find, document)


@router.get("/{refund_id}", response_model=Refund)
async def get_refund(
    refund_id: PathId, access: Annotated[Access, may(Action.REFUND_READ)], context: Using
) -> Refund:
    """A refund as it stands."""
    return document(await refund.get(context.desk, access, refund_id))


@router.post("/{refund_id}/resolve", response_model=Refund, responses={202: {"model": Refund}})
async def resolve_refund(
    refund_id: PathId,
    body: RefundResolution,
    call: Annotated[Call, keyed(Action.REFUND_RESOLVE)],
    context: Using,
) -> Response:
    """Decide about a refund in NEEDS_REVIEW: did the PG give the money back?"""
    resolution = Resolution(Outcome(body.outcome), body.reason)
    resolved = await refund.resolve(context.desk, call, refund_id, resolution)
    return await answer(context, call, resolved, document, LOCATION, status=200)


def document(row: rules.Refund) -> Refund:
    """The refund as callers see it."""
    return Refund(
        id=row.id,
        paymentId=row.payment_id,
        customerId=row.customer_id,
        currency=row.currency,
        amount=row.worth,
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
