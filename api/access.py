"""Who is asking, and what they may do. Deny by default: a route names the roles that may call it.

Authentication comes in a later slice. Until then every process runs in `dev` on loopback only,
where the caller has every role and acts for the customer `demo` unless the request names another.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from domain.access import Access, Role, Source
from domain.errors import NotFound
from domain.identifier import IDEMPOTENCY_KEY, NAME, TRACEPARENT, has_form

CUSTOMER_ID = NAME.pattern
DEV_CUSTOMER = "demo"
MAX_USER_AGENT = 500


async def _dev_access(
    x_customer_id: Annotated[
        str, Header(pattern=CUSTOMER_ID, description="Whom to act for, in `dev`.")
    ] = DEV_CUSTOMER,
) -> Access:
    # As tokens will do it: the keys of two customers never meet.
    return Access(f"dev/{x_customer_id}", roles=frozenset(Role), customer_id=x_customer_id)


async def _source(request: Request) -> Source:
    """What is noted of a request beside its caller; what has no proper form is left out."""
    headers = request.headers
    agent = "".join(each for each in headers.get("user-agent", "") if each.isprintable())
    trace, request_id = headers.get("traceparent"), headers.get("x-request-id")
    return Source(
        ip=None if request.client is None else request.client.host,
        user_agent=agent[:MAX_USER_AGENT] or None,
        trace_id=trace.split("-")[1] if has_form(trace, TRACEPARENT) else None,
        request_id=request_id if has_form(request_id, IDEMPOTENCY_KEY) else None,
    )


def allow(*roles: Role) -> Callable[..., Any]:
    """A dependency that lets only these roles in."""

    async def check(
        access: Annotated[Access, Depends(_dev_access)],
        source: Annotated[Source, Depends(_source)],
    ) -> Access:
        if not access.roles & set(roles):
            raise NotFound("There is no such thing.")
        return replace(access, source=source)

    return check


Anybody = Annotated[Access, Depends(allow(Role.CUSTOMER, Role.SERVICE, Role.OPERATOR))]
CustomerOrOperator = Annotated[Access, Depends(allow(Role.CUSTOMER, Role.OPERATOR))]
ServiceOrOperator = Annotated[Access, Depends(allow(Role.SERVICE, Role.OPERATOR))]
Operator = Annotated[Access, Depends(allow(Role.OPERATOR))]
