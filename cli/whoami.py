"""`billing whoami`: who you are to the API, what you may do there, and until when."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.documents.auth import Verdict
from cli.calling import calling
from cli.options import example
from cli.words import say
from domain.roles import Action

app = typer.Typer(help="Who you are to the API.")


@app.callback(invoke_without_command=True, epilog=example("whoami --json"))
def whoami(
    as_json: Annotated[bool, typer.Option("--json", help="For programs, as the API says it.")] = (
        False
    ),
) -> None:
    """Ask the API who you are, which roles you have, and until when."""
    asyncio.run(tell_who(as_json))


async def tell_who(as_json: bool = False) -> None:
    """What the API makes of whoever asks."""
    async with calling() as api:
        answer = await api.post("/auth/check", {"action": Action.ACCESS_CHECK})
    if as_json:
        typer.echo(answer.text)
        return
    verdict = answer.read(Verdict)
    say(f"You are {verdict.caller}: {', '.join(verdict.roles) or 'no role'}.")
    if verdict.until is not None:
        say(f"Your token ends {_at(verdict.until)}; a login is renewed by itself.")


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
