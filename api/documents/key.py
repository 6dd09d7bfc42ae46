"""API keys as callers see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.fields import CustomerId, Document
from domain import api_key as rules
from domain.roles import Role, TokenScope

KeyId = Annotated[str, Field(pattern=rules.KEY_ID.pattern, examples=["4XbR29kq"])]
NextKey = Annotated[KeyId | None, Field(description="`after` of the next page; null at the end.")]
Name = Annotated[
    str, Field(pattern=r"\S", max_length=100, description="For people.", examples=["metering"])
]


class KeyDocument(Document):
    """A key, without the key itself."""

    id: KeyId
    name: Name
    role: Role
    customer_id: CustomerId | None
    scopes: list[TokenScope] | None
    caller: Annotated[str, Field(description="Scopes its idempotency keys; stays at a rotation.")]
    allowed_networks: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]


class IssuedKey(Document):
    """A key, shown this once."""

    key: Annotated[str, Field(description="Send it as `Authorization: Bearer`.")]
    details: KeyDocument


class KeyPage(Document):
    """Keys in the order of their ids."""

    keys: list[KeyDocument]
    next: NextKey
