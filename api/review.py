"""Reviews: what only a person may decide."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Using
from api.documents.review import LetGo, Review, Reviews, UnreturnedStock
from api.fields import CustomerId, Document, Id, Reason, utc
from api.listing import Listing, page
from api.parameters import PathId
from domain.access import Access
from domain.inventory import Reservation
from domain.review import ListedReview, Question, Wanted
from domain.roles import Action
from service import inventory, review

router = APIRouter(tags=["reviews"], route_class=StrictJSONRoute)


class ReviewListing(Listing):
    """By what questions are found: `from` and `to` are of when they were asked."""

    customer_id: CustomerId | None = None
    payment_id: Id | None = None
    question: Question | None = None
    open: Annotated[bool, Field(description="Only those that nobody has answered yet.")] = False


class NewResolution(Document):
    """What became of the goods."""

    reason: Reason


@router.get("/api/v1/reviews", response_model=Reviews)
async def list_reviews(
    asked: Annotated[ReviewListing, Query()],
    access: Annotated[Access, may(Action.REVIEW_READ)],
    context: Using,
) -> Reviews:
    """Questions about payments and refunds, which only a person may answer. `open=true` are those
    that wait."""
    owner = access.whose(asked.customer_id)
    wanted = Wanted(owner, asked.payment_id, asked.question, asked.open, asked.since, asked.until)
    find = partial(review.listed, context.desk, access, wanted)
    return await page(context, asked, ("reviews", owner), Reviews, find, _review)


@router.get("/api/v1/reviews/stock", response_model=list[UnreturnedStock])
async def list_unreturned_stock(
    access: Annotated[Access, may(Action.REVIEW_READ)], context: Using
) -> list[UnreturnedStock]:
    """Stock that waits for a person, oldest first, whole: there is hardly ever any."""
    return [_stock(each) for each in await inventory.in_review(context.desk)]


@router.post("/api/v1/payments/{payment_id}/stock/resolve", response_model=LetGo)
async def resolve_stock(
    payment_id: PathId,
    body: NewResolution,
    access: Annotated[Access, may(Action.STOCK_RESOLVE)],
    context: Using,
) -> LetGo:
    """Let go of stock that a failed payment could not give back. Harmless to repeat."""
    return LetGo(skus=await inventory.let_go(context.desk, access, payment_id, body.reason))


def _review(found: ListedReview) -> Review:
    asked = found.review
    return Review(
        id=asked.id,
        referenceId=asked.reference_id,
        paymentId=asked.payment_id,
        customerId=found.customer_id,
        currency=found.currency,
        amount=found.amount,
        question=asked.question,
        answers=[str(each) for each in asked.question.answers],
        reason=asked.reason,
        openedAt=utc(asked.opened_at),
        closedAt=None if asked.closed_at is None else utc(asked.closed_at),
        outcome=asked.outcome,
        note=asked.note,
    )


def _stock(row: Reservation) -> UnreturnedStock:
    return UnreturnedStock(paymentId=row.payment_id, sku=row.sku, quantity=row.quantity)
