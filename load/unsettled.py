"""Customers with a month of usage that nobody has settled yet, put in with SQL."""

from datetime import timedelta
from decimal import Decimal

from dev.seed import STANDARD, STANDARD_SINCE, TEST_CARD
from domain.access import SYSTEM
from domain.period import Period
from domain.usage import UsageEvent
from store import customer, usage
from store.database import Database
from store.identifier import new_id
from store.key_ring import NO_KEYS

CUSTOMERS = 500
PERIOD = Period(2026, 5)
QUANTITY = 15_000


async def put(database: Database, run: str) -> None:
    """`issue-{run}-0` and so on, each with a good card."""
    at = PERIOD.starts_at("UTC") + timedelta(days=1)
    async with database.begin(SYSTEM) as tx:
        for number in range(CUSTOMERS):
            name = f"issue-{run}-{number}"
            await customer.put(tx, name)
            await customer.assign_plan(tx, name, STANDARD.code, STANDARD_SINCE)
            await customer.add_payment_method(
                tx, new_id(), name, "simulator", f"bk_{TEST_CARD}", TEST_CARD[-4:], True, NO_KEYS
            )
            event = UsageEvent(name, "1", "API_CALL", Decimal(QUANTITY), at)
            await usage.ingest(tx, [event])
