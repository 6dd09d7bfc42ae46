"""What a fresh development database holds: a price list, two customers with a test card, stock."""

from datetime import UTC, datetime
from decimal import Decimal

from domain.access import SYSTEM
from domain.pricing import Charge, ChargeModel, Plan
from store import clock, customer, inventory, pricing
from store.database import Database, Transaction, connect
from store.identifier import new_id
from store.key_ring import NO_KEYS

CUSTOMERS = ("demo", "acme-corp")
TEST_CARD = "4242424242424242"
SKU = "SKU-1"
PIECES = 1_000_000
STANDARD = Plan(
    code="standard",
    version=1,
    currency="KRW",
    charges=(
        Charge(
            "API_CALL",
            ChargeModel.PER_UNIT,
            free_units=Decimal(10_000),
            unit_price=Decimal(1),
        ),
    ),
)
"""10,000 calls a month are free, then ₩1 each."""
STANDARD_SINCE = datetime(2020, 1, 1, tzinfo=UTC)


async def seed(database: Database) -> None:
    """Make what is missing; run again it changes nothing."""
    async with database.begin(SYSTEM) as tx:
        if not await pricing.versions(tx, STANDARD.code):
            await pricing.put(tx, STANDARD, STANDARD_SINCE)
        if await inventory.find(tx, SKU) is None:
            await inventory.put(tx, SKU, PIECES, withdrawn=False)
    for name in CUSTOMERS:
        async with database.begin(SYSTEM) as tx:
            await _customer(tx, name)


async def seed_at(database_url: str) -> None:
    """The same, as the application's role there."""
    pool = connect(database_url, pool_size=1)
    try:
        await seed(pool)
    finally:
        await pool.dispose()


async def _customer(tx: Transaction, name: str) -> None:
    await customer.put(tx, name)
    if await customer.plan_at(tx, name, await clock.now(tx)) is None:
        await customer.assign_plan(tx, name, STANDARD.code, STANDARD_SINCE)
    if await customer.payment_method(tx, name, None) is None:
        await customer.add_payment_method(
            tx,
            method_id=new_id(),
            customer_id=name,
            gateway="simulator",
            billing_key=f"bk_{TEST_CARD}",
            last4=TEST_CARD[-4:],
            is_default=True,
            keys=NO_KEYS,
        )
