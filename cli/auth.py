"""`billing auth`: our own issuer of tokens, and the keys that it signs with."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import typer

from api.fields import Document
from cli.listing import Found, Listing, Read, listed
from cli.options import example
from cli.realm import connected
from cli.words import say
from domain.audit import actor
from service import signing_key


class SigningKey(Document):
    """Of the public half of a key."""

    id: str
    state: str
    signs_from: datetime


COLUMNS: Mapping[str, Callable[[SigningKey], object]] = {
    "id": lambda each: each.id,
    "state": lambda each: each.state,
    "signsFrom": lambda each: each.signs_from,
}

app = typer.Typer(help="Run our own issuer of tokens, or see to its keys.")


@app.callback(invoke_without_command=True, epilog=example("auth"))
def run(ctx: typer.Context) -> None:
    """Run our own issuer of tokens; off unless AUTH_ISSUER is set."""
    if ctx.invoked_subcommand is not None:
        return
    from auth.app import create_app
    from cli.serving import serve
    from runtime import logs
    from runtime.settings import Settings

    settings = Settings()
    application = create_app(settings)
    logs.configure(settings.log_level)
    serve(application, settings.api_host, settings.auth_port)


@app.command(epilog=example("auth rotate-keys --leaked"))
def rotate_keys(
    leaked: Annotated[
        bool,
        typer.Option("--leaked", help="Withdraw every key at once, with what it has signed."),
    ] = False,
) -> None:
    """Make another key to sign with: published now, used in a quarter of an hour.

    With --leaked it signs at once, and every access token has to be refreshed.
    """
    say(asyncio.run(_replaced() if leaked else _rotated()))


@app.command("keys", epilog=example("auth keys --json"))
@listed
def list_() -> Listing[SigningKey]:
    """List the keys, and which one signs."""
    return Listing(SigningKey, _keys, COLUMNS, "There is no key yet.")


async def _rotated() -> str:
    async with connected() as keeper:
        moment = await signing_key.rotate(keeper.realm, actor(keeper.access))
    return f"Another key is published and signs from {moment:%Y-%m-%d %H:%M} UTC on."


async def _replaced() -> str:
    async with connected() as keeper:
        leaked = await signing_key.replace(keeper.realm, actor(keeper.access))
    return (
        f"{len(leaked)} keys are withdrawn, another one signs. The API believes the old ones for "
        "up to ten minutes more, unless `not_before` in OIDC_ISSUERS forbids it."
    )


@asynccontextmanager
async def _keys() -> AsyncIterator[Read]:
    async with connected() as keeper:

        async def read(limit: int) -> Found:
            found = await signing_key.standing(keeper.realm)
            rows = [
                SigningKey(id=key.id, state=how, signsFrom=key.signs_from).model_dump(mode="json")
                for key, how in found
            ]
            return Found(rows[:limit], more=len(rows) > limit)

        yield read
