"""A customer's month: everything that its draft depends on, and how its invoice stands."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Row, Text, and_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY

from domain.customer import Customer
from domain.invoice import InvoiceStatus
from domain.month import KnownMonth, SeenMonth, StandingMonth, plan_moments, trailing
from domain.period import Period
from domain.pricing_snapshot import PricingSnapshot
from domain.usage import UsedBefore
from store import advisory_lock, clock, customer, invoice, pricing, usage
from store.database import Transaction
from store.records import records
from store.tables import customers, invoices

_CUSTOMER_ID, _PERIOD = bindparam("customer_id", type_=Text), bindparam("period", type_=Text)
_AT = DateTime(timezone=True)
_MOMENTS = (bindparam("at_first", type_=_AT), bindparam("at_last", type_=_AT))
_BEGIN = select(customers, clock.NOW.label("now"), usage.in_turn(_CUSTOMER_ID)).where(
    customers.c.id == _CUSTOMER_ID
)
_SEEN = (
    select(
        customers.c.time_zone,
        clock.NOW.label("now"),
        invoices.c.id,
        invoices.c.status,
        invoices.c.next_attempt_at,
    )
    .select_from(customers.outerjoin(invoices, and_(*invoice.which_has(_CUSTOMER_ID, _PERIOD))))
    .where(customers.c.id == _CUSTOMER_ID)
)
_KNOWN = (
    records(pricing.select_at(_CUSTOMER_ID, _MOMENTS)).label("plans"),
    records(invoice.select_billed(_CUSTOMER_ID, _PERIOD)).label("billed"),
    records(invoice.select_snapshots(_CUSTOMER_ID, _PERIOD)).label("snapshots"),
)
_OF_MONTH = select(*_KNOWN)
_STANDING = select(
    invoice.select_current(_CUSTOMER_ID, _PERIOD).label("current"),
    records(invoice.select_open_drafts(_CUSTOMER_ID, other_than=_PERIOD)).label("drafts"),
    records(
        invoice.select_used_before(_CUSTOMER_ID, _PERIOD, bindparam("months", type_=ARRAY(Text)))
    ).label("before"),
    usage.select_first_free(_CUSTOMER_ID, bindparam("ends_at", type_=_AT)).label("free_since"),
    *_KNOWN,
)
"""Made once: to put together what they are made of costs more than to run them."""


async def look(tx: Transaction, customer_id: str, period: str) -> SeenMonth | None:
    """One statement, for whoever looks again and again; None when there is no such customer."""
    values = {"customer_id": customer_id, "period": period}
    row = (await tx.execute(_SEEN, values)).first()
    if row is None:
        return None
    status = None if row.status is None else InvoiceStatus(row.status)
    return SeenMonth(row.time_zone, row.now, row.id, status, row.next_attempt_at)


async def begin(tx: Transaction, customer_id: str) -> tuple[Customer, datetime] | None:
    """The customer, and what time it is; None when there is no such customer. To the commit nobody
    else drafts a month of it."""
    with advisory_lock.USAGE.time():
        row = (await tx.execute(_BEGIN, {"customer_id": customer_id})).first()
    return None if row is None else (customer.of_row(row), row.now)


async def standing(tx: Transaction, whose: Customer, period: Period) -> StandingMonth:
    """The month before it is settled: one statement, one moment."""
    months = [str(each) for each in trailing(period)]
    values = {"months": months, "ends_at": period.ends_at(whose.time_zone)}
    row = (await tx.execute(_STANDING, {**_values(whose, period), **values})).one()
    return StandingMonth(
        row.current,
        tuple(invoice.open_draft(*each) for each in row.drafts),
        _known(period, row),
        tuple(UsedBefore(*each) for each in row.before),
        row.free_since,
    )


async def known(tx: Transaction, whose: Customer, period: Period) -> KnownMonth:
    """The month as the invoices that stand have billed it, with the prices that it has by now."""
    return _known(period, (await tx.execute(_OF_MONTH, _values(whose, period))).one())


def _values(whose: Customer, period: Period) -> dict[str, Any]:
    at_first, at_last = plan_moments(period, whose.time_zone)
    return {
        "customer_id": whose.id,
        "period": str(period),
        "at_first": at_first,
        "at_last": at_last,
    }


def _known(period: Period, row: Row[Any]) -> KnownMonth:
    plans = (pricing.plan(*each) for each in row.plans)
    billed_by = (PricingSnapshot.from_json(*each).plan_of(period) for each in row.snapshots)
    return KnownMonth(
        period,
        next((each for each in plans if each is not None), None),
        tuple(invoice.billed_part(*each) for each in row.billed),
        tuple(each for each in billed_by if each is not None),
    )
