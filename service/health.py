"""Whether the system can work, and the figures that say how it does."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.access import SYSTEM
from domain.gateway_health import Queue
from domain.invoice import InvoiceStatus
from domain.payment import PaymentStatus
from domain.period import Period
from domain.review import Question
from domain.settlement import SettlementStatus
from service import audit
from store import (
    clock,
    dead_letter,
    inventory,
    invoice,
    outbox,
    payment,
    review,
    saga,
    settlement,
    usage,
    waiting,
    watch,
)
from store.database import Database, Transaction

HOUR = timedelta(hours=1)
READY_WITHIN_SECONDS = 2
READER = "figures"
"""Who of all processes reads them for Prometheus: see `store.leader`."""
CONSUMERS = "consumers"
"""Those that follow Kafka's topics. Kafka itself does not tell everywhere who is in a group."""


@dataclass(frozen=True)
class Figures:
    """What the database knew at a moment.

    `compensations`: saga steps taken back within the last hour. `refused`: outbox rows that Kafka
    refuses, and those that wait behind one. `unplaced`: usage events in no month's partition.
    `invoices`: those that are open by status and by days past due, as `AgedReceivables.bucket`.
    `waiting`: what waits for each gateway, of those for which anything does.
    `run_ends_at`: the end of the last month that was settled for everybody, None before the first;
    `unsettled`: its customers whose settlement failed or is under way.
    """

    at: datetime

    open_payments: Mapping[PaymentStatus, int]
    reviews_waiting: Mapping[Question, int]
    stock_in_review: int
    watched: int
    waiting: Mapping[str, Queue]
    invoices: Mapping[tuple[InvoiceStatus, int], int]
    dead_letters: Mapping[str, int]
    run_ends_at: datetime | None
    unsettled: Mapping[SettlementStatus, int]
    set_aside: Mapping[str, int]
    compensations: int
    oldest_unknown_seconds: float
    oldest_unpublished_seconds: float
    refused: int
    unplaced: int
    oldest_unsealed_seconds: float


async def ready(database: Database) -> None:
    """Raises unless the database answers soon."""
    async with asyncio.timeout(READY_WITHIN_SECONDS), database.read(SYSTEM) as tx:
        await clock.now(tx)


async def figures(tx: Transaction) -> Figures:
    """A statement each: nobody waits for them, and they need not be of one moment."""
    now = await clock.now(tx)
    period = await settlement.last_run(tx)
    return Figures(
        at=now,
        open_payments=await payment.count_open_by_status(tx),
        reviews_waiting=await review.count_waiting(tx),
        stock_in_review=len(await inventory.in_review(tx)),
        watched=await watch.count_open(tx),
        waiting=await waiting.queues(tx),
        invoices=await invoice.count_open(tx, now),
        dead_letters=await dead_letter.count_by_source(tx),
        run_ends_at=None if period is None else Period.parse(period).ends_at("UTC"),
        unsettled={} if period is None else await settlement.count_unsettled(tx, period),
        set_aside=await dead_letter.count_waiting(tx),
        compensations=await saga.undone_since(tx, now - HOUR),
        oldest_unknown_seconds=await payment.oldest_unknown_age_seconds(tx),
        oldest_unpublished_seconds=await outbox.oldest_unpublished_age_seconds(tx),
        refused=await outbox.count_refused(tx),
        unplaced=await usage.in_default_partition(tx),
        oldest_unsealed_seconds=await audit.oldest_unsealed_age_seconds(tx, now),
    )
