"""That this process consumes, for whoever asks whether anybody does."""

import asyncio
from contextlib import suppress
from typing import Never

import structlog
from sqlalchemy.exc import SQLAlchemyError

from domain.access import SYSTEM
from service import health
from store import clock, leader
from store.database import ERRORS, Database

EVERY_SECONDS = 15.0
"""How often it says that it is still there: its silence is believed after `leader.SILENCE`."""

log = structlog.get_logger()


async def attend_for_ever(database: Database, every: float = EVERY_SECONDS) -> None:
    """Until cancelled; a connection is kept for it."""
    while True:
        try:
            await _attend(database, every)
        except (*ERRORS, OSError) as error:
            log.warning("nobody is told that this process consumes", error=error)
        await asyncio.sleep(every)


async def _attend(database: Database, every: float) -> Never:
    async with database.statements(SYSTEM) as tx:
        try:
            await leader.attend(tx, health.CONSUMERS)
            while True:
                await asyncio.sleep(every)
                await clock.now(tx)
        finally:
            # The lock goes with the connection, which must not come back to the pool with it.
            with suppress(SQLAlchemyError):
                await tx.invalidate()
