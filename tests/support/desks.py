"""A desk for tests that call the service as the API and the command line do."""

from temporalio.client import Client

from domain.terms import Terms
from service.desk import Desk
from store.database import Database
from store.key_ring import NO_KEYS


def desk(database: Database, client: Client, terms: Terms | None = None) -> Desk:
    """With the usual terms, and no gateway."""
    return Desk(database, client, terms or Terms(), {}, NO_KEYS, wait_seconds=60)
