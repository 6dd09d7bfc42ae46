"""A hold sets an amount of a wallet aside for one payment: money, or points (unit `POINT`)."""

from dataclasses import dataclass

from domain import ledger
from domain.ledger import Posting, Transaction


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
