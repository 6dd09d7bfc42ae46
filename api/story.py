"""The story of a payment: what happened, what is booked, and what it waits for, for operators."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Path
from pydantic import Field

from api import gateway as gateways
from api import payment as payments
from api import refund as refunds
from api.access import may
from api.context import Using
from api.fields import Document
from domain.access import Access
from domain.identifier import UUID
from domain.order import OrderStatus
from domain.review import Question
from domain.roles import Action
from domain.saga import StepState
from runtime.settings import Settings
from service import story

router = APIRouter(prefix="/api/v1/stories", tags=["payments"])

Kind = TypeVar("Kind", bound=Document)


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

    payment: payments.Payment
    paid_with: list[str]
    order_status: OrderStatus | None
    steps: list[StoryStep]
    postings: list[StoryPosting]
    events: list[StoryEvent]
    refunds: list[refunds.Refund]
    reviews: list[StoryReview]
    temporal_ui_url: str | None
    workflows: list[Workflow] = Field(default_factory=list)
    temporal_error: str | None = None
    gateway: gateways.Gateway | None = None


@router.get("/{id}", response_model=list[Story])
async def tell_stories(
    id_: Annotated[
        str,
        Path(
            alias="id",
            pattern=UUID.pattern,
            description="Of a payment, or of an order, invoice, top-up or refund.",
        ),
    ],
    access: Annotated[Access, may(Action.STORY_READ)],
    context: Using,
) -> list[Story]:
    """Everything that is known of a payment: steps, calls to the PG, postings, events, refunds,
    reviews, and what its workflow does now. Of an order every payment, oldest first."""
    found = await story.stories(context.desk, access, id_.lower())
    return [document(each, context.settings) for each in found]


def document(found: story.Story, settings: Settings) -> Story:
    """The story as callers read it."""
    paid, why = payments.document(found.record), found.temporal_error
    where = settings.temporal_address
    return Story(
        payment=paid,
        paidWith=[str(part) for part in found.record.payment.parts],
        orderStatus=found.order_status,
        steps=_documents(StoryStep, found.steps),
        postings=_documents(StoryPosting, found.postings),
        events=_documents(StoryEvent, found.events),
        refunds=[refunds.document(each) for each in found.refunds],
        reviews=_documents(StoryReview, found.reviews),
        temporalUiUrl=_link(settings, paid.workflow_id),
        workflows=_documents(Workflow, found.workflows),
        gateway=None if found.gateway is None else gateways.document(found.gateway),
        temporalError=None if why is None else f"Temporal at {where} cannot be asked: {why}.",
    )


def _link(settings: Settings, workflow_id: str) -> str | None:
    """The page of a workflow in the Temporal UI."""
    if not settings.temporal_ui_url:
        return None
    pages = f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}/workflows"
    return f"{pages}/{quote(workflow_id, safe='')}"


def _documents(kind: type[Kind], sources: Iterable[object]) -> list[Kind]:
    """From rows and other objects whose attributes are called like the fields."""
    return [
        kind.model_validate(source, from_attributes=True, by_alias=False, by_name=True)
        for source in sources
    ]
