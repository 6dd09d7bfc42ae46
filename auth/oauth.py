"""The same in the words of OAuth 2: for programs that speak with any issuer.

`password` is no grant of OAuth 2.1, and is here for the command line, which has no browser: only
the programs of `AUTH_CLIENTS` may use it, and people type their password into nothing but ours.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from auth import grants
from auth.context import Context, From, Using
from auth.devices import PAUSE_SECONDS, SECONDS, Waiting, shown
from auth.forms import MAX_FIELD, Fields, Malformed, fields_of, required
from auth.grants import Tokens
from domain.access import Source
from domain.errors import LoginFailed, SessionEnded, TooManyLogins
from domain.session import MAX_TOKEN
from domain.user import MAX_PASSWORD
from service import signing_key

router = APIRouter(tags=["oauth"])


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
        "device_authorization_endpoint": f"{at}/oauth/device",
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
    """RFC 6749, sections 4.3 and 6, and RFC 8628, section 3.4."""
    return await _answered(request, lambda fields: _granted(context, fields, source))


@router.post("/oauth/device")
async def device(request: Request, context: Using) -> Response:
    """RFC 8628, section 3.1. No address with the code in it: whoever agrees has to have it before
    their eyes, and not in a message of somebody else."""

    async def begun(fields: Fields) -> Response:
        made = await context.devices.made(_client(context, fields))
        return JSONResponse(
            {
                "device_code": made.device_code,
                "user_code": shown(made.user_code),
                "verification_uri": f"{context.terms.issuer.rstrip('/')}/device",
                "expires_in": SECONDS,
                "interval": PAUSE_SECONDS,
            }
        )

    return await _answered(request, begun)


@router.post("/oauth/revoke")
async def revoke(request: Request, context: Using, source: From) -> Response:
    """RFC 7009: a refresh token ends its session; anything else is nobody's, and no mistake."""

    async def ended(fields: Fields) -> Response:
        given = required(fields, "token", MAX_FIELD * 10)
        if len(given) <= MAX_TOKEN:
            await grants.end(context, given, source)
        return Response()

    return await _answered(request, ended)


async def _answered(request: Request, answer: Callable[[Fields], Awaitable[Response]]) -> Response:
    try:
        return await answer(await fields_of(request))
    except Malformed as refusal:
        return _error(400, refusal.error, str(refusal))
    except (LoginFailed, SessionEnded) as refusal:
        return _error(400, "invalid_grant", str(refusal))
    except TooManyLogins as refusal:
        return _error(429, "slow_down", str(refusal), refusal.headers)


async def _granted(context: Context, fields: Fields, source: Source) -> Response:
    grant = _GRANTS.get(required(fields, "grant_type"))
    if grant is None:
        raise Malformed("unsupported_grant_type", f"Here are: {', '.join(_GRANTS)}.")
    tokens = await grant(context, fields, _client(context, fields), source)
    return JSONResponse(
        {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": tokens.seconds,
            "refresh_token": tokens.refresh_token,
        }
    )


def _client(context: Context, fields: Fields) -> str:
    client_id = required(fields, "client_id")
    if client_id not in context.clients:
        raise Malformed("invalid_client", "This program is none that people may log in with.")
    return client_id


async def _password(context: Context, fields: Fields, client_id: str, source: Source) -> Tokens:
    name, password = required(fields, "username"), required(fields, "password", MAX_PASSWORD)
    return await grants.with_password(context, name, password, client_id, source)


async def _refresh(context: Context, fields: Fields, client_id: str, source: Source) -> Tokens:
    shown = required(fields, "refresh_token", MAX_TOKEN)
    return await grants.with_refresh_token(context, shown, client_id, source)


async def _device(context: Context, fields: Fields, client_id: str, source: Source) -> Tokens:
    granted = await grants.with_device(context, required(fields, "device_code"), client_id, source)
    if isinstance(granted, Waiting):
        error = "slow_down" if granted.too_soon else "authorization_pending"
        raise Malformed(error, "Nobody has agreed yet.")
    return granted


DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_GRANTS: Mapping[str, Callable[[Context, Fields, str, Source], Awaitable[Tokens]]] = {
    "password": _password,
    "refresh_token": _refresh,
    DEVICE: _device,
}


def _error(
    status: int, error: str, words: str, headers: Mapping[str, str] | None = None
) -> Response:
    body = {"error": error, "error_description": words}
    return JSONResponse(body, status, headers=dict(headers or {}))
