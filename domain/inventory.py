"""Stock per SKU. A SKU without an inventory row is not tracked."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from domain.order import OrderLine


class ReservationState(StrEnum):
    RESERVED = "RESERVED"
    COMMITTED = "COMMITTED"
    """The goods have left the stock."""
    RESTORED = "RESTORED"
    """Given back; one that was never reserved is a tombstone, which a late reservation finds."""
    NEEDS_REVIEW = "NEEDS_REVIEW"
    """It could not be given back: the SKU was withdrawn meanwhile."""


def quantities(lines: Iterable[OrderLine]) -> list[tuple[str, int]]:
    """Quantity per SKU, sorted: every transaction locks stock rows in the same order."""
    wanted: Counter[str] = Counter()
    for line in lines:
        wanted[line.sku] += line.quantity
    return sorted(wanted.items())
