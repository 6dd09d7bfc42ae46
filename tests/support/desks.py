"""A desk for tests that call the service as the API and the command line do."""

from temporalio.client import Client

from domain.settlement import SettlementRequest, SettlementStatus
from domain.terms import Terms
from gateway.reports import Reports
from service.desk import Desk
from service.settlement import standing
from service.starts import start_settlement
from store.database import Database
from store.key_ring import NO_KEYS
from tests.support.conditions import eventually

NOBODY = Reports("redis://127.0.0.1:9/0")
"""No worker says anything."""


def desk(database: Database, client: Client, terms: Terms | None = None) -> Desk:
    """With the usual terms, and no gateway."""
    return Desk(database, client, terms or Terms(), {}, NOBODY, NO_KEYS, wait_seconds=60)


async def until_it_waits(database: Database, client: Client, request: SettlementRequest) -> None:
    """Settle a customer's month, which stops for a person."""
    await start_settlement(client, request)

    async def waits() -> bool:
        found = await standing(desk(database, client), request.period, request.customer_id)
        return found is not None and found.status is SettlementStatus.AWAITING_APPROVAL

    await eventually(waits)
