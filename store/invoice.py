"""Invoices with their lines, from draft to closed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    JSON,
    Column,
    ColumnElement,
    DateTime,
    Insert,
    Interval,
    Row,
    ScalarSelect,
    Select,
    Subquery,
    Table,
    Text,
    Update,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import NoResultFound

from domain.dunning import DunningPolicy
from domain.invoice import (
    GAVE_BACK,
    OPEN,
    AgedReceivables,
    Chargeable,
    Invoice,
    InvoiceHead,
    InvoiceLine,
    InvoicePayment,
    InvoiceRequest,
    InvoiceStatus,
    ListedInvoice,
    OpenDraft,
    OpenInvoice,
    Wanted,
)
from domain.period import Period
from domain.pricing import Step
from domain.pricing_snapshot import Billed, LineKind, PricedLine
from domain.settlement import OpenMonth
from domain.usage import Aggregate
from domain.waits import Waits
from store import clock, customer
from store.change import Change
from store.database import Transaction
from store.records import records
from store.seen import SNAPSHOT, Seen, read, unseen
from store.tables import (
    aggregated_usage,
    customers,
    invoice_lines,
    invoice_numbers,
    invoices,
    payments,
)

SERIES = "invoice"
_PAY = """
paid_invoice AS (
    UPDATE invoices
    SET status = 'PAID', closed_at = clock_timestamp(), next_attempt_at = NULL, updated_at = now()
    WHERE id = CAST(:payable_id AS uuid) AND status IN ('ISSUED', 'OVERDUE')
      AND closed_at IS NULL
      AND NOT EXISTS (
        SELECT FROM dead_letters
        WHERE reference = 'invoice/' || invoices.id AND state IN ('OPEN', 'REPLAYING')
      )
    RETURNING id
)"""
_IS_OPEN = invoices.c.status.in_(OPEN)
_STANDS = invoices.c.status.not_in(GAVE_BACK)
"""It has its month and its usage."""
_BILLED = _STANDS & (invoices.c.number.is_not(None) | (invoices.c.status == InvoiceStatus.SKIPPED))
STOPPED = (invoices.c.status == InvoiceStatus.DRAFT) & invoices.c.reason.is_not(None)
"""By a check."""
_HAS_USAGE = _STANDS & ~STOPPED
MADE_ANEW = frozenset({InvoiceStatus.DRAFT, InvoiceStatus.SKIPPED})
"""By the next settlement of the month."""
_IS_DRAFT = invoices.c.status.in_([InvoiceStatus.DRAFT, InvoiceStatus.AWAITING_APPROVAL])

_Text = str | ColumnElement[str]
"""A value, or a parameter of a statement that is made once."""

_MONTH: tuple[Column[Any], ...] = (invoices.c.id, invoices.c.customer_id, invoices.c.period)
_OWNED = (*_MONTH, invoices.c.currency, invoices.c.total, invoices.c.due_at)
"""What an owner is started with: a sweep reads it of every open invoice, so nothing longer."""


async def of_month(tx: Transaction, customer_id: str, period: str) -> Invoice | None:
    """The invoice that has a customer's month."""
    row = (await tx.execute(select(invoices).where(*which_has(customer_id, period)))).first()
    return None if row is None else _invoice(row)


def select_current(customer_id: _Text, period: _Text) -> ScalarSelect[str]:
    """The id of the same, to be part of another statement."""
    return select(invoices.c.id).where(*which_has(customer_id, period)).scalar_subquery()


def which_has(customer_id: _Text, period: _Text) -> tuple[ColumnElement[bool], ...]:
    """What is true of the invoice that has a customer's month."""
    return invoices.c.customer_id == customer_id, invoices.c.period == period, _STANDS


async def find(tx: Transaction, invoice_id: str) -> Invoice | None:
    row = (await tx.execute(select(invoices).where(invoices.c.id == invoice_id))).first()
    return None if row is None else _invoice(row)


async def lock(tx: Transaction, invoice_id: str) -> Invoice:
    """The invoice, locked to the commit."""
    locked = select(invoices).where(invoices.c.id == invoice_id).with_for_update()
    return _invoice((await tx.execute(locked)).one())


def _to_charge(card_id: ColumnElement[str] | None) -> Select[Any]:
    card = customer.select_payment_method(bindparam("customer_id", type_=Text), card_id)
    tried = select(payments.c.id).where(payments.c.payable_id == _INVOICE_ID).exists()
    return (
        select(invoices, customers.c.prepaid, records(card).label("cards"), tried.label("tried"))
        .where(invoices.c.id == _INVOICE_ID, customers.c.id == invoices.c.customer_id)
        .with_for_update(of=invoices)
    )


# No parameter of a statement that writes is named like a column: it would be written there.
_INVOICE_ID = bindparam("which", type_=Uuid(as_uuid=False))
_WITH_TERMS = (
    select(invoices, customers.c.due_days)
    .where(invoices.c.id == _INVOICE_ID, customers.c.id == invoices.c.customer_id)
    .with_for_update(of=invoices)
)
_TO_DEFAULT_CARD = _to_charge(None)
_TO_CARD = _to_charge(bindparam("card_id", type_=Uuid(as_uuid=False)))


async def lock_with_terms(tx: Transaction, invoice_id: str) -> tuple[Invoice, timedelta]:
    """The same, with how long after its issue it is due."""
    row = (await tx.execute(_WITH_TERMS, {"which": invoice_id})).one()
    return _invoice(row), timedelta(days=row.due_days)


async def lock_to_charge(
    tx: Transaction, owed: InvoiceRequest, payment_method_id: str | None
) -> Chargeable:
    """The same, with what it may be charged to. A payment that was made while this waited for the
    lock does not count as tried; but it is live, so nobody makes another one."""
    query, values = _TO_DEFAULT_CARD, {"which": owed.invoice_id, "customer_id": owed.customer_id}
    if payment_method_id is not None:
        query, values = _TO_CARD, {**values, "card_id": payment_method_id}
    row = (await tx.execute(query, values)).one()
    cards = (customer.payment_method_of(*each) for each in row.cards)
    return Chargeable(_invoice(row), row.prepaid, next(cards, None), row.tried)


_CONTENT: Mapping[str, Any] = {
    "status": InvoiceStatus.DRAFT,
    "currency": bindparam("in_currency"),
    "total": bindparam("of_total"),
    "snapshot": bindparam("frozen"),
    "checks": bindparam("checked"),
    "reason": None,
    "run_id": bindparam("made_in"),
}


def _with_rows(made: Insert | Update) -> Select[Any]:
    """A draft and what is on it, by one statement, however much that is."""
    rows = (_append(aggregated_usage), _append(invoice_lines))
    return select(literal(1)).add_cte(made.cte("made"), *rows)


def _append(table: Table) -> CTE:
    names = [column.name for column in table.c]
    shape: ColumnElement[Any] = literal_column(f"NULL::{table.name}")
    sent = func.jsonb_populate_recordset(shape, bindparam(table.name, type_=JSONB))
    rows = select(sent.table_valued(*names))
    return insert(table).from_select(names, rows).cte(f"appended_{table.name}")


_CREATE = _with_rows(
    insert(invoices).values(
        id=_INVOICE_ID,
        customer_id=bindparam("owed_by"),
        period=bindparam("of_period"),
        workflow_id=bindparam("made_by"),
        **_CONTENT,
    )
)
_FILL = _with_rows(
    update(invoices).where(invoices.c.id == _INVOICE_ID).values(**_CONTENT, updated_at=func.now())
)


async def create_draft(
    tx: Transaction,
    invoice_id: str,
    customer_id: str,
    period: str,
    currency: str,
    workflow_id: str,
    run_id: str,
    total: int = 0,
    snapshot: Mapping[str, Any] | None = None,
    aggregates: Sequence[Aggregate] = (),
    lines: Sequence[PricedLine] = (),
    checks: Sequence[Mapping[str, Any]] = (),
) -> None:
    """A draft with all that is on it; a second one for the same month raises `IntegrityError`."""
    values = {
        "owed_by": customer_id,
        "of_period": period,
        "made_by": workflow_id,
        **_content(invoice_id, run_id, currency, total, snapshot or {}, checks),
        **_rows(invoice_id, aggregates, lines),
    }
    await tx.execute(_CREATE, values)


async def empty_draft(tx: Transaction, invoice_id: str) -> None:
    """Throw lines and aggregates of a draft away, to make them again."""
    await tx.execute(delete(invoice_lines).where(invoice_lines.c.invoice_id == invoice_id))
    await tx.execute(delete(aggregated_usage).where(aggregated_usage.c.invoice_id == invoice_id))


async def discard_draft(tx: Transaction, invoice_id: str) -> None:
    """DRAFT or SKIPPED → REJECTED: there is nothing left to bill."""
    await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.status.in_(MADE_ANEW))
        .values(status=InvoiceStatus.REJECTED, total=0, closed_at=clock.NOW)
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
    checks: Sequence[Mapping[str, Any]] = (),
) -> None:
    """DRAFT, with what the month came to."""
    content = _content(invoice_id, run_id, currency, total, snapshot, checks)
    await tx.execute(_FILL, {**content, **_rows(invoice_id, aggregates, lines)})


def _content(
    invoice_id: str,
    run_id: str,
    currency: str,
    total: int,
    snapshot: Mapping[str, Any],
    checks: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "which": invoice_id,
        "made_in": run_id,
        "in_currency": currency,
        "of_total": total,
        "frozen": dict(snapshot),
        "checked": list(checks),
    }


def _rows(
    invoice_id: str, aggregates: Sequence[Aggregate], lines: Sequence[PricedLine]
) -> dict[str, Any]:
    placed = enumerate(lines, start=1)
    return {
        aggregated_usage.name: [_aggregate(invoice_id, each) for each in aggregates],
        invoice_lines.name: [_line(invoice_id, place, each) for place, each in placed],
    }


async def set_draft_status(
    tx: Transaction,
    invoice_id: str,
    status: InvoiceStatus,
    reason: str | None,
) -> None:
    """DRAFT with a reason (blocked), AWAITING_APPROVAL or SKIPPED."""
    await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(status=status, reason=reason, updated_at=func.now())
    )


async def reject(tx: Transaction, invoice_id: str, decision: Mapping[str, Any]) -> bool:
    """AWAITING_APPROVAL → REJECTED; False from every other status."""
    values = {"status": InvoiceStatus.REJECTED, "closed_at": clock.NOW}
    waits = invoices.c.status == InvoiceStatus.AWAITING_APPROVAL
    return await _decide(tx, invoice_id, values, decision, waits)


async def add_decision(tx: Transaction, invoice_id: str, decision: Mapping[str, Any]) -> None:
    """Keep that something was decided, or that somebody was reminded."""
    changed = update(invoices).where(invoices.c.id == invoice_id)
    await tx.execute(changed.values(decisions=_with(decision)))


def _next_number(wanted: CTE) -> CTE:
    """The number and when it was given, if it is wanted. The date is taken once the counter is
    ours: whoever began before and had to wait for it is dated after."""
    first = select(literal(SERIES), literal(1), clock.NOW).select_from(wanted)
    row = upsert(invoice_numbers).from_select(["series", "last", "last_at"], first)
    given = invoice_numbers.c
    return (
        row.on_conflict_do_update(
            index_elements=["series"],
            set_={
                "last": given.last + 1,
                "last_at": func.greatest(clock.NOW, given.last_at),
            },
        )
        .returning(given.last, given.last_at)
        .cte("given")
    )


def _issue() -> Update:
    wanted = select(invoices.c.id).where(invoices.c.id == _INVOICE_ID, _IS_DRAFT)
    given = _next_number(wanted.with_for_update().cte("wanted"))
    return (
        update(invoices)
        .where(
            invoices.c.id == _INVOICE_ID,
            _IS_DRAFT,
            invoices.c.number.is_distinct_from(given.c.last),
        )
        .values(
            status=InvoiceStatus.ISSUED,
            number=given.c.last,
            issued_at=given.c.last_at,
            due_at=given.c.last_at + bindparam("due_in", type_=Interval),
            reason=None,
            decisions=invoices.c.decisions.concat(bindparam("decided", type_=JSONB)),
            updated_at=func.now(),
        )
    )


_ISSUE = _issue().returning(invoices)


async def issue(
    tx: Transaction, invoice_id: str, due_in: timedelta, decision: Mapping[str, Any] | None
) -> tuple[Invoice, int]:
    """DRAFT or AWAITING_APPROVAL → ISSUED with the next number and its date, once; returns it with
    its number. Raises `NoResultFound` when it was rejected."""
    values = {"which": invoice_id, "due_in": due_in, "decided": _listed_decision(decision)}
    issued = await tx.execute(_ISSUE, values)
    row = issued.first()
    found = await lock(tx, invoice_id) if row is None else _invoice(row)
    if found.number is None:
        raise NoResultFound(f"invoice {invoice_id} is {found.status}")
    return found, found.number


async def skip(tx: Transaction, invoice_id: str, decision: Mapping[str, Any] | None) -> None:
    """DRAFT or AWAITING_APPROVAL → SKIPPED."""
    values = {"status": InvoiceStatus.SKIPPED, "reason": None}
    await _decide(tx, invoice_id, values, decision, _IS_DRAFT)


async def close(
    tx: Transaction,
    invoice_id: str,
    status: InvoiceStatus,
    decision: Mapping[str, Any] | None = None,
) -> bool:
    """From every open status to a closed one; False when it is closed already."""
    values = {"status": status, "closed_at": clock.NOW, "next_attempt_at": None}
    return await _decide(tx, invoice_id, values, decision, _IS_OPEN)


def paying(invoice_id: str) -> Change:
    """To PAID, as a part of a statement, where nobody has given it up."""
    return Change("paid_invoice", _PAY, 1, {"payable_id": invoice_id})


async def give_up(tx: Transaction, invoice_id: str, decision: Mapping[str, Any]) -> bool:
    """ISSUED or OVERDUE → UNCOLLECTIBLE; False from every other status."""
    values = {"status": InvoiceStatus.UNCOLLECTIBLE, "next_attempt_at": None}
    collected = invoices.c.status.in_([InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE])
    return await _decide(tx, invoice_id, values, decision, collected)


async def mark_overdue(tx: Transaction, invoice_id: str) -> bool:
    """ISSUED → OVERDUE; False from every other status."""
    marked = await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.status == InvoiceStatus.ISSUED)
        .values(status=InvoiceStatus.OVERDUE, updated_at=func.now())
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


async def lines(tx: Transaction, *invoice_ids: str) -> list[InvoiceLine]:
    """The lines of these invoices, each in its order."""
    query = select(invoice_lines).where(invoice_lines.c.invoice_id.in_(invoice_ids))
    rows = await tx.execute(query.order_by(invoice_lines.c.position))
    return [_invoice_line(row) for row in rows]


async def aggregates(tx: Transaction, invoice_id: str) -> list[Aggregate]:
    query = select(aggregated_usage).where(aggregated_usage.c.invoice_id == invoice_id)
    order = (aggregated_usage.c.period, aggregated_usage.c.resource_type)
    rows = await tx.execute(query.order_by(*order))
    return [_noted_aggregate(row) for row in rows]


async def billed(tx: Transaction, customer_id: str, period: str) -> list[Billed]:
    """What the invoices that stand have billed of a month so far."""
    return [billed_part(*row) for row in await tx.execute(select_billed(customer_id, period))]


def select_billed(customer_id: _Text, period: _Text) -> Select[Any]:
    """The same, to be part of another statement; `billed_part` makes values of its rows."""
    grouped = (invoice_lines.c.kind, invoice_lines.c.resource_type, invoices.c.currency)
    return (
        select(
            *grouped,
            func.sum(invoice_lines.c.quantity).label("quantity"),
            func.sum(invoice_lines.c.amount).label("amount"),
        )
        .join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .where(invoices.c.customer_id == customer_id, _BILLED, invoice_lines.c.period == period)
        .group_by(*grouped)
    )


def billed_part(
    kind: str, resource_type: str | None, currency: str, quantity: Decimal, amount: Decimal
) -> Billed:
    return Billed(LineKind(kind), resource_type, currency, quantity, int(amount))


def select_snapshots(customer_id: _Text, period: _Text) -> Select[Any]:
    """By what the invoices that stand have billed a month: its own first, then the newest.
    `PricingSnapshot` reads them."""
    line = select(invoice_lines.c.invoice_id).where(
        invoice_lines.c.invoice_id == invoices.c.id, invoice_lines.c.period == period
    )
    # Not EXISTS, which behind an OR may be made of all lines of everybody at once.
    names_it = line.limit(1).scalar_subquery().is_not(None)
    own = invoices.c.period == period
    return (
        select(invoices.c.snapshot)
        .where(invoices.c.customer_id == customer_id, _BILLED, own | names_it)
        .order_by(own.desc(), invoices.c.created_at.desc())
    )


async def open_drafts(tx: Transaction, customer_id: str) -> list[OpenDraft]:
    """The customer's drafts that may still be issued; each once for every month that it has usage
    of."""
    return [open_draft(*row) for row in await tx.execute(select_open_drafts(customer_id))]


def select_open_drafts(customer_id: _Text, other_than: _Text | None = None) -> Select[Any]:
    """The same, apart from that of one month, to be part of another statement; `open_draft` makes
    values of its rows."""
    return (
        select(invoices.c.period, invoices.c.status, aggregated_usage.c.period.label("month"))
        .outerjoin(aggregated_usage, aggregated_usage.c.invoice_id == invoices.c.id)
        .where(
            invoices.c.customer_id == customer_id,
            invoices.c.period.is_distinct_from(other_than),
            _IS_DRAFT,
            ~STOPPED,
        )
        .distinct()
    )


def open_draft(period: str, status: str, month: str | None) -> OpenDraft:
    return OpenDraft(period, InvoiceStatus(status), month)


def select_used_before(
    customer_id: _Text, before: _Text, months: ColumnElement[Sequence[str]]
) -> Select[Any]:
    """What the customer used in those of these months in which invoices before have it; what came
    late counts to its month. Each row is a `UsedBefore`."""
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
            aggregated_usage.c.period == func.any(months),
        )
        .group_by(aggregated_usage.c.resource_type, aggregated_usage.c.period)
        .subquery()
    )
    query = select(
        monthly.c.resource_type,
        func.avg(monthly.c.quantity).label("mean"),
        func.max(monthly.c.period).label("last_month"),
    )
    return query.group_by(monthly.c.resource_type)


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
) -> list[ListedInvoice]:
    """Newest first, by number of page: v1."""
    values = {"customer_id": customer_id, "offset": offset, "limit": limit}
    rows = await tx.execute(_page(customer_id is not None), _without_none(values))
    return [_listed_invoice(row) for row in rows]


async def crawl(
    tx: Transaction,
    wanted: Wanted,
    position: tuple[datetime, str] | None,
    before: Seen | None,
    limit: int,
) -> tuple[list[ListedInvoice], list[ListedInvoice], Seen | None]:
    """Those after a position, oldest first: v2. Before them those up to it that could not be seen
    when it was reached, as few as transactions are under way at one time. And what is seen now,
    where there is anything: one statement, so all of it is of one moment."""
    created_at, id_ = (None, None) if position is None else position
    named = _without_none(asdict(wanted))
    values = {
        **named,
        "created_at": created_at,
        "id": id_,
        "limit": limit,
        **({} if before is None else before._asdict()),
    }
    query = _crawl(frozenset(named), position is not None)
    rows = (await tx.execute(query, _without_none(values))).all()
    late = [_listed_invoice(row) for row in rows if row.late]
    following = [_listed_invoice(row) for row in rows if not row.late]
    return late, following, read(rows[0].seen) if rows else None


_PLACE = (invoices.c.created_at, invoices.c.id)
_HEAD = [invoices.c[each.name] for each in fields(InvoiceHead)]
_OF_CUSTOMER = invoices.c.customer_id == bindparam("customer_id")
_CONDITIONS: Mapping[str, ColumnElement[bool]] = {
    "customer_id": _OF_CUSTOMER,
    "status": invoices.c.status == bindparam("status"),
    "period": invoices.c.period == bindparam("period"),
    "since": invoices.c.created_at >= bindparam("since"),
    "until": invoices.c.created_at < bindparam("until"),
}
"""By the names of `Wanted`."""
_POSITION = tuple_(*(bindparam(each.name, type_=each.type) for each in _PLACE))


# To put such a statement together takes as long as to execute it: each form is made once.
@cache
def _page(of_customer: bool) -> Select[Any]:
    newest_first = [column.desc() for column in _PLACE]
    chosen = select(*_HEAD).where(_OF_CUSTOMER if of_customer else true()).order_by(*newest_first)
    place = chosen.offset(bindparam("offset")).limit(bindparam("limit")).subquery()
    return _listed(place).order_by(place.c.created_at.desc(), place.c.id.desc())


@cache
def _crawl(named: frozenset[str], onward: bool) -> Select[Any]:
    conditions = [_CONDITIONS[name] for name in sorted(named)]
    chosen = select(*_HEAD, literal(False).label("late")).where(*conditions)
    following = chosen.order_by(*_PLACE).limit(bindparam("limit"))
    if onward:
        late = select(*_HEAD, literal(True).label("late")).where(
            *conditions, tuple_(*_PLACE) <= _POSITION, unseen(invoices.c.created_xid)
        )
        following = following.where(tuple_(*_PLACE) > _POSITION)
        place = union_all(late, select(following.subquery())).subquery()
    else:
        place = following.subquery()
    listed = _listed(place).add_columns(SNAPSHOT.label("seen"))
    return listed.order_by(place.c.created_at, place.c.id)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _listed(chosen: Subquery) -> Select[Any]:
    """These invoices with their lines and payments, without a round trip for each of the three.
    What is chosen stands below, so that nothing is put together for rows that are passed over."""
    line, payment = invoice_lines.c, payments.c
    lines = func.json_build_array(
        line.kind, line.resource_type, line.period, cast(line.quantity, Text), line.amount,
        line.steps, line.position,
    )  # fmt: skip
    paid = func.json_build_array(payment.id, payment.failure_code, payment.gateway_code)
    return select(
        chosen,
        _gathered(lines, line.invoice_id == chosen.c.id, line.position).label("lines"),
        _gathered(
            paid, payment.payable_id == chosen.c.id, payment.created_at, payment.id
        ).label("payments"),
    )  # fmt: skip


def _gathered(
    each: ColumnElement[Any], whose: ColumnElement[bool], *order: Column[Any]
) -> ScalarSelect[Any]:
    array = func.json_agg(aggregate_order_by(each, *order), type_=JSON)
    return select(array).where(whose).scalar_subquery()


async def open_since(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> list[OpenInvoice]:
    """Issued invoices that are not closed, in id order: what the sweeper looks at."""
    query = select(*_OWNED).where(_IS_OPEN, invoices.c.issued_at < created_before)
    if after_id is not None:
        query = query.where(invoices.c.id > after_id)
    rows = await tx.execute(query.order_by(invoices.c.id).limit(limit))
    return [
        OpenInvoice(row.id, row.customer_id, row.period, row.currency, row.total, row.due_at)
        for row in rows
    ]


async def drafts_since(
    tx: Transaction, created_before: datetime, after_id: str | None, limit: int
) -> list[OpenMonth]:
    """Drafts that a settlement works on or that wait for a person, in id order. One with a reason
    that does not wait was stopped by a check: only another settlement helps it."""
    query = select(*_MONTH).where(_IS_DRAFT, ~STOPPED, invoices.c.created_at < created_before)
    if after_id is not None:
        query = query.where(invoices.c.id > after_id)
    rows = await tx.execute(query.order_by(invoices.c.id).limit(limit))
    return [OpenMonth(row.id, row.customer_id, row.period) for row in rows]


def request(invoice: Invoice | OpenInvoice, dunning: DunningPolicy, waits: Waits) -> InvoiceRequest:
    """The input of an issued invoice's owner."""
    if invoice.due_at is None:
        raise RuntimeError(f"invoice {invoice.id} was not issued, so it has no owner")
    return InvoiceRequest(
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        period=invoice.period,
        currency=invoice.currency,
        total=invoice.total,
        due_at=invoice.due_at,
        dunning=dunning,
        waits=waits,
    )


async def receivables(tx: Transaction, as_of: datetime) -> list[AgedReceivables]:
    """What was issued and unpaid at that moment, by days past due, begun days counting."""
    issued = select(invoices.c.currency, invoices.c.due_at, invoices.c.total).where(
        invoices.c.issued_at <= as_of
    )
    # Two ranges of one index, instead of an OR that would read every invoice.
    unpaid = union_all(
        issued.where(invoices.c.closed_at.is_(None)), issued.where(invoices.c.closed_at > as_of)
    ).subquery()
    bucket = _bucket(unpaid.c.due_at, as_of)
    query = (
        select(unpaid.c.currency, bucket, func.count(), func.sum(unpaid.c.total))
        .group_by(unpaid.c.currency, bucket)
        .order_by(unpaid.c.currency, bucket)
    )
    return [
        AgedReceivables(currency, bucket, count, int(amount))
        for currency, bucket, count, amount in await tx.execute(query)
    ]


async def count_open(tx: Transaction, as_of: datetime) -> dict[tuple[InvoiceStatus, int], int]:
    """What is owed, by days past due, and the drafts, which are not due."""
    columns = (invoices.c.status, invoices.c.due_at)
    # Each half has an index of its own.
    halves = (select(*columns).where(which) for which in (_IS_OPEN, _IS_DRAFT))
    open_ = union_all(*halves).subquery()
    bucket = func.coalesce(_bucket(open_.c.due_at, as_of), 0)
    query = select(open_.c.status, bucket, func.count()).group_by(open_.c.status, bucket)
    rows = await tx.execute(query)
    return {(InvoiceStatus(status), bucket): count for status, bucket, count in rows}


async def oldest_awaiting_approval(tx: Transaction) -> datetime | None:
    """When the first of the drafts was made that wait for a person."""
    awaits = invoices.c.status == InvoiceStatus.AWAITING_APPROVAL
    made: datetime | None = await tx.scalar(select(func.min(invoices.c.created_at)).where(awaits))
    return made


def _bucket(due_at: ColumnElement[datetime], as_of: datetime) -> ColumnElement[int]:
    """As `AgedReceivables` has it."""
    past_due = [as_of - timedelta(days=days) for days in (90, 60, 30, 0)]
    passed = func.width_bucket(due_at, literal(past_due, ARRAY(DateTime(timezone=True))))
    return literal(len(past_due)) - passed


async def _decide(
    tx: Transaction,
    invoice_id: str,
    values: Mapping[str, Any],
    decision: Mapping[str, Any] | None,
    *conditions: Any,
) -> bool:
    decided = await tx.execute(
        update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.closed_at.is_(None), *conditions)
        .values(**values, decisions=_with(decision), updated_at=func.now())
    )
    return decided.rowcount == 1


def _listed_decision(decision: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [] if decision is None else [dict(decision)]


def _with(decision: Mapping[str, Any] | None) -> ColumnElement[Any]:
    return invoices.c.decisions.concat(literal(_listed_decision(decision), JSONB))


def _aggregate(invoice_id: str, aggregate: Aggregate) -> dict[str, Any]:
    return {
        "invoice_id": invoice_id,
        "resource_type": aggregate.resource_type,
        "period": str(aggregate.period),
        "quantity": str(aggregate.quantity),
        "events": aggregate.events,
        "first_at": aggregate.first_at,
        "last_at": aggregate.last_at,
        "digest": aggregate.digest,
    }


def _line(invoice_id: str, position: int, line: PricedLine) -> dict[str, Any]:
    return {
        "invoice_id": invoice_id,
        "position": position,
        "kind": line.kind,
        "resource_type": line.resource_type,
        "period": str(line.period),
        "quantity": str(line.quantity),
        "amount": line.amount,
        "steps": [step.to_json() for step in line.steps],
    }


def _invoice(row: Row[Any]) -> Invoice:
    return Invoice(
        **_head(row), snapshot=row.snapshot, run_id=row.run_id, updated_at=row.updated_at
    )


def _listed_invoice(row: Row[Any]) -> ListedInvoice:
    lines = [_listed_line(row.id, each) for each in row.lines or ()]
    payments = [InvoicePayment(*each) for each in row.payments or ()]
    return ListedInvoice(InvoiceHead(**_head(row)), lines, payments)


def _head(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "number": row.number,
        "customer_id": row.customer_id,
        "period": row.period,
        "currency": row.currency,
        "total": row.total,
        "status": InvoiceStatus(row.status),
        "checks": tuple(row.checks),
        "decisions": tuple(row.decisions),
        "reason": row.reason,
        "workflow_id": row.workflow_id,
        "retries": row.retries,
        "next_attempt_at": row.next_attempt_at,
        "issued_at": row.issued_at,
        "due_at": row.due_at,
        "closed_at": row.closed_at,
        "created_at": row.created_at,
    }


def _listed_line(invoice_id: str, row: Sequence[Any]) -> InvoiceLine:
    kind, resource_type, period, quantity, amount, steps, position = row
    return InvoiceLine(
        invoice_id=invoice_id,
        position=position,
        kind=LineKind(kind),
        resource_type=resource_type,
        period=Period.parse(period),
        quantity=Decimal(quantity),
        amount=amount,
        steps=tuple(map(Step.from_json, steps)),
    )


def _invoice_line(row: Row[Any]) -> InvoiceLine:
    return InvoiceLine(
        invoice_id=row.invoice_id,
        position=row.position,
        kind=LineKind(row.kind),
        resource_type=row.resource_type,
        period=Period.parse(row.period),
        quantity=row.quantity,
        amount=row.amount,
        steps=tuple(Step.from_json(step) for step in row.steps),
    )


def _noted_aggregate(row: Row[Any]) -> Aggregate:
    return Aggregate(
        resource_type=row.resource_type,
        period=Period.parse(row.period),
        quantity=row.quantity,
        events=row.events,
        first_at=row.first_at,
        last_at=row.last_at,
        digest=row.digest,
    )
