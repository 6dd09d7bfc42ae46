"""Popular SKUs, counted from completed orders."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import InvalidRequest
from domain.money import MAX_MINOR_UNITS

_SKU = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_PIECES = MAX_MINOR_UNITS
"""Of one line: a piece costs at least one minor unit, and an order is bounded."""


@dataclass(frozen=True)
class Sold:
    """In how many orders a SKU was, and how many pieces."""

    orders: int
    quantity: int


@dataclass(frozen=True)
class Ranked(Sold):
    """By its SKU."""

    sku: str


def read(document: object) -> dict[str, int]:
    """How many pieces of each SKU an event says that an order had; raises `InvalidRequest`."""
    if not isinstance(document, dict) or not isinstance(items := document.get("items"), list):
        raise InvalidRequest("The event of a completed order is an object with a list of items.")
    pieces: Counter[str] = Counter()
    for item in items:
        sku, quantity = _line(item)
        pieces[sku] += quantity
    return dict(pieces)


def sold(orders: Iterable[Mapping[str, int]]) -> dict[str, Sold]:
    """Add up orders; a SKU on two lines of an order is in one order."""
    counted: dict[str, Sold] = {}
    for pieces in orders:
        for sku, quantity in pieces.items():
            before = counted.get(sku, Sold(0, 0))
            counted[sku] = Sold(before.orders + 1, before.quantity + quantity)
    return counted


def _line(item: Any) -> tuple[str, int]:
    if not isinstance(item, dict):
        raise InvalidRequest("items: each is an object.")
    sku, quantity = item.get("sku"), item.get("quantity")
    if not isinstance(sku, str) or not _SKU.fullmatch(sku):
        raise InvalidRequest(f"items: a sku is text of the form {_SKU.pattern}.")
    # To Python, a truth value is a number too.
    if type(quantity) is not int or not 1 <= quantity <= MAX_PIECES:
        raise InvalidRequest(f"items: a quantity is a whole number from 1 to {MAX_PIECES:,}.")
    return sku, quantity
