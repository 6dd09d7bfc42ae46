"""Popular SKUs, counted from completed orders."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sold:
    """In how many orders a SKU was, and how many pieces."""

    orders: int
    quantity: int


def sold(orders: Iterable[Iterable[Mapping[str, Any]]]) -> dict[str, Sold]:
    """Add up the `items` of these orders; a SKU on two lines of an order is in one order."""
    counted: dict[str, Sold] = {}
    for items in orders:
        pieces: dict[str, int] = {}
        for item in items:
            pieces[item["sku"]] = pieces.get(item["sku"], 0) + item["quantity"]
        for sku, quantity in pieces.items():
            before = counted.get(sku, Sold(0, 0))
            counted[sku] = Sold(before.orders + 1, before.quantity + quantity)
    return counted
