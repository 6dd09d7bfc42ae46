"""Errors over HTTP: one place turns refusals into problem documents (RFC 9457)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Counter
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from temporalio.service import RPCError

from domain.errors import (
    IllegalDlqOperation,
    InsufficientScope,
    InvalidRequest,
    NotFound,
    Rejected,
    SecondPersonNeeded,
    Unauthenticated,
)
from service.overload import Overloaded
from service.temporal import is_down

TYPES = "https://durable-billing.example/problems"
"""Prefix of every problem's `type`: an identifier (docs/api/problems.md lists them), not a page."""

FAULTS = {
    "method-not-allowed": "The path does not take this method",
    "http-error": "The request cannot be served",
    "unavailable": "Something that we need is down",
    "overloaded": "More is asked for at once than can be done",
    "issuer-unreachable": "Who calls cannot be found out at the moment",
    "internal-error": "An error on our side",
}
"""Titles of the problems that are no `Rejected`, by slug."""


class Kind(StrEnum):
    """Of what there may be too much."""

    READ = "read"
    WORK = "work"


REFUSED = Counter(
    "billing_overload_refusals", "Requests that were refused because of too many others.", ["kind"]
)
for each in Kind:
    REFUSED.labels(each)

PROBLEM = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "examples": [f"{TYPES}/invalid-request"]},
        "title": {"type": "string", "description": "The same for every such type."},
        "status": {"type": "integer", "examples": [400]},
        "detail": {"type": "string", "description": "One sentence for a person."},
        "instance": {"type": "string", "description": "The path of the request."},
    },
}
_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "A problem document (RFC 9457); docs/api/problems.md lists the types.",
        "content": _CONTENT,
    },
    "5XX": {
        "description": "The same. 503 with `Retry-After`: what is needed cannot be reached, or too "
        "much is under way; nothing was done that a repeat would double. 500 is a fault of ours.",
        "content": _CONTENT,
    },
}
"""What the OpenAPI page says of every refusal."""

_PASSING = frozenset({"08", "40", "53", "55", "57", "58"})
"""SQLSTATE classes that say nothing of the request: no connection, a lost conflict, no resources, a
lock, an operator (restart, shutdown), the system below."""

log = structlog.get_logger()


def problem(
    refusal: Rejected, instance: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer to a refused request."""
    every = {**_challenge(refusal), **(headers or {})}
    slug, words, more = refusal.slug, str(refusal), _members(refusal)
    return _document(refusal.status, slug, refusal.title, words, instance, every, more)


def _members(refusal: Rejected) -> Mapping[str, Any]:
    """What a program needs to know beside which problem it is (RFC 9457, section 3.2)."""
    match refusal:
        case SecondPersonNeeded(proposal=Mapping() as proposal):
            return {"proposal": proposal}
        case IllegalDlqOperation(code=code):
            return {"code": code}
    return {}


def _challenge(refusal: Rejected) -> dict[str, str]:
    """What a caller should show instead (RFC 6750, section 3)."""
    match refusal:
        case Unauthenticated(presented=True):
            return {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case InsufficientScope(scope=scope):
            words = f'Bearer error="insufficient_scope", scope="{scope}"'
            return {"WWW-Authenticate": words}
    return {}


def _document(
    status: int,
    slug: str,
    title: str,
    detail: str,
    instance: str,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    body = {
        "type": f"{TYPES}/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        **(more or {}),
    }
    return JSONResponse(
        body,
        status,
        headers=None if headers is None else dict(headers),
        media_type="application/problem+json",
    )


def _fault_document(
    status: int,
    slug: str,
    detail: str,
    request: Request,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    return _document(status, slug, FAULTS[slug], detail, request.url.path, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Rejected)
    return problem(error, request.url.path, getattr(error, "headers", None))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    words = first["msg"].removeprefix("Value error, ")
    detail = f"{where}: {words}." if where else f"{words}."
    return problem(InvalidRequest(detail), request.url.path)


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this; without it every client that hangs up would be an error in our log."""
    return problem(InvalidRequest("The body ended too early."), request.url.path)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem(NotFound("There is no such path."), request.url.path)
    slug = {405: "method-not-allowed"}.get(error.status_code, "http-error")
    return _fault_document(error.status_code, slug, f"{error.detail}.", request, error.headers)


async def _unavailable(request: Request, error: Exception) -> Response:
    return unavailable(request.url.path, error)


def unavailable(path: str, error: Exception) -> JSONResponse:
    """The answer while something is down, which is logged."""
    log.warning("a request found something down", path=path, error=error)
    slug = "unavailable"
    detail = "Nothing was lost: send the same request with the same Idempotency-Key again."
    return _document(503, slug, FAULTS[slug], detail, path, {"Retry-After": "5"})


def overloaded(path: str, kind: Kind) -> JSONResponse:
    """The answer to what is too much at the moment; 429 would say that the caller asks too often,
    and nobody knows that."""
    REFUSED.labels(kind).inc()
    detail = "Nothing was done: send the same request again in a moment."
    return _document(503, "overloaded", FAULTS["overloaded"], detail, path, {"Retry-After": "1"})


def issuer_unreachable(path: str) -> JSONResponse:
    """The answer to a token that nobody can check: it may be as good as any."""
    slug = "issuer-unreachable"
    detail = "Nothing was done: send the same request with the same token again."
    return _document(503, slug, FAULTS[slug], detail, path, {"Retry-After": "5"})


async def _overloaded(request: Request, error: Exception) -> Response:
    return overloaded(request.url.path, Kind.WORK)


async def _database(request: Request, error: Exception) -> Response:
    assert isinstance(error, DBAPIError)
    state = getattr(error.orig, "sqlstate", None) or ""
    passes = error.connection_invalidated or state[:2] in _PASSING
    return await (_unavailable if passes else _fault)(request, error)


async def _temporal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RPCError)
    return await (_unavailable if is_down(error) else _fault)(request, error)


async def _fault(request: Request, error: Exception) -> Response:
    log.error("a request failed", path=request.url.path, exc_info=error)
    detail = "Send the same request with the same Idempotency-Key again."
    return _fault_document(500, "internal-error", detail, request)


def install(app: FastAPI) -> None:
    """Give the application its error handlers."""
    app.add_exception_handler(Rejected, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(RPCError, _temporal)
    app.add_exception_handler(Overloaded, _overloaded)
    for down in (OperationalError, InterfaceError, PoolTimeout, OSError):
        app.add_exception_handler(down, _unavailable)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(Exception, _fault)
