"""Price lists: versions are added, never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    func,
    insert,
    literal,
    select,
    union_all,
)

from domain.pricing import Plan, PlanVersion
from store import advisory_lock, customer
from store.database import Transaction
from store.page import Order, Page, Place, matching, page, within
from store.tables import pricing_plans

_WITHDRAWN: Mapping[str, Any] = {"withdrawn": True}


async def lock(tx: Transaction, code: str) -> None:
    """To the commit: the versions of one plan are added one after the other."""
    name = func.hashtextextended(f"pricing-plan/{code}", 0)
    with advisory_lock.PRICING_PLAN.time():
        await tx.execute(select(func.pg_advisory_xact_lock(name)))


async def put(tx: Transaction, plan: Plan, effective_from: datetime) -> tuple[Plan, bool]:
    """Add a version; returns it and True. When the last one of that very moment has the same prices
    nothing changes: returns that one and False. The version that `plan` names does not count."""
    await lock(tx, plan.code)
    known = await versions(tx, plan.code)
    last = _last_from(known, effective_from)
    if last is not None and last.prices() == plan.prices():
        return last, False
    added = replace(plan, version=len(known) + 1)
    await _append(tx, added.code, added.version, effective_from, added.prices())
    return added, True


async def stands(tx: Transaction, plan: Plan, effective_from: datetime) -> bool:
    """Whether these are the prices from that very moment on already, so that `put` adds nothing."""
    last = _last_from(await versions(tx, plan.code), effective_from)
    return last is not None and last.prices() == plan.prices()


def _last_from(known: Sequence[PlanVersion], effective_from: datetime) -> Plan | None:
    same_moment = [each.plan for each in known if each.effective_from == effective_from]
    return same_moment[-1] if same_moment else None


async def withdraw(tx: Transaction, code: str, at: datetime) -> bool:
    """From then on the plan is no longer offered, nor what was planned for later; False when that
    is so already. What was effective before stays known."""
    await lock(tx, code)
    known = await versions(tx, code)
    last_of = {each.effective_from: each.plan for each in known if each.effective_from > at}
    moments = [moment for moment, plan in last_of.items() if plan is not None]
    if await effective(tx, code, at) is not None:
        moments.insert(0, at)
    for version, moment in enumerate(moments, start=len(known) + 1):
        await _append(tx, code, version, moment, _WITHDRAWN)
    return bool(moments)


async def effective(tx: Transaction, code: str, at: datetime) -> Plan | None:
    """The prices at a moment: of the versions that had begun the latest, and of several that began
    together the last one. None when there was none, or it was withdrawn."""
    row = (await tx.execute(_effective(code, at))).first()
    return None if row is None else plan(row.code, row.version, row.body)


def select_at(
    customer_id: ColumnElement[str], moments: Sequence[ColumnElement[datetime]]
) -> Select[Any]:
    """The prices that a customer had at these moments, in their order; `plan` makes values of the
    rows."""
    had = [
        _effective(customer.select_plan_at(customer_id, each).scalar_subquery(), each).subquery()
        for each in moments
    ]
    each_moment = [select(literal(place).label("place"), *row.c) for place, row in enumerate(had)]
    found = union_all(*each_moment).subquery()
    return select(found.c.code, found.c.version, found.c.body).order_by(found.c.place)


def plan(code: str, version: int, body: dict[str, Any]) -> Plan | None:
    """None: it was withdrawn."""
    return None if "withdrawn" in body else Plan.of_prices(code, version, body)


def _effective(
    code: str | ScalarSelect[str], at: datetime | ColumnElement[datetime]
) -> Select[Any]:
    return (
        select(pricing_plans)
        .where(pricing_plans.c.code == code, pricing_plans.c.effective_from <= at)
        .order_by(pricing_plans.c.effective_from.desc(), pricing_plans.c.version.desc())
        .limit(1)
    )


async def offered(tx: Transaction, code: str, at: datetime) -> bool:
    """Whether the plan has prices then or will have later."""
    if await effective(tx, code, at) is not None:
        return True
    later = {each.effective_from: each.plan for each in await versions(tx, code)}
    return any(plan is not None for moment, plan in later.items() if moment > at)


async def versions(tx: Transaction, code: str) -> list[PlanVersion]:
    """All of them, in the order in which they were added."""
    query = select(pricing_plans).where(pricing_plans.c.code == code)
    return [_version(row) for row in await tx.execute(query.order_by(pricing_plans.c.version))]


async def listed(
    tx: Transaction,
    code: str | None,
    since: datetime | None,
    until: datetime | None,
    place: Place | None,
    limit: int,
) -> Page[PlanVersion]:
    """Versions of every plan, or of one, below a place, the one that was added last first."""
    columns = pricing_plans.c
    query = select(pricing_plans).where(
        *matching({columns.code: code}), *within(columns.created_at, since, until)
    )
    order = Order((columns.created_at, columns.code, columns.version), columns.created_xid)
    return await page(tx, query, order, place, limit, _version)


async def _append(
    tx: Transaction, code: str, version: int, effective_from: datetime, body: Mapping[str, Any]
) -> None:
    await tx.execute(
        insert(pricing_plans).values(
            code=code, version=version, effective_from=effective_from, body=dict(body)
        )
    )


def _version(row: Row[Any]) -> PlanVersion:
    prices = plan(row.code, row.version, row.body)
    return PlanVersion(row.code, row.version, row.effective_from, prices)
