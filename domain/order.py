"""An order: what a customer owes for goods. Its totals are fixed when it is made."""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import InvalidRequest
from domain.money import MAX_MINOR_UNITS, check_currency


class OrderStatus(StrEnum):
    CREATED = "CREATED"
    PAYING = "PAYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    """The last payment failed or was cancelled; it may be paid again with a new key."""
    NEEDS_REVIEW = "NEEDS_REVIEW"


PAYABLE = frozenset({OrderStatus.CREATED, OrderStatus.FAILED})


@dataclass(frozen=True)
class OrderLine:
    """`unit_price` in minor units of the order's currency."""

    sku: str
    quantity: int
    unit_price: int

    @property
    def amount(self) -> int:
        return self.quantity * self.unit_price


def total(currency: str, lines: tuple[OrderLine, ...]) -> int:
    """What the lines add up to; raises `InvalidRequest` above the bound."""
    check_currency(currency)
    amount = sum(line.amount for line in lines)
    if amount > MAX_MINOR_UNITS:
        raise InvalidRequest(
            f"The order adds up to {amount:,} minor units; at most {MAX_MINOR_UNITS:,} can be paid."
        )
    return amount
