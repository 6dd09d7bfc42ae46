"""Stock as callers see it."""

from typing import Annotated

from pydantic import Field

from api.documents.order import Sku
from api.fields import Document


class Stock(Document):
    sku: Sku
    on_hand: int
    reserved: Annotated[int, Field(description="Set aside for payments that are under way.")]
    available: int
    withdrawn: bool
