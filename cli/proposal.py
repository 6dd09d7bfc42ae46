"""`billing proposal`: large decisions that wait for a second person."""

import asyncio
from typing import Annotated

import typer

from cli.system import as_id, connected
from cli.words import reason_given, say
from domain.access import OPERATOR
from domain.proposal import Proposal
from service import proposal

app = typer.Typer(help="Decisions that wait for a second person.", no_args_is_help=True)

AT_MOST = 1_000


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
    async with connected() as system:
        return await proposal.waiting(system.desk, None, AT_MOST)


async def _withdraw(id_: str, reason: str) -> None:
    async with connected() as system:
        await proposal.withdraw(system.desk, OPERATOR, id_, reason)
