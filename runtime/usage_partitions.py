"""Partitions of the usage events, made ahead by every worker that settles, once a day."""

import asyncio
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from domain.access import SYSTEM
from domain.period import Period
from store import clock, usage
from store.database import Database

EVERY = timedelta(days=1)
AGAIN = timedelta(minutes=1)
AHEAD_MONTHS = 2

log = structlog.get_logger()


async def make_for_ever(database: Database, late: timedelta) -> None:
    """Make partitions until cancelled; what fails is logged and tried again in a minute."""
    while True:
        try:
            async with database.read(SYSTEM) as tx:
                now = await clock.now(tx)
            await make(database, now, late)
        except (SQLAlchemyError, OSError) as error:
            log.warning("usage has no new partitions yet", error=error)
            await asyncio.sleep(AGAIN.total_seconds())
        else:
            await asyncio.sleep(EVERY.total_seconds())


async def make(database: Database, now: datetime, late: timedelta) -> None:
    """From the month of the oldest event that is accepted to two months ahead, in UTC.

    Until a partition is there its events are kept in the default one, and move when it is made.
    """
    async with database.begin(SYSTEM) as tx:
        await usage.make_partitions(tx, *due(now, late))


def due(now: datetime, late: timedelta) -> tuple[Period, Period]:
    """The first and the last month that should have one."""
    last = Period.containing(now, "UTC")
    for _ in range(AHEAD_MONTHS):
        last = last.next()
    return Period.containing(now - late, "UTC"), last
