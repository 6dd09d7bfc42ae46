"""The token that a command shows: of a file that a machine was given, or what somebody has logged
in with, which is kept for them, for one API each, and renewed when it ends."""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli import oauth
from cli.refused import Refused
from cli.settings import state_directory
from runtime.issuer import is_private

EARLY_SECONDS = 30.0
"""A token that ends so soon is renewed before it is shown."""
ISSUER_SECONDS = 30.0
"""How long an issuer may take to answer."""
MAX_TOKEN_BYTES = 64 * 1024
_TOKEN = re.compile(rb"[!-~]+")
"""What can be shown: visible characters, and nothing between them."""


class Login(BaseModel):
    """What is kept of a login. `expires_at` in seconds since 1970; None: nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_url: str
    issuer: str
    client: dict[str, str]
    """What the client says of itself each time, and what it wants."""
    token_endpoint: str
    revocation_endpoint: str | None
    access_token: str = Field(repr=False)
    refresh_token: str | None = Field(repr=False)
    expires_at: float | None

    @property
    def ends_soon(self) -> bool:
        return self.expires_at is not None and time.time() > self.expires_at - EARLY_SECONDS

    def renewed(self, granted: oauth.Granted) -> "Login":
        """With what was granted now; an issuer that gives no new refresh token keeps the old one
        good."""
        return self.model_copy(
            update={
                "access_token": granted.access_token,
                "refresh_token": granted.refresh_token or self.refresh_token,
                "expires_at": _end(granted),
            }
        )


def login_of(
    api_url: str, issuer: oauth.Issuer, client: dict[str, str], granted: oauth.Granted
) -> Login:
    """A new login."""
    return Login(
        api_url=api_url,
        issuer=issuer.issuer,
        client=client,
        token_endpoint=issuer.token_endpoint,
        revocation_endpoint=issuer.revocation_endpoint,
        access_token=granted.access_token,
        refresh_token=granted.refresh_token,
        expires_at=_end(granted),
    )


def _end(granted: oauth.Granted) -> float | None:
    return None if granted.expires_in is None else time.time() + granted.expires_in


async def current(api_url: str, file: Path | None) -> str | None:
    """The token to show to this API; None where nobody has logged in. Raises `Refused` where there
    is one that must not be shown, or that has ended for good."""
    token = _given(file) if file is not None else await _kept(api_url)
    if token is not None and not is_private(api_url):
        raise Refused(
            f"{api_url} would be shown the token in plain text: say https in BILLING_API_URL."
        )
    return token


def _given(file: Path) -> str:
    with file.open("rb") as opened:
        token = opened.read(MAX_TOKEN_BYTES + 1).strip()
    if len(token) > MAX_TOKEN_BYTES or _TOKEN.fullmatch(token) is None:
        raise Refused(f"{file} holds no token: one line, nothing else.")
    return token.decode()


async def _kept(api_url: str) -> str | None:
    login = kept(api_url)
    if login is None or not login.ends_soon:
        return None if login is None else login.access_token
    # A refresh token is good once: of two commands that find it used up, one renews.
    with alone(api_url):
        login = kept(api_url)
        if login is not None and login.ends_soon:
            login = await _renewed(login)
            keep(login)
    return None if login is None else login.access_token


async def _renewed(login: Login) -> Login:
    if login.refresh_token is None:
        raise Refused("Your login has ended: run `billing login` again.")
    # Without a scope: what was granted stays, and may be less than what was wanted.
    client = {name: value for name, value in login.client.items() if name != "scope"}
    wanted = {"grant_type": "refresh_token", "refresh_token": login.refresh_token, **client}
    try:
        async with httpx2.AsyncClient(timeout=ISSUER_SECONDS) as http:
            return login.renewed(await oauth.granted(http, login.token_endpoint, wanted))
    except oauth.Denied as denied:
        raise Refused(f"Your login has ended: run `billing login` again. {denied}") from denied


def kept(api_url: str) -> Login | None:
    """What somebody has logged in with here; None for nothing, or for what cannot be read."""
    try:
        return Login.model_validate_json(_file(api_url).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def keep(login: Login) -> None:
    """For the user of this machine alone, whole or not at all."""
    file = _file(login.api_url)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(login.model_dump_json(indent=1))
    new.replace(file)


def forget(api_url: str) -> None:
    """Harmless where there is nothing."""
    _file(api_url).unlink(missing_ok=True)


@contextmanager
def alone(api_url: str) -> Iterator[None]:
    """For the length of the block no other command renews or changes the login."""
    file = _file(api_url).with_suffix(".lock")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _file(api_url: str) -> Path:
    """One for each API: a token is never shown to another one than it was given for."""
    return state_directory() / f"{quote(api_url.rstrip('/'), safe='')}.json"
