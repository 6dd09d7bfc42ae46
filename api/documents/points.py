"""Loyalty points as callers see them."""

from typing import Annotated

from pydantic import Field

from api.fields import CustomerId, Document


class Points(Document):
    """Points of a customer. One pays one minor unit in the currencies that allow it."""

    customer_id: CustomerId
    available: int
    held: Annotated[int, Field(description="Set aside for payments that are not decided yet.")]
