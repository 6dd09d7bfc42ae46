"""Who is asking, and what they may do. Deny by default: a route names the roles that may call it.

Authentication comes in a later slice. Until then every process runs in `dev` on loopback only,
where the caller has every role and acts for the customer `demo` unless the request names another.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from starlette.datastructures import Headers

from api.address import client_address
from domain.access import Access, Role
from domain.errors import NotFound
from domain.identifier import NAME

CUSTOMER_ID = NAME.pattern
DEV_CUSTOMER = "demo"


async def _dev_access(
    request: Request,
    x_customer_id: Annotated[
        str, Header(pattern=CUSTOMER_ID, description="Whom to act for, in `dev`.")
    ] = DEV_CUSTOMER,
) -> Access:
    key = api_key_of(request.headers)
    if key is not None:
        context = request.app.state.context
        address = client_address(request.scope, context.settings.trusted_proxies)
        found: Access = await context.keys.access_of(key, address)
        return found
    # As tokens will do it: the keys of two customers never meet.
    return Access(f"dev/{x_customer_id}", roles=frozenset(Role), customer_id=x_customer_id)


def api_key_of(headers: Headers) -> str | None:
    """The API key that was sent; None for a token of another kind, or none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith("dbk_") else None


def allow(*roles: Role) -> Callable[..., Any]:
    """A dependency that lets only these roles in."""

    async def check(access: Annotated[Access, Depends(_dev_access)]) -> Access:
        if not access.roles & set(roles):
            raise NotFound("There is no such thing.")
        return access

    return check


Anybody = Annotated[Access, Depends(allow(Role.CUSTOMER, Role.SERVICE, Role.OPERATOR))]
CustomerOrOperator = Annotated[Access, Depends(allow(Role.CUSTOMER, Role.OPERATOR))]
ServiceOrOperator = Annotated[Access, Depends(allow(Role.SERVICE, Role.OPERATOR))]
Operator = Annotated[Access, Depends(allow(Role.OPERATOR))]
