"""The sealer: each second the new entries of the audit trail are sealed, by one of all workers
that verify."""

import asyncio

import structlog

from service import audit
from store.database import Database

EVERY_SECONDS = 1.0

log = structlog.get_logger()


async def seal_for_ever(database: Database) -> None:
    """Until cancelled. The anchor of each seal is logged as well: what leaves this machine."""
    while True:
        made = await audit.seal(database)
        if made is not None:
            log.info("the audit trail is sealed", anchor=made.anchor, entries=made.count)
        if made is None or made.count < audit.BATCH:
            await asyncio.sleep(EVERY_SECONDS)
