"""What starting a run asks the database, before it asks Temporal."""

import pytest
from temporalio.client import Client

from domain.access import STAFF, SYSTEM, Access
from domain.errors import NotFound
from service import settlement
from store import customer
from store.database import Database
from tests.support.databases import statements
from tests.support.desks import desk
from tests.support.samples import new_customer

ME = Access("dev/me", STAFF, "")


async def test_however_many_customers_are_named_they_are_looked_up_by_one_statement(
    database: Database, temporal_client: Client
) -> None:
    """Also the same one again and again: 5,000 names held a request up for ten seconds."""
    mine, here = [new_customer() for _ in range(3)], desk(database, temporal_client)
    async with database.begin(SYSTEM) as tx:
        for each in mine:
            await customer.put(tx, each)
    sent: list[int] = []
    for names in (mine[:1], mine * 100):
        with statements(database) as asked, pytest.raises(NotFound, match="no customer nobody"):
            await settlement.start_run(here, ME, "2001-02", [*names, "nobody"])
        sent.append(len(asked))

    few, many = sent
    assert few == many
