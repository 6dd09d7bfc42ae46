"""What a fresh development database holds: two customers with a test card each."""

from uuid_utils.compat import uuid7

from store import customer
from store.database import Database

CUSTOMERS = ("demo", "acme-corp")
TEST_CARD = "4242424242424242"


async def seed(database: Database) -> None:
    """Make what is missing; run again it changes nothing."""
    for name in CUSTOMERS:
        async with database.begin() as tx:
            await customer.put(tx, name)
            if await customer.payment_method(tx, name, None) is None:
                await customer.add_payment_method(
                    tx,
                    method_id=str(uuid7()),
                    customer_id=name,
                    gateway="simulator",
                    billing_key=f"bk_{TEST_CARD}",
                    last4=TEST_CARD[-4:],
                    is_default=True,
                )
