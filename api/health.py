"""Probes and metrics."""

from collections.abc import Iterable, Mapping

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from api.context import Unbounded
from api.errors import REFUSED
from api.idempotency import REPLAYS
from api.limits import REFUSED as BEYOND_QUOTA
from domain import ranking
from domain.payment import FINAL, PaymentStatus
from domain.review import Question
from domain.verification import Report
from runtime import usage_consumer
from runtime.consumer import group_id
from runtime.logs import DROPPED
from service import health, verification
from service.health import Figures

CONSUMERS = [group_id(name) for name in (ranking.CONSUMER, usage_consumer.CONSUMER)]

router = APIRouter(tags=["operations"])


@router.get("/health/live", response_class=PlainTextResponse)
async def live() -> str:
    """The process runs."""
    return "live"


@router.get("/health/ready", response_class=PlainTextResponse)
async def ready(context: Unbounded) -> str:
    """The database answers. Temporal may be down: payments are then accepted with 202."""
    await health.ready(context.desk)
    return "ready"


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(context: Unbounded) -> Response:
    """Prometheus. What the database knows is read at each scrape."""
    figures = await health.figures(context.desk)
    report = await verification.last(context.desk.temporal)
    return Response(_rendered(figures, report), media_type=CONTENT_TYPE_LATEST)


def _rendered(figures: Figures, report: Report | None) -> bytes:
    registry = CollectorRegistry()
    registry.register(REPLAYS)
    registry.register(DROPPED)
    registry.register(REFUSED)
    registry.register(BEYOND_QUOTA)
    _by_label(
        registry,
        "billing_payments",
        "Payments that have not ended, by status.",
        "status",
        set(PaymentStatus) - FINAL,
        {str(status): count for status, count in figures.open_payments.items()},
    )
    _by_label(
        registry,
        "billing_reviews_waiting",
        "What waits for a person, by question.",
        "question",
        [*Question, "stock"],
        {str(asked): count for asked, count in figures.reviews_waiting.items()}
        | {"stock": figures.stock_in_review},
    )
    _by_label(
        registry,
        "billing_set_aside_messages",
        "Messages that a consumer could not take and nobody has seen to.",
        "consumer",
        CONSUMERS,
        figures.set_aside,
    )
    for name, words, value in (
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
        Gauge(name, words, registry=registry).set(value)
    if report is not None:
        _add_invariants(registry, report)
    return generate_latest(registry)


def _add_invariants(registry: CollectorRegistry, report: Report) -> None:
    """As the last hourly verification found them: absent while Temporal knows of none."""
    violations = {str(each.invariant): each.violations for each in report.findings}
    _by_label(
        registry,
        "billing_invariant_violations",
        "Violations that the last verification found, by invariant.",
        "invariant",
        (),
        violations,
    )
    Gauge(
        "billing_invariants_checked_at_seconds",
        "When the last verification began, in seconds since 1970.",
        registry=registry,
    ).set(report.at.timestamp())


def _by_label(
    registry: CollectorRegistry,
    name: str,
    words: str,
    label: str,
    usual: Iterable[str],
    counts: Mapping[str, int],
) -> None:
    """A gauge with a value for each of the usual labels, 0 where nothing was counted."""
    gauge = Gauge(name, words, [label], registry=registry)
    for value in {*usual, *counts}:
        gauge.labels(value).set(counts.get(value, 0))
