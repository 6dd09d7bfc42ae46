"""Popular SKUs as callers see them."""

from api.documents.order import Sku
from api.fields import Document


class Ranked(Document):
    """How often a SKU was in a completed order, and how many pieces of it."""

    rank: int
    sku: Sku
    orders: int
    quantity: int
