"""Where a route gets who is asking: it names an action, and `domain.roles` says whose it is.

`Door` has found out who calls before anything else of a request was read; without it no route
works.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api import source
from api.address import Networks, client_address
from api.errors import issuer_unreachable, problem, unavailable
from api.fields import CUSTOMER_ID, OS_USER
from api.issuers import IssuerUnreachable
from domain.access import Access, at_the_machine
from domain.errors import InvalidRequest, Rejected
from domain.identifier import NAME, has_form
from domain.roles import RULES, Action, Role
from service.key import Keys, KeysUnreachable

DEV_CUSTOMER = "demo"
EVERY_ROLE = frozenset(Role)

OPEN = frozenset({"/", "/swagger", "/openapi.json", "/metrics"})
OPEN_BELOW = ("/static/", "/health/", "/webhooks/")
"""Pages, probes, and what a PG signs. Everything else is closed to strangers, also what is not
there."""

KEY = "dbk_"
"""How every API key begins, and no token."""

ByHeaders = Callable[[Headers], Awaitable[Access]]
"""Who sends these headers. Raises `Unauthenticated`, or `IssuerUnreachable` if it cannot be known
at the moment."""
Identify = Callable[[Headers, str], Awaitable[Access]]
"""The same of what came from an address; raises also `KeysUnreachable`."""


async def of_development(headers: Headers) -> Access:
    """Without an issuer, in `dev` only: the caller has every role, and acts for the customer
    `demo` unless the request names another; or it is a user of this machine."""
    user = headers.get(OS_USER)
    if user is not None:
        if not has_form(user, NAME):
            raise InvalidRequest(f"{OS_USER}: has the form {CUSTOMER_ID}.")
        return at_the_machine(user)
    name = headers.get("x-customer-id", DEV_CUSTOMER)
    if not has_form(name, NAME):
        raise InvalidRequest(f"X-Customer-Id: has the form {CUSTOMER_ID}.")
    # As with tokens: the keys of two customers never meet.
    return Access(f"dev/{name}", roles=EVERY_ROLE, customer_id=name)


def insider(who: Access) -> Identify:
    """Inside the process of whoever asks there is nobody else."""

    async def identify(headers: Headers, address: str) -> Access:
        return who

    return identify


def by_key_or(keys: Keys, otherwise: ByHeaders) -> Identify:
    """Who sends an API key is its holder; who sends none is whom `otherwise` finds."""

    async def identify(headers: Headers, address: str) -> Access:
        key = _key_in(headers)
        if key is None:
            return await otherwise(headers)
        return await keys.access_of(key, address)

    return identify


def without_keys(identify: ByHeaders) -> Identify:
    """For a part of the system that persons use."""

    async def from_anywhere(headers: Headers, address: str) -> Access:
        return await identify(headers)

    return from_anywhere


def _key_in(headers: Headers) -> str | None:
    """The API key that was sent; None for a token of another kind, none, or more than one."""
    sent = headers.getlist("authorization")
    scheme, _, token = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    token = token.strip(" ")
    return token if scheme.lower() == "bearer" and token.startswith(KEY) else None


class Door:
    """ASGI middleware: nobody gets in without a name. `trusted`: the proxies that say from where a
    request comes."""

    def __init__(self, app: ASGIApp, identify: Identify, trusted: Networks) -> None:
        self._app = app
        self._identify = identify
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        address = client_address(scope, self._trusted)
        try:
            access = await self._identify(Headers(scope=scope), address)
        except Rejected as refusal:
            await problem(refusal, scope["path"])(scope, receive, send)
        except IssuerUnreachable:
            await issuer_unreachable(scope["path"])(scope, receive, send)
        except KeysUnreachable as error:
            await unavailable(scope["path"], error)(scope, receive, send)
        else:
            known = replace(access, source=source.of(HTTPConnection(scope), address))
            scope.setdefault("state", {})["access"] = known
            await self._app(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_BELOW)


async def caller(request: Request) -> Access:
    """Whom the door has let in, with every role that they have."""
    return cast(Access, request.state.access)


@dataclass(frozen=True)
class May:
    """A dependency that lets in only those who may do this."""

    action: Action

    async def __call__(self, access: Annotated[Access, Depends(caller)]) -> Access:
        return access.to(self.action)


def may(action: Action) -> Any:
    """For a route: `Annotated[Access, may(Action.ORDER_READ)]`."""
    return Depends(May(action))


def action_of(route: APIRoute) -> Action:
    """What a route lets its caller do. One that does not say so is nobody's: raises `LookupError`,
    and no application is made."""
    for action in _actions(route.dependant):
        return action
    raise LookupError(f"{route.path} names no action: {route.name} needs access.may")


def _actions(dependant: Dependant) -> Iterator[Action]:
    if isinstance(dependant.call, May):
        yield dependant.call.action
    for each in dependant.dependencies:
        yield from _actions(each)


TOKEN = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token of an issuer, or an API key.",
    }
}
"""How a caller shows who it is, in the words of OpenAPI."""
DEVELOPMENT = {
    "customer": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Customer-Id",
        "description": f"Whom to act for, in `dev`; {DEV_CUSTOMER} without it.",
    }
}


def describe(
    document: dict[str, Any], routes: Iterable[APIRoute], shown: Mapping[str, Any]
) -> None:
    """Say in the OpenAPI document how callers show who they are, and who may call what."""
    document.setdefault("components", {})["securitySchemes"] = shown
    for route in routes:
        action = action_of(route)
        rule = RULES[action]
        roles = [role for role in Role if role in rule.roles]
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["security"] = [{name: []} for name in shown]
            operation["x-action"], operation["x-roles"] = action, roles
            operation["x-scope"] = rule.scope
            operation["description"] += f"\n\nRoles: {', '.join(roles)}."
