"""Settlement runs and what became of each customer."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.settlement import HANDED_OVER, EndedSettlement, SettlementStatus
from store.database import Transaction
from store.tables import customers, invoices, settlement_outcomes, settlement_runs


async def begin_run(tx: Transaction, period: str) -> None:
    """A run begins, or begins again."""
    row = insert(settlement_runs).values(period=period)
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["period"], set_={"started_at": func.now(), "finished_at": None}
        )
    )


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


async def run(tx: Transaction, period: str) -> Row[Any] | None:
    query = select(settlement_runs).where(settlement_runs.c.period == period)
    return (await tx.execute(query)).first()


async def customers_after(tx: Transaction, after: str | None, limit: int) -> list[str]:
    """Customers that have a plan, in id order."""
    query = select(customers.c.id).where(customers.c.plan_code.is_not(None))
    if after is not None:
        query = query.where(customers.c.id > after)
    return list((await tx.execute(query.order_by(customers.c.id).limit(limit))).scalars())


async def count_customers(tx: Transaction) -> int:
    query = select(func.count()).where(customers.c.plan_code.is_not(None))
    return (await tx.execute(query)).scalar_one()


async def record(tx: Transaction, ended: EndedSettlement) -> None:
    """How a customer's settlement stands; the last word counts."""
    row = insert(settlement_outcomes).values(
        period=ended.settlement.period,
        customer_id=ended.settlement.customer_id,
        status=ended.status.value,
        reason=ended.reason,
        invoice_id=ended.invoice_id,
    )
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["period", "customer_id"],
            set_={
                "status": row.excluded.status,
                "reason": row.excluded.reason,
                "invoice_id": row.excluded.invoice_id,
                "updated_at": func.now(),
            },
        )
    )


async def ended_among(tx: Transaction, period: str, customer_ids: Sequence[str]) -> list[str]:
    """Those that the run under way need not wait for. A row from before the run tells nothing of a
    settlement that runs now, except that a person's turn has come."""
    row = settlement_outcomes.c
    waits_for_a_person = row.status == SettlementStatus.AWAITING_APPROVAL.value
    query = (
        select(row.customer_id)
        .join(settlement_runs, settlement_runs.c.period == row.period)
        .where(
            row.period == period,
            row.customer_id.in_(customer_ids),
            row.status.in_([status.value for status in HANDED_OVER]),
            waits_for_a_person | (row.updated_at >= settlement_runs.c.started_at),
        )
    )
    return list((await tx.execute(query)).scalars())


async def find(tx: Transaction, period: str, customer_id: str) -> Row[Any] | None:
    """How a customer's settlement stands."""
    query = select(settlement_outcomes).where(
        settlement_outcomes.c.period == period, settlement_outcomes.c.customer_id == customer_id
    )
    return (await tx.execute(query)).first()


async def failed(tx: Transaction, period: str) -> Sequence[Row[Any]]:
    """Customers whose settlement failed, with the reason."""
    query = select(settlement_outcomes).where(
        settlement_outcomes.c.period == period,
        settlement_outcomes.c.status == SettlementStatus.FAILED.value,
    )
    return (await tx.execute(query.order_by(settlement_outcomes.c.customer_id))).all()


async def counts(tx: Transaction, period: str) -> dict[str, int]:
    """Customers by status."""
    query = select(settlement_outcomes.c.status, func.count()).where(
        settlement_outcomes.c.period == period
    )
    rows = await tx.execute(query.group_by(settlement_outcomes.c.status))
    return dict(rows.all())


async def totals(tx: Transaction, period: str) -> dict[str, int]:
    """Sum of the issued invoices of a month per currency."""
    query = select(invoices.c.currency, func.sum(invoices.c.total)).where(
        invoices.c.period == period, invoices.c.number.is_not(None)
    )
    rows = await tx.execute(query.group_by(invoices.c.currency))
    return {currency: int(total) for currency, total in rows}


async def failures_by_reason(tx: Transaction, period: str) -> dict[str, int]:
    """How many settlements failed for which reason."""
    query = select(settlement_outcomes.c.reason, func.count()).where(
        settlement_outcomes.c.period == period,
        settlement_outcomes.c.status == SettlementStatus.FAILED.value,
    )
    rows = await tx.execute(query.group_by(settlement_outcomes.c.reason))
    return {reason or "": count for reason, count in rows}
