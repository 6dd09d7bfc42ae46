"""The story of a payment: what happened, what is booked, and what it waits for, for operators."""

from collections.abc import Iterable
from typing import Annotated, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Path

from api import gateway as gateways
from api import payment as payments
from api import refund as refunds
from api.access import may
from api.context import Using
from api.documents.story import (
    Story,
    StoryEvent,
    StoryPosting,
    StoryReview,
    StoryStep,
    Workflow,
)
from api.fields import Document
from domain.access import Access
from domain.identifier import UUID
from domain.roles import Action
from runtime.settings import Settings
from service import story

router = APIRouter(prefix="/api/v1/stories", tags=["payments"])

Kind = TypeVar("Kind", bound=Document)


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
