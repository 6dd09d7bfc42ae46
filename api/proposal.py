"""Large decisions that wait for a second person."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import may
from api.context import Using
from api.documents.proposal import Proposal, Proposals
from api.fields import Reason
from api.parameters import PathId
from domain.access import Access
from domain.identifier import UUID
from domain.proposal import written
from domain.roles import Action
from service import proposal

router = APIRouter(prefix="/api/v1/proposals", tags=["proposals"])


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
