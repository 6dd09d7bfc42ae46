"""Settlement: closing months into invoices, one customer's or everybody's."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from api import invoices
from api.access import CUSTOMER_ID, Operator
from api.bodies import StrictJSONRoute
from api.context import Context, Using
from api.fields import CustomerId, Document, Empty, Id, rendered
from domain.errors import NotFound, SettlementFailed
from domain.invoice import InvoiceStatus
from domain.period import FORM as PERIOD
from domain.period import Period
from domain.settlement import (
    SettlementOutcome,
    SettlementRequest,
    SettlementStatus,
)
from runtime.settlement import Report, replay_failed, report
from runtime.starts import start_settlement, start_settlement_run
from store import customer, invoice, settlement
from store.database import Transaction

router = APIRouter(prefix="/api/v1/settlement", tags=["settlement"], route_class=StrictJSONRoute)

POLL_SECONDS = 0.03

PeriodText = Annotated[
    str, Field(pattern=PERIOD.pattern, description="A month that is over.", examples=["2026-05"])
]


class Settled(Document):
    """What became of a customer's month. `invoice` is None when there is nothing to bill."""

    status: SettlementStatus
    invoice: invoices.Invoice | None


class NewRun(Document):
    """Which month to settle for everybody."""

    period: PeriodText


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


@router.post(
    "/run", response_model=Settled, responses={201: {"model": Settled}, 202: {"model": Settled}}
)
async def settle_customer(
    customer_id: Annotated[str, Query(alias="customerId", pattern=CUSTOMER_ID)],
    period: Annotated[str, Query(pattern=PERIOD.pattern)],
    access: Operator,
    context: Using,
    body: Empty | None = None,
) -> Response:
    """Settle a customer's month: 201 the invoice, 200 the same again, 202 a draft that waits for
    approval, 200 without an invoice when there is nothing to bill. Waits shortly for the charge."""
    async with context.reads.connect() as tx:
        whose = await customer.find(tx, customer_id)
        if whose is None:
            raise NotFound(f"There is no customer {customer_id}.")
        Period.parse(period).require_over(datetime.now(UTC), whose.time_zone)
        before = await _invoice(tx, customer_id, period)
    if before is not None and before.status not in _NOT_ISSUED:
        return _answer(200, Settled(status=SettlementStatus.SETTLED, invoice=before))
    request = context.terms.settlement(customer_id, period)
    async with _reaching_temporal(context):
        owner = await start_settlement(context.temporal, request)
    return await _outcome(context, request, owner)


@router.post("/runs", status_code=202, response_model=Run)
async def start_run(body: NewRun, access: Operator, context: Using) -> Response:
    """Settle a month for every customer that has a plan, or usage that nobody has billed. Asked
    again while it runs, it is found."""
    Period.parse(body.period).require_over(datetime.now(UTC), "UTC")
    async with _reaching_temporal(context):
        await start_settlement_run(context.temporal, context.terms.run(body.period))
    async with context.database.begin() as tx:
        await settlement.announce_run(tx, body.period)
    document = run_document(body.period, await report(context.reads, body.period))
    headers = {"Location": f"/api/v1/settlement/runs/{body.period}"}
    return Response(rendered(document), 202, headers, media_type="application/json")


@router.get("/runs/{period}", response_model=Run)
async def get_run(
    period: Annotated[str, Path(pattern=PERIOD.pattern)], access: Operator, context: Using
) -> Run:
    """How far a run is, and what it came to."""
    found = await report(context.reads, period)
    if found.started_at is None:
        raise NotFound(f"There was no run for {period}.")
    return run_document(period, found)


@router.post("/runs/{period}/replay", status_code=202, response_model=Run)
async def replay_run(
    period: Annotated[str, Path(pattern=PERIOD.pattern)],
    access: Operator,
    context: Using,
    body: Empty | None = None,
) -> Response:
    """Settle again whatever failed, with a run of those customers; harmless to repeat."""
    Period.parse(period).require_over(datetime.now(UTC), "UTC")
    async with _reaching_temporal(context):
        await replay_failed(context.temporal, context.reads, period, context.terms)
    document = run_document(period, await report(context.reads, period))
    return _answer(202, document)


_NOT_ISSUED = frozenset(
    {InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL, InvoiceStatus.SKIPPED}
)
_STATUS_CODES = {
    SettlementStatus.SETTLED: 201,
    SettlementStatus.AWAITING_APPROVAL: 202,
    SettlementStatus.RUNNING: 202,
    SettlementStatus.REJECTED: 200,
    SettlementStatus.SKIPPED: 200,
}


@asynccontextmanager
async def _reaching_temporal(context: Context) -> AsyncIterator[None]:
    """There is nothing in a row yet, so nobody would start it later: 503, and ask again."""
    try:
        # A dead Temporal holds a call much longer than a caller waits.
        async with asyncio.timeout(context.settings.api_wait_seconds + 1):
            yield
    except RuntimeError as error:
        raise ConnectionError(f"Temporal cannot be reached: {error}") from error


async def _outcome(
    context: Context, request: SettlementRequest, owner: WorkflowHandle[Any, SettlementOutcome]
) -> Response:
    """Wait until the settlement has ended or waits for a person, then shortly for the charge."""
    ends_at = time.monotonic() + context.settings.api_wait_seconds
    ending = asyncio.create_task(_ended(owner))
    try:
        while True:
            # The invoice is read after what proves that it is there, numbered.
            status = ending.result().status if ending.done() else SettlementStatus.RUNNING
            async with context.reads.connect() as tx:
                document = await _invoice(tx, request.customer_id, request.period)
            if document is not None and document.status is InvoiceStatus.AWAITING_APPROVAL:
                status = SettlementStatus.AWAITING_APPROVAL
            over = status is not SettlementStatus.RUNNING and not _being_charged(document)
            if over or time.monotonic() > ends_at:
                break
            await asyncio.sleep(POLL_SECONDS)
    finally:
        ending.cancel()
    if status is SettlementStatus.FAILED:
        raise SettlementFailed(ending.result().reason or "It failed.")
    has_invoice = status not in (SettlementStatus.SKIPPED, SettlementStatus.REJECTED)
    settled = Settled(status=status, invoice=document if has_invoice else None)
    return _answer(_STATUS_CODES[status], settled)


async def _ended(owner: WorkflowHandle[Any, SettlementOutcome]) -> SettlementOutcome:
    """How this very settlement ended; its row may still tell of an earlier one."""
    while True:
        try:
            return await owner.result()
        except WorkflowFailureError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError):
                return SettlementOutcome("", SettlementStatus.FAILED, reason=cause.message)
            return SettlementOutcome("", SettlementStatus.RUNNING)
        except RPCError:
            await asyncio.sleep(POLL_SECONDS)


def _being_charged(document: invoices.Invoice | None) -> bool:
    """Issued, and its first charge has not failed yet."""
    return (
        document is not None
        and document.status is InvoiceStatus.ISSUED
        and document.next_attempt_at is None
    )


async def _invoice(tx: Transaction, customer_id: str, period: str) -> invoices.Invoice | None:
    row = await invoice.of_month(tx, customer_id, period)
    return None if row is None else await invoices.document(tx, row)


def run_document(period: str, found: Report) -> Run:
    values: dict[str, Any] = asdict(found)
    failures = [
        FailedSettlement(customerId=each.customer_id, reason=each.reason, invoiceId=each.invoice_id)
        for each in found.failures
    ]
    return Run(
        period=period,
        startedAt=found.started_at,
        finishedAt=found.finished_at,
        customers=found.customers,
        settled=found.counts.get(SettlementStatus.SETTLED, 0),
        skipped=found.counts.get(SettlementStatus.SKIPPED, 0),
        notOver=found.counts.get(SettlementStatus.NOT_OVER, 0),
        awaitingApproval=found.counts.get(SettlementStatus.AWAITING_APPROVAL, 0),
        rejected=found.counts.get(SettlementStatus.REJECTED, 0),
        cancelled=found.counts.get(SettlementStatus.CANCELLED, 0),
        failed=found.counts.get(SettlementStatus.FAILED, 0),
        running=found.counts.get(SettlementStatus.RUNNING, 0),
        failedByReason=dict(found.failed_by_reason),
        failures=failures,
        totals=values["totals"],
        seconds=found.seconds,
        throughput=found.throughput,
    )


def _answer(status: int, document: Document) -> Response:
    return Response(rendered(document), status, media_type="application/json")
