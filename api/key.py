"""API keys: given out, replaced and revoked by administrators.

No Idempotency-Key: an answer holds what must not be kept, so none is given again. Whoever has not
heard the answer finds the key in the list, unused, and revokes it.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api.access import may
from api.bodies import StrictJSONRoute
from api.context import Using
from api.documents.key import IssuedKey, KeyDocument, KeyPage, Name
from api.fields import CUSTOMER_ID, CustomerId, Document, Empty, Moment, utc
from domain import api_key as rules
from domain.access import Access
from domain.api_key import ApiKey
from domain.roles import Action, Role, TokenScope
from runtime import api_keys
from service import key
from service.key import Issued, NewKey

router = APIRouter(prefix="/api/v1/keys", tags=["keys"], route_class=StrictJSONRoute)

MAX_NETWORKS = 50

PathKey = Annotated[str, Path(pattern=rules.KEY_ID.pattern)]
Days = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=rules.LONGEST_OVERLAP.days,
        description="For how long the key that is replaced is believed yet.",
    ),
]


class NewApiKey(Document):
    """Whose key it will be."""

    name: Name
    role: Annotated[
        Literal["customer", "service"], Field(description="Who it is; decisions are for persons.")
    ]
    customer_id: Annotated[CustomerId | None, Field(description="Of the role customer.")] = None
    scopes: Annotated[
        frozenset[TokenScope] | None,
        Field(
            min_length=1,
            description="What it may be used for; everything that its role may do if left out.",
        ),
    ] = None
    allowed_networks: Annotated[
        tuple[str, ...],
        Field(
            max_length=MAX_NETWORKS,
            description="From where it may be used; from everywhere if there is none.",
            examples=[["203.0.113.0/24"]],
        ),
    ] = ()
    expires_at: Annotated[Moment | None, Field(description="Never, if it is left out.")] = None


class Rotation(Document):
    """How to replace a key."""

    overlap_days: Days = rules.OVERLAP.days


_AS_USUAL = Rotation()


@router.post("", status_code=201)
async def create_key(
    body: NewApiKey, access: Annotated[Access, may(Action.KEY_CREATE)], context: Using
) -> IssuedKey:
    """Make a key for a customer or a service. The answer is the only place where it stands."""
    wish = NewKey(
        body.name,
        Role(body.role),
        body.customer_id or "",
        body.scopes,
        body.allowed_networks,
        body.expires_at,
    )
    made = await key.create(context.desk, api_keys.ring(context.settings), access, wish)
    return _issued(made)


@router.get("")
async def list_keys(
    access: Annotated[Access, may(Action.KEY_READ)],
    context: Using,
    customer_id: Annotated[str | None, Query(alias="customerId", pattern=CUSTOMER_ID)] = None,
    after: Annotated[str | None, Query(pattern=rules.KEY_ID.pattern)] = None,
    size: Annotated[int, Query(ge=1, le=200)] = 100,
) -> KeyPage:
    """Keys, also those that are not believed any more."""
    found = await key.page(context.desk, customer_id, after, size)
    documents = [_document(each) for each in found]
    return KeyPage(keys=documents, next=found[-1].id if len(found) == size else None)


@router.post("/{key_id}/rotate", status_code=201)
async def rotate_key(
    key_id: PathKey,
    access: Annotated[Access, may(Action.KEY_ROTATE)],
    context: Using,
    body: Rotation = _AS_USUAL,
) -> IssuedKey:
    """Make a key in place of this one, which is believed for `overlapDays` yet. Both are the same
    caller."""
    overlap = timedelta(days=body.overlap_days)
    made = await key.rotate(context.desk, api_keys.ring(context.settings), access, key_id, overlap)
    return _issued(made)


@router.post("/{key_id}/revoke")
async def revoke_key(
    key_id: PathKey,
    access: Annotated[Access, may(Action.KEY_REVOKE)],
    context: Using,
    body: Empty | None = None,
) -> KeyDocument:
    """Believe this key no more, within 30 seconds. Harmless to repeat."""
    return _document(await key.revoke(context.desk, access, key_id))


def _issued(made: Issued) -> IssuedKey:
    return IssuedKey(key=made.text, details=_document(made.key))


def _document(row: ApiKey) -> KeyDocument:
    return KeyDocument(
        id=row.id,
        name=row.name,
        role=row.role,
        customerId=row.customer_id or None,
        scopes=None if row.scopes is None else sorted(row.scopes),
        caller=row.access.caller,
        allowedNetworks=list(row.networks),
        createdBy=row.created_by,
        createdAt=utc(row.created_at),
        expiresAt=_when(row.expires_at),
        revokedAt=_when(row.revoked_at),
        lastUsedAt=_when(row.last_used_at),
    )


def _when(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)
