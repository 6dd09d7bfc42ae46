"""`billing login`: who you are, told to the API from now on."""

import asyncio
import sys
from getpass import getpass
from typing import Annotated

import httpx2
import typer
from rich.console import Console

from cli import oauth, tokens
from cli.oauth import Device, Granted, Issuer
from cli.options import example
from cli.refused import Refused
from cli.settings import ClientSettings
from cli.whoami import tell_who
from cli.words import say

PASSWORD = "password"
SIGN_SECONDS = 2.0

app = typer.Typer(help="Log in with an issuer of tokens.")
_signs = Console(stderr=True)


@app.callback(
    invoke_without_command=True,
    epilog=example("login --issuer https://login.example.com/realms/staff"),
)
def login(
    issuer: Annotated[
        str | None,
        typer.Option(envvar="BILLING_ISSUER", help="Its address; the one of last time without it."),
    ] = None,
    client_id: Annotated[
        str, typer.Option(envvar="BILLING_CLIENT_ID", help="What the issuer knows this command as.")
    ] = "billing-cli",
    scope: Annotated[
        str, typer.Option(envvar="BILLING_SCOPE", help="What the token is to be good for.")
    ] = "openid offline_access",
    audience: Annotated[
        str | None,
        typer.Option(envvar="BILLING_AUDIENCE", help="Whom it is for, where the issuer asks."),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(envvar="BILLING_RESOURCE", help="The same, in the words of RFC 8707."),
    ] = None,
    username: Annotated[
        str | None,
        typer.Option(help="Log in by a password, which is asked for, instead of in a browser."),
    ] = None,
) -> None:
    """Log in with the issuer, in a browser on any device; its token is kept for you alone.

    With `--username` by a password, from the terminal or from standard input, where the issuer
    offers that.
    """
    wanted = {"scope": scope, "audience": audience, "resource": resource}
    client = {"client_id": client_id, **{name: each for name, each in wanted.items() if each}}
    api_url = ClientSettings().billing_api_url
    asyncio.run(_login(api_url, _of_last_time(api_url, issuer), client, username))


def _of_last_time(api_url: str, issuer: str | None) -> str:
    before = tokens.kept(api_url)
    if issuer is not None:
        return issuer
    if before is None:
        raise Refused("Whose login? Say it in --issuer, or in BILLING_ISSUER.")
    return before.issuer


async def _login(api_url: str, url: str, client: dict[str, str], username: str | None) -> None:
    with tokens.alone(api_url):
        pass  # Where nothing can be kept, that is said before somebody has agreed.
    async with httpx2.AsyncClient(timeout=tokens.ISSUER_SECONDS) as http:
        issuer = await oauth.discovered(http, url)
        granted = await _granted(http, issuer, client, username)
    with tokens.alone(api_url):
        tokens.keep(tokens.login_of(api_url, issuer, client, granted))
    await tell_who()


async def _granted(
    http: httpx2.AsyncClient, issuer: Issuer, client: dict[str, str], username: str | None
) -> Granted:
    if username is not None:
        if PASSWORD not in issuer.grant_types_supported:
            raise Refused(f"{issuer.issuer} takes no passwords here: leave --username out.")
        wanted = {"grant_type": PASSWORD, "username": username, "password": _password(username)}
        return await oauth.granted(http, issuer.token_endpoint, {**wanted, **client})
    if issuer.device_authorization_endpoint is None:
        raise Refused(
            f"{issuer.issuer} offers no login by another device: name yourself in --username, or "
            "show a token from elsewhere with `billing --as FILE`."
        )
    return await oauth.by_device(http, issuer, client, _tell, _Countdown())


def _password(username: str) -> str:
    """Typed unseen, or the first line of what is piped in: never an argument, which others see."""
    if sys.stdin.isatty():
        return getpass(f"Password of {username}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _tell(device: Device) -> None:
    say(f"Open {device.verification_uri_complete or device.verification_uri}")
    say(f"and enter the code {device.user_code}", style="bold")


class _Countdown:
    """Says every two seconds that somebody is waited for."""

    def __init__(self) -> None:
        self._said: float | None = None

    def __call__(self, left: float) -> None:
        if self._said is None or self._said - left >= SIGN_SECONDS:
            self._said = left
            _signs.print(f"waiting for you, {left:.0f} s are left ...", style="dim")
