"""Invoices with their lines, from draft to closed."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    Row,
    Select,
    Tuple,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from domain.invoice import GAVE_BACK, OPEN, DunningPolicy, InvoiceRequest, InvoiceStatus
from domain.pricing_snapshot import Billed, LineKind, PricedLine, PricingSnapshot
from domain.usage import Aggregate
from domain.waits import Waits
from store.database import Transaction
from store.seen import Seen, unseen
from store.tables import aggregated_usage, invoice_lines, invoice_numbers, invoices

SERIES = "invoice"
_IS_OPEN = invoices.c.status.in_([status.value for status in OPEN])
_STANDS = invoices.c.status.not_in([status.value for status in GAVE_BACK])
"""It has its month and its usage."""
_BILLED = _STANDS & (
    invoices.c.number.is_not(None) | (invoices.c.status == InvoiceStatus.SKIPPED.value)
)
STOPPED = (invoices.c.status == InvoiceStatus.DRAFT.value) & invoices.c.reason.is_not(None)
"""By a check."""
_HAS_USAGE = _STANDS & ~STOPPED
MADE_ANEW = frozenset({InvoiceStatus.DRAFT, InvoiceStatus.SKIPPED})
"""By the next settlement of the month."""
_IS_DRAFT = invoices.c.status.in_(
    [InvoiceStatus.DRAFT.value, InvoiceStatus.AWAITING_APPROVAL.value]
)

_OWNED: tuple[Column[Any], ...] = (
    invoices.c.id,
    invoices.c.customer_id,
    invoices.c.period,
    invoices.c.currency,
    invoices.c.total,
    invoices.c.due_at,
)
"""What an owner is started with: a sweep reads it of every open invoice, so nothing longer."""


async def current(tx: Transaction, customer_id: str, period: str) -> Row[Any] | None:
    """The invoice that has a customer's month, locked to the commit."""
    query = _of_month(customer_id, period).with_for_update()
    return (await tx.execute(query)).first()


async def of_month(tx: Transaction, customer_id: str, period: str) -> Row[Any] | None:
    """The same, as it stands, without a lock."""
    return (await tx.execute(_of_month(customer_id, period))).first()


def _of_month(customer_id: str, period: str) -> Select[*tuple[Any, ...]]:
    return select(invoices).where(
        invoices.c.customer_id == customer_id, invoices.c.period == period, _STANDS
    )


async def find(tx: Transaction, invoice_id: str) -> Row[Any] | None:
    return (await tx.execute(select(invoices).where(invoices.c.id == invoice_id))).first()


async def lock(tx: Transaction, invoice_id: str) -> Row[Any]:
    """The invoice, locked to the commit."""
    row: Row[Any] = (
        await tx.execute(select(invoices).where(invoices.c.id == invoice_id).with_for_update())
    ).one()
    return row


async def create_draft(
    tx: Transaction,
    invoice_id: str,
    customer_id: str,
    period: str,
    currency: str,
    workflow_id: str,
    run_id: str,
) -> None:
    """An empty draft; a second one for the same month raises `IntegrityError`."""
    await tx.execute(
        insert(invoices).values(
            id=invoice_id,
            customer_id=customer_id,
            period=period,
            currency=currency,
            total=0,
            status=InvoiceStatus.DRAFT.value,
            snapshot={},
            workflow_id=workflow_id,
            run_id=run_id,
        )
    )


async def empty_draft(tx: Transaction, invoice_id: str) -> None:
    """Throw lines and aggregates of a draft away, to make them again."""
    await tx.execute(delete(invoice_lines).where(invoice_lines.c.invoice_id == invoice_id))
    await tx.execute(delete(aggregated_usage).where(aggregated_usage.c.invoice_id == invoice_id))


async def discard_draft(tx: Transaction, invoice_id: str) -> None:
    """DRAFT or SKIPPED → REJECTED: there is nothing left to bill."""
    await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.status.in_(MADE_ANEW))
        .values(status=InvoiceStatus.REJECTED.value, total=0, closed_at=func.now())
    )


async def fill_draft(
    tx: Transaction,
    invoice_id: str,
    run_id: str,
    currency: str,
    total: int,
    snapshot: Mapping[str, Any],
    aggregates: Sequence[Aggregate],
    lines: Sequence[PricedLine],
) -> None:
    """DRAFT, with what the month came to."""
    if aggregates:
        await tx.execute(insert(aggregated_usage), [_aggregate(invoice_id, a) for a in aggregates])
    if lines:
        rows = [_line(invoice_id, place, line) for place, line in enumerate(lines, start=1)]
        await tx.execute(insert(invoice_lines), rows)
    await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(
            status=InvoiceStatus.DRAFT.value,
            currency=currency,
            total=total,
            snapshot=dict(snapshot),
            reason=None,
            run_id=run_id,
            updated_at=func.now(),
        )
    )


async def set_draft_status(
    tx: Transaction,
    invoice_id: str,
    status: InvoiceStatus,
    reason: str | None,
    checks: Sequence[Mapping[str, Any]],
) -> None:
    """DRAFT with a reason (blocked), or AWAITING_APPROVAL."""
    await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(
            status=status.value,
            reason=reason,
            checks=[dict(check) for check in checks],
            updated_at=func.now(),
        )
    )


async def reject(tx: Transaction, invoice_id: str, decision: Mapping[str, Any]) -> bool:
    """AWAITING_APPROVAL → REJECTED; False from every other status."""
    values = {"status": InvoiceStatus.REJECTED.value, "closed_at": func.now()}
    waits = invoices.c.status == InvoiceStatus.AWAITING_APPROVAL.value
    return await _decide(tx, invoice_id, values, decision, waits)


async def add_decision(tx: Transaction, invoice_id: str, decision: Mapping[str, Any]) -> None:
    """Keep that something was decided, or that somebody was reminded."""
    row = await lock(tx, invoice_id)
    changed = update(invoices).where(invoices.c.id == invoice_id)
    await tx.execute(changed.values(decisions=[*row.decisions, dict(decision)]))


async def issue(
    tx: Transaction, invoice_id: str, due_in: timedelta, decision: Mapping[str, Any] | None
) -> Row[Any]:
    """DRAFT or AWAITING_APPROVAL → ISSUED with the next number and its date, once; returns the row.
    Raises `NoResultFound` when it was rejected."""
    row = await lock(tx, invoice_id)
    if row.number is not None:
        return row
    number, issued_at = await _next_number(tx)
    decisions = [*row.decisions, *([] if decision is None else [dict(decision)])]
    issued = await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, _IS_DRAFT)
        .values(
            status=InvoiceStatus.ISSUED.value,
            number=number,
            issued_at=issued_at,
            due_at=issued_at + due_in,
            reason=None,
            decisions=decisions,
            updated_at=func.now(),
        )
        .returning(invoices)
    )
    made: Row[Any] = issued.one()
    return made


async def skip(tx: Transaction, invoice_id: str, decision: Mapping[str, Any] | None) -> None:
    """DRAFT or AWAITING_APPROVAL → SKIPPED."""
    values = {"status": InvoiceStatus.SKIPPED.value, "reason": None}
    await _decide(tx, invoice_id, values, decision, _IS_DRAFT)


async def close(
    tx: Transaction,
    invoice_id: str,
    status: InvoiceStatus,
    decision: Mapping[str, Any] | None = None,
) -> bool:
    """From every open status to a closed one; False when it is closed already."""
    values = {"status": status.value, "closed_at": func.now(), "next_attempt_at": None}
    return await _decide(tx, invoice_id, values, decision, _IS_OPEN)


async def give_up(tx: Transaction, invoice_id: str, decision: Mapping[str, Any]) -> bool:
    """ISSUED or OVERDUE → UNCOLLECTIBLE; False from every other status."""
    values = {"status": InvoiceStatus.UNCOLLECTIBLE.value, "next_attempt_at": None}
    collected = invoices.c.status.in_([InvoiceStatus.ISSUED.value, InvoiceStatus.OVERDUE.value])
    return await _decide(tx, invoice_id, values, decision, collected)


async def mark_overdue(tx: Transaction, invoice_id: str) -> bool:
    """ISSUED → OVERDUE; False from every other status."""
    marked = await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.status == InvoiceStatus.ISSUED.value)
        .values(status=InvoiceStatus.OVERDUE.value, updated_at=func.now())
    )
    return marked.rowcount == 1


async def note_retry(
    tx: Transaction, invoice_id: str, retries: int, next_attempt_at: datetime | None
) -> None:
    """Where the ladder stands."""
    await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(retries=retries, next_attempt_at=next_attempt_at, updated_at=func.now())
    )


async def lines(tx: Transaction, *invoice_ids: str) -> Sequence[Row[Any]]:
    """The lines of these invoices, each in its order."""
    query = select(invoice_lines).where(invoice_lines.c.invoice_id.in_(invoice_ids))
    return (await tx.execute(query.order_by(invoice_lines.c.position))).all()


async def aggregates(tx: Transaction, invoice_id: str) -> Sequence[Row[Any]]:
    query = select(aggregated_usage).where(aggregated_usage.c.invoice_id == invoice_id)
    order = (aggregated_usage.c.period, aggregated_usage.c.resource_type)
    return (await tx.execute(query.order_by(*order))).all()


async def billed(tx: Transaction, customer_id: str, period: str) -> list[Billed]:
    """What the invoices that stand have billed of a month so far."""
    grouped = (invoice_lines.c.kind, invoice_lines.c.resource_type, invoices.c.currency)
    query = (
        select(
            *grouped,
            func.sum(invoice_lines.c.quantity).label("quantity"),
            func.sum(invoice_lines.c.amount).label("amount"),
        )
        .join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .where(invoices.c.customer_id == customer_id, _BILLED, invoice_lines.c.period == period)
        .group_by(*grouped)
    )
    return [
        Billed(LineKind(row.kind), row.resource_type, row.currency, row.quantity, int(row.amount))
        for row in await tx.execute(query)
    ]


async def snapshots(tx: Transaction, customer_id: str, period: str) -> list[PricingSnapshot]:
    """By what the invoices that stand have billed a month: its own first, then the newest."""
    names_it = (
        select(invoice_lines.c.invoice_id)
        .where(invoice_lines.c.invoice_id == invoices.c.id, invoice_lines.c.period == period)
        .exists()
    )
    own = invoices.c.period == period
    query = (
        select(invoices.c.snapshot)
        .where(invoices.c.customer_id == customer_id, _BILLED, own | names_it)
        .order_by(own.desc(), invoices.c.created_at.desc())
    )
    return [PricingSnapshot.from_json(stored) for stored in (await tx.execute(query)).scalars()]


async def open_drafts(
    tx: Transaction, customer_id: str, other_than: str | None = None
) -> Sequence[Row[str, str, str | None]]:
    """(period, status, month) of the customer's drafts that may still be issued, apart from one; a
    row for each month that they have usage of."""
    query = (
        select(invoices.c.period, invoices.c.status, aggregated_usage.c.period.label("month"))
        .outerjoin(aggregated_usage, aggregated_usage.c.invoice_id == invoices.c.id)
        .where(
            invoices.c.customer_id == customer_id,
            invoices.c.id.is_distinct_from(other_than),
            _IS_DRAFT,
            ~STOPPED,
        )
        .distinct()
    )
    return (await tx.execute(query)).all()


async def used_before(
    tx: Transaction, customer_id: str, before: str, months: Sequence[str]
) -> Sequence[Row[str, Decimal, str]]:
    """(resource_type, mean quantity, last month) over those of these months in which invoices
    before have it; what came late counts to its month."""
    monthly = (
        select(
            aggregated_usage.c.resource_type,
            aggregated_usage.c.period,
            func.sum(aggregated_usage.c.quantity).label("quantity"),
        )
        .join(invoices, invoices.c.id == aggregated_usage.c.invoice_id)
        .where(
            invoices.c.customer_id == customer_id,
            invoices.c.period < before,
            _HAS_USAGE,
            aggregated_usage.c.period.in_(months),
        )
        .group_by(aggregated_usage.c.resource_type, aggregated_usage.c.period)
        .subquery()
    )
    query = select(
        monthly.c.resource_type,
        func.avg(monthly.c.quantity).label("mean"),
        func.max(monthly.c.period).label("last_month"),
    )
    return (await tx.execute(query.group_by(monthly.c.resource_type))).all()


async def given_back(
    tx: Transaction, customer_id: str, months: Sequence[str], other_than: str
) -> Sequence[str]:
    """Those of these months whose usage a person has taken off a draft or an invoice, and that no
    invoice has had since, apart from one."""
    made_at = func.max(invoices.c.created_at)
    taken_off = made_at.filter(~_HAS_USAGE, func.jsonb_array_length(invoices.c.decisions) > 0)
    since = made_at.filter(_HAS_USAGE)
    query = (
        select(aggregated_usage.c.period)
        .join(invoices, invoices.c.id == aggregated_usage.c.invoice_id)
        .where(
            invoices.c.customer_id == customer_id,
            invoices.c.id != other_than,
            aggregated_usage.c.period.in_(months),
        )
        .group_by(aggregated_usage.c.period)
        .having(taken_off.is_not(None), since.is_(None) | (taken_off > since))
        .order_by(aggregated_usage.c.period)
    )
    return (await tx.execute(query)).scalars().all()


async def page(
    tx: Transaction, customer_id: str | None, offset: int, limit: int
) -> Sequence[Row[Any]]:
    """Newest first, by number of page: v1."""
    query = select(invoices).order_by(invoices.c.created_at.desc(), invoices.c.id.desc())
    if customer_id is not None:
        query = query.where(invoices.c.customer_id == customer_id)
    return (await tx.execute(query.offset(offset).limit(limit))).all()


async def after(
    tx: Transaction,
    customer_id: str | None,
    status: str | None,
    position: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Oldest first, after a position."""
    query = _listed(customer_id, status).limit(limit)
    if position is not None:
        query = query.where(tuple_(*_PLACE) > _place(position))
    found: Sequence[Row[Any]] = (await tx.execute(query)).all()
    return found


async def came_late(
    tx: Transaction,
    customer_id: str | None,
    status: str | None,
    position: tuple[datetime, str],
    before: Seen,
) -> Sequence[Row[Any]]:
    """Those up to a position that could not be seen when it was reached: as few as transactions are
    under way at one time."""
    query = _listed(customer_id, status).where(
        tuple_(*_PLACE) <= _place(position), unseen(invoices.c.created_xid, before)
    )
    found: Sequence[Row[Any]] = (await tx.execute(query)).all()
    return found


_PLACE = (invoices.c.created_at, invoices.c.id)


def _listed(customer_id: str | None, status: str | None) -> Select[Any]:
    query = select(invoices).order_by(*_PLACE)
    if customer_id is not None:
        query = query.where(invoices.c.customer_id == customer_id)
    if status is not None:
        query = query.where(invoices.c.status == status)
    return query


def _place(position: tuple[datetime, str]) -> Tuple:
    # Without its type the id would be compared as text, and PostgreSQL refuses that.
    return tuple_(*position, types=[each.type for each in _PLACE])


async def open_since(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> Sequence[Row[Any]]:
    """Issued invoices that are not closed, in id order: what the sweeper looks at."""
    query = select(*_OWNED).where(_IS_OPEN, invoices.c.issued_at < created_before)
    if after_id is not None:
        query = query.where(invoices.c.id > after_id)
    return (await tx.execute(query.order_by(invoices.c.id).limit(limit))).all()


async def drafts_since(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> Sequence[Row[Any]]:
    """Drafts that a settlement works on or that wait for a person, in id order. One with a reason
    that does not wait was stopped by a check: only another settlement helps it."""
    query = select(*_OWNED).where(_IS_DRAFT, ~STOPPED, invoices.c.created_at < created_before)
    if after_id is not None:
        query = query.where(invoices.c.id > after_id)
    return (await tx.execute(query.order_by(invoices.c.id).limit(limit))).all()


def request(row: Row[Any], dunning: DunningPolicy, waits: Waits) -> InvoiceRequest:
    """The input of an issued invoice's owner."""
    return InvoiceRequest(
        invoice_id=row.id,
        customer_id=row.customer_id,
        period=row.period,
        currency=row.currency,
        total=row.total,
        due_at=row.due_at,
        dunning=dunning,
        waits=waits,
    )


async def receivables(tx: Transaction, as_of: datetime) -> Sequence[Row[str, Any, int, Decimal]]:
    """(currency, bucket, count, sum) of what was issued and unpaid at that moment. The bucket by
    days past due, begun days counting: 0 not due, 1 for 1-30, 2 for 31-60, 3 for 61-90, 4 above."""
    days = func.ceil(func.extract("epoch", literal(as_of) - invoices.c.due_at) / 86_400)
    bucket = func.least(func.greatest(func.ceil(days / 30), 0), 4)
    query = (
        select(invoices.c.currency, bucket, func.count(), func.sum(invoices.c.total))
        .where(
            invoices.c.issued_at <= as_of,
            (invoices.c.closed_at.is_(None)) | (invoices.c.closed_at > as_of),
        )
        .group_by(invoices.c.currency, bucket)
        .order_by(invoices.c.currency, bucket)
    )
    return (await tx.execute(query)).all()


async def _decide(
    tx: Transaction,
    invoice_id: str,
    values: Mapping[str, Any],
    decision: Mapping[str, Any] | None,
    *conditions: Any,
) -> bool:
    row = await lock(tx, invoice_id)
    decisions = [*row.decisions, *([] if decision is None else [dict(decision)])]
    decided = await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.closed_at.is_(None), *conditions)
        .values(**values, decisions=decisions, updated_at=func.now())
    )
    return decided.rowcount == 1


async def _next_number(tx: Transaction) -> tuple[int, datetime]:
    """The number and when it was given. The date is taken once the counter is ours: whoever began
    before and had to wait for it is dated after."""
    row = upsert(invoice_numbers).values(series=SERIES, last=1, last_at=func.clock_timestamp())
    given = invoice_numbers.c
    counted = await tx.execute(
        row.on_conflict_do_update(
            index_elements=["series"],
            set_={
                "last": given.last + 1,
                "last_at": func.greatest(func.clock_timestamp(), given.last_at),
            },
        ).returning(given.last, given.last_at)
    )
    number, at = counted.one()
    return number, at


def _aggregate(invoice_id: str, aggregate: Aggregate) -> dict[str, Any]:
    return {
        "invoice_id": invoice_id,
        "resource_type": aggregate.resource_type,
        "period": str(aggregate.period),
        "quantity": aggregate.quantity,
        "events": aggregate.events,
        "first_at": aggregate.first_at,
        "last_at": aggregate.last_at,
        "digest": aggregate.digest,
    }


def _line(invoice_id: str, position: int, line: PricedLine) -> dict[str, Any]:
    return {
        "invoice_id": invoice_id,
        "position": position,
        "kind": line.kind.value,
        "resource_type": line.resource_type,
        "period": str(line.period),
        "quantity": line.quantity,
        "amount": line.amount,
        "steps": [
            {
                "label": step.label,
                "quantity": str(step.quantity),
                "unitPrice": str(step.unit_price),
                "amount": str(step.amount),
            }
            for step in line.steps
        ],
    }
