"""Reviews: what only a person may decide."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Using
from api.fields import Amount, Currency, CustomerId, Document, Id, PathId, Reason, utc
from api.order import Sku
from domain.access import Access
from domain.inventory import Reservation
from domain.review import Question, WaitingReview
from domain.roles import Action
from service import inventory, review

router = APIRouter(tags=["reviews"], route_class=StrictJSONRoute)


class Review(Document):
    """A question that waits. Its answer goes to the `resolve` of the payment or the refund that it
    names."""

    reference_id: Annotated[Id, Field(description="Of the payment or refund that is asked about.")]
    payment_id: Annotated[Id, Field(description="The same where a payment is asked about.")]
    customer_id: CustomerId
    currency: Currency
    amount: Amount
    question: Question
    answers: Annotated[
        list[str],
        Field(description="Those that the question takes.", examples=[["captured", "failed"]]),
    ]
    reason: Annotated[str, Field(description="Why nobody but a person can say.")]
    opened_at: datetime


class UnreturnedStock(Document):
    """What a failed payment could not give back, because its SKU was withdrawn meanwhile."""

    payment_id: Id
    sku: Sku
    quantity: int


class Waiting(Document):
    """Everything that waits for a person, oldest first."""

    reviews: list[Review]
    stock: list[UnreturnedStock]


class NewResolution(Document):
    """What became of the goods."""

    reason: Reason


class LetGo(Document):
    """Of how many SKUs the stock waits no longer; 0 where none did."""

    skus: Annotated[int, Field(examples=[1])]


@router.get("/api/v1/reviews", response_model=Waiting)
async def list_reviews(
    access: Annotated[Access, may(Action.REVIEW_READ)], context: Using
) -> Waiting:
    """What waits for a person: questions about payments and refunds, and stock."""
    asked = await review.waiting(context.desk, access)
    stock = await inventory.in_review(context.desk)
    return Waiting(reviews=list(map(_review, asked)), stock=list(map(_stock, stock)))


@router.post("/api/v1/payments/{payment_id}/stock/resolve", response_model=LetGo)
async def resolve_stock(
    payment_id: PathId,
    body: NewResolution,
    access: Annotated[Access, may(Action.STOCK_RESOLVE)],
    context: Using,
) -> LetGo:
    """Let go of stock that a failed payment could not give back. Harmless to repeat."""
    return LetGo(skus=await inventory.let_go(context.desk, access, payment_id, body.reason))


def _review(found: WaitingReview) -> Review:
    asked = found.review
    return Review(
        referenceId=asked.reference_id,
        paymentId=asked.payment_id,
        customerId=found.customer_id,
        currency=found.currency,
        amount=found.amount,
        question=asked.question,
        answers=[str(each) for each in asked.question.answers],
        reason=asked.reason,
        openedAt=utc(asked.opened_at),
    )


def _stock(row: Reservation) -> UnreturnedStock:
    return UnreturnedStock(paymentId=row.payment_id, sku=row.sku, quantity=row.quantity)
