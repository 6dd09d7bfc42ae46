"""Settlement: closing months into invoices, one customer's or everybody's."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.settlement import (
    FailedSettlement,
    PeriodText,
    Run,
    RunProgress,
    Settled,
    Settlement,
    Settlements,
    Standing,
)
from api.fields import CUSTOMER_ID, CustomerId, Document, Empty, rendered
from api.invoice import document
from api.listing import Paging, page
from domain.access import Access
from domain.errors import NotFound
from domain.period import FORM as PERIOD
from domain.roles import Action
from domain.settlement import RecordedSettlement, SettlementStatus, Wanted
from domain.workflow_id import run_part
from service import settlement
from service.settlement import Report

router = APIRouter(prefix="/api/v1", tags=["settlement"], route_class=StrictJSONRoute)


class NewRun(Document):
    """Which month to settle for everybody."""

    period: PeriodText
    customer_ids: Annotated[
        list[CustomerId] | None,
        Field(
            min_length=1,
            max_length=settlement.REPLAYED_AT_ONCE,
            description="Only these. Such a run has a progress of its own, which Location names.",
            examples=[["acme-corp"]],
        ),
    ] = None


class SettlementListing(Paging):
    """By what settlements are found."""

    customer_id: CustomerId | None = None
    period: PeriodText | None = None
    status: SettlementStatus | None = None


@router.post(
    "/settlement/run",
    response_model=Settled,
    responses={201: {"model": Settled}, 202: {"model": Settled}},
)
async def settle_customer(
    customer_id: Annotated[str, Query(alias="customerId", pattern=CUSTOMER_ID)],
    period: Annotated[str, Query(pattern=PERIOD.pattern)],
    access: Annotated[Access, may(Action.SETTLEMENT_RUN)],
    context: Using,
    body: Empty | None = None,
) -> Response:
    """Settle a customer's month: 201 the invoice, 200 the same again, 202 a draft that waits for
    approval, 200 without an invoice when there is nothing to bill. Waits shortly for the charge."""
    settled = await settlement.settle(context.desk, access, customer_id, period)
    found = settled.invoice
    body_ = Settled(status=settled.status, invoice=None if found is None else document(found))
    return _answer(200 if settled.before else _STATUS_CODES[settled.status], body_)


@router.get("/settlement/run", response_model=Standing)
async def get_standing(
    customer_id: Annotated[str, Query(alias="customerId", pattern=CUSTOMER_ID)],
    period: Annotated[str, Query(pattern=PERIOD.pattern)],
    access: Annotated[Access, may(Action.SETTLEMENT_READ)],
    context: Using,
) -> Standing:
    """How the settlement of a customer's month stands; RUNNING until it has ended or waits."""
    found = await settlement.month_standing(context.desk, period, customer_id)
    return Standing(customerId=customer_id, period=period, status=found.status, reason=found.reason)


@router.get("/settlements", response_model=Settlements)
async def list_settlements(
    asked: Annotated[SettlementListing, Query()],
    access: Annotated[Access, may(Action.SETTLEMENT_READ)],
    context: Replicated,
) -> Settlements:
    """How the months of customers were settled, the last month first. One that runs for the first
    time stands there when it has ended, waits, or was left behind by its run."""
    owner = access.whose(asked.customer_id)
    wanted = Wanted(owner, asked.period, asked.status)
    find = partial(settlement.listed, context.desk, access, wanted)
    return await page(context, asked, ("settlements", owner), Settlements, find, _settlement)


def _settlement(row: RecordedSettlement) -> Settlement:
    return Settlement(
        customerId=row.customer_id,
        period=row.period,
        status=row.status,
        reason=row.reason,
        invoiceId=row.invoice_id,
    )


@router.post("/settlement/runs", status_code=202, response_model=Run)
async def start_settlement_run(
    body: NewRun, access: Annotated[Access, may(Action.SETTLEMENT_RUN)], context: Using
) -> Response:
    """Settle a month for every customer that has a plan, or usage that nobody has billed; or for
    some. Asked again while it runs, it is found."""
    await settlement.start_run(context.desk, access, body.period, body.customer_ids or ())
    found = run_document(body.period, await settlement.report(context.desk, body.period))
    where = f"/api/v1/settlement/runs/{body.period}"
    if body.customer_ids is not None:
        where += f"/progress?part={run_part(body.customer_ids)}"
    headers = {"Location": where}
    return Response(rendered(found), 202, headers, media_type="application/json")


@router.get("/settlement/runs/{period}", response_model=Run)
async def get_settlement_run(
    period: Annotated[str, Path(pattern=PERIOD.pattern)],
    access: Annotated[Access, may(Action.SETTLEMENT_READ)],
    context: Using,
) -> Run:
    """How far a month is, and what it came to, whether it was run for everybody or for some."""
    found = await settlement.report(context.desk, period)
    if found.started_at is None and not found.counts:
        raise NotFound(f"Nothing of {period} was settled yet.")
    return run_document(period, found)


@router.get("/settlement/runs/{period}/progress", response_model=RunProgress)
async def get_progress(
    period: Annotated[str, Path(pattern=PERIOD.pattern)],
    access: Annotated[Access, may(Action.SETTLEMENT_READ)],
    context: Using,
    part: Annotated[
        str | None,
        Query(pattern="^[0-9a-f]{12}$", description="Of some customers only; see `POST /runs`."),
    ] = None,
) -> RunProgress:
    """How far a run is: cheap enough to be asked each second."""
    found = await settlement.run_standing(context.desk, period, part)
    seen = found.progress
    return RunProgress(
        period=period,
        state="RUNNING" if found.running else "COMPLETED" if found.is_over else "ENDED",
        customers=None if seen is None else seen.total,
        finished=None if seen is None else seen.finished + seen.left_behind,
    )


@router.post("/settlement/runs/{period}/replay", status_code=202, response_model=Run)
async def replay_settlement_run(
    period: Annotated[str, Path(pattern=PERIOD.pattern)],
    access: Annotated[Access, may(Action.SETTLEMENT_RUN)],
    context: Using,
    body: Empty | None = None,
) -> Response:
    """Settle again whatever failed, with a run of those customers; harmless to repeat."""
    await settlement.replay_failed(context.desk, access, period)
    return _answer(202, run_document(period, await settlement.report(context.desk, period)))


_STATUS_CODES = {
    SettlementStatus.SETTLED: 201,
    SettlementStatus.AWAITING_APPROVAL: 202,
    SettlementStatus.RUNNING: 202,
    SettlementStatus.REJECTED: 200,
    SettlementStatus.SKIPPED: 200,
}


def run_document(period: str, found: Report) -> Run:
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
        totals=dict(found.totals),
        seconds=found.seconds,
        throughput=found.throughput,
    )


def _answer(status: int, document: Document) -> Response:
    return Response(rendered(document), status, media_type="application/json")
