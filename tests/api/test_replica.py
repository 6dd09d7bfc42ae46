"""Lists and reports may come from a replica; what was asked for by its id never does."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from sqlalchemy import text

from api.app import create_app
from dev import postgres
from domain.access import SYSTEM
from runtime.settings import Settings
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.databases import connected
from tests.support.replica import Pair

LONG_SECONDS = 3600.0


@pytest.fixture
async def replicated_billing(
    pair: Pair, settings: Settings, simulator: httpx2.AsyncClient
) -> AsyncIterator[Billing]:
    """A customer of an API that is content with lists of an hour ago."""
    url = postgres.url(pair.primary, postgres.APPLICATION)
    told = {
        "database_url": url,
        "database_read_url": postgres.url(pair.copy, postgres.APPLICATION),
        "database_read_lag_seconds": LONG_SECONDS,
    }
    app = create_app(settings.model_copy(update=told))
    async with connected(url, 2) as database, served(app) as api:

        async def reads_the_copy() -> bool:
            async with app.state.replicated.desk.database.read(SYSTEM) as tx:
                return bool(await tx.scalar(text("SELECT pg_is_in_recovery()")))

        await eventually(reads_the_copy)
        billing = await Billing.for_new_customer(api, simulator, database)
        billing.leaves_residue()
        billing.asks_no_pg()
        yield billing


async def listed(billing: Billing) -> list[str]:
    page = await billing.get(f"/api/v1/orders?customerId={billing.customer_id}")
    return [each["id"] for each in page["items"]]


async def test_a_list_is_as_old_as_the_replica_and_one_thing_is_as_it_stands(
    pair: Pair, replicated_billing: Billing
) -> None:
    billing = replicated_billing
    before = await billing.order()

    async def is_replicated() -> bool:
        return await listed(billing) == [before]

    await eventually(is_replicated)
    await pair.hold_up()
    try:
        order_id = await billing.order()
        assert (await billing.get(f"/api/v1/orders/{order_id}"))["id"] == order_id
        assert await listed(billing) == [before]
    finally:
        await pair.go_on()

    async def is_listed() -> bool:
        return order_id in await listed(billing)

    await eventually(is_listed)
