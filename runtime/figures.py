"""Figures of the database for Prometheus: read by one process of the installation, now and then, so
that a scrape asks nobody and a sum over all processes is the truth.

Every process that can be scraped stands by, API and worker: figures matter most when one kind of
them is gone. Who holds the lock reads until its connection ends; then another one has it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from temporalio.client import Client

from domain import ranking
from domain.access import SYSTEM
from domain.dead_letter import LetterSource
from domain.gateway_health import Kind, Queue
from domain.invoice import AGES, OPEN, InvoiceStatus
from domain.payment import FINAL, PaymentStatus
from domain.review import Question
from domain.settlement import UNSETTLED
from domain.verification import Report
from runtime import connections, gateways, usage_consumer
from runtime.consumer import group_id
from runtime.settings import Settings
from service import deployment, health, verification
from service.deployment import Stuck, Trouble
from service.health import Figures
from service.temporal import TemporalUnreachable
from store import database, leader
from store.database import Database

EVERY_SECONDS = 15.0
BELIEVED_SECONDS = leader.SILENCE.total_seconds()
"""Older figures are not shown: somebody else may read them by then."""
DEAD_LETTERS = tuple(LetterSource)
CONSUMERS = tuple(group_id(name) for name in (ranking.CONSUMER, usage_consumer.CONSUMER))

Label = TypeVar("Label", bound=str)
log = structlog.get_logger()


@dataclass(frozen=True)
class Read:
    """`at` by the clock of this process."""

    at: float
    figures: Figures
    report: Report | None
    stuck: Stuck | None


@asynccontextmanager
async def reading(settings: Settings, temporal: Client) -> AsyncIterator["FigureReader"]:
    """For the length of the block this process reads them, or stands by."""
    own = database.connect(settings.database_url, connections.FIGURES)
    reader = FigureReader(
        own, temporal, gateways=[each.name for each in gateways.profiles(settings)]
    )
    duty = asyncio.create_task(reader.read_for_ever())
    try:
        yield reader
    finally:
        duty.cancel()
        await asyncio.wait([duty])
        await own.dispose()


class FigureReader(Collector):
    """`database` has a connection for this alone: it is kept for as long as it reads."""

    def __init__(
        self,
        database: Database,
        temporal: Client,
        clock: Callable[[], float] = time.monotonic,
        gateways: Collection[str] = (),
    ) -> None:
        self._database = database
        self._temporal = temporal
        self._clock = clock
        self._gateways = gateways
        self._read: Read | None = None

    async def read_for_ever(self, every: float = EVERY_SECONDS) -> None:
        """Until cancelled: be the one who reads, or stand by."""
        while True:
            try:
                await self._lead(every)
            except Exception as error:
                log.warning("figures of the database cannot be read", error=error)
            await asyncio.sleep(every)

    async def _lead(self, every: float) -> None:
        async with self._database.statements(SYSTEM) as tx:
            try:
                leads = await leader.lead(tx, health.READER)
                while leads:
                    figures = await health.figures(tx)
                    report = await verification.last(self._temporal)
                    stuck = await _stuck(self._temporal)
                    self._read = Read(self._clock(), figures, report, stuck)
                    await asyncio.sleep(every)
            finally:
                self._read = None
                # The lock goes with the connection, which must not come back to the pool with it.
                with suppress(SQLAlchemyError):
                    await tx.invalidate()

    def collect(self) -> Iterator[Metric]:
        """Nothing, unless this process is the one that reads."""
        if self._read is not None and self._clock() - self._read.at < BELIEVED_SECONDS:
            read = self._read
            yield from families(read.figures, read.report, read.stuck, self._gateways)


async def _stuck(temporal: Client) -> Stuck | None:
    """None while Temporal does not answer."""
    with suppress(TemporalUnreachable):
        return await deployment.stuck(temporal)
    return None


def families(
    figures: Figures,
    report: Report | None,
    stuck: Stuck | None,
    gateways: Collection[str] = (),
) -> Iterator[Metric]:
    """Every figure, 0 where nothing was counted: so for each of these gateways."""
    yield from _counted(figures)
    yield _waiting(figures.waiting, gateways)
    yield from _measured(figures)
    if stuck is not None:
        yield _by_label(
            "billing_workflows_stuck",
            "Workflows that cannot go on, by why; absent while Temporal does not answer.",
            "trouble",
            Trouble,
            stuck.counts,
        )
    if report is not None:
        yield from _invariants(report)


def _counted(figures: Figures) -> Iterator[Metric]:
    yield _by_label(
        "billing_payments",
        "Payments that have not ended, by status.",
        "status",
        set(PaymentStatus) - FINAL,
        figures.open_payments,
    )
    yield _by_label(
        "billing_reviews_waiting",
        "What waits for a person, by question.",
        "question",
        [*Question, "stock"],
        {str(asked): count for asked, count in figures.reviews_waiting.items()}
        | {"stock": figures.stock_in_review},
    )
    yield _by_label(
        "billing_set_aside_messages",
        "Messages that a consumer could not take and nobody has seen to.",
        "consumer",
        CONSUMERS,
        figures.set_aside,
    )
    yield _by_label(
        "billing_dead_letters",
        "Dead letters that are open, by what they are about.",
        "kind",
        DEAD_LETTERS,
        figures.dead_letters,
    )
    yield _by_label(
        "billing_settlements_unsettled",
        "Customers without an invoice of the last month that was settled, by status.",
        "status",
        UNSETTLED,
        figures.unsettled,
    )
    yield _invoices(figures)


def _waiting(queues: Mapping[str, Queue], gateways: Collection[str]) -> Metric:
    family = GaugeMetricFamily(
        "billing_gateway_waiting",
        "What waits for a gateway and asks it again later, by kind.",
        labels=["gateway", "kind"],
    )
    for name in sorted({*gateways, *queues}):
        queue = queues.get(name, Queue())
        family.add_metric([name, Kind.PAYMENT], queue.payments)
        family.add_metric([name, Kind.REFUND], queue.refunds)
        family.add_metric([name, Kind.WATCH], queue.watches)
    return family


def _invoices(figures: Figures) -> Metric:
    family = GaugeMetricFamily(
        "billing_invoices",
        "Invoices and drafts that are open, by status and days past due.",
        labels=["status", "age"],
    )
    drafts = {(InvoiceStatus.DRAFT, 0), (InvoiceStatus.AWAITING_APPROVAL, 0)}
    owed = {(status, bucket) for status in OPEN for bucket in range(len(AGES))}
    for status, bucket in sorted(owed | drafts | figures.invoices.keys()):
        family.add_metric([status, AGES[bucket]], figures.invoices.get((status, bucket), 0))
    return family


def _measured(figures: Figures) -> Iterator[Metric]:
    for name, words, value in (
        (
            "billing_figures_read_at_seconds",
            "When these figures were read, in seconds since 1970.",
            figures.at.timestamp(),
        ),
        (
            "billing_compensations_last_hour",
            "Saga steps taken back within the last hour.",
            figures.compensations,
        ),
        (
            "billing_oldest_unknown_payment_age_seconds",
            "Age of the oldest payment that is being found out or in review.",
            figures.oldest_unknown_seconds,
        ),
        (
            "billing_oldest_unpublished_event_age_seconds",
            "Age of the oldest outbox row that is not on Kafka.",
            figures.oldest_unpublished_seconds,
        ),
        (
            "billing_oldest_unsealed_entry_age_seconds",
            "Age of the entry of the audit trail that is the next to be sealed.",
            figures.oldest_unsealed_seconds,
        ),
        (
            "billing_refused_events",
            "Outbox rows that Kafka refuses, and those that wait behind one.",
            figures.refused,
        ),
        (
            "billing_usage_default_partition_rows",
            "Usage events in no month's partition: more than none is an alarm.",
            figures.unplaced,
        ),
        (
            "billing_payments_watched",
            "Payments that have ended and may still be captured late.",
            figures.watched,
        ),
    ):
        yield GaugeMetricFamily(name, words, value)
    if figures.run_ends_at is not None:
        yield GaugeMetricFamily(
            "billing_settlement_run_ends_at_seconds",
            "The end of the last month that was settled for everybody, in seconds since 1970.",
            figures.run_ends_at.timestamp(),
        )


def _invariants(report: Report) -> Iterator[Metric]:
    """As the last hourly verification found them: absent while Temporal knows of none."""
    yield _by_label(
        "billing_invariant_violations",
        "Violations that the last verification found, by invariant.",
        "invariant",
        (),
        {each.invariant: each.violations for each in report.findings},
    )
    yield GaugeMetricFamily(
        "billing_invariants_checked_at_seconds",
        "When the last verification began, in seconds since 1970.",
        report.at.timestamp(),
    )


def _by_label(
    name: str, words: str, label: str, usual: Iterable[Label], counts: Mapping[Label, int]
) -> Metric:
    """A gauge with a value for each of the usual labels, 0 where nothing was counted."""
    family = GaugeMetricFamily(name, words, labels=[label])
    for value in sorted({*usual, *counts}):
        family.add_metric([str(value)], counts.get(value, 0))
    return family
