"""`billing proposal`: large decisions that wait for a second person."""

import asyncio
from typing import Annotated

import typer

from api.proposal import Proposal, Proposals
from cli.calling import calling
from cli.system import as_id
from cli.words import reason_given, say

app = typer.Typer(help="Decisions that wait for a second person.", no_args_is_help=True)

PATH = "/api/v1/proposals"
PAGE = 200


@app.command("list")
def list_() -> None:
    """List what waits for a second person, oldest first."""
    found = asyncio.run(_list())
    if not found:
        say("No proposals.")
    for each in found:
        say(f"{each.id} To {each.what}", style="bold")
        say(f"  {each.proposed_by}, until {each.holds_until:%Y-%m-%d %H:%M} UTC{_why(each)}")


@app.command()
def withdraw(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a proposal.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")],
) -> None:
    """Let nobody agree to it any more."""
    asyncio.run(_withdraw(as_id(id_), reason_given(reason)))
    say("The proposal is withdrawn.")


def _why(each: Proposal) -> str:
    return f": {each.reason}" if each.reason else ""


async def _list() -> list[Proposal]:
    found: list[Proposal] = []
    async with calling() as api:
        while True:
            last = found[-1].id if found else None
            page = (await api.get(PATH, after=last, size=PAGE)).read(Proposals).items
            found += page
            if len(page) < PAGE:
                return found


async def _withdraw(id_: str, reason: str) -> None:
    async with calling() as api:
        await api.delete(f"{PATH}/{id_}", reason=reason)
