"""Everything that the draft of a customer's month depends on."""

from domain.customer import Customer
from domain.invoice import Invoice
from domain.month import DraftedMonth, KnownMonth, late_months, plan_moments, trailing
from domain.period import Period
from domain.pricing import Plan
from store import customer, invoice, pricing
from store.database import Transaction


async def plan(tx: Transaction, whose: Customer, period: Period) -> Plan | None:
    """The prices that the month has by now."""
    for moment in plan_moments(period, whose.time_zone):
        code = await customer.plan_at(tx, whose.id, moment)
        found = None if code is None else await pricing.effective(tx, code, moment)
        if found is not None:
            return found
    return None


async def known(
    tx: Transaction, whose: Customer, period: Period, prices: Plan | None
) -> KnownMonth:
    """The month as the invoices that stand have billed it."""
    billed = await invoice.billed(tx, whose.id, str(period))
    snapshots = await invoice.snapshots(tx, whose.id, str(period))
    billed_by = [each.plan_of(period) for each in snapshots]
    return KnownMonth(
        period, prices, tuple(billed), tuple(each for each in billed_by if each is not None)
    )


async def drafted(tx: Transaction, draft: Invoice) -> DraftedMonth:
    """A draft beside what was before it."""
    period = Period.parse(draft.period)
    aggregates = await invoice.aggregates(tx, draft.id)
    late = [str(each) for each in late_months(period, aggregates)]
    before = [str(each) for each in trailing(period)]
    rejected = await invoice.given_back(tx, draft.customer_id, late, other_than=draft.id)
    return DraftedMonth(
        draft,
        tuple(await invoice.lines(tx, draft.id)),
        tuple(aggregates),
        tuple(rejected),
        tuple(await invoice.used_before(tx, draft.customer_id, draft.period, before)),
    )
