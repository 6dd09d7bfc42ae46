"""Everything that is known of one payment: what the database holds, and what Temporal says now."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from pydantic import Field

from api import payment as documents
from api import refund as refund_documents
from api.fields import Document
from cli.system import Refused, System, workflow_link
from domain.access import SYSTEM
from domain.audit import Noun
from domain.order import OrderStatus
from domain.refund import FINAL
from domain.review import Question
from domain.saga import StepState
from domain.workflow_id import refund_workflow_id
from service import payment as payments
from service.audit import viewed
from service.standing import standing
from service.temporal import TemporalUnreachable
from store import ledger, order, outbox, payment, refund, review, saga
from store.database import Transaction

Kind = TypeVar("Kind", bound=Document)


class Step(Document):
    """A step of the saga."""

    step: str
    state: StepState
    at: datetime


class Posting(Document):
    """A line of the ledger. `key` names its transaction."""

    key: str
    kind: str
    account: str
    unit: str
    amount: int


class Event(Document):
    """An event of the payment or its order; not `publishedAt`: it waits in the outbox."""

    topic: str
    aggregate_id: str
    aggregate_version: int
    event_id: str
    occurred_at: datetime
    published_at: datetime | None


class Review(Document):
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
    """The owner of the payment or of one of its refunds, as Temporal knows it."""

    workflow_id: str
    status: str
    activities: list[Activity]
    timers: list[Timer]


class Story(Document):
    """`paidWith` names each part of the payment. `temporalError` says why there are no workflows,
    when Temporal could not be asked."""

    payment: documents.Payment
    paid_with: list[str]
    order_status: OrderStatus | None
    steps: list[Step]
    postings: list[Posting]
    events: list[Event]
    refunds: list[refund_documents.Refund]
    reviews: list[Review]
    temporal_ui_url: str | None
    workflows: list[Workflow] = Field(default_factory=list)
    temporal_error: str | None = None


async def stories(system: System, id_: str) -> list[Story]:
    """Of the payment with this id, or of every payment of an order, top-up or refund with this id.

    Raises `Refused` when there is none.
    """
    async with system.desk.database.read(SYSTEM) as tx:
        ids = await _payment_ids(tx, id_)
        if not ids:
            raise Refused(f"There is no payment, and nothing that has payments, with the id {id_}.")
        begun = [await _stored(tx, payment_id, system) for payment_id in ids]
    for story in begun:
        await viewed(
            system.desk, system.access, Noun.PAYMENT, story.payment.id, story.payment.customer_id
        )
    at_work = [await _workflows(story, system) for story in begun]
    # The rows as they stand now: what a workflow that has ended came to is in them.
    async with system.desk.database.read(SYSTEM) as tx:
        told = [await _stored(tx, payment_id, system) for payment_id in ids]
    return [story.model_copy(update=found) for story, found in zip(told, at_work, strict=True)]


async def _payment_ids(tx: Transaction, id_: str) -> list[str]:
    if await payment.find(tx, id_) is not None:
        return [id_]
    if (given_back := await refund.find(tx, id_)) is not None:
        return [given_back.payment_id]
    return [row.id for row in await payment.of_payable(tx, id_)]


async def _stored(tx: Transaction, payment_id: str, system: System) -> Story:
    row = await payments.found(tx, payment_id)
    ordered = await order.find(tx, row.payable_id)
    paid = documents.document(await payments.record(tx, row))
    return Story(
        payment=paid,
        paidWith=[str(part) for part in row.parts],
        orderStatus=None if ordered is None else ordered.status,
        steps=_documents(Step, await saga.of(tx, payment_id)),
        postings=_documents(Posting, await ledger.of_payment(tx, payment_id)),
        events=_documents(Event, await outbox.of_aggregates(tx, [payment_id, row.payable_id])),
        refunds=[
            refund_documents.document(each) for each in await refund.of_payment(tx, payment_id)
        ],
        reviews=_documents(Review, await review.of_payment(tx, payment_id)),
        temporalUiUrl=workflow_link(paid.workflow_id),
    )


async def _workflows(story: Story, system: System) -> dict[str, object]:
    ids = [story.payment.workflow_id]
    ids += [refund_workflow_id(each.id) for each in story.refunds if each.status not in FINAL]
    try:
        found = [await standing(system.desk.temporal, id_) for id_ in ids]
    except TemporalUnreachable as error:
        why = f"Temporal at {system.settings.temporal_address} cannot be asked: {error}."
        return {"temporal_error": why}
    known = [each for each in found if each is not None]
    return {"workflows": _documents(Workflow, known)}


def _documents(kind: type[Kind], sources: Iterable[object]) -> list[Kind]:
    """From rows and other objects whose attributes are called like the fields."""
    return [
        kind.model_validate(source, from_attributes=True, by_alias=False, by_name=True)
        for source in sources
    ]
