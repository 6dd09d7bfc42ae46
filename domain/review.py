"""What only a person may decide."""

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    HAPPENED = "happened"
    """The PG did it: `captured` for a payment, `refunded` for a refund."""
    FAILED = "failed"


@dataclass(frozen=True)
class Resolution:
    """An operator's decision about an undecided charge or refund, and why."""

    decision: Decision
    reason: str
