"""Many customers with a month of usage, straight in the database."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from sqlalchemy import func, select

from domain.access import SYSTEM
from domain.period import Period
from domain.pricing import Charge, ChargeModel, Plan
from store import customer, pricing, usage
from store.database import Database
from store.key_ring import NO_KEYS
from store.tables import invoices, payments
from tests.support.billing import GOOD_CARD, WITHOUT_RESIDUE
from tests.support.usage import event

SINCE = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tenants:
    """The customers of one test, with the totals that their invoices must have."""

    database: Database
    period: str
    totals: dict[str, int]
    poisoned: tuple[str, ...]

    @property
    def customers(self) -> tuple[str, ...]:
        return (*self.totals, *self.poisoned)

    async def invoiced(self) -> dict[str, list[int]]:
        """Totals of the invoices that each customer has for the month."""
        query = select(invoices.c.customer_id, invoices.c.total).where(
            invoices.c.period == self.period,
            invoices.c.customer_id.in_(self.customers),
            invoices.c.number.is_not(None),
        )
        found: dict[str, list[int]] = {}
        async with self.database.engine.connect() as tx:
            for customer_id, total in await tx.execute(query):
                found.setdefault(customer_id, []).append(int(total))
        return found

    async def paid(self) -> dict[str, tuple[int, int]]:
        """Number and sum of the payments that were completed, by customer."""
        query = (
            select(payments.c.customer_id, func.count(), func.sum(payments.c.card_amount))
            .where(payments.c.customer_id.in_(self.customers), payments.c.status == "COMPLETED")
            .group_by(payments.c.customer_id)
        )
        async with self.database.engine.connect() as tx:
            rows = await tx.execute(query)
            return {owner: (count, int(total)) for owner, count, total in rows}

    async def mend(self) -> None:
        """A price for what had none."""
        await price(self.database, self.plan, "API_CALL", "POISON")

    @property
    def plan(self) -> str:
        """The price list of all of them."""
        return f"P-{self.customers[0]}"


async def price(database: Database, code: str, *resource_types: str) -> None:
    """A price list with ₩1 for each unit of these."""
    charges = tuple(
        Charge(name, ChargeModel.PER_UNIT, unit_price=Decimal(1)) for name in resource_types
    )
    plan = Plan(code=code, version=1, currency="KRW", charges=charges)
    async with database.begin(SYSTEM) as tx:
        await pricing.put(tx, plan, SINCE)


async def tenants(
    database: Database, period: str, count: int, poisoned: int = 0, card: str = GOOD_CARD
) -> Tenants:
    """The n-th customer used 1,000 + n; what the poisoned ones used, last in order of ids, has no
    price."""
    month = Period.parse(period)
    middle = month.starts_at("UTC").replace(day=10)
    batch = uuid4().hex[:12]
    names = [f"t-{batch}-{number:04}" for number in range(count)]
    good, bad = names[: count - poisoned], tuple(names[count - poisoned :])
    WITHOUT_RESIDUE.update(names)
    made = Tenants(database, period, {name: 1_000 + n for n, name in enumerate(good)}, bad)
    await price(database, made.plan, "API_CALL")
    async with database.begin(SYSTEM) as tx:
        for name in names:
            await customer.put(tx, name)
            await customer.assign_plan(tx, name, made.plan, SINCE)
            await customer.add_payment_method(
                tx,
                method_id=str(uuid4()),
                customer_id=name,
                gateway="simulator",
                billing_key=f"bk_{card}",
                last4=card[-4:],
                is_default=True,
                keys=NO_KEYS,
            )
        events = [event(name, None, str(total), middle) for name, total in made.totals.items()]
        events += [event(name, None, "5", middle, "POISON") for name in bad]
        await usage.ingest(tx, events)
    return made
