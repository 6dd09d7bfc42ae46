"""Usage: what customers consumed, one event or many at a time.

No Idempotency-Key: an event is its own, by customer and event id.
"""

from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Replicated, Using
from api.documents.usage import (
    Counted,
    CountedEvents,
    CountedUsage,
    EventId,
    Outcomes,
    ResourceType,
    Voided,
)
from api.fields import CustomerId, Document, Id, Reason, utc
from api.listing import Listing, page
from domain.access import Access
from domain.errors import InvalidRequest, UnsupportedMediaType
from domain.period import FORM, Period
from domain.pricing import decimal_text
from domain.roles import Action
from domain.usage import MAX_BATCH, MAX_QUANTITY, CountedEvent, Receipt, Wanted
from domain.usage_document import decode, read
from service.usage import listed, take, void

router = APIRouter(prefix="/api/v1/usage", tags=["usage"])

JSON = "application/json"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"

Quantity = Annotated[
    Decimal,
    Field(
        ge=0,
        lt=MAX_QUANTITY,
        decimal_places=6,
        description="At most 15 digits before the point and 6 after; a number, or text.",
        examples=[150],
    ),
]
OccurredAt = Annotated[
    AwareDatetime,
    Field(
        description="RFC 3339 with offset; at most 1 h ahead and 13 months (configurable) ago.",
        examples=["2026-05-01T09:30:00+09:00"],
    ),
]


class UsageEvent(Document):
    """What a customer consumed."""

    event_id: EventId
    customer_id: CustomerId
    resource_type: ResourceType
    quantity: Quantity
    occurred_at: OccurredAt


EVENT_SCHEMA = UsageEvent.model_json_schema()
CLOUD_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "CloudEvent",
    "description": "CloudEvents 1.0. Further attributes are taken and not kept. Any field of a "
    "usage event may stand in `data` and then goes before the attribute.",
    "required": ["specversion", "id", "data"],
    "properties": {
        "specversion": {"const": "1.0", "description": "Tells it from a plain usage event."},
        "id": {"type": "string", "description": "Our eventId.", "examples": ["evt-001"]},
        "source": {"type": "string", "examples": ["/gateway"]},
        "subject": {"type": "string", "description": "customerId.", "examples": ["acme-corp"]},
        "type": {"type": "string", "description": "resourceType.", "examples": ["API_CALL"]},
        "time": {"type": "string", "format": "date-time", "description": "occurredAt."},
        "data": {"type": "object", "examples": [{"quantity": 150}]},
    },
}


Month = Annotated[
    str,
    Field(
        pattern=FORM.pattern,
        description="A month, by the customer's clock.",
        examples=["2026-05"],
    ),
]


class UsageListing(Listing):
    """By what usage events are found: `from` and `to` are of when they happened."""

    customer_id: CustomerId | None = None
    invoice_id: Id | None = None
    resource_type: ResourceType | None = None
    period: Month | None = None
    voided: Annotated[
        bool | None, Field(description="Only those that will never be billed, or only others.")
    ] = None


class NewVoid(Document):
    """An event that should not have been reported, and why."""

    customer_id: CustomerId
    event_id: EventId
    reason: Reason


def _batch(events: dict[str, Any]) -> dict[str, Any]:
    bounds = {"minItems": 1, "maxItems": MAX_BATCH}
    return {"type": "array", "items": events, **bounds, "description": "Each has its outcome."}


BATCH_SCHEMA = {
    "type": "object",
    "required": ["events"],
    "properties": {"events": _batch({"anyOf": [EVENT_SCHEMA, CLOUD_EVENT_SCHEMA]})},
}


def _takes(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The description of a body that FastAPI does not read: floats would not be exact."""
    content = {media_type: {"schema": schema} for media_type, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "",
    status_code=202,
    response_model=Counted,
    openapi_extra=_takes({JSON: EVENT_SCHEMA, CLOUD_EVENT: CLOUD_EVENT_SCHEMA}),
)
async def report_usage(
    request: Request, access: Annotated[Access, may(Action.USAGE_REPORT)], context: Using
) -> Response:
    """Count one event, durably before the answer.

    A repeat is harmless; the same event id with another content is refused with 409. A CloudEvent
    is told by its `specversion`: `id` is the eventId, `subject` the customerId, `type` the
    resourceType, `time` the occurredAt, and `data` holds `{"quantity"}`.
    """
    document = decode(await _received(request, JSON, CLOUD_EVENT))
    receipt = await context.usage.ingest(read(document))
    if receipt.refusal is not None:
        raise receipt.refusal
    return _accepted({"eventId": receipt.event_id, "status": receipt.outcome})


@router.post(
    "/batch",
    status_code=202,
    response_model=Outcomes,
    openapi_extra=_takes({JSON: BATCH_SCHEMA, CLOUD_EVENTS: _batch(CLOUD_EVENT_SCHEMA)}),
)
async def report_usage_batch(
    request: Request, access: Annotated[Access, may(Action.USAGE_REPORT)], context: Using
) -> Response:
    """Count up to 1,000 events, with an outcome for each: one that is refused refuses no other.

    202 also when none was counted: read the outcomes. Each event may be a CloudEvent.
    """
    documents = _events(decode(await _received(request, JSON, CLOUD_EVENTS)))
    receipts = await take(context.desk.database, documents, context.settings.usage_late)
    return _accepted({"outcomes": [_outcome(receipt) for receipt in receipts]})


@router.get("", response_model=CountedEvents)
async def list_usage(
    asked: Annotated[UsageListing, Query()],
    access: Annotated[Access, may(Action.USAGE_READ)],
    context: Replicated,
) -> CountedEvents:
    """Usage events of a customer or an invoice, what happened last first."""
    owner = access.whose(asked.customer_id)
    wanted = Wanted(
        customer_id=owner,
        invoice_id=asked.invoice_id,
        resource_type=asked.resource_type,
        voided=asked.voided,
        period=None if asked.period is None else Period.parse(asked.period),
        since=asked.since,
        until=asked.until,
    )
    find = partial(listed, context.desk, access, wanted)
    return await page(context, asked, ("usage", owner), CountedEvents, find, counted)


def counted(event: CountedEvent) -> CountedUsage:
    """The event as callers see it."""
    return CountedUsage(
        eventId=event.event_id,
        customerId=event.customer_id,
        resourceType=event.resource_type,
        quantity=decimal_text(event.quantity),
        occurredAt=utc(event.occurred_at),
        receivedAt=utc(event.received_at),
        invoiceId=event.invoice_id,
        voidReason=event.void_reason,
    )


async def void_event(
    body: NewVoid, access: Annotated[Access, may(Action.USAGE_VOID)], context: Using
) -> Voided:
    """Never bill an event that no invoice has, or only a draft that a check stopped. Report what is
    right under another event id. Harmless to repeat."""
    before = await void(context.desk, access, body.customer_id, body.event_id, body.reason)
    return Voided(
        customerId=body.customer_id,
        eventId=body.event_id,
        reason=body.reason if before is None else before,
        repeated=before is not None,
    )


# It is no event: those have a reader of their own.
router.add_api_route(
    "/void",
    void_event,
    methods=["POST"],
    response_model=Voided,
    route_class_override=StrictJSONRoute,
)


async def _received(request: Request, *media_types: str) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in media_types:
        raise UnsupportedMediaType(f"Send the body with Content-Type: {' or '.join(media_types)}.")
    return await request.body()


def _events(body: object) -> list[object]:
    """Those of `{"events": […]}`, or of a CloudEvents batch, which is a bare array."""
    events = body.get("events") if isinstance(body, dict) and body.keys() == {"events"} else body
    if not isinstance(events, list) or not 1 <= len(events) <= MAX_BATCH:
        raise InvalidRequest(f"events: is an array of 1 to {MAX_BATCH:,} usage events.")
    return events


def _outcome(receipt: Receipt) -> dict[str, str | None]:
    refusal = receipt.refusal
    return {
        "eventId": receipt.event_id,
        "status": receipt.outcome,
        "problem": None if refusal is None else refusal.slug,
        "detail": None if refusal is None else str(refusal),
    }


def _accepted(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), 202, media_type=JSON)
