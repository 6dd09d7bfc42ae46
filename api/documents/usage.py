"""Usage as callers see it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from api.documents.page import Page
from api.fields import CustomerId, Document, Id
from domain.identifier import EVENT_ID, NAME
from domain.usage import Outcome

EventId = Annotated[
    str,
    Field(
        pattern=EVENT_ID.pattern,
        description="Names the event among all of its customer, for ever.",
        examples=["evt-001"],
    ),
]
ResourceType = Annotated[str, Field(pattern=NAME.pattern, examples=["API_CALL"])]


class Counted(Document):
    """The event counts, once."""

    event_id: EventId
    status: Annotated[
        Literal[Outcome.ACCEPTED, Outcome.DUPLICATE],
        Field(description="DUPLICATE: it was counted before, with the same content."),
    ]


class EventOutcome(Document):
    """What became of one event of a batch."""

    event_id: Annotated[str | None, Field(description="None where it could not be read.")]
    status: Annotated[
        Outcome,
        Field(description="CONFLICT: counted before with another content, which stays."),
    ]
    problem: Annotated[
        str | None,
        Field(description="Last part of the problem's type.", examples=["usage-conflict"]),
    ]
    detail: Annotated[str | None, Field(description="One sentence for a person.")]


class Outcomes(Document):
    """In the order of the request."""

    outcomes: list[EventOutcome]


class CountedUsage(Document):
    """An event as it is kept. `invoiceId`: of the invoice or draft that has it; a void one is never
    billed."""

    event_id: EventId
    customer_id: CustomerId
    resource_type: ResourceType
    quantity: str
    occurred_at: datetime
    received_at: datetime
    invoice_id: Id | None
    void_reason: str | None


class CountedEvents(Page[CountedUsage]):
    """A page of usage events, what happened last first."""


class Voided(Document):
    """The event will never be billed; it stays, with the reason."""

    customer_id: CustomerId
    event_id: EventId
    reason: Annotated[str, Field(description="The first that was given.")]
    repeated: Annotated[bool, Field(description="It was voided before.")]


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
