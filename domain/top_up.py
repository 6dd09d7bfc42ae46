"""A top-up adds money to a wallet."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Source(StrEnum):
    CARD = "CARD"
    BANK_TRANSFER = "BANK_TRANSFER"
    """Money that an operator saw arrive on the bank account."""


@dataclass(frozen=True)
class TopUp:
    id: str
    customer_id: str
    currency: str
    amount: int
    source: Source
    created_at: datetime
