"""For gateways and consoles in front: what may a caller do? From the same table as the routes."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from api.access import caller, may
from api.bodies import StrictJSONRoute
from api.documents.auth import Permissions, Verdict
from api.fields import CustomerId, Document
from domain.access import Access
from domain.errors import InsufficientRole, InsufficientScope, NotFound
from domain.roles import RULES, Action, Role

router = APIRouter(prefix="/auth", tags=["access"], route_class=StrictJSONRoute)


class AccessQuestion(Document):
    """May I do this?"""

    action: Annotated[Action, Field(description="As the pages of the API name it (x-action).")]
    customer_id: Annotated[
        CustomerId | None, Field(description="With whose things; your own without it.")
    ] = None


@router.get("/permissions", response_model=Permissions)
async def permissions(
    access: Annotated[Access, may(Action.ACCESS_CHECK)],
    everything: Annotated[Access, Depends(caller)],
) -> Permissions:
    """Everything that you may do, for consoles that show only that."""
    return Permissions(
        actions=[each for each in Action if _refusal(everything, each, None) is None],
        caller=everything.caller,
        roles=[role for role in Role if role in everything.roles],
        customerId=everything.customer_id or None,
    )


@router.post("/check", response_model=Verdict)
async def check_access(
    body: AccessQuestion,
    access: Annotated[Access, may(Action.ACCESS_CHECK)],
    everything: Annotated[Access, Depends(caller)],
) -> Verdict:
    """Ask before doing: 200 either way. What the route itself says holds."""
    rule = RULES[body.action]
    return Verdict(
        allowed=(reason := _refusal(everything, body.action, body.customer_id)) is None,
        reason=reason,
        neededRoles=[role for role in Role if role in rule.roles],
        neededScope=rule.scope,
        caller=everything.caller,
        roles=[role for role in Role if role in everything.roles],
        customerId=everything.customer_id or None,
        until=None if everything.until is None else datetime.fromtimestamp(everything.until, UTC),
    )


def _refusal(access: Access, action: Action, customer_id: str | None) -> str | None:
    try:
        allowed = access.to(action)
        if customer_id is not None:
            allowed.require(customer_id)
    except (InsufficientRole, InsufficientScope, NotFound) as refusal:
        return str(refusal)
    return None
