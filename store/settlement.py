"""Settlement runs and what became of each customer."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from domain.invoice import InvoiceStatus
from domain.run import Run
from domain.settlement import (
    HANDED_OVER,
    UNSETTLED,
    WAITING,
    EndedSettlement,
    OpenMonth,
    RecordedSettlement,
    SettlementStatus,
    Wanted,
)
from store import change
from store.change import Change
from store.database import Transaction
from store.page import Order, Page, Place, matching, page
from store.tables import (
    customers,
    invoices,
    plan_assignments,
    settlement_outcomes,
    settlement_runs,
    usage_events,
)
from store.usage import UNCLAIMED

# The first one, not whether there is any: for EXISTS PostgreSQL may read those of everybody.
_UNCLAIMED = (
    select(usage_events.c.id)
    .where(usage_events.c.customer_id == customers.c.id, UNCLAIMED)
    .limit(1)
    .scalar_subquery()
)
_HAS_PLAN = select(plan_assignments.c.id).where(plan_assignments.c.customer_id == customers.c.id)
_TO_BE_SETTLED = _HAS_PLAN.exists() | _UNCLAIMED.is_not(None)
"""Usage of a customer without a plan makes its settlement fail, so that somebody sees it."""

_RECORD = """
settled AS (
    INSERT INTO settlement_outcomes (period, customer_id, status, reason, invoice_id)
    VALUES (
        :settled_period, :settled_customer, :settled_status, :settled_reason,
        CAST(:settled_invoice AS uuid)
    )
    ON CONFLICT (period, customer_id) DO UPDATE
    SET status = excluded.status, reason = excluded.reason, invoice_id = excluded.invoice_id,
        updated_at = now()
    RETURNING period
)"""

_OUTCOMES = settlement_outcomes.outerjoin(
    invoices, invoices.c.id == settlement_outcomes.c.invoice_id
)
_STANDING = case(
    (
        invoices.c.status == InvoiceStatus.CANCELLED,
        literal(SettlementStatus.CANCELLED, Text),
    ),
    else_=settlement_outcomes.c.status,
)
"""As it stands today: the invoice that a settlement made may have been cancelled since."""


# Written out, so that the index of the few that are can be used by a plan for any of them.
_CANCELLED = invoices.c.status == bindparam(
    None, InvoiceStatus.CANCELLED.value, Text, literal_execute=True
)
_STANDINGS: Select[Any] = select(
    settlement_outcomes.c.period,
    settlement_outcomes.c.customer_id,
    _STANDING.label("status"),
    settlement_outcomes.c.reason,
    settlement_outcomes.c.invoice_id,
).select_from(_OUTCOMES)
_LISTED = Order(
    (settlement_outcomes.c.period, settlement_outcomes.c.customer_id),
    settlement_outcomes.c.created_xid,
)


async def begin_run(tx: Transaction, period: str) -> datetime:
    """A run begins, or begins again; returns when."""
    row = insert(settlement_runs).values(period=period)
    begun = await tx.execute(
        row.on_conflict_do_update(
            index_elements=["period"], set_={"started_at": func.now(), "finished_at": None}
        ).returning(settlement_runs.c.started_at)
    )
    at: datetime = begun.scalar_one()
    return at


async def announce_run(tx: Transaction, period: str) -> None:
    """A run was asked for; until it begins it stands there as begun now."""
    row = insert(settlement_runs).values(period=period)
    await tx.execute(row.on_conflict_do_nothing())


async def end_run(tx: Transaction, period: str) -> None:
    await tx.execute(
        update(settlement_runs)
        .where(settlement_runs.c.period == period)
        .values(finished_at=func.now())
    )


async def run(tx: Transaction, period: str) -> Run | None:
    query = select(settlement_runs).where(settlement_runs.c.period == period)
    row = (await tx.execute(query)).first()
    return None if row is None else Run(row.period, row.started_at, row.finished_at)


async def last_run(tx: Transaction) -> str | None:
    """The last month that was settled for everybody, or is being settled."""
    period: str | None = await tx.scalar(select(func.max(settlement_runs.c.period)))
    return period


async def customers_after(tx: Transaction, after: str | None, limit: int) -> list[str]:
    """Customers that have a plan, or usage that nobody has billed, in id order."""
    query = select(customers.c.id).where(_TO_BE_SETTLED)
    if after is not None:
        query = query.where(customers.c.id > after)
    return list((await tx.execute(query.order_by(customers.c.id).limit(limit))).scalars())


async def count_customers(tx: Transaction) -> int:
    query = select(func.count()).select_from(customers).where(_TO_BE_SETTLED)
    return (await tx.execute(query)).scalar_one()


async def record(tx: Transaction, ended: EndedSettlement) -> None:
    """How a customer's settlement stands; the last word counts."""
    await change.make(tx, recording(ended))


def recording(ended: EndedSettlement) -> Change:
    """The same as a part of a statement."""
    values = {
        "settled_period": ended.settlement.period,
        "settled_customer": ended.settlement.customer_id,
        "settled_status": ended.status,
        "settled_reason": ended.reason,
        "settled_invoice": ended.invoice_id,
    }
    return Change("settled", _RECORD, 1, values)


async def ended_among(
    tx: Transaction, period: str, customer_ids: Sequence[str], began: datetime | None
) -> list[str]:
    """Those that a run need not wait for. A row from before the run began tells nothing of a
    settlement that runs now, except that it waits for something itself."""
    row = settlement_outcomes.c
    waits = row.status.in_(WAITING)
    query = select(row.customer_id).where(
        row.period == period,
        row.customer_id.in_(customer_ids),
        row.status.in_(HANDED_OVER),
        waits | (row.updated_at >= began),
    )
    return list((await tx.execute(query)).scalars())


async def leave_behind(
    tx: Transaction,
    period: str,
    customer_ids: Sequence[str],
    reason: str,
    began: datetime | None,
) -> None:
    """What a run did not wait for is RUNNING, unless it has ended since the run began."""
    values = [
        {
            "period": period,
            "customer_id": each,
            "status": SettlementStatus.RUNNING,
            "reason": reason,
        }
        for each in sorted(customer_ids)
    ]
    row = insert(settlement_outcomes).values(values)
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["period", "customer_id"],
            set_={
                "status": row.excluded.status,
                "reason": row.excluded.reason,
                "updated_at": func.now(),
            },
            where=settlement_outcomes.c.updated_at < began,
        )
    )


async def find(tx: Transaction, period: str, customer_id: str) -> RecordedSettlement | None:
    """How a customer's settlement stands."""
    outcome = settlement_outcomes.c
    query = _STANDINGS.where(outcome.period == period, outcome.customer_id == customer_id)
    row = (await tx.execute(query)).first()
    return None if row is None else _recorded(row)


async def listed(
    tx: Transaction, wanted: Wanted, place: Place | None, limit: int
) -> Page[RecordedSettlement]:
    """How they stand, below a place, the last month first."""
    outcome = settlement_outcomes.c
    named = {outcome.customer_id: wanted.customer_id, outcome.period: wanted.period}
    query = _STANDINGS.where(*matching(named), *_stands(wanted.status))
    return await page(tx, query, _LISTED, place, limit, _recorded)


def _stands(status: SettlementStatus | None) -> Iterator[ColumnElement[bool]]:
    """A cancelled one was settled: it is no row that says so, but its invoice."""
    if status is SettlementStatus.CANCELLED:
        yield _CANCELLED
    elif status is not None:
        yield settlement_outcomes.c.status == status
        yield _CANCELLED.is_not(True)


async def unsettled(tx: Transaction, period: str) -> list[RecordedSettlement]:
    """Customers whose settlement failed, or was still under way when their run ended, with the
    reason."""
    query = select(settlement_outcomes).where(
        settlement_outcomes.c.period == period, settlement_outcomes.c.status.in_(UNSETTLED)
    )
    rows = await tx.execute(query.order_by(settlement_outcomes.c.customer_id))
    return [_recorded(row) for row in rows]


async def count_unsettled(tx: Transaction, period: str) -> dict[SettlementStatus, int]:
    """How many those are, by status."""
    status = settlement_outcomes.c.status
    query = select(status, func.count()).where(
        settlement_outcomes.c.period == period, status.in_(UNSETTLED)
    )
    rows = await tx.execute(query.group_by(status))
    return {SettlementStatus(status): count for status, count in rows}


async def not_over(
    tx: Transaction, noted_before: datetime, after_id: str | None, limit: int
) -> list[OpenMonth]:
    """The settlements that wait for the end of their month, in the order of what is an id here."""
    row = settlement_outcomes.c
    id_ = (row.customer_id + "/" + row.period).label("id")
    columns: tuple[ColumnElement[Any], ...] = (id_, row.customer_id, row.period)
    query = select(*columns).where(
        row.status == SettlementStatus.NOT_OVER, row.updated_at < noted_before
    )
    if after_id is not None:
        query = query.where(id_ > after_id)
    rows = await tx.execute(query.order_by(id_).limit(limit))
    return [OpenMonth(row.id, row.customer_id, row.period) for row in rows]


async def counts(tx: Transaction, period: str) -> dict[str, int]:
    """Customers by status."""
    query = (
        select(_STANDING.label("standing"), func.count())
        .select_from(_OUTCOMES)
        .where(settlement_outcomes.c.period == period)
        .group_by("standing")
    )
    rows = await tx.execute(query)
    return dict(rows.all())


async def totals(tx: Transaction, period: str) -> dict[str, int]:
    """Sum of the invoices of a month per currency, apart from what was cancelled."""
    query = select(invoices.c.currency, func.sum(invoices.c.total)).where(
        invoices.c.period == period,
        invoices.c.number.is_not(None),
        invoices.c.status != InvoiceStatus.CANCELLED,
    )
    rows = await tx.execute(query.group_by(invoices.c.currency))
    return {currency: int(total) for currency, total in rows}


def _recorded(row: Row[Any]) -> RecordedSettlement:
    return RecordedSettlement(
        period=row.period,
        customer_id=row.customer_id,
        status=SettlementStatus(row.status),
        reason=row.reason,
        invoice_id=row.invoice_id,
    )
