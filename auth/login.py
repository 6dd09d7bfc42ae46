"""Log in, stay logged in, log out: for our own pages, in the words of our own API."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from api.bodies import StrictJSONRoute
from api.fields import Document
from auth import grants
from auth.context import From, Using
from auth.grants import Tokens
from domain.session import MAX_TOKEN
from domain.user import MAX_PASSWORD

router = APIRouter(prefix="/auth", tags=["sessions"], route_class=StrictJSONRoute)

MAX_NAME = 64
ClientId = Annotated[str, Field(max_length=100, description="Which program asks.")]
RefreshToken = Annotated[str, Field(min_length=1, max_length=MAX_TOKEN)]


class Login(Document):
    """Who somebody is, and how they show it."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    password: Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD)]
    client_id: ClientId = "console"


class Refresh(Document):
    refresh_token: RefreshToken
    client_id: ClientId = "console"


class Logout(Document):
    refresh_token: RefreshToken


class Session(Document):
    """Send the access token with each call, and the refresh token here when that has ended: each
    is good once, and the next one comes with the answer."""

    access_token: str
    token_type: Annotated[str, Field(examples=["Bearer"])]
    expires_in: Annotated[int, Field(description="Seconds that the access token lives.")]
    refresh_token: str
    refresh_expires_in: Annotated[int, Field(description="Seconds until the next log-in.")]


@router.post("/login", response_model=Session)
async def login(body: Login, context: Using, source: From) -> Session:
    """Come in with a name and a password. 401 `login-failed` says nothing about which was wrong."""
    return _session(
        await grants.with_password(context, body.name, body.password, body.client_id, source)
    )


@router.post("/refresh", response_model=Session)
async def refresh(body: Refresh, context: Using, source: From) -> Session:
    """Stay: another access token, and the next refresh token. Who missed the answer sends the same
    again within ten seconds; later that ends the session for everybody who has it."""
    return _session(
        await grants.with_refresh_token(context, body.refresh_token, body.client_id, source)
    )


@router.post("/logout", status_code=204, response_class=Response)
async def logout(body: Logout, context: Using, source: From) -> None:
    """End the session, whichever of its refresh tokens this is."""
    await grants.end(context, body.refresh_token, source)


def _session(tokens: Tokens) -> Session:
    return Session(
        accessToken=tokens.access_token,
        tokenType="Bearer",
        expiresIn=tokens.seconds,
        refreshToken=tokens.refresh_token,
        refreshExpiresIn=tokens.session_seconds,
    )
