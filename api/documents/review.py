"""What only a person may decide, as callers see it."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.documents.order import Sku
from api.documents.page import Page
from api.fields import Amount, Currency, CustomerId, Document, Id
from domain.review import Question


class Review(Document):
    """A question to a person; it waits while `closedAt` is null. Its answer goes to the `resolve`
    of the payment or the refund that it names."""

    id: int
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
    closed_at: datetime | None
    outcome: Annotated[
        str | None, Field(description="The answer, or `superseded` where none was needed.")
    ]
    note: Annotated[str | None, Field(description="How whoever answered knew.")]


class UnreturnedStock(Document):
    """What a failed payment could not give back, because its SKU was withdrawn meanwhile."""

    payment_id: Id
    sku: Sku
    quantity: int


class Reviews(Page[Review]):
    """A page of questions, what was asked last first."""


class LetGo(Document):
    """Of how many SKUs the stock waits no longer; 0 where none did."""

    skus: Annotated[int, Field(examples=[1])]
