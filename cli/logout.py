"""`billing logout`: nobody is logged in here any more."""

import asyncio

import httpx2
import typer

from cli import oauth, tokens
from cli.options import example
from cli.settings import ClientSettings
from cli.words import say

app = typer.Typer(help="Forget the login.")


@app.callback(invoke_without_command=True, epilog=example("logout"))
def logout() -> None:
    """Forget the token that `billing login` has kept, and let the issuer forget it, too."""
    say(asyncio.run(_logout(ClientSettings().billing_api_url)))


async def _logout(api_url: str) -> str:
    with tokens.alone(api_url):
        login = tokens.kept(api_url)
        tokens.forget(api_url)
    if login is None:
        return "Nobody was logged in."
    token = login.refresh_token or login.access_token
    if login.revocation_endpoint is not None:
        async with httpx2.AsyncClient(timeout=tokens.ISSUER_SECONDS) as http:
            client_id = login.client["client_id"]
            await oauth.taken_back(http, login.revocation_endpoint, client_id, token)
    return "Logged out."
