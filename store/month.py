"""Everything that the draft of a customer's month depends on."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, select

from domain.customer import Customer
from domain.month import KnownMonth, StandingMonth, plan_moments, trailing
from domain.period import Period
from domain.pricing_snapshot import PricingSnapshot
from domain.usage import UsedBefore
from store import clock, customer, invoice, pricing, usage
from store.database import Transaction
from store.records import records
from store.tables import customers


async def begin(tx: Transaction, customer_id: str) -> tuple[Customer, datetime] | None:
    """The customer, and what time it is; None when there is no such customer. To the commit nobody
    else drafts a month of it."""
    query = select(customers, clock.NOW.label("now"), usage.in_turn(customer_id))
    row = (await tx.execute(query.where(customers.c.id == customer_id))).first()
    return None if row is None else (customer.of_row(row), row.now)


async def standing(tx: Transaction, whose: Customer, period: Period) -> StandingMonth:
    """The month before it is settled: one statement, one moment."""
    month, before = str(period), [str(each) for each in trailing(period)]
    query = select(
        invoice.select_current(whose.id, month).label("current"),
        records(invoice.select_open_drafts(whose.id, other_than=month)).label("drafts"),
        records(invoice.select_used_before(whose.id, month, before)).label("before"),
        *_known_of(whose, period),
    )
    row = (await tx.execute(query)).one()
    return StandingMonth(
        row.current,
        tuple(invoice.open_draft(*each) for each in row.drafts),
        _known(period, row),
        tuple(UsedBefore(*each) for each in row.before),
    )


async def known(tx: Transaction, whose: Customer, period: Period) -> KnownMonth:
    """The month as the invoices that stand have billed it, with the prices that it has by now."""
    return _known(period, (await tx.execute(select(*_known_of(whose, period)))).one())


def _known_of(whose: Customer, period: Period) -> tuple[ColumnElement[Any], ...]:
    return (
        records(pricing.select_at(whose.id, plan_moments(period, whose.time_zone))).label("plans"),
        records(invoice.select_billed(whose.id, str(period))).label("billed"),
        records(invoice.select_snapshots(whose.id, str(period))).label("snapshots"),
    )


def _known(period: Period, row: Row[Any]) -> KnownMonth:
    plans = (pricing.plan(*each) for each in row.plans)
    billed_by = (PricingSnapshot.from_json(*each).plan_of(period) for each in row.snapshots)
    return KnownMonth(
        period,
        next((each for each in plans if each is not None), None),
        tuple(invoice.billed_part(*each) for each in row.billed),
        tuple(each for each in billed_by if each is not None),
    )
