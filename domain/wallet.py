"""A hold sets an amount of a wallet aside for one payment: money, or points (unit `POINT`)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain import ledger
from domain.errors import BalanceTooLarge
from domain.ledger import Posting, Transaction
from domain.money import MAX_BALANCE, format_amount


@dataclass(frozen=True)
class Balance:
    """What a customer may spend in a currency, or in points, and what is set aside."""

    customer_id: str
    currency: str
    available: int
    held: int
    created_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which wallets somebody looks for; what is None does not matter. `until` is not included."""

    customer_id: str | None = None
    unit: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class HoldState(StrEnum):
    HELD = "HELD"
    COMMITTED = "COMMITTED"
    """It has left the wallet."""
    RELEASED = "RELEASED"
    """Given back; one that was never held is a tombstone, which a late hold finds."""


@dataclass(frozen=True)
class Hold:
    """One per payment and unit."""

    payment_id: str
    customer_id: str
    unit: str
    amount: int

    def taken(self) -> Transaction:
        """available → held."""
        source, target = ledger.available(self.customer_id), ledger.held(self.customer_id)
        return self._transaction("hold", ledger.transfer(source, target, self.unit, self.amount))

    def released(self) -> Transaction:
        """held → available."""
        source, target = ledger.held(self.customer_id), ledger.available(self.customer_id)
        return self._transaction("release", ledger.transfer(source, target, self.unit, self.amount))

    def _transaction(self, kind: str, postings: tuple[Posting, ...]) -> Transaction:
        key = f"payment/{self.payment_id}/{kind}/{self.unit}"
        return Transaction(key=key, kind=kind, postings=postings, payment_id=self.payment_id)


def check_room(expected: int, more: int, unit: str) -> None:
    """Raise `BalanceTooLarge` where a wallet that will hold as `expected` cannot take more."""
    if expected + more > MAX_BALANCE:
        raise BalanceTooLarge(
            f"A wallet holds {format_amount(MAX_BALANCE, unit)} at most: this one has "
            f"{format_amount(expected, unit)} with what is on its way, so "
            f"{format_amount(more, unit)} more are too much."
        )
