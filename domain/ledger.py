"""Double entry: a transaction is a set of postings that sum to zero in every unit.

Sign convention: a positive amount *credits* the account, a negative one *debits* it. A customer's
wallet is what we owe (it grows with credits), sales are income (credits), and the money that a
gateway or bank holds for us is an asset (it grows with debits, so its sum is negative).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Posting:
    """One line of a transaction. `unit` is an ISO 4217 currency, or `POINT`."""

    account: str
    unit: str
    amount: int


@dataclass(frozen=True, slots=True)
class BookedPosting:
    """A line of the ledger; `key` and `kind` are those of its transaction."""

    id: int
    key: str
    kind: str
    account: str
    unit: str
    amount: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Transaction:
    """`key` names the business fact (`payment/{id}/capture`): the ledger takes it once."""

    key: str
    kind: str
    postings: tuple[Posting, ...]
    payment_id: str | None = None

    def __post_init__(self) -> None:
        if not self.postings or any(posting.amount == 0 for posting in self.postings):
            raise ValueError(f"{self.key}: a transaction needs postings, none of them zero")
        if any(total for total in totals(self.postings).values()):
            raise ValueError(f"{self.key}: postings do not sum to zero: {self.postings}")


def totals(postings: Iterable[Posting]) -> Counter[str]:
    """Sum of the amounts per unit."""
    sums: Counter[str] = Counter()
    for posting in postings:
        sums[posting.unit] += posting.amount
    return sums


def transfer(source: str, target: str, unit: str, amount: int) -> tuple[Posting, Posting]:
    """Move `amount` from one account to another."""
    return Posting(source, unit, -amount), Posting(target, unit, amount)


SALES = "sales"
BANK_CLEARING = "bank:clearing"
LATE_CAPTURES = "suspense:late-captures"


def available(customer_id: str) -> str:
    """What a customer may spend from the wallet."""
    return f"wallet:{customer_id}:available"


def held(customer_id: str) -> str:
    """What is set aside for payments that are not decided yet."""
    return f"wallet:{customer_id}:held"


def gateway(name: str) -> str:
    """What a payment gateway has taken for us and not yet paid out or given back."""
    return f"gateway:{name}"
