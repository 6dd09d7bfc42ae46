"""Webhooks that came from PGs, for operators; they are received by `api.webhook`."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from api.access import may
from api.context import Replicated
from api.documents.received_webhook import Webhook, Webhooks
from api.fields import utc
from api.listing import Listing, page
from domain import webhook as rules
from domain.access import Access
from domain.roles import Action
from service import webhook

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])


class WebhookListing(Listing):
    """By what events are found: `from` and `to` are of when they came."""

    gateway: Annotated[str | None, Field(max_length=64, examples=["simulator"])] = None


@router.get("", response_model=Webhooks)
async def list_webhooks(
    asked: Annotated[WebhookListing, Query()],
    access: Annotated[Access, may(Action.WEBHOOK_READ)],
    context: Replicated,
) -> Webhooks:
    """What PGs told unasked, each event once. It was a hint: what came of it says the payment or
    refund that its body names."""
    wanted = rules.Wanted(asked.gateway, asked.since, asked.until)
    find = partial(webhook.listed, context.desk, access, wanted)
    return await page(context, asked, ("webhooks", None), Webhooks, find, _document)


def _document(row: rules.Webhook) -> Webhook:
    return Webhook(
        gateway=row.gateway,
        eventId=row.event_id,
        body=dict(row.body),
        receivedAt=utc(row.received_at),
    )
