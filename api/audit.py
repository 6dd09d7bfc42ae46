"""The audit trail: who did what, for operators."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field

from api.access import may
from api.context import Replicated
from api.documents.audit import Entries, Entry
from api.fields import CustomerId, utc
from api.listing import Listing, page
from domain import roles as rules
from domain.access import Access
from domain.audit import Action, ActorType, AuditEntry, Noun, Wanted
from service import audit

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

Name = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,300}$")]


ActionName = Annotated[
    str,
    AfterValidator(Action),
    # Written out where it stands: what may be asked for and what was done are both called actions.
    Field(json_schema_extra={"enum": list(Action)}, examples=["INVOICE_APPROVED"]),
]


class AuditListing(Listing):
    """By what entries are found."""

    action: ActionName | None = None
    actor: Name | None = None
    target_type: Noun | None = None
    target_id: Name | None = None
    customer_id: CustomerId | None = None
    trace_id: Annotated[str | None, Field(pattern="^[0-9a-f]{32}$")] = None


@router.get("", response_model=Entries)
async def list_audit_entries(
    asked: Annotated[AuditListing, Query()],
    access: Annotated[Access, may(rules.Action.AUDIT_READ)],
    context: Replicated,
) -> Entries:
    """Who did what, newest first. That you look is noted, too."""
    find = partial(audit.listed, context.desk, access, _wanted(asked))
    return await page(context, asked, ("audit", asked.customer_id), Entries, find, _document)


def _wanted(asked: AuditListing) -> Wanted:
    return Wanted(
        action=asked.action,
        actor_id=asked.actor,
        noun=asked.target_type,
        target_id=asked.target_id,
        customer_id=asked.customer_id,
        trace_id=asked.trace_id,
        since=asked.since,
        until=asked.until,
    )


def _document(row: AuditEntry) -> Entry:
    return Entry(
        id=row.id,
        at=utc(row.at),
        actorType=ActorType(row.actor_type),
        actorId=row.actor_id,
        ip=row.ip,
        userAgent=row.user_agent,
        action=row.action,
        targetType=row.noun,
        targetId=row.target_id,
        customerId=row.customer_id,
        before=None if row.before is None else dict(row.before),
        after=None if row.after is None else dict(row.after),
        reason=row.reason,
        traceId=row.trace_id,
        requestId=row.request_id,
    )
