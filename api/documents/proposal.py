"""Decisions that wait for a second person, as callers see them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.fields import Document, Id
from domain.proposal import Kind


class Proposal(Document):
    """What one person has proposed. The same call of somebody else carries it out; `what` says it
    in words, `content` is what the two calls must have in common."""

    id: Id
    kind: Kind
    target_id: Annotated[str, Field(description="An invoice, a month, a plan or a customer.")]
    what: Annotated[str, Field(examples=["approve the draft of 200,000,000 KRW of acme-corp"])]
    content: dict[str, Any]
    reason: str | None
    proposed_by: Annotated[str, Field(examples=["staff/8f2c"])]
    proposed_at: datetime
    holds_until: datetime


class Proposals(Document):
    items: list[Proposal]
