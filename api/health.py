"""Probes and metrics."""

import asyncio
from datetime import timedelta

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import text

from api.context import Context, Using
from api.idempotency import REPLAYS
from domain.payment import FINAL, PaymentStatus
from domain.review import Question
from runtime import ranking_consumer, usage_consumer
from runtime.consumer import group_id
from store import clock, dead_message, inventory, outbox, payment, review, saga, usage, watch

HOUR = timedelta(hours=1)
CONSUMERS = [group_id(each.CONSUMER) for each in (ranking_consumer, usage_consumer)]

router = APIRouter(tags=["operations"])


@router.get("/health/live", response_class=PlainTextResponse)
async def live() -> str:
    """The process runs."""
    return "live"


@router.get("/health/ready", response_class=PlainTextResponse)
async def ready(context: Using) -> str:
    """The database answers. Temporal may be down: payments are then accepted with 202."""
    async with asyncio.timeout(2), context.reads.connect() as tx:
        await tx.execute(text("SELECT 1"))
    return "ready"


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(context: Using) -> Response:
    """Prometheus. What the database knows is read at each scrape."""
    return Response(await _scrape(context), media_type=CONTENT_TYPE_LATEST)


async def _scrape(context: Context) -> bytes:
    registry = CollectorRegistry()
    registry.register(REPLAYS)
    payments = Gauge(
        "billing_payments",
        "Payments that have not ended, by status.",
        ["status"],
        registry=registry,
    )
    for each in set(PaymentStatus) - FINAL:
        payments.labels(each).set(0)
    compensations = Gauge(
        "billing_compensations_last_hour",
        "Saga steps taken back within the last hour.",
        registry=registry,
    )
    unknown = Gauge(
        "billing_oldest_unknown_payment_age_seconds",
        "Age of the oldest payment that is being found out or in review.",
        registry=registry,
    )
    unpublished = Gauge(
        "billing_oldest_unpublished_event_age_seconds",
        "Age of the oldest outbox row that is not on Kafka.",
        registry=registry,
    )
    refused = Gauge(
        "billing_refused_events",
        "Outbox rows that Kafka refuses, and those that wait behind one.",
        registry=registry,
    )
    unplaced = Gauge(
        "billing_usage_default_partition_rows",
        "Usage events in no month's partition: more than none is an alarm.",
        registry=registry,
    )
    waiting = Gauge(
        "billing_reviews_waiting",
        "What waits for a person, by question.",
        ["question"],
        registry=registry,
    )
    watched = Gauge(
        "billing_payments_watched",
        "Payments that have ended and may still be captured late.",
        registry=registry,
    )
    for question in Question:
        waiting.labels(question).set(0)
    set_aside = Gauge(
        "billing_set_aside_messages",
        "Messages that a consumer could not take and nobody has seen to.",
        ["consumer"],
        registry=registry,
    )
    for name in CONSUMERS:
        set_aside.labels(name).set(0)
    async with context.reads.connect() as tx:
        for asked, count in (await review.count_waiting(tx)).items():
            waiting.labels(asked).set(count)
        waiting.labels("stock").set(len(await inventory.in_review(tx)))
        watched.set(await watch.count_open(tx))
        for name, count in (await dead_message.count_waiting(tx)).items():
            set_aside.labels(name).set(count)
        for status, count in (await payment.count_open_by_status(tx)).items():
            payments.labels(status).set(count)
        compensations.set(await saga.undone_since(tx, await clock.now(tx) - HOUR))
        unknown.set(await payment.oldest_unknown_age_seconds(tx))
        unpublished.set(await outbox.oldest_unpublished_age_seconds(tx))
        refused.set(await outbox.count_refused(tx))
        unplaced.set(await usage.in_default_partition(tx))
    return generate_latest(registry)
