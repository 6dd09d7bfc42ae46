"""Who a caller is and what it may do, as it is told."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.fields import Document
from domain.roles import Action, Role, TokenScope


class Verdict(Document):
    """Whether you may, and who you are."""

    allowed: bool
    reason: Annotated[str | None, Field(description="One sentence, if it is refused.")]
    needed_roles: Annotated[list[Role], Field(description="One of them is needed.")]
    needed_scope: Annotated[TokenScope | None, Field(description="Where scopes are looked at.")]
    caller: Annotated[str, Field(description="Idempotency keys are kept by it.")]
    roles: Annotated[list[Role], Field(description="Yours.")]
    customer_id: Annotated[str | None, Field(description="Who is acted for by default.")]
    until: Annotated[
        datetime | None, Field(description="When the token ends; None for who shows none.")
    ]


class Permissions(Document):
    """What you may do."""

    actions: Annotated[list[Action], Field(description="As `POST /auth/check` knows them.")]
    caller: Annotated[str, Field(description="Idempotency keys are kept by it.")]
    roles: Annotated[list[Role], Field(description="Yours.")]
    customer_id: Annotated[str | None, Field(description="Who is acted for by default.")]
