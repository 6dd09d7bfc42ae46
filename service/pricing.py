"""Price lists: every change is a version, and what was effective when stays known."""

from datetime import datetime

from domain.access import SYSTEM, Access
from domain.audit import Action, Entry, Noun, actor, changed
from domain.errors import NotFound
from domain.pricing import Plan, PlanVersion
from domain.proposal import Agreed, Proposal, together
from service import proposal
from service.desk import Desk
from store import audit, clock, customer, pricing
from store.database import Transaction
from store.page import Page, Place


async def put(
    desk: Desk, access: Access, plan: Plan, since: datetime | None
) -> tuple[PlanVersion, bool]:
    """Add a version, from now on unless said otherwise; True when added. The same prices from the
    same moment on are no new one. Where customers have the plan it needs a second person:
    raises `SecondPersonNeeded`."""
    async with desk.database.begin(access.scope) as tx:
        done = await _put(tx, desk, access, plan, since)
    return proposal.carried_out(done)


async def _put(
    tx: Transaction, desk: Desk, access: Access, plan: Plan, asked: datetime | None
) -> tuple[PlanVersion, bool] | Proposal:
    await pricing.lock(tx, plan.code)
    since = asked or await _since(tx, plan, await clock.now(tx))
    wanted = None
    if not await pricing.stands(tx, plan, since):
        have = await customer.count_with_plan(tx, plan.code, since)
        wanted = desk.terms.second.plan_version(plan, asked, have)
    agreed = await proposal.decided(tx, desk, access, wanted)
    if isinstance(agreed, Proposal):
        return agreed
    replaced = await pricing.effective(tx, plan.code, since)
    plan, added = await pricing.put(tx, plan, since)
    if added:
        await audit.append(tx, _added(access, plan, since, replaced, agreed))
    return PlanVersion(plan.code, plan.version, since, plan), added


async def versions(desk: Desk, code: str) -> list[PlanVersion]:
    """Those of a plan, in the order in which they were added; raises `NotFound`."""
    async with desk.database.read(SYSTEM) as tx:
        return await _known(tx, code)


async def listed(
    desk: Desk,
    access: Access,
    code: str | None,
    since: datetime | None,
    until: datetime | None,
    place: Place | None,
    limit: int,
) -> Page[PlanVersion]:
    """Versions below a place, the one that was added last first."""
    async with desk.database.read(access.scope) as tx:
        return await pricing.listed(tx, code, since, until, place, limit)


async def withdraw(desk: Desk, access: Access, code: str) -> None:
    """Withdraw a plan from now on, with what was planned for later; the past stays as it was.
    Where customers have it, it needs a second person: raises `SecondPersonNeeded`."""
    async with desk.database.begin(access.scope) as tx:
        done = await _withdraw(tx, desk, access, code)
    proposal.carried_out(done)


async def _withdraw(tx: Transaction, desk: Desk, access: Access, code: str) -> Agreed | Proposal:
    await pricing.lock(tx, code)
    await _known(tx, code)
    now = await clock.now(tx)
    wanted = None
    if await pricing.offered(tx, code, now):
        have = await customer.count_with_plan(tx, code, now)
        wanted = desk.terms.second.plan_withdrawal(code, have)
    agreed = await proposal.decided(tx, desk, access, wanted)
    if isinstance(agreed, Agreed) and await pricing.withdraw(tx, code, now):
        after = together(agreed.persons) or None
        entry = Entry(actor(access), Action.PLAN_WITHDRAWN, Noun.PRICING_PLAN, code, after=after)
        await audit.append(tx, entry)
    return agreed


def _added(
    access: Access, plan: Plan, since: datetime, replaced: Plan | None, agreed: Agreed
) -> Entry:
    before, after = changed({} if replaced is None else replaced.prices(), plan.prices())
    after |= {"version": plan.version, "effectiveFrom": since.isoformat()}
    after |= together(agreed.persons)
    who, what = actor(access), Action.PLAN_VERSION_ADDED
    return Entry(who, what, Noun.PRICING_PLAN, plan.code, before=before, after=after)


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
