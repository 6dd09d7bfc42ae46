"""Price lists: every change is a version, and what was effective when stays known."""

from datetime import datetime

from domain.access import SYSTEM
from domain.errors import NotFound
from domain.pricing import Plan, PlanVersion
from service.desk import Desk
from store import clock, pricing
from store.database import Transaction


async def put(desk: Desk, plan: Plan, since: datetime | None) -> tuple[PlanVersion, bool]:
    """Add a version, from now on unless said otherwise; True when added. The same prices from the
    same moment on are no new one."""
    async with desk.database.begin(SYSTEM) as tx:
        await pricing.lock(tx, plan.code)
        since = since or await _since(tx, plan, await clock.now(tx))
        plan, added = await pricing.put(tx, plan, since)
    return PlanVersion(plan.code, plan.version, since, plan), added


async def versions(desk: Desk, code: str) -> list[PlanVersion]:
    """Those of a plan, in the order in which they were added; raises `NotFound`."""
    async with desk.database.read(SYSTEM) as tx:
        return await _known(tx, code)


async def withdraw(desk: Desk, code: str) -> None:
    """Withdraw a plan from now on, with what was planned for later; the past stays as it was."""
    async with desk.database.begin(SYSTEM) as tx:
        await _known(tx, code)
        await pricing.withdraw(tx, code, await clock.now(tx))


async def _since(tx: Transaction, plan: Plan, now: datetime) -> datetime:
    """From when prices without a date hold: from now on, or since they do."""
    current = await pricing.effective(tx, plan.code, now)
    if current is None or current.prices() != plan.prices():
        return now
    versions = await pricing.versions(tx, plan.code)
    return next(each.effective_from for each in versions if each.version == current.version)


async def _known(tx: Transaction, code: str) -> list[PlanVersion]:
    versions = await pricing.versions(tx, code)
    if not versions:
        raise NotFound(f"There is no pricing plan {code}.")
    return versions
