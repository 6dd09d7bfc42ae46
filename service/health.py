"""Whether the system can work, and the figures that say how it does."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from domain.access import SYSTEM
from domain.payment import PaymentStatus
from domain.review import Question
from service.desk import Desk
from store import clock, dead_letter, inventory, outbox, payment, review, saga, usage, watch

HOUR = timedelta(hours=1)
READY_WITHIN_SECONDS = 2


@dataclass(frozen=True)
class Figures:
    """What the database knows at this moment.

    `compensations`: saga steps taken back within the last hour. `refused`: outbox rows that Kafka
    refuses, and those that wait behind one. `unplaced`: usage events in no month's partition.
    """

    open_payments: Mapping[PaymentStatus, int]
    reviews_waiting: Mapping[Question, int]
    stock_in_review: int
    watched: int
    set_aside: Mapping[str, int]
    compensations: int
    oldest_unknown_seconds: float
    oldest_unpublished_seconds: float
    refused: int
    unplaced: int


async def ready(desk: Desk) -> None:
    """Raises unless the database answers soon."""
    async with asyncio.timeout(READY_WITHIN_SECONDS), desk.database.read(SYSTEM) as tx:
        await clock.now(tx)


async def figures(desk: Desk) -> Figures:
    """Read at each scrape."""
    async with desk.database.read(SYSTEM) as tx:
        return Figures(
            open_payments=await payment.count_open_by_status(tx),
            reviews_waiting=await review.count_waiting(tx),
            stock_in_review=len(await inventory.in_review(tx)),
            watched=await watch.count_open(tx),
            set_aside=await dead_letter.count_waiting(tx),
            compensations=await saga.undone_since(tx, await clock.now(tx) - HOUR),
            oldest_unknown_seconds=await payment.oldest_unknown_age_seconds(tx),
            oldest_unpublished_seconds=await outbox.oldest_unpublished_age_seconds(tx),
            refused=await outbox.count_refused(tx),
            unplaced=await usage.in_default_partition(tx),
        )
