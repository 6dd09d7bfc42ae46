"""Settled months and runs as callers see them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.documents.invoice import Invoice
from api.documents.page import Page
from api.fields import CustomerId, Document, Id
from domain.period import FORM as PERIOD
from domain.settlement import SettlementStatus

PeriodText = Annotated[
    str, Field(pattern=PERIOD.pattern, description="A month that is over.", examples=["2026-05"])
]


class Settled(Document):
    """What became of a customer's month. `invoice` is None when there is nothing to bill."""

    status: SettlementStatus
    invoice: Invoice | None


class Standing(Document):
    """How the settlement of a customer's month stands."""

    customer_id: CustomerId
    period: PeriodText
    status: SettlementStatus
    reason: str | None


class Settlement(Standing):
    """One in a list."""

    invoice_id: Id | None


class Settlements(Page[Settlement]):
    """A page of settlements, the last month first."""


class RunProgress(Document):
    """How far a run is. `customers` and `finished` are None while no worker answers."""

    period: PeriodText
    state: Annotated[
        Literal["RUNNING", "COMPLETED", "ENDED"],
        Field(description="ENDED: somebody has ended it before it was done; start it again."),
    ]
    customers: int | None
    finished: Annotated[int | None, Field(description="With those that go on alone.")]


class FailedSettlement(Document):
    """A customer whose month could not be settled."""

    customer_id: CustomerId
    reason: str
    invoice_id: Id | None


class Run(Document):
    """A month for everybody: progress, and the report so far."""

    period: PeriodText
    started_at: datetime | None
    finished_at: datetime | None
    customers: int
    settled: int
    skipped: int
    not_over: Annotated[
        int,
        Field(description="The month lasts by the customer's own clock; it is settled at its end."),
    ]
    awaiting_approval: int
    rejected: int
    cancelled: Annotated[int, Field(description="The invoice was cancelled after the run.")]
    failed: int
    running: Annotated[int, Field(description="Still under way when the run ended.")]
    failed_by_reason: Annotated[
        dict[str, int], Field(examples=[{"acme-corp has no plan for 2026-05.": 3}])
    ]
    failures: list[FailedSettlement]
    totals: Annotated[dict[str, int], Field(description="Issued, minor units per currency.")]
    seconds: Annotated[float | None, Field(description="How long the run took, or takes.")]
    throughput: Annotated[float | None, Field(description="Customers a second.")]
