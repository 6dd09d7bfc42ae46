"""Large decisions that wait for a second person."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from api.access import may
from api.context import Using
from api.fields import Document, Id, PathId, Reason
from domain.access import Access
from domain.identifier import UUID
from domain.proposal import Kind, written
from domain.roles import Action
from service import proposal

router = APIRouter(prefix="/api/v1/proposals", tags=["proposals"])


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


@router.get("", response_model=Proposals)
async def list_proposals(
    access: Annotated[Access, may(Action.PROPOSAL_READ)],
    context: Using,
    after: Annotated[
        str | None, Query(pattern=UUID.pattern, description="The id of the last one before.")
    ] = None,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Proposals:
    """Those that wait for a second person, oldest first."""
    found = await proposal.waiting(context.desk, after, size)
    return Proposals(items=[Proposal.model_validate(written(each)) for each in found])


@router.delete("/{proposal_id}", status_code=204)
async def withdraw_proposal(
    proposal_id: PathId,
    access: Annotated[Access, may(Action.PROPOSAL_WITHDRAW)],
    context: Using,
    reason: Annotated[Reason, Query()],
) -> None:
    """Nobody can agree to it any more. Whoever proposed it may say so, and whoever may decide the
    same; again is harmless."""
    await proposal.withdraw(context.desk, access, proposal_id, reason)
