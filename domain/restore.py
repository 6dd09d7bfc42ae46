"""What to make of a database that was restored: it is older than what Temporal remembers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Noun(StrEnum):
    """What has a workflow of its own, by the beginning of the workflow's id."""

    PAYMENT = "payment"
    REFUND = "refund"
    INVOICE = "invoice"
    SETTLEMENT = "settlement"


class Standing(StrEnum):
    """How the restored database stands to a workflow. Nothing is said of one with which it
    agrees."""

    SET_BACK = "SET_BACK"
    """It has ended, and here it is open: the sweeper starts it again, and it asks the PG what has
    become of its calls."""
    LOST = "LOST"
    """It has ended, and here nothing of it is known: what it did to money is nowhere but at the
    PG."""
    STRANDED = "STRANDED"
    """It runs, and here nothing of it is known: it can never end by itself."""


@dataclass(frozen=True)
class Remembered:
    """A workflow as Temporal remembers it; `id` is what comes behind the noun in its own id."""

    noun: Noun
    id: str
    customer_id: str
    began_at: datetime
    runs: bool

    @property
    def workflow_id(self) -> str:
        return f"{self.noun}/{self.id}"


def standing(seen: Remembered, is_open: Mapping[str, bool]) -> Standing | None:
    """`is_open`: of every workflow id that the database knows, whether what it owns is open."""
    if seen.workflow_id not in is_open:
        return Standing.STRANDED if seen.runs else Standing.LOST
    return None if seen.runs or not is_open[seen.workflow_id] else Standing.SET_BACK
