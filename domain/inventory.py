"""Stock per SKU. A SKU without an inventory row is not tracked."""

from collections import Counter
from collections.abc import Collection, Iterable
from enum import StrEnum

from domain.order import OrderLine
from domain.payment import StockLine


class ReservationState(StrEnum):
    RESERVED = "RESERVED"
    COMMITTED = "COMMITTED"
    """The goods have left the stock."""
    RESTORED = "RESTORED"
    """Given back; one that was never reserved is a tombstone, which a late reservation finds."""
    NEEDS_REVIEW = "NEEDS_REVIEW"
    """It could not be given back: the SKU was withdrawn meanwhile."""


def tracked(lines: Iterable[OrderLine], skus: Collection[str]) -> tuple[StockLine, ...]:
    """Quantity per tracked SKU, sorted: every transaction locks stock rows in the same order."""
    wanted: Counter[str] = Counter()
    for line in lines:
        if line.sku in skus:
            wanted[line.sku] += line.quantity
    return tuple(StockLine(sku, quantity) for sku, quantity in sorted(wanted.items()))
