"""Payment gateways as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.fields import Document
from domain.gateway_health import BreakerState


class GatewayWorker(Document):
    """What one worker has said of a gateway within the last ten seconds. `calls` of the last five
    minutes by what became of them, 2,000 at most; `NOT_SENT` never left us."""

    worker: Annotated[str, Field(examples=["4711@billing-worker-0"])]
    state: BreakerState
    since: Annotated[datetime | None, Field(description="Not closed since then.")]
    retried_at: Annotated[
        datetime | None, Field(description="When a call is let through, while it is down.")
    ]
    failing_since: Annotated[datetime | None, Field(description="No call was answered since then.")]
    reported_at: datetime
    under_way: int
    calls: dict[str, int]
    p50_seconds: Annotated[float | None, Field(description="Of the calls that left us.")]
    p95_seconds: float | None


class GatewayQueue(Document):
    """Payments and refunds whose outcome is not known or that were not sent, each asked for again
    later; `watches` are payments that have ended and could still be captured late. What waits for a
    person is under `/api/v1/reviews`."""

    payments: int
    refunds: int
    watches: int
    since: Annotated[
        datetime | None, Field(description="When the oldest payment or refund of them was made.")
    ]


class Gateway(Document):
    """A gateway. `state` is the worst that a worker says: UNKNOWN where none has said anything, so
    CLOSED is never said because nobody spoke."""

    name: str
    state: BreakerState
    since: datetime | None
    retried_at: datetime | None
    failing_since: datetime | None
    waiting: GatewayQueue
    workers: list[GatewayWorker]


class Gateways(Document):
    """All of them, in the order of their names."""

    gateways: list[Gateway]


class Hurried(Document):
    """Who asks now, `perSecond` of them in a second at most."""

    name: str
    waiting: GatewayQueue
    per_second: int
