"""The story of a payment as callers see it."""

from datetime import datetime

from pydantic import Field

from api.documents.gateway import Gateway
from api.documents.payment import Payment
from api.documents.refund import Refund
from api.fields import Document
from domain.order import OrderStatus
from domain.review import Question
from domain.saga import StepState


class StoryStep(Document):
    """A step of the saga."""

    step: str
    state: StepState
    at: datetime


class StoryPosting(Document):
    """A line of the ledger. `key` names its transaction."""

    key: str
    kind: str
    account: str
    unit: str
    amount: int


class StoryEvent(Document):
    """An event of the payment or its order; not `publishedAt`: it waits in the outbox."""

    topic: str
    aggregate_id: str
    aggregate_version: int
    event_id: str
    occurred_at: datetime
    published_at: datetime | None


class StoryReview(Document):
    """A question to a person about the payment, or about a refund of it. Not `closedAt`: it waits.
    `decidedBy` is the id of the Update that brought the answer; without one the PG gave it."""

    reference_id: str
    operation: str
    question: Question
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None
    note: str | None
    decided_by: str | None


class Activity(Document):
    """What a workflow does now."""

    name: str
    summary: str | None
    attempt: int
    last_error: str | None


class Timer(Document):
    """What a workflow waits for."""

    summary: str | None
    ends_at: datetime


class Workflow(Document):
    """The owner of the payment or of one of its refunds, as Temporal knows it. `taskFailure` says
    why it cannot go on, `waitsForWorkerSince` since when it wants a worker, `build` which workers
    alone go on with it; each if it is so."""

    workflow_id: str
    status: str
    activities: list[Activity]
    timers: list[Timer]
    task_failure: str | None = None
    waits_for_worker_since: datetime | None = None
    build: str | None = None


class Story(Document):
    """`paidWith` names each part of the payment. `temporalError` says why there are no workflows,
    when Temporal could not be asked. `gateway`: how its gateway does, while it may be asked."""

    payment: Payment
    paid_with: list[str]
    order_status: OrderStatus | None
    steps: list[StoryStep]
    postings: list[StoryPosting]
    events: list[StoryEvent]
    refunds: list[Refund]
    reviews: list[StoryReview]
    temporal_ui_url: str | None
    workflows: list[Workflow] = Field(default_factory=list)
    temporal_error: str | None = None
    gateway: Gateway | None = None
