"""What was done, as callers see it."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.documents.page import Page
from api.fields import Document
from domain.audit import ActorType


class Entry(Document):
    """What was done, by whom, to what. Of what was changed only the fields that were. `action` and
    `targetType` may be words that were given up since."""

    id: int
    at: datetime
    actor_type: ActorType
    actor_id: Annotated[str, Field(description="The caller, or the id of a workflow of ours.")]
    ip: str | None
    user_agent: str | None
    action: Annotated[str, Field(examples=["INVOICE_APPROVED"])]
    target_type: Annotated[str, Field(examples=["invoice"])]
    target_id: str
    customer_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    trace_id: str | None
    request_id: Annotated[str | None, Field(description="The `X-Request-Id` that it came with.")]


class Entries(Page[Entry]):
    """A page of the audit trail."""
