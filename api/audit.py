"""The audit trail: who did what, for operators."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field

from api import cursor
from api.access import CUSTOMER_ID, may
from api.context import Using
from api.cursor import MAX_LENGTH
from api.fields import Document, Moment, utc
from domain import roles as rules
from domain.access import Access
from domain.audit import Action, ActorType, AuditEntry, Noun, Wanted
from service import audit
from service.page import Descent

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

Name = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,300}$")]


ActionName = Annotated[
    str,
    AfterValidator(Action),
    # Written out where it stands: what may be asked for and what was done are both called actions.
    Field(json_schema_extra={"enum": list(Action)}, examples=["INVOICE_APPROVED"]),
]


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


class Entries(Document):
    items: list[Entry]
    next_cursor: str | None


@router.get("", response_model=Entries)
async def list_audit_entries(
    access: Annotated[Access, may(rules.Action.AUDIT_READ)],
    context: Using,
    action: ActionName | None = None,
    actor: Name | None = None,
    target_type: Annotated[Noun | None, Query(alias="targetType")] = None,
    target_id: Annotated[Name | None, Query(alias="targetId")] = None,
    customer_id: Annotated[str | None, Query(alias="customerId", pattern=CUSTOMER_ID)] = None,
    trace_id: Annotated[str | None, Query(alias="traceId", pattern="^[0-9a-f]{32}$")] = None,
    since: Annotated[Moment | None, Query(alias="from", description="From then on.")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Until before then.")] = None,
    after: Annotated[str | None, Query(alias="cursor", max_length=MAX_LENGTH)] = None,
    size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Entries:
    """Who did what, newest first. An entry that committed only after its place was passed comes
    with the page that follows, beyond `size`. That you look is noted, too."""
    did = None if action is None else Action(action)
    wanted = Wanted(did, actor, target_type, target_id, customer_id, trace_id, since, until)
    secrets = context.settings.cursor_secrets
    filters = _filters(wanted)
    place = None if after is None else cursor.decode(secrets, after, filters, Descent)
    found, last = await audit.page(context.desk, access, wanted, place, size)
    following = None if last is None else cursor.encode(secrets, last, filters)
    return Entries(items=[_document(each) for each in found], nextCursor=following)


def _filters(wanted: Wanted) -> dict[str, str | None]:
    return {
        "action": wanted.action,
        "actor": wanted.actor_id,
        "targetType": wanted.noun,
        "targetId": wanted.target_id,
        "customerId": wanted.customer_id,
        "traceId": wanted.trace_id,
        "from": None if wanted.since is None else utc(wanted.since).isoformat(),
        "to": None if wanted.until is None else utc(wanted.until).isoformat(),
    }


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
