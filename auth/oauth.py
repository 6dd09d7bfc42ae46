"""The same in the words of OAuth 2: for programs that speak with any issuer.

`password` is no grant of OAuth 2.1, and is here for the command line, which has no browser: only
the programs of `AUTH_CLIENTS` may use it, and people type their password into nothing but ours.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from auth import grants
from auth.context import Context, From, Using
from auth.grants import Tokens
from domain.access import Source
from domain.errors import LoginFailed, SessionEnded, TooManyLogins
from domain.session import MAX_TOKEN
from domain.user import MAX_PASSWORD
from service import signing_key

router = APIRouter(tags=["oauth"])

Fields = Mapping[str, str]
MAX_FIELDS = 20
MAX_FIELD = 1_000


class _Refused(Exception):
    """`error` is one of RFC 6749, section 5.2."""

    def __init__(self, error: str, words: str) -> None:
        super().__init__(words)
        self.error = error


@router.get("/.well-known/openid-configuration")
@router.get("/.well-known/oauth-authorization-server")
async def discovery(context: Using) -> dict[str, Any]:
    """What there is, and where."""
    issuer = context.terms.issuer
    at = issuer.rstrip("/")
    return {
        "issuer": issuer,
        "jwks_uri": f"{at}/jwks",
        "token_endpoint": f"{at}/oauth/token",
        "revocation_endpoint": f"{at}/oauth/revoke",
        "grant_types_supported": list(_GRANTS),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
    }


@router.get("/jwks")
async def jwks(context: Using) -> dict[str, Any]:
    """The keys by which tokens are believed: what signs soon, now, and until a while ago."""
    return {"keys": await signing_key.to_publish(context.realm)}


@router.post("/oauth/token")
async def token(request: Request, context: Using, source: From) -> Response:
    """RFC 6749, section 4.3 and 6."""
    return await _answered(request, lambda fields: _granted(context, fields, source))


@router.post("/oauth/revoke")
async def revoke(request: Request, context: Using, source: From) -> Response:
    """RFC 7009: a refresh token ends its session; anything else is nobody's, and no mistake."""

    async def ended(fields: Fields) -> Response:
        given = _required(fields, "token", MAX_FIELD * 10)
        if len(given) <= MAX_TOKEN:
            await grants.end(context, given, source)
        return Response()

    return await _answered(request, ended)


async def _answered(request: Request, answer: Callable[[Fields], Awaitable[Response]]) -> Response:
    try:
        return await answer(await _fields(request))
    except _Refused as refusal:
        return _error(400, refusal.error, str(refusal))
    except (LoginFailed, SessionEnded) as refusal:
        return _error(400, "invalid_grant", str(refusal))
    except TooManyLogins as refusal:
        return _error(429, "slow_down", str(refusal), refusal.headers)


async def _granted(context: Context, fields: Fields, source: Source) -> Response:
    grant = _GRANTS.get(_required(fields, "grant_type"))
    if grant is None:
        raise _Refused("unsupported_grant_type", f"Here are: {', '.join(_GRANTS)}.")
    client_id = _required(fields, "client_id")
    if client_id not in context.clients:
        raise _Refused("invalid_client", "This program is none that people may log in with.")
    tokens = await grant(context, fields, client_id, source)
    return JSONResponse(
        {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": tokens.seconds,
            "refresh_token": tokens.refresh_token,
        }
    )


async def _password(context: Context, fields: Fields, client_id: str, source: Source) -> Tokens:
    name, password = _required(fields, "username"), _required(fields, "password", MAX_PASSWORD)
    return await grants.with_password(context, name, password, client_id, source)


async def _refresh(context: Context, fields: Fields, client_id: str, source: Source) -> Tokens:
    shown = _required(fields, "refresh_token", MAX_TOKEN)
    return await grants.with_refresh_token(context, shown, client_id, source)


_GRANTS: Mapping[str, Callable[[Context, Fields, str, Source], Awaitable[Tokens]]] = {
    "password": _password,
    "refresh_token": _refresh,
}


async def _fields(request: Request) -> Fields:
    """Of a form; each once, as RFC 6749 says."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _Refused("invalid_request", "Send a form: application/x-www-form-urlencoded.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise _Refused("invalid_request", "The body is not a form of a few fields.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Refused("invalid_request", "A field comes twice.")
    return fields


def _required(fields: Fields, name: str, longest: int = MAX_FIELD) -> str:
    value = fields.get(name, "")
    if not 1 <= len(value) <= longest:
        raise _Refused("invalid_request", f"{name}: has 1 to {longest} characters.")
    return value


def _error(
    status: int, error: str, words: str, headers: Mapping[str, str] | None = None
) -> Response:
    body = {"error": error, "error_description": words}
    return JSONResponse(body, status, headers=dict(headers or {}))
