"""Stock per SKU. A SKU without an inventory row is not tracked."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True)
class Stock:
    """Pieces of a tracked SKU: `on_hand` are all there are, `reserved` those that payments have set
    aside. Of one that is `withdrawn` nothing more can be reserved."""

    sku: str
    on_hand: int
    reserved: int
    withdrawn: bool
    updated_at: datetime

    @property
    def available(self) -> int:
        return 0 if self.withdrawn else self.on_hand - self.reserved


@dataclass(frozen=True)
class Reservation:
    """Pieces of a SKU set aside for a payment. `resolution` is why a person let them go."""

    payment_id: str
    sku: str
    quantity: int
    state: ReservationState
    resolution: str | None
    created_at: datetime


def tracked(lines: Iterable[OrderLine], skus: Collection[str]) -> tuple[StockLine, ...]:
    """Quantity per tracked SKU, sorted: every transaction locks stock rows in the same order."""
    wanted: Counter[str] = Counter()
    for line in lines:
        if line.sku in skus:
            wanted[line.sku] += line.quantity
    return tuple(StockLine(sku, quantity) for sku, quantity in sorted(wanted.items()))
