"""`billing auth`: our own issuer of tokens, and the keys that it signs with."""

import asyncio
from typing import Annotated

import typer

from cli.realm import connected
from cli.words import say
from domain.audit import actor
from service import signing_key

app = typer.Typer(help="Run our own issuer of tokens, or see to its keys.")


@app.callback(invoke_without_command=True)
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


@app.command()
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


@app.command("keys")
def list_() -> None:
    """List the keys, and which one signs."""
    for line in asyncio.run(_keys()):
        say(line)


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


async def _keys() -> list[str]:
    async with connected() as keeper:
        found = await signing_key.standing(keeper.realm)
    return [f"{key.id}  {how}, from {key.signs_from:%Y-%m-%d %H:%M} UTC on" for key, how in found]
